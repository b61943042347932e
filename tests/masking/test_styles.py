"""Markers: what shows of a masked value, and what does not."""

from __future__ import annotations

import hashlib
import hmac
import string

import pytest

from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.masking.detectors import ALL
from mcp_gateway.masking.scan import scanner_for
from mcp_gateway.masking.styles import STYLES, Markers, find_problems

KEY = b"k" * 32


def markers(style: str, *, key: bytes = KEY) -> Markers:
    return Markers(dict.fromkeys(BUILT_IN, style), hash_key=key)


@pytest.mark.parametrize(
    ("style", "data_class", "value", "shown"),
    [
        ("redact", "pii.email", b"bob@example.com", "[pii.email]"),
        ("token", "pii.email", b"bob@example.com", "[pii.email]"),
        ("null", "pii.email", b"bob@example.com", "[pii.email]"),
        ("last4", "payment.card", b"4111 1111 1111 1234", "[payment.card *1234]"),
        ("last4", "payment.iban", b"GB29 NWBK 6016 1331 9268 19", "[payment.iban *6819]"),
        ("last4", "payment.card", b"12345678901", "[payment.card]"),
        ("last4", "pii.national_id", b"078-05-1123-0000", "[pii.national_id]"),
    ],
)
def test_a_marker_shows_the_class_and_at_most_the_end(style: str, data_class: str, value: bytes, shown: str) -> None:
    assert markers(style).marker(data_class, value) == shown


def test_a_hash_is_an_hmac_under_a_key_of_the_class() -> None:
    key = hmac.digest(KEY, b"mcp-gateway/masking/hash/v1/pii.email", hashlib.sha256)
    expected = hmac.new(key, b"bob@example.com", hashlib.sha256).hexdigest()[:20]
    letters = expected.translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop"))

    assert markers("hash").marker("pii.email", b"bob@example.com") == f"[pii.email#{letters}]"


def test_hashes_are_equal_for_equal_values_of_one_class_under_one_key_only() -> None:
    one = markers("hash").marker("pii.email", b"a@b.example")

    assert markers("hash").marker("pii.email", b"a@b.example") == one
    assert markers("hash").marker("pii.email", b"c@b.example") != one
    assert markers("hash", key=b"x" * 32).marker("pii.email", b"a@b.example") != one
    assert markers("hash").marker("pii.phone", b"a@b.example").partition("#")[2] != one.partition("#")[2]


def test_a_hash_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        Markers({"pii.email": "hash"}, hash_key=b"")


@pytest.mark.parametrize(
    ("classes", "shown"),
    [
        ({"pii.email"}, "[pii.email]"),
        ({"pii.phone", "pii.email"}, "[pii.email+pii.phone]"),
        ({"a", "b", "c", "d"}, "[masked]"),
    ],
)
def test_a_cell_names_the_classes_it_has(classes: set[str], shown: str) -> None:
    assert Markers({}, hash_key=b"").cell(frozenset(classes), b"x") == shown


def test_a_cell_of_several_classes_is_null_only_where_all_say_so() -> None:
    some = Markers({"a": "null", "b": "redact"}, hash_key=b"")

    assert some.cell(frozenset({"a"}), b"x") is None
    assert some.cell(frozenset({"a", "b"}), b"x") == "[a+b]"
    assert Markers({"a": "null", "b": "null"}, hash_key=b"").cell(frozenset({"a", "b"}), b"x") is None


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("data_class", BUILT_IN)
def test_no_detector_finds_anything_in_a_marker(style: str, data_class: str) -> None:
    marker = markers(style).marker(data_class, b"4111111111111111")
    scanner = scanner_for(detectors=ALL, revealed=frozenset())

    assert set(marker) <= set(string.ascii_letters + string.digits + "[]._* #")
    for text in (
        marker,
        marker * 3,
        f"password={marker}",
        f'"token": "{marker}"',
        f"ssn: {marker}",
        f"Bearer {marker}",
    ):
        assert scanner.hits(text.encode()) == []


def test_every_wrong_style_is_reported() -> None:
    problems = find_problems({"pii.email": "blur", "pii.phone": "last4", "payment.card": "last4"})

    assert [str(problem) for problem in problems] == [
        "masking.styles.pii.email: unknown style 'blur', expected one of redact, last4, hash, null, token",
        "masking.styles.pii.phone: the style 'last4' is for payment classes only: the end of anything else can give it away",
    ]
