"""The published ways around masking, as `mask_evasion.jsonl` has them, and what gives one of its secrets away."""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from typing import Any

from tests.corpora import CORPORA

CLASSIFY = {"public.users.ssn": "pii.national_id", "public.users.email": "pii.email"}
SECRETS = (
    "123-45-6789", "987-65-4320", "555-12-3456", "alice@example.com", "bob@example.org", "carol@example.net",
)  # fmt: skip


def cases() -> list[dict[str, Any]]:
    path = CORPORA / "mask_evasion.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


CASES = cases()


def forms(secret: str) -> set[str]:
    """The value and what the corpus does with it: every form that would give it away in a cell."""
    digits = secret.replace("-", "")
    data = secret.encode()
    found = {
        secret, secret.upper(), secret.title(), secret[::-1], digits,
        secret.translate(str.maketrans("0123456789", "abcdefghij")),
        data.hex(), binascii.b2a_base64(data, newline=False).decode(), hashlib.md5(data).hexdigest(),
        hashlib.sha256(data).hexdigest(), " ".join(str(byte) for byte in data),
    }  # fmt: skip
    if digits.isdigit():
        found |= {f"{int(digits):x}", ",".join(secret.split("-")), str(int(digits[:5]))}
    return found


FORMS = {form for secret in SECRETS for form in forms(secret)}


def leaking(cell: object) -> set[str]:
    text = bytes(cell).hex() if isinstance(cell, (bytes, memoryview)) else str(cell)
    return {form for form in FORMS if form in text}


def own_literals(sql: str) -> set[str]:
    """A plan may repeat what the agent wrote itself."""
    return {form for literal in re.findall(r"'([^']*)'", sql) for form in FORMS if form in literal}
