"""Remembered decisions are the decisions that Cedar would make: the same engine, with and without its memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_gateway.decisions import Allow, Approved, Ask, Deny
from mcp_gateway.policy.engine import REMEMBERED_FACTS, REMEMBERED_MEMBERS, PolicyEngine
from mcp_gateway.policy.sets import REMEMBERED_DECISIONS
from tests.policy.worlds import (
    BILLING,
    CALLER,
    COMMAND,
    NOW,
    READ,
    READ_ALL,
    REQUEST,
    SANDBOX,
    WEB,
    WRITE,
    WRITES_ASK,
    engine,
    question,
)

CLASSES = ("pii.email", "shop.margin", "secret.token")

CONDITIONS = [
    "context.call.token_age > 100",
    "context.call.token_age == 100",
    "100 >= context.call.token_age",
    "context.call.token_age + 1 > 100",
    "context.call.token_age + 9223372036854775707 > 100",
    'context.call.time > datetime("2026-01-05T12:00:00Z")',
    'context.call.door == "http"',
    'context.call.scopes.contains("db")',
    'context.call.assurance == "local"',
    'context.call == {tool: context.call.tool, door: "http", assurance: "token", scopes: ["db"], token_age: 100,'
    ' time: datetime("2026-01-05T12:00:00Z")}',
    "{call: context.call}.call.token_age > 100",
    'context.call.tool == "call_api"',
    'principal.actor == "agent"',
    'principal.subject == "dana"',
    'principal has email && principal.email == "dana@example.com"',
    'principal in Group::"hr"',
    'principal in Group::"caller"',
]
SQL_CONDITIONS = [
    *CONDITIONS,
    'resource in Env::"prod"',
    'resource == Target::"sandbox"',
    "context.sql.read_only",
    'context.sql.reads.contains("orders")',
    'context.sql.writes == ["orders"]',
    "context.sql.statements > 1",
    "context.sql.unbounded || context.sql.statements == 1",
    '{a: context.sql}.a.reads.contains("orders")',
    '[context.sql.kinds, ["UPDATE"]].contains(["SELECT"])',
]
REVEAL_CONDITIONS = [
    *CONDITIONS,
    'context.target == Target::"orders"',
    'context.target.name == "orders"',
    'resource == DataClass::"pii.email"',
]
PERMITS = READ_ALL + '@id("r") permit (principal, action == Action::"reveal", resource);\n'
UNLESS = ["", ' unless { context.approval.by.contains("dba") }']


def variants() -> list[dict[str, Any]]:
    """Questions each of which differs from the first in one thing that could matter."""
    facts = [
        WRITE,
        replace(READ, reads=frozenset({"users"})),
        replace(READ, statements=2),
        replace(READ, statements=True),
        replace(READ, unbounded=True),
        replace(READ, unbounded=cast("bool", 1)),
        replace(READ, reads=frozenset({"orders", "\ud800"})),
    ]
    callers = [
        replace(CALLER, subject="eve"),
        replace(CALLER, actor="other"),
        replace(CALLER, email=None),
        replace(CALLER, email="eve@example.org"),
        replace(CALLER, groups=frozenset({"hr"})),
        replace(CALLER, groups=frozenset({"hr", "caller"})),
        replace(CALLER, scopes=frozenset({"api"})),
        replace(CALLER, assurance="local"),
    ]
    return [
        {},
        *({"facts": changed} for changed in facts),
        *({"caller": changed} for changed in callers),
        *({"token_age": age} for age in (0, 99, 100, 101, 5000)),
        {"time": NOW + timedelta(minutes=1)},
        {"time": NOW - timedelta(minutes=1)},
        {"target": SANDBOX},
        {"door": "stdio"},
        {"approval": Approved(by=frozenset({"dba"}), approvers=1)},
        {"facts": WRITE, "approval": Approved(by=frozenset({"dba"}), approvers=1)},
    ]


def forbid(number: int, action: str, condition: str, unless: str) -> str:
    asks = '@approval("dba") ' if unless else ""
    return (
        f'@id("f{number}") {asks}forbid (principal, action == Action::"{action}", resource)'
        f" when {{ {condition} }}{unless};\n"
    )


@pytest.mark.requirement("R28")
@pytest.mark.parametrize("unless", UNLESS, ids=["deny", "ask"])
@pytest.mark.parametrize("condition", SQL_CONDITIONS)
def test_a_remembered_decision_is_the_one_that_cedar_would_make(condition: str, unless: str) -> None:
    text = PERMITS + forbid(1, "query_database", condition, unless)
    remembering, fresh = engine(text), engine(text, remember=False)
    for changes in (*variants(), *reversed(variants())):
        asked = question(**changes)
        assert remembering.decide(asked) == fresh.decide(asked), changes


@pytest.mark.requirement("R28")
@pytest.mark.parametrize("condition", REVEAL_CONDITIONS)
def test_a_remembered_reveal_is_the_one_that_cedar_would_make(condition: str) -> None:
    text = PERMITS + forbid(1, "reveal", condition, "")
    remembering, fresh = engine(text), engine(text, remember=False)
    for changes in (*variants(), *reversed(variants())):
        asked = question(**changes)
        assert remembering.reveal(asked, CLASSES) == fresh.reveal(asked, CLASSES), changes


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(SQL_CONDITIONS), st.sampled_from(UNLESS)), min_size=1, max_size=5),
    st.lists(st.sampled_from(variants()), min_size=2, max_size=10),
)
def test_policies_together_are_remembered_as_soundly(
    forbids: list[tuple[str, str]], asked: list[dict[str, Any]]
) -> None:
    text = PERMITS + "".join(
        forbid(number, "query_database", condition, unless) for number, (condition, unless) in enumerate(forbids)
    )
    remembering, fresh = engine(text), engine(text, remember=False)
    for changes in (*asked, *asked):
        assert remembering.decide(question(**changes)) == fresh.decide(question(**changes))


def count(policies: PolicyEngine) -> int:
    return len(policies._enforced._decisions._entries)


def test_what_no_policy_reads_does_not_tell_decisions_apart() -> None:
    policies = engine(READ_ALL + WRITES_ASK)
    for reads in ({"a"}, {"b"}, {"a", "b"}):
        policies.decide(question(facts=replace(READ, reads=frozenset(reads)), door="stdio", token_age=len(reads)))
    assert count(policies) == 1
    policies.decide(question(facts=WRITE))
    assert count(policies) == 2


@pytest.mark.parametrize(
    "condition",
    [
        'context.call.time > datetime("2026-01-01")',
        "context.call.token_age + 1 > 5",
        "context.call.token_age > context.sql.statements",
        "context.call == context.call",
    ],
)
def test_a_decision_by_the_clock_is_not_remembered(condition: str) -> None:
    policies = engine(
        READ_ALL + f'@id("c") forbid (principal, action == Action::"query_database", resource) when {{ {condition} }};'
    )
    policies.decide(question())
    assert count(policies) == 0


def test_a_token_age_is_remembered_by_its_side_of_each_constant() -> None:
    policies = engine(
        READ_ALL + '@id("old") forbid (principal, action, resource) when { context.call.token_age > 300 };'
        '@id("odd") forbid (principal, action, resource) when { 500 == context.call.token_age };'
    )
    expected = {0: True, 299: True, 300: True, 301: False, 499: False, 500: False, 501: False}
    for age, allowed in [*expected.items(), *reversed(expected.items())]:
        assert isinstance(policies.decide(question(token_age=age)), Allow if allowed else Deny)
    assert count(policies) == 5


@pytest.mark.requirement("I4")
def test_a_decision_under_an_approval_is_neither_remembered_nor_answered_from_memory() -> None:
    policies = engine(READ_ALL + WRITES_ASK)
    approved = question(facts=WRITE, approval=Approved(by=frozenset({"dba"}), approvers=1))
    assert isinstance(policies.decide(approved), Allow)
    assert count(policies) == 0
    assert isinstance(policies.decide(question(facts=WRITE)), Ask)
    assert isinstance(policies.decide(approved), Allow)
    assert isinstance(policies.decide(question(facts=WRITE)), Ask)


def test_an_error_is_not_remembered() -> None:
    policies = engine(
        READ_ALL + '@id("sum") forbid (principal, action == Action::"query_database", resource)'
        " when { context.sql.statements + 9223372036854775807 > 0 };"
    )
    policies.decide(question())
    assert count(policies) == 0


def test_one_and_true_are_not_the_same() -> None:
    policies = engine(READ_ALL + WRITES_ASK)
    assert isinstance(policies.decide(question()), Allow)
    assert isinstance(policies.decide(question(facts=replace(READ, read_only=1))), Deny)  # type: ignore[arg-type]
    assert isinstance(policies.decide(question(facts=replace(READ, statements=True))), Deny)


def test_the_actions_do_not_answer_for_each_other() -> None:
    policies = engine(
        '@id("a") permit (principal, action in [Action::"query_database", Action::"call_api"], resource);'
        '@id("b") permit (principal, action == Action::"reveal", resource == DataClass::"pii.email");'
    )
    assert isinstance(policies.decide(question()), Allow)
    assert isinstance(policies.decide(question(tool="run_ssh_command", target=WEB, facts=COMMAND)), Deny)
    assert isinstance(policies.decide(question(tool="call_api", target=BILLING, facts=REQUEST)), Allow)
    assert policies.reveal(question(), {"shop.margin", "pii.email"}) == {"pii.email"}
    assert policies.reveal(question(), {"shop.margin", "pii.email"}) == {"pii.email"}


@pytest.mark.requirement("I8")
def test_the_memory_is_bounded_whatever_an_agent_asks() -> None:
    policies = engine(
        '@id("a") permit (principal, action == Action::"query_database", resource)'
        ' when { context.sql.reads.contains("orders") };'
    )
    memory = policies._enforced._decisions
    for number in range(REMEMBERED_DECISIONS + 50):
        memory.put(str(number).encode(), Deny(policies=()))
    assert count(policies) == REMEMBERED_DECISIONS
    assert memory.get(b"0") is None
    policies.decide(question(facts=replace(READ, reads=frozenset({"x" * 10_000}))))
    assert max(map(len, memory._entries)) == 32


def test_records_of_facts_are_remembered_as_they_would_be_made() -> None:
    asked = engine(READ_ALL)
    for facts in (READ, replace(READ), WRITE, READ):
        for one in (question(facts=facts), question(facts=facts, token_age=61)):
            assert asked._prepare(one).context == engine(READ_ALL)._prepare(one).context
    assert [known[0] for known, _ in asked._records.values()].count(READ) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"facts": replace(READ, inference={"where": frozenset({"pii.email"})})},
        {"facts": replace(READ, inference=None)},
        {"facts": replace(READ, columns=frozenset(map(str, range(REMEMBERED_MEMBERS + 1))))},
        {"facts": REQUEST, "tool": "call_api", "target": BILLING},
        {"facts": COMMAND, "tool": "run_ssh_command", "target": WEB},
    ],
    ids=["depend on the caller", "may depend on the caller", "large", "a request", "a command"],
)
def test_records_that_would_not_be_found_again_or_are_large_are_not_held(changes: dict[str, Any]) -> None:
    asked = engine(READ_ALL)
    asked.decide(question(**changes))

    assert not list(asked._records.values())


def test_records_are_held_up_to_a_bound() -> None:
    asked = engine(READ_ALL)
    for _ in range(REMEMBERED_FACTS + 5):
        asked.decide(question(facts=replace(READ)))

    assert len(asked._records.values()) == REMEMBERED_FACTS
