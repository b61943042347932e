"""Whoever is told that a policy never matches, or adds nothing, can rely on it: Cedar is asked."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import cedarpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_gateway.calls import JSONObject
from mcp_gateway.decisions import NOT_APPROVED
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.policy import contradictions as module
from mcp_gateway.policy.contradictions import Budget, contradictions
from mcp_gateway.policy.formulas import Formula
from mcp_gateway.policy.implications import world_of
from mcp_gateway.policy.literals import Literal, conflict, matches
from mcp_gateway.policy.question import context_of, named, principal_of, rendered, resource_of
from mcp_gateway.policy.schema import ACTIONS, REVEAL
from mcp_gateway.policy.scopes import Principal
from mcp_gateway.policy.vocabulary import ANYTHING, Domain, Vocabulary
from tests.fuzz.sizes import FULL
from tests.policy.worlds import CALLER, NOW, TARGETS, compiled, findings, question

EMAIL = {"__entity": named(("DataClass", "pii.email"))}
ATOMS = st.sampled_from(
    [
        "context.sql.read_only",
        "context.sql.unbounded",
        "context.sql.read_only == context.sql.unbounded",
        "context.sql.read_only == true",
        *(f"context.sql.statements {operator} {number}" for operator in ("<", "<=", ">", ">=", "==", "!=") for number in (0, 1, 2)),
        "1 < context.sql.statements",
        "2 >= context.sql.statements",
        "context.sql.statements < context.sql.row_limit",
        "context.sql.statements + 1 > 1",
        "context.sql.row_limit < 0",
        'context.call.door == "http"',
        'context.call.door != "cli"',
        '"stdio" == context.call.door',
        'context.call.door == "Http"',
        '["http", "sse"].contains(context.call.door)',
        'context.call.door like "*t*"',
        'context.call.door like "s*"',
        'context.call.door like "*"',
        'context.call.tool == "query_database"',
        'context.sql.fingerprint like "ab*c"',
        'context.sql.fingerprint like "a*"',
        'context.sql.fingerprint like "b*"',
        'context.sql.fingerprint like "*d"',
        'context.sql.fingerprint == "abc"',
        'context.sql.fingerprint != "abc"',
        *(f'context.sql.kinds.contains("{kind}")' for kind in ("SELECT", "DELETE", "select")),
        'context.sql.kinds.containsAll(["SELECT", "DELETE"])',
        'context.sql.kinds.containsAny(["DELETE", "UPDATE"])',
        '["SELECT"].containsAny(context.sql.kinds)',
        '["SELECT", "DELETE"].containsAll(context.sql.kinds)',
        'context.sql.kinds == ["SELECT"]',
        'context.sql.kinds != ["DELETE", "SELECT"]',
        "context.sql.kinds.isEmpty()",
        'context.sql.reads.contains("a.b")',
        '["a.b"].containsAll(context.sql.reads)',
        "context.sql.reads == context.sql.writes",
        "context.sql.reads.containsAll(context.sql.writes)",
        'context.sql.inference.contains(Inference::"where")',
        '[Inference::"where", Inference::"order"].containsAll(context.sql.inference)',
        'context.sql.function_traits.contains("files")',
        'context.sql.function_traits.contains("language:sql")',
        'context.sql.functions.contains("f")',
        'context.sql.functions.contains("F") || context.sql.fingerprint like "*X*"',
        *(f'context.call.time.toTime() {operator} duration("{of}")' for operator in ("<", ">=", "==") for of in ("6h", "12h", "1d", "-1ms")),
        *(f"context.usage.{name} {operator} {number}" for name in ("calls_1m", "calls_1h", "calls_24h") for operator in ("<", ">", "==") for number in (1, 2)),
        *(f'context.usage.touched_{window}.contains(DataClass::"pii.email")' for window in ("1h", "24h")),
        "context.sql.infers.isEmpty()",
        "principal has emial",
        "principal has subject",
        "context.sql has read_only",
        "context.sql has readonly && context.sql.readonly",
        "context has sql",
        "context has shell",
        "principal has email",
        'principal has email && principal.email like "d*"',
        'principal in Group::"x"',
        'principal in Group::"caller"',
        "principal is Caller",
        "resource is DataClass",
        'resource is Target in Env::"dev"',
        'resource in Env::"prod"',
        'resource in [Env::"prod", Env::"dev"]',
        'resource in Label::"team=payments"',
        'resource == Target::"orders"',
        'resource in Target::"sandbox"',
        'resource.name == "orders"',
        'resource.kind == "postgres"',
        'resource.name like "o*"',
        'action == Action::"query_database"',
        'action in [Action::"call_api", Action::"query_database"]',
        'context.call.time > datetime("2026-01-05")',
        'context.call.time <= datetime("2026-01-04T12:00:00Z")',
        'context.call.time == datetime("2026-01-05T12:00:00Z")',
        'DataClass::"pii.email" == DataClass::"pii.email"',
        '[1, 2].contains(3)',
        '"abc" like "a*"',
        "1 < 2",
        "true",
    ]
)  # fmt: skip


def conditions(leaves: int = 6) -> st.SearchStrategy[str]:
    def wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.tuples(inner, st.sampled_from(["&&", "&&", "||"]), inner).map(
                lambda two: f"({two[0]}) {two[1]} ({two[2]})"
            ),
            inner.map(lambda text: f"!({text})"),
            st.tuples(inner, inner, inner).map(lambda three: "(if {} then {} else {})".format(*three)),
        )

    return st.recursive(ATOMS, wider, max_leaves=leaves)


SCOPES = st.sampled_from(
    [
        "principal, action, resource",
        'principal, action == Action::"query_database", resource',
        'principal in Group::"x", action == Action::"query_database", resource in Env::"prod"',
        'principal is Caller in Group::"x", action == Action::"query_database", resource is Target in Env::"dev"',
        'principal, action in [Action::"query_database"], resource == Target::"orders"',
        'principal == Caller::"https://idp.example.com|dana", action == Action::"query_database", resource',
    ]
)  # fmt: skip


@st.composite
def policies(draw: st.DrawFn, name: str, *, effect: str = "permit", leaves: int = 6) -> str:
    scope = draw(SCOPES.filter(lambda text: effect == "forbid" or "action," not in text))
    clauses = draw(st.lists(st.tuples(st.sampled_from(["when", "unless"]), conditions(leaves)), max_size=3))
    return f'@id("{name}") {effect} ({scope}) ' + " ".join(f"{kind} {{ {text} }}" for kind, text in clauses) + ";"


def requests(seed: int, count: int) -> Iterator[tuple[JSONObject, list[JSONObject]]]:
    """Requests to query_database with their entities, of values that the atoms ask for."""
    pick = random.Random(seed)
    template = context_of(question(), classes=frozenset(), actions=ACTIONS)
    for _ in range(count):
        target = pick.choice(TARGETS[:2])
        principal = Principal.of(CALLER)._replace(
            groups=pick.choice([frozenset(), frozenset({"x"})]),
            email=pick.choice([None, "dana@example.com", "eve@example.com"]),
        )
        inference = [{"__entity": named(("Inference", kind))} for kind in ("where", "order") if pick.random() < 0.5]
        call = {
            "door": pick.choice(["stdio", "http", "sse", "cli"]),
            "time": NOW.replace(day=pick.randint(4, 6), hour=pick.choice([0, 6, 12, 23])),
        }
        sql: dict[str, Any] = {
            "read_only": pick.random() < 0.5,
            "statements": pick.randint(0, 3),
            "row_limit": pick.randint(-1, 2),
            "fingerprint": pick.choice(["abc", "abd", "ab0c", "bcd", ""]),
            "kinds": [kind for kind in ("SELECT", "DELETE", "UPDATE") if pick.random() < 0.5],
            "reads": pick.choice([[], ["a.b"], ["a.b", "c.d"]]),
            "writes": pick.choice([[], ["a.b"]]),
            "inference": inference,
            "function_traits": pick.choice([[], ["files"], ["language:sql"]]),
        }
        sql["infers"] = [EMAIL] if inference else []
        minute, hour, day = sorted(pick.randint(0, 3) for _ in range(3))
        hourly, daily = pick.choice([([], []), ([], [EMAIL]), ([EMAIL], [EMAIL])])
        counts = {"calls_1m": minute, "calls_1h": hour, "calls_24h": day, "touched_1h": hourly, "touched_24h": daily}
        changes_rows = not sql["read_only"] and not {"DELETE", "UPDATE"}.isdisjoint(sql["kinds"])
        sql["unbounded"] = changes_rows and pick.random() < 0.5
        context = {
            **template,
            "call": {**template["call"], **call},
            "sql": {**template["sql"], **sql},
            "usage": {**template["usage"], **counts},
        }
        request = {
            "principal": named(("Caller", principal.key)),
            "action": named(("Action", "query_database")),
            "resource": named(("Target", target.name)),
            "context": rendered(context, NOT_APPROVED),
        }
        parents = [named(("Env", target.labels["env"])), named(("Label", "team=payments"))]
        yield request, [principal_of(principal), resource_of(target) | {"parents": parents}]


def matching(text: str, *, seed: int, count: int = 30) -> Iterator[set[str]]:
    """Which policies match requests, as Cedar says."""
    handle = cedarpy.PolicySet.from_str(text)
    for request, entities in requests(seed, count):
        result = cedarpy.is_authorized(request, handle, entities)
        names = result.diagnostics.id_annotations_by_reason
        yield {str(names[reason]) for reason in result.diagnostics.reasons}


def warned(text: str) -> list[Problem] | None:
    """Warnings, if it is a policy at all."""
    try:
        return [*findings(text).warnings]
    except ConfigError:
        return None


def never(text: str) -> bool:
    return any(one.message.startswith("it never matches: ") for one in warned(text) or ())


SEEDS = st.integers(0, 2**32)
OF_SLOW_POLICIES = settings(
    max_examples=1000 if FULL else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@OF_SLOW_POLICIES
@given(policies("a", effect="forbid"), SEEDS)
def test_what_never_matches_does_not_match_in_cedar_either(text: str, seed: int) -> None:
    if never(text):
        assert not any(matching(text, seed=seed))


@OF_SLOW_POLICIES
@given(policies("a", leaves=3), policies("b", leaves=2), SEEDS)
def test_what_adds_nothing_matches_only_where_the_other_does(one: str, other: str, seed: int) -> None:
    text = f"{one}\n{other}"
    for warning in warned(text) or ():
        if warning.message.startswith("it adds nothing"):
            wider = "b" if warning.path == "a" else "a"
            assert all(warning.path not in found or wider in found for found in matching(text, seed=seed))


@OF_SLOW_POLICIES
@given(conditions(3), conditions(3), SEEDS)
def test_what_is_true_is_not_said_to_be_impossible(one: str, other: str, seed: int) -> None:
    """An expression or its opposite, together with another one."""
    text = f'@id("a") forbid (principal, action == Action::"query_database", resource) when {{ {one} }} when {{ {other} }};'
    for which in (text, text.replace("when {", "unless {", 1)):
        if never(which):
            assert not any(matching(which, seed=seed))


VALUES = st.one_of(st.integers(-2, 2), st.sampled_from(["", "a", "ab", "abc", "b"]))
PATTERNS = st.lists(st.sampled_from(["a", "b", None]), max_size=3).map(tuple)


@settings(max_examples=500)
@given(
    st.sampled_from(["", "a", "ab", "ba", "abc", "bab"]),
    st.lists(st.tuples(st.sampled_from(["like", "equal"]), PATTERNS, st.sampled_from(["a", "ab", "x"])), max_size=4),
    st.sampled_from([ANYTHING, Domain(values=frozenset({"a", "ab", "", "bab", "ba", "abc"})), Domain(values=frozenset(), prefixes=("a", "b", ""))]),
)  # fmt: skip
def test_what_is_so_of_a_text_is_no_conflict(
    value: str, said: list[tuple[Any, tuple[str | None, ...], str]], domain: Domain
) -> None:
    literals = [
        Literal(
            kind=kind,
            holds=matches(value, pattern) if kind == "like" else value == constant,
            pattern=pattern,
            constants=frozenset({constant}),
        )
        for kind, pattern, constant in said
    ]
    assert not conflict(literals, domain)


@settings(max_examples=500)
@given(
    st.frozensets(st.sampled_from("abc")),
    st.lists(st.tuples(st.sampled_from(["member", "within", "is_set"]), st.frozensets(st.sampled_from("abcd"), min_size=1, max_size=3)), max_size=5),
    st.sampled_from([ANYTHING, Domain(values=frozenset("abc")), Domain(values=frozenset("ab"), prefixes=("c",))]),
)  # fmt: skip
def test_what_is_so_of_a_set_is_no_conflict(
    value: frozenset[str], said: list[tuple[Any, frozenset[str]]], domain: Domain
) -> None:
    literals = []
    for kind, constants in said:
        one = frozenset(sorted(constants)[:1]) if kind == "member" else constants
        holds = {"member": one <= value, "within": value <= one, "is_set": value == one}[kind]
        literals.append(Literal(kind=kind, holds=holds, constants=frozenset(one)))
    assert not conflict(literals, domain)


def test_a_search_without_end_ends_and_says_nothing() -> None:
    """Seven tables in six schemas, each in one and none two in the same: impossible, and long to find out."""
    where = [[f'context.sql.reads.contains("{schema}.{table}")' for schema in range(6)] for table in range(7)]
    clauses = [" || ".join(of_one) for of_one in where]
    clauses += [
        f"!({one[schema]} && {other[schema]})"
        for schema in range(6)
        for at, one in enumerate(where)
        for other in where[at + 1 :]
    ]
    each = " ".join(f"when {{ {clause} }}" for clause in clauses)
    text = f'@id("a") forbid (principal, action == Action::"query_database", resource) {each};'
    assert not never(text)
    budget = Budget(steps=10**6)
    found = compiled(text)
    vocabulary = Vocabulary.of(TARGETS, actions=found.actions, classes=found.classes)
    formula = Formula.of(found.policies["a"], found.forms["a"])
    assert contradictions(formula.claims, world_of(vocabulary, "query_database"), budget) is None
    assert budget.steps > 10**6 - 2 * module.MAX_STEPS * module.STEPS_OF_ONE


def test_a_search_that_may_take_no_step_says_nothing() -> None:
    found = compiled('@id("a") forbid (principal, action == Action::"reveal", resource) when { false };')
    formula = Formula.of(found.policies["a"], found.forms["a"])
    world = world_of(Vocabulary.of((), actions=found.actions, classes=()), REVEAL)
    assert contradictions(formula.claims, world, Budget(steps=0)) is None
    assert contradictions(formula.claims, world, Budget(steps=100)) is not None


QUERY = 'forbid (principal, action == Action::"query_database", resource)'


@pytest.mark.parametrize(
    "conditions",
    [
        "when { context.sql.unbounded || context.sql.read_only } " * 280,
        " ".join(f'when {{ context.sql.fingerprint like "{"a" * n}*" }}' for n in range(120)),
        " ".join(f"unless {{ context.sql.statements == {n} }}" for n in range(340)),
        "when { context.sql.kinds.containsAny([" + ", ".join(f'"K{n}"' for n in range(1500)) + "]) }",
        " ".join(f'unless {{ context.sql.reads.containsAll(["a.t{n}", "b.t{n}"]) }}' for n in range(240)),
        "when { " + "(" * 35 + "context.sql.unbounded" + ") || context.sql.read_only" * 35 + " }",
    ],
    ids=["many choices", "many patterns", "many numbers", "many members", "many sets", "deep"],
)
def test_a_policy_as_large_as_it_may_be_is_looked_over(conditions: str) -> None:
    found = warned(f'@id("a") {QUERY} {conditions};')
    assert found is not None


def test_what_was_found_in_a_part_of_a_search_stands() -> None:
    """Two numbers at once, among many other conditions."""
    many = " ".join(f"when {{ context.sql.unbounded || context.sql.row_limit != {n} }}" for n in range(150))
    assert never(
        f'@id("a") {QUERY} when {{ context.sql.statements == 1 }} {many} when {{ context.sql.statements == 2 }};'
    )


@given(
    text=st.text("ab", max_size=8),
    pattern=st.lists(st.sampled_from(["a", "b", None]), max_size=8),
)
def test_a_text_is_of_a_pattern_as_an_expression_says(text: str, pattern: list[str | None]) -> None:
    expression = "".join(".*" if one is None else one for one in pattern)
    assert matches(text, pattern) == (re.fullmatch(expression, text) is not None)


def test_a_pattern_of_many_stars_is_decided_at_once() -> None:
    pattern = [None, "a"] * 40 + [None, "b"]
    assert not matches("a" * 10_000, pattern)
    assert matches("a" * 10_000 + "b", pattern)
