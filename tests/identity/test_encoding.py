"""Base64url and JSON have one form each."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.identity.encoding import Malformed, decode_base64url, encode_base64url, parse_object

SCALARS = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(max_size=20)
OBJECTS = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


@given(st.binary(max_size=200).filter(bool))
def test_what_is_encoded_decodes_to_itself(value: bytes) -> None:
    assert decode_base64url(encode_base64url(value)) == value


@given(st.binary(max_size=60))
def test_a_value_has_one_spelling(text: bytes) -> None:
    try:
        value = decode_base64url(text)
    except Malformed:
        return
    assert encode_base64url(value) == text


@pytest.mark.parametrize(
    "text", [b"", b"=", b"YQ==", b"YQ=", b"Y", b"Y+8_", b"Y/8-", b"Y Q", b"YQ\n", b"\xff\xfe", b"YWJj."]
)
def test_text_outside_the_alphabet_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed, match="is not base64url without padding"):
        decode_base64url(text)


@pytest.mark.parametrize("text", [b"YR", b"YWK", b"__"])
def test_unused_bits_are_refused(text: bytes) -> None:
    with pytest.raises(Malformed, match="is not in canonical base64url"):
        decode_base64url(text)


@given(OBJECTS)
def test_plain_json_is_read_as_python_reads_it(value: dict[str, Any]) -> None:
    assert parse_object(json.dumps(value).encode()) == value


@given(st.binary(max_size=100) | st.text(alphabet='{}[]":,0123456789.eE+-truefalsn\\u ', max_size=60).map(str.encode))
def test_nothing_but_malformed_comes_out_of_any_bytes(text: bytes) -> None:
    with suppress(Malformed):
        parse_object(text)


def test_sixteen_levels_are_accepted_and_seventeen_are_not() -> None:
    parse_object(b'{"a":' + b"[" * 15 + b"]" * 15 + b"}")

    with pytest.raises(Malformed, match="is nested deeper than 16 levels"):
        parse_object(b'{"a":' + b"[" * 16 + b"]" * 16 + b"}")


def test_eighteen_digits_are_accepted() -> None:
    assert parse_object(b'{"a":-999999999999999999}') == {"a": -999999999999999999}
