"""PostgreSQL's text forms of arrays and rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.targets.postgres_literals import array_literal, parse_array, parse_record, record_literal

TEXT_OR_NULL = st.none() | st.text()


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("{}", []),
        ("{1,2,NULL}", ["1", "2", None]),
        ('{"NULL",null}', ["NULL", "null"]),
        ('{"a,b","c\\"d","e\\\\f",""}', ["a,b", 'c"d', "e\\f", ""]),
        ("{{1,2},{3,NULL}}", [["1", "2"], ["3", None]]),
        ("{{{a}}}", [[["a"]]]),
        ("[0:1]={7,8}", ["7", "8"]),
        ("[1:1][-2:-1]={{1,2}}", [["1", "2"]]),
        ('{"{not nested}"}', ["{not nested}"]),
    ],
)
def test_arrays_are_read(text: str, items: list[Any]) -> None:
    assert parse_array(text) == items


def test_another_delimiter_is_read() -> None:
    assert parse_array("{(1,1),(0,0);(2,2),(1,1)}", ";") == ["(1,1),(0,0)", "(2,2),(1,1)"]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("()", [None]),
        ("(1)", ["1"]),
        ("(,)", [None, None]),
        ('(1,,"a ""b""","")', ["1", None, 'a "b"', ""]),
        ('("x\\\\y","(1,2)")', ["x\\y", "(1,2)"]),
        ('("""")', ['"']),
    ],
)
def test_rows_are_read(text: str, items: list[str | None]) -> None:
    assert parse_record(text) == items


@given(items=st.recursive(st.lists(TEXT_OR_NULL), lambda inner: st.lists(inner, min_size=1), max_leaves=8))
def test_an_array_is_read_as_it_was_written(items: list[Any]) -> None:
    assert parse_array(array_literal(items)) == items


@given(items=st.lists(TEXT_OR_NULL, min_size=1))
def test_a_row_is_read_as_it_was_written(items: list[str | None]) -> None:
    assert parse_record(record_literal(items)) == items


@given(text=st.text(alphabet='{}(),"\\aN;[]=:0', max_size=30))
def test_what_is_none_raises_and_never_hangs(text: str) -> None:
    for parse in (parse_array, parse_record):
        try:
            parse(text)
        except (ValueError, LookupError):
            continue
