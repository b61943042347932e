"""Values that detectors know, and pieces of text around them, for tests that put texts together."""

from __future__ import annotations

from hypothesis import strategies as st

from mcp_gateway.masking.rules import RULES


def wide(text: str) -> str:
    """ASCII in its full-width form."""
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


def digits_of(zero: int, text: str) -> str:
    """Digits of another script, whose zero is given."""
    return "".join(chr(zero + int(character)) for character in text)


PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nAbC+/012==\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
CANARY = "s3cr3t/canary+0xA=?"
"""A credential with what base64, URLs and JSON write differently."""

VALUES = {
    "pii.email": ["bob@example.com", "jörg.müller+x@sub.exämple.de", "o'brien@mail.example.co.uk", "a%40b@example.org"],
    "payment.card": ["4111111111111111", "4111 1111 1111 1111", "3782-822463-10005", "5 5 5 5 5 5 5 5 5 5 5 5 4 4 4 4"],
    "payment.iban": ["GB29NWBK60161331926819", "DE89 3704 0044 0532 0130 00", "nl91abna0417164300"],
    "pii.national_id": ["078-05-1123", "131052-308T", "15070649C103", "756.9217.0769.85"],
    "pii.phone": ["+49 30 1234567", "(415) 555-0132", "415-555-0132", "020 7946 0958"],
    "pii.ip_address": ["192.0.2.17", "2001:db8::8a2e:370:7334", "::ffff:192.0.2.1"],
    "pii.mac_address": ["00:1A:2B:3C:4D:5E"],
    "secret.token": [
        JWT,
        "ghp_" + "a1B2" * 9,
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-1234567890-abcdefghij",
        "sk-ant-api03-" + "aB3" * 9,
    ],
    "secret.password": [
        "password=hunter22",
        '"password": "correct horse"',
        "postgres://app:s3cret@db/x",
        "pwd: Tr0ub4dor",
    ],
    "secret.private_key": [PEM],
}
"""By class: each text holds exactly one value of that class, which the defaults find."""

FILLERS = [
    " ", "\n", ", ", "x", "ä", "日本", "🙂", "\u200b", "\x1b[31m", "\x08", "\0", "1", "4111 ", "@", ".", "-----", "password=", '"', "'",
    "\\", "%", "=", ":", "Bearer ", "token: ", wide("12"), "\u00a0", "e", "ab12", "+", "(", "/", "\r\n", "\u200b" * 33, "a" * 70,
]  # fmt: skip

pieces = st.sampled_from([value for values in VALUES.values() for value in values] + FILLERS) | st.text(max_size=8)
texts = st.lists(pieces, max_size=24).map("".join)
"""Texts in which values stand alone, side by side, and broken off."""

DETECTORS = sorted({rule.detector for rule in RULES})
