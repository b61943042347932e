"""The second reading of conditions: what it makes is what Cedar makes, or there are no places."""

from __future__ import annotations

import cedarpy
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp_gateway_policies import starter_policies

from mcp_gateway.calls import JSONObject
from mcp_gateway.policy.parsing import Expressions, read_expressions, read_scope
from mcp_gateway.policy.split import Source, Statement, split

HEAD = '@id("a;") @reason permit (principal in Group::"x, y", action in [Action::"b", Action::"c"], resource)'


def both(text: str) -> tuple[Expressions | None, JSONObject]:
    """Our reading of one policy, and Cedar's."""
    statement = the_one(text)
    form = orjson.loads(cedarpy.policies_to_json_str(statement.text))["staticPolicies"]["policy0"]
    return read_expressions(statement, form), form


def the_one(text: str) -> Statement:
    (statement,), problems = split(Source(file="p.cedar", text=text))
    assert problems == []
    return statement


@pytest.mark.parametrize(
    "condition",
    [
        "principal has a.b.c",
        'principal has "x y"',
        'principal["a b"] == context.a.b["c"].d',
        "-5 < -(3)",
        "- - 5 < 1 - -5",
        "-(-5) < -context.a",
        "!!true",
        'principal is Caller in Group::"x" || resource is A::B',
        '"\\u{1F600}\\n\\x41\\\'\\0" == "a"',
        '"x" like "a*b\\*c\\"*"',
        "1 + 2 - 3 * 4 == 5",
        'ip("1.1.1.1").isInRange(ip("1.1.1.0/24"))',
        '{a: 1, "b c": 2, }.a == {}.b',
        "if true then false else if a::b::\"x\" == A::\"y\" then [1, 2,].contains(1) else [].isEmpty()",
        "true && false && (true || false) || true",
        'context.call.time.offset(duration("1h")) > context.call.time.toDate()',
        'principal.hasTag("a") && principal.getTag("a") == 1',
        'principal in [Group::"a", Group::"b"]',
        "-9223372036854775808 != 9223372036854775807",
        "context.sql.reads.containsAny(context.sql.writes) >= 1 // a comment; ) } in it",
        'action == Action::"a" && context has sql',
    ],
)  # fmt: skip
def test_conditions_are_read_as_cedar_reads_them(condition: str) -> None:
    ours, form = both(f"{HEAD} when {{ {condition}\n }} unless {{ true }};")
    assert ours is not None
    assert [{"kind": one.kind, "body": one.body} for one in ours.conditions] == form["conditions"]
    assert ours.text(ours.conditions[0].body) == condition.partition(" //")[0]


NAMES = st.sampled_from(["principal", "resource", "context.a", "context.sql.reads", "action"])
ATOMS = st.one_of(
    NAMES,
    st.integers(-3, 3).map(str),
    st.sampled_from(['"a"', '"\\n"', "true", "false", 'A::"b"', "[]", "{a: 1}"]),
)


def expressions() -> st.SearchStrategy[str]:
    def wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        operators = st.sampled_from(["&&", "||", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*"])
        return st.one_of(
            st.tuples(inner, operators, inner).map(lambda found: f"({found[0]}) {found[1]} ({found[2]})"),
            st.tuples(inner, st.sampled_from(["&&", "||", "+", "*"]), ATOMS).map(" ".join),
            inner.map(lambda text: f"!({text})"),
            inner.map(lambda text: f"-({text})"),
            inner.map(lambda text: f"({text}).contains({text})"),
            inner.map(lambda text: f"({text}).isEmpty()"),
            inner.map(lambda text: f'({text}) like "a*"'),
            inner.map(lambda text: f"({text}) has a.b"),
            inner.map(lambda text: f"({text}) is A::B"),
            st.tuples(inner, inner, inner).map(lambda found: "(if {} then {} else {})".format(*found)),
            st.lists(inner, max_size=3).map(lambda found: f"[{', '.join(found)}]"),
        )

    return st.recursive(ATOMS, wider, max_leaves=8)


@given(expressions())
@example("true + -1")
@example("if true then true else false && true")
def test_whatever_is_read_is_read_as_cedar_reads_it(condition: str) -> None:
    try:
        ours, form = both(f"{HEAD} when {{ {condition} }};")
    except ValueError:
        return  # Cedar does not take it
    assert ours is not None
    assert ours.conditions[0].body == form["conditions"][0]["body"]


def test_the_starter_policies_are_read() -> None:
    for file in sorted(starter_policies().glob("*.cedar")):
        statements, _ = split(Source(file=file.name, text=file.read_text()))
        for statement in statements:
            assert both(statement.text)[0] is not None


def test_what_is_read_otherwise_has_no_places() -> None:
    ours, form = both(f"{HEAD} when {{ 1 == 1 }};")
    assert ours is not None
    other = form | {"conditions": [{"kind": "when", "body": {"Value": True}}]}
    assert read_expressions(ours.statement, other) is None


def test_the_parts_of_a_scope_have_their_places() -> None:
    statement = the_one(f"{HEAD};")
    scope = read_scope(statement)
    assert scope is not None
    assert [statement.text_of(span) for span in scope.parts.values()] == [
        'principal in Group::"x, y"',
        'action in [Action::"b", Action::"c"]',
        "resource",
    ]


@pytest.mark.parametrize("text", ["permit;", "permit (;", "@;", "permit (principal, action", "@id(;", "permit (,,);"])
def test_a_scope_that_is_none_has_no_places(text: str) -> None:
    statements, _ = split(Source(file="p.cedar", text=text if text.endswith(";") else f"{text};"))
    for statement in statements:
        found = read_scope(statement)
        assert found is None or not found.parts
