"""Tokens that some library once accepted, at the door of a gateway that is served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.doors.servers import Served, served
from tests.identity.forged_claims import FORGED_CLAIMS
from tests.identity.forged_forms import FORGED_FORMS
from tests.identity.forged_signatures import FORGED_SIGNATURES
from tests.identity.forging import NOW, good, verifier
from tests.invariants.world import World
from tests.plain_http import plain_client

pytestmark = pytest.mark.anyio

ATTACKS = {attack.name: attack for attack in [*FORGED_FORMS, *FORGED_SIGNATURES, *FORGED_CLAIMS]}
CALL: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "call_api", "arguments": {"target": "api", "path": "x"}},
}
HEADERS = {"accept": "application/json, text/event-stream"}

CONFUSED = [f"alg: HS256 keyed with the public key {form}" for form in ("in PEM", "in DER", "as JWK")]
MISFIT = ["key: ES256 with rsa-1", "key: RS256 with ec-1", "key: EdDSA with ec-1", "key: PS256 with rsa-rs256"]
BUSY = ["an encrypted token by password", "an encrypted token"]
MUST_BE_UNDERSTOOD = [
    "header: an extension that must be understood (CVE-2025-59420)",
    "header: an unencoded payload that must be understood (RFC 7797)",
    "header: an empty list of extensions",
]


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world, verifier=verifier(), clock=lambda: NOW) as found:
        yield found


async def status(server: Served, token: str) -> int:
    headers = HEADERS | {"authorization": f"Bearer {token}"}
    async with plain_client(headers=headers, timeout=30) as http:
        return (await http.post(f"{server.url}/mcp", json=CALL)).status_code


async def refused(server: Served, *names: str) -> None:
    """Each of these is refused where a good token is not, and no call of theirs arrives anywhere."""
    assert [await status(server, ATTACKS[name].token()) for name in names] == [401] * len(names)
    assert await status(server, good()) != 401
    assert server.bench.api.requests == []


@pytest.mark.published("CVE-2016-10555", "CVE-2022-29217", "CVE-2024-33663", "CVE-2024-37568")
async def test_a_token_does_not_choose_how_a_key_is_used(server: Served) -> None:
    await refused(server, *CONFUSED, *MISFIT, "alg: 'none'", "alg: 'nOnE'")


@pytest.mark.published("CVE-2018-0114")
async def test_a_token_brings_no_key(server: Served) -> None:
    await refused(server, "header: a key of its own (CVE-2018-0114)", "header: certificates")


@pytest.mark.published("CVE-2024-53861")
async def test_an_issuer_is_equal_and_not_contained(server: Served) -> None:
    names = [name for name in ATTACKS if name.startswith("iss: ")]
    assert "iss: a list that contains it (CVE-2024-53861)" in names
    await refused(server, *names)


@pytest.mark.published("CVE-2025-59420", "GHSA-752w-5fwx-jx9f")
async def test_an_extension_that_has_to_be_understood_is_refused(server: Served) -> None:
    await refused(server, *MUST_BE_UNDERSTOOD)


@pytest.mark.published("CVE-2022-21449")
async def test_a_signature_of_zeros_is_none(server: Served) -> None:
    await refused(server, "signature: r = s = 0 (CVE-2022-21449)", "signature: r = 0", "signature: s = 0")


@pytest.mark.published("CVE-2022-36083", "CVE-2023-50967")
async def test_nothing_is_derived_from_a_password(server: Served) -> None:
    await refused(server, *BUSY)


@pytest.mark.published("CVE-2025-65015")
async def test_a_token_beyond_its_size_is_refused_unread(server: Served) -> None:
    await refused(server, "one byte too long")


@pytest.mark.published("CVE-2020-10735")
async def test_a_long_number_in_a_token_is_refused_unread(server: Served) -> None:
    await refused(server, "header: a number of 5000 digits", "payload: 10000 digits (CVE-2020-10735)")
