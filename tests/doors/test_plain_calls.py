"""A body is understood as by the SDK's decoder, by whichever of the two decoders it is read."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.doors.plain_calls import _decoded

NUMBERS = [
    "0", "-0", "-0.0", "1.0", "1e2", "1E400", "-1e-400", "0.1", "1.10", "123456789012345678901234567890", "18446744073709551615",
    "18446744073709551616", "-9223372036854775808", "-9223372036854775809", "9007199254740993", "5e-324", "1.7976931348623157e308",
    "0.30000000000000004", "2.2250738585072011e-308",
]  # fmt: skip
STRINGS = [
    '"\\u0041"',
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"\\/"',
    '"\\u2028"',
    '"\u2028"',
    '"\\u007f"',
    '"\x7f"',
    '"\\u0000"',
]
ODD = [
    "NaN",
    "Infinity",
    "[1,]",
    '{"a":1,"a":1}',
    '{"a":{"b":1,"b":2}}',
    "[" * 300 + "]" * 300,
    "[" * 5000 + "]" * 5000,
    " 1",
    "1 ",
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def by_the_sdk(text: str) -> Any:
    """What Python's decoder finds in a text without a name that comes twice; None where it finds nothing."""
    try:
        plain = json.loads(text, parse_constant=int)
        return None if '"a":1,"a"' in text or '"b":1,"b"' in text else plain
    except (ValueError, RecursionError):
        return None


@pytest.mark.parametrize("text", [*NUMBERS, *STRINGS, *ODD])
def test_odd_values_are_what_the_sdk_finds(text: str) -> None:
    for body in (text, f'{{"arguments":{text}}}', f"[{text},{text}]"):
        assert repr(_decoded(body.encode())) == repr(by_the_sdk(body))


@given(JSON)
def test_any_value_is_what_the_sdk_finds_however_it_is_written(value: Any) -> None:
    written = [json.dumps(value), json.dumps(value, separators=(",", ":"), ensure_ascii=False)]
    with suppress(TypeError):  # of an integer that this one does not write
        written.append(orjson.dumps(value).decode())
    for text in written:
        assert repr(_decoded(text.encode())) == repr(json.loads(text))
