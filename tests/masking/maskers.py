"""A call's masker as tests of cut texts want it: the default detectors, nothing revealed, some credentials."""

from __future__ import annotations

from mcp_gateway.calls import Secret
from mcp_gateway.masking.detectors import DEFAULT
from mcp_gateway.masking.masker import CallMasker, masker_for


def masker_with(*credentials: str) -> CallMasker:
    return masker_for(
        revealed=frozenset(),
        all_classes=frozenset(),
        styles={},
        detectors=DEFAULT,
        secrets=[Secret(credential) for credential in credentials],
        hash_key=b"k" * 32,
    )
