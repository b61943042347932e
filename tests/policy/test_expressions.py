from __future__ import annotations

import cedarpy
import orjson
import pytest

from mcp_gateway.calls import JSONObject
from mcp_gateway.policy.expressions import ExpressionError, approval_use, reads_of


def conditions(text: str) -> list[JSONObject]:
    whole = orjson.loads(cedarpy.policies_to_json_str(f"forbid (principal, action, resource) {text};"))
    found: list[JSONObject] = whole["staticPolicies"]["policy0"]["conditions"]
    return found


@pytest.mark.parametrize(
    ("condition", "paths"),
    [
        ("true", set()),
        ("principal.subject == resource.name", set()),
        ("context.sql.read_only", {("sql", "read_only")}),
        ('context["sql"]["read_only"]', {("sql", "read_only")}),
        ("context.sql == context.sql", {("sql",)}),
        ("context has sql.kinds", {("sql",), ("sql", "kinds")}),
        ("context.sql has kinds", {("sql", "kinds")}),
        ('context.target.name == "a"', {("target", "name")}),
        ('if context.sql.unbounded then context.http.path like "a*" else !context.shell.opaque',
         {("sql", "unbounded"), ("http", "path"), ("shell", "opaque")}),
        ("[{a: context.sql.reads}].contains({a: context.sql.writes})", {("sql", "reads"), ("sql", "writes")}),
        ("-(context.sql.statements) < 0 && context.sql.reads.isEmpty()", {("sql", "statements"), ("sql", "reads")}),
        ('context.call.time.toDate() == datetime("2020-01-01")', {("call", "time")}),
        ('context.call.time.durationSince(datetime("2020-01-01")).toHours() > 3', {("call", "time")}),
        ('resource is Target in Env::"prod" && principal.hasTag("a")', set()),
        ('{Var: "context"}.Var == "context" && {"Value": {"Var": context.call.door}} == {"Value": {"Var": "a"}}',
         {("call", "door")}),
    ],
)  # fmt: skip
def test_every_attribute_that_a_condition_looks_at_is_found(condition: str, paths: set[tuple[str, ...]]) -> None:
    reads = reads_of(conditions(f"when {{ {condition} }}"))
    assert reads.paths == paths
    assert not reads.sides
    assert not reads.members


def test_all_conditions_of_a_policy_count() -> None:
    reads = reads_of(conditions("when { context.sql.read_only } unless { context.call.token_age < 5 } when { true }"))
    assert reads.paths == {("sql", "read_only")}
    assert reads.sides == {(("call", "token_age"), 5)}


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "==", "!="])
def test_a_token_age_against_a_constant_is_known_by_the_constant(operator: str) -> None:
    for text in (f"context.call.token_age {operator} 300", f"300 {operator} context.call.token_age"):
        reads = reads_of(conditions(f"when {{ {text} }}"))
        assert reads.paths == set()
        assert reads.sides == {(("call", "token_age"), 300)}


@pytest.mark.parametrize(
    "condition",
    [
        "context.call.token_age * 2 > 300",
        "context.call.token_age > context.sql.statements",
        "[300].contains(context.call.token_age)",
        "-(context.call.token_age) < 0",
        "300 + 1 > context.call.token_age",
    ],
)
def test_any_other_use_of_a_token_age_is_a_read(condition: str) -> None:
    assert ("call", "token_age") in reads_of(conditions(f"when {{ {condition} }}")).paths


READS = ("sql", "reads")


@pytest.mark.parametrize(
    ("condition", "members"),
    [
        ('context.sql.reads.contains("a")', {(READS, "a")}),
        ('context.sql.reads.containsAny(["a", "b"])', {(READS, "a"), (READS, "b")}),
        ('!context.sql.reads.containsAll(["a"])', {(READS, "a")}),
        ('context.usage.touched_24h.contains(DataClass::"pii.email")', {(("usage", "touched_24h"), "pii.email")}),
    ],
)
def test_a_set_that_is_asked_for_constants_is_known_by_them(
    condition: str, members: set[tuple[tuple[str, ...], str]]
) -> None:
    reads = reads_of(conditions(f"when {{ {condition} }}"))
    assert reads.members == members
    assert not reads.paths


@pytest.mark.parametrize(
    "condition",
    [
        "context.sql.reads.containsAny([])",
        'context.sql.reads.containsAny(["a", principal.actor])',
        '["a"].containsAll(context.sql.reads)',
        "context.sql.reads.containsAll(context.sql.writes)",
        'context.sql.reads.contains("a") && context.sql.reads.isEmpty()',
        'context.sql.reads.contains("a") && context.sql == context.sql',
    ],
)
def test_any_other_use_of_a_set_is_a_read(condition: str) -> None:
    reads = reads_of(conditions(f"when {{ {condition} }}"))
    assert reads.paths & {READS, ("sql",)}
    assert not reads.members
    assert READS in reads.attributes or ("sql",) in reads.attributes


def test_a_context_as_a_whole_is_refused() -> None:
    for condition in ("context == context", "{a: context}.a.sql.read_only", "[context].contains(context)"):
        with pytest.raises(ExpressionError, match="context is used as a whole"):
            reads_of(conditions(f"when {{ {condition} }}"))


@pytest.mark.parametrize("body", [{}, {"a": 1, "b": 2}, {"new-operator": "x"}, {"Set": ["x"]}, {"||": {"left": 1}}])
def test_an_expression_that_is_not_understood_is_refused(body: JSONObject) -> None:
    with pytest.raises(ExpressionError, match="not understood"):
        reads_of([{"kind": "when", "body": body}])


def test_the_groups_and_people_of_an_approval_are_found() -> None:
    use = approval_use(
        conditions(
            'unless { context.approval.by.contains("a") || context.call.door == "http" && context.approval.approvers >= 2 }'
            ' unless { context.approval.by.contains("b") }'
        )
    )
    assert use.groups == {"a", "b"}
    assert use.people == {2}
