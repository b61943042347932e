from __future__ import annotations

import pytest

from mcp_gateway.facts.parser import SQLSyntaxError, parse_tree
from mcp_gateway.facts.planned import at_planning, unlike


@pytest.mark.parametrize(
    ("expression", "left"),
    [
        ("(a + s.f(1))", "(a + s.f(1))"),
        ("s.f(a)", "ROW(a)"),
        ("s.f(a, s.f(1))", "ROW(a, s.f(1))"),
        ("s.f(s.f(a))", "ROW(ROW(a))"),
        ("s.f(s.inlined(a))", "ROW(s.inlined(a))"),
        ("s.inlined(s.f(a))", "s.inlined(ROW(a))"),
        ("lower(b), (a % 2)", "lower(b), (a % 2)"),
        ("CASE WHEN (a > 1) THEN s.f(a) ELSE s.f(2) END", "CASE WHEN (a > 1) THEN ROW(a) ELSE s.f(2) END"),
    ],
)
def test_a_call_that_waits_for_a_row_leaves_its_arguments(expression: str, left: str) -> None:
    found = at_planning(expression, waits=lambda parts: parts == ("s", "f"))

    assert _shape(found) == _shape([raw["stmt"] for raw in parse_tree(f"SELECT {left}")])


def test_what_is_no_expression_is_told() -> None:
    with pytest.raises(SQLSyntaxError):
        at_planning("(((", waits=lambda _: True)


def test_of_texts_that_differ_in_literals_one_is_left() -> None:
    alike = ["(a > '1'::date)", "(a > '2'::date)", "(a > 'it''s'::date)"]
    others = ["(a > f(\"x'\", '1'))", "(a > f(\"y'\", '1'))", "(b > '1'::date)"]

    assert len(list(unlike([*alike, *others]))) == 1 + len(others)


def _shape(value: object) -> object:
    """A tree without places, and without how ROW was written."""
    if isinstance(value, list):
        return [_shape(one) for one in value]
    if isinstance(value, dict):
        return {key: _shape(one) for key, one in value.items() if key not in {"location", "row_format"}}
    return value
