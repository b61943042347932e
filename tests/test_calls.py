from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_gateway.calls import MAX_EXACT, canonical

texts = st.text(st.characters(max_codepoint=0x7F), max_size=8) | st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_EXACT - 2, MAX_EXACT + 2) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def outcome(write: Any, value: Any) -> object:
    try:
        return write(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        return type(error)


@given(value=values)
@example(value="".join(map(chr, range(0x80))))
@example(value={"\x7f": 1, "b": [], "a": {}, "A": "/", "": None, "a b": -0})
@example(value={"\U00010000": 1, "\uffff": 2})
@example(value=[1.0, 1e21, -0.0, MAX_EXACT, -MAX_EXACT])
@example(value="\ud800")
@example(value=MAX_EXACT + 1)
def test_a_value_has_the_form_of_the_standard_whoever_writes_it(value: Any) -> None:
    assert outcome(canonical, value) == outcome(rfc8785.dumps, value)


def test_what_is_no_json_has_no_form() -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical({"a": object()})
