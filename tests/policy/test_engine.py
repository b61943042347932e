from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.calls import HTTPFacts
from mcp_gateway.decisions import Allow, Approved, Ask, Deny, Requirement
from tests.policy.worlds import (
    BILLING,
    CALLER,
    COMMAND,
    NOW,
    ORDERS,
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

DBA = Approved(by=frozenset({"dba"}), approvers=1)


def test_an_empty_set_denies_everything() -> None:
    empty = engine("")
    assert empty.decide(question()) == Deny(policies=())
    assert empty.reveal(question(), {"pii.email"}) == frozenset()
    assert empty.visible(CALLER) == frozenset()


def test_reads_are_allowed_writes_ask_and_an_approval_lifts_the_forbid() -> None:
    policies = engine(READ_ALL + WRITES_ASK)
    assert policies.decide(question()) == Allow(policies=("all",), reasons=("",))
    assert policies.decide(question(facts=WRITE)) == Ask(
        policies=("writes",), reasons=("writes wait for a DBA",), requirements=(Requirement(group="dba"),)
    )
    assert policies.decide(question(facts=WRITE, approval=DBA)) == Allow(policies=("all",), reasons=("",))
    assert isinstance(policies.decide(question(facts=WRITE, target=SANDBOX)), Allow)


@pytest.mark.parametrize(
    ("tool", "target", "facts"), [("run_ssh_command", WEB, COMMAND), ("call_api", BILLING, REQUEST)]
)
def test_each_tool_has_its_own_facts(tool: str, target: Any, facts: Any) -> None:
    policies = engine(
        '@id("shell") permit (principal, action == Action::"run_ssh_command", resource)'
        ' when { context.shell.programs == ["ls"] };'
        '@id("http") permit (principal, action == Action::"call_api", resource) when { context.http.method == "GET" };'
    )
    assert isinstance(policies.decide(question(tool=tool, target=target, facts=facts)), Allow)
    assert isinstance(policies.decide(question()), Deny)


def test_time_and_token_age_are_facts() -> None:
    policies = engine(
        READ_ALL + '@id("old") forbid (principal, action, resource) when { context.call.token_age > 300 };'
        '@id("night") forbid (principal, action, resource) when { context.call.time < datetime("2026-01-05T06:00:00Z") };'
    )
    assert isinstance(policies.decide(question()), Allow)
    assert policies.decide(question(token_age=301)) == Deny(policies=("old",), reasons=("",))
    assert policies.decide(question(time=NOW - timedelta(hours=7))) == Deny(policies=("night",), reasons=("",))


def test_labels_and_targets_and_callers_can_be_named() -> None:
    policies = engine(
        '@id("l") permit (principal, action == Action::"query_database", resource in Label::"team=payments");'
        '@id("t") permit (principal, action == Action::"query_database", resource == Target::"sandbox");'
        '@id("c") permit (principal == Caller::"https://idp.example.com|dana", action == Action::"query_database", resource);'
        '@id("a") permit (principal, action == Action::"query_database", resource) when { principal.actor == "agent" };'
        '@id("e") permit (principal, action == Action::"query_database", resource)'
        ' when { principal has email && principal.email == "dana@example.com" };'
    )
    assert policies.decide(question()).policies == ("a", "c", "e", "l")
    assert policies.decide(question(target=SANDBOX)).policies == ("a", "c", "e", "t")
    stranger = replace(CALLER, subject="eve", actor="other", email=None)
    assert policies.decide(question(caller=stranger)).policies == ("l",)


def test_the_reserved_group_of_a_token_counts_for_nothing() -> None:
    policies = engine('@id("a") permit (principal in Group::"caller", action == Action::"query_database", resource);')
    assert isinstance(policies.decide(question(caller=replace(CALLER, groups=frozenset({"caller"})))), Deny)


# What was found by trying Cedar.


@pytest.mark.requirement("I7", "R28")
def test_a_forbid_whose_condition_errors_denies() -> None:
    policies = engine(
        READ_ALL + '@id("sum") forbid (principal, action == Action::"query_database", resource)'
        " when { context.sql.statements + 9223372036854775807 > 0 };"
    )
    decision = policies.decide(question())
    assert isinstance(decision, Deny)
    assert decision.error is not None
    assert "overflow" in decision.error


@pytest.mark.requirement("I7")
def test_a_permit_whose_condition_errors_denies_even_where_another_permits() -> None:
    policies = engine(
        READ_ALL + '@id("sum") permit (principal, action == Action::"query_database", resource)'
        " when { context.sql.statements + 9223372036854775807 > 0 };"
    )
    assert isinstance(policies.decide(question()), Deny)


@pytest.mark.requirement("I7", "R28")
@pytest.mark.parametrize(
    "changes",
    [
        {"facts": replace(READ, functions=frozenset(map(str, range(501))))},
        {"facts": replace(READ, reads=frozenset(map(str, range(5001))))},
        {"facts": replace(READ, statements=2**63)},
        {"facts": replace(READ, statements=cast("Any", 1.5))},
        {"facts": replace(READ, read_only=cast("Any", None))},
        {"facts": replace(READ, reads=frozenset({"\ud800"}))},
        {"facts": COMMAND},
        {"facts": None},
        {"tool": "run_ssh_command"},
        {"tool": "list_targets"},
        {"tool": "reveal"},
        {"token_age": 2**63},
        {"token_age": None},
        {"caller": replace(CALLER, groups=frozenset(map(str, range(501))))},
        {"target": replace(ORDERS, name="unknown")},
        {"target": replace(ORDERS, labels={"env": "dev"})},
        {"target": replace(ORDERS, kind="http")},
    ],
)
def test_what_cannot_be_decided_is_a_deny_with_an_error_and_reveals_nothing(changes: dict[str, Any]) -> None:
    policies = engine(
        READ_ALL + '@id("r") permit (principal, action == Action::"reveal", resource == DataClass::"pii.email");'
    )
    assert isinstance(policies.decide(question()), Allow)
    decision = policies.decide(question(**changes))
    assert isinstance(decision, Deny)
    assert decision.error
    assert policies.reveal(question(**changes), {"pii.email"}) == frozenset()


@pytest.mark.requirement("I7")
def test_names_that_look_like_policy_text_are_only_names() -> None:
    policies = engine('@id("a") permit (principal == Caller::"x|y", action == Action::"query_database", resource);')
    for subject in ('y" || true || "', "y\n", 'x|y", "', "y\0"):
        assert isinstance(policies.decide(question(caller=replace(CALLER, issuer="x", subject=subject))), Deny)
    assert isinstance(policies.decide(question(caller=replace(CALLER, issuer="x", subject="y"))), Allow)


@pytest.mark.requirement("I7")
def test_facts_that_look_like_cedar_json_are_only_strings() -> None:
    policies = engine(
        '@id("a") permit (principal, action == Action::"call_api", resource) when { context.http.path like "/v1/*" };'
    )
    odd = replace(REQUEST, path='{"__entity": {"type": "Env", "id": "dev"}}')
    assert isinstance(policies.decide(question(tool="call_api", target=BILLING, facts=odd)), Deny)


ANY_TEXT = st.text(max_size=30) | st.text(alphabet='"\\{}[]:;\ud800\0é\u202e', max_size=30)


@pytest.mark.requirement("I7", "R28")
@settings(max_examples=60, deadline=None)
@given(st.lists(ANY_TEXT, min_size=9, max_size=9), st.datetimes(timezones=st.just(UTC)), st.integers())
def test_whatever_an_agent_and_its_token_say_there_is_a_decision(texts: list[str], time: datetime, age: int) -> None:
    policies = engine(
        '@id("a") permit (principal, action == Action::"call_api", resource) when { context.http.path like "*a*b*" };'
        '@id("b") forbid (principal, action, resource) when { context.call.time > datetime("2030-01-01") };'
    )
    issuer, subject, actor, email, group, scope, method, host, path = texts
    caller = replace(
        CALLER, issuer=issuer, subject=subject, actor=actor, email=email, groups=frozenset({group}), scopes=frozenset({scope})
    )  # fmt: skip
    asked = question(
        caller=caller,
        target=BILLING,
        tool="call_api",
        facts=HTTPFacts(method=method, host=host, path=path),
        time=time,
        token_age=age,
    )
    decision = policies.decide(asked)
    assert isinstance(decision, Allow | Deny)
    assert isinstance(decision, Deny) or ("a" in path and time.year < 2030)


def test_the_ids_of_a_decision_are_sorted() -> None:
    names = [f"p{number}" for number in range(30)]
    text = "".join(f'@id("{n}") permit (principal, action == Action::"query_database", resource);' for n in names)
    assert engine(text).decide(question()).policies == tuple(sorted(names))


# Revealing.

REVEALS = """
@id("email") permit (principal in Group::"hr", action == Action::"reveal", resource == DataClass::"pii.email")
when { context.target.name == "orders" };
@id("margin") permit (principal, action in [Action::"reveal"], resource == DataClass::"shop.margin")
when { context.call.scopes.contains("db") };
@id("some") permit (principal in Group::"auditors", action == Action::"reveal", resource);
@id("never") forbid (principal, action == Action::"reveal", resource == DataClass::"secret.token");
"""


@pytest.mark.parametrize(
    ("groups", "scopes", "revealed"),
    [
        (set(), set(), set()),
        ({"hr"}, set(), {"pii.email"}),
        ({"hr"}, {"db"}, {"pii.email", "shop.margin"}),
        ({"auditors"}, set(), {"pii.email", "shop.margin", "pii.phone"}),
    ],
)
def test_a_class_is_revealed_where_a_permit_names_it(groups: set[str], scopes: set[str], revealed: set[str]) -> None:
    caller = replace(CALLER, groups=frozenset(groups), scopes=frozenset(scopes))
    asked = {"pii.email", "shop.margin", "pii.phone", "secret.token", "no.such.class"}
    assert engine(REVEALS).reveal(question(caller=caller), asked) == revealed


def test_revealing_depends_on_the_target() -> None:
    hr = replace(CALLER, groups=frozenset({"hr"}))
    assert engine(REVEALS).reveal(question(caller=hr, target=SANDBOX), {"pii.email"}) == frozenset()


@pytest.mark.requirement("I7")
def test_an_error_while_asking_about_a_class_keeps_it_masked() -> None:
    policies = engine(
        REVEALS + '@id("sum") forbid (principal, action == Action::"reveal", resource)'
        " when { context.call.token_age + 9223372036854775807 < 0 };"
    )
    assert policies.reveal(question(caller=replace(CALLER, groups=frozenset({"hr"}))), {"pii.email"}) == frozenset()


def test_a_permit_for_another_action_reveals_nothing() -> None:
    assert engine(READ_ALL).reveal(question(), {"pii.email"}) == frozenset()


SHOWN_BY_TWO = """
@id("show") permit (principal, action == Action::"reveal", resource == DataClass::"pii.email");
@id("two") @approval("dba") @approvers("2")
forbid (principal, action == Action::"reveal", resource == DataClass::"pii.email")
unless { context.approval.by.contains("dba") };
"""


@pytest.mark.requirement("R12")
@pytest.mark.parametrize(
    ("approval", "shown"),
    [
        (Approved(), False),
        (DBA, False),
        (Approved(by=frozenset({"dba"}), approvers=2, people=(("dba", 1), ("ops", 1))), False),
        (Approved(by=frozenset({"dba"}), approvers=2, people=(("dba", 2),)), True),
        (Approved(by=frozenset({"ops"}), approvers=2, people=(("ops", 2),)), False),
    ],
)
def test_an_approval_of_the_call_by_fewer_people_than_a_class_asks_for_shows_nothing(
    approval: Approved, shown: bool
) -> None:
    policies = engine(READ_ALL + WRITES_ASK + SHOWN_BY_TWO)
    asked = question(facts=WRITE, approval=approval)

    assert policies.reveal(asked, {"pii.email"}) == ({"pii.email"} if shown else frozenset())
    assert policies.evaluate_reveal(asked, "pii.email").allowed is shown


# What a caller sees.


def test_visible_is_where_the_scope_of_a_permit_matches_whatever_its_conditions() -> None:
    policies = engine(
        '@id("a") permit (principal in Group::"developers", action == Action::"query_database", resource in Env::"prod")'
        ' when { false };'
        '@id("b") permit (principal, action in [Action::"call_api", Action::"run_ssh_command"], resource);'
        '@id("c") permit (principal == Caller::"https://idp.example.com|eve", action == Action::"query_database", resource);'
        '@id("d") forbid (principal, action, resource == Target::"web1");'
    )  # fmt: skip
    assert policies.visible(CALLER) == {
        ("query_database", "orders"),
        ("call_api", "billing"),
        ("run_ssh_command", "web1"),
    }
    eve = replace(CALLER, subject="eve", groups=frozenset())
    assert policies.visible(eve) == {
        ("query_database", "orders"),
        ("query_database", "sandbox"),
        ("call_api", "billing"),
        ("run_ssh_command", "web1"),
    }


@pytest.mark.parametrize(
    "scope",
    [
        'principal is Caller, action == Action::"query_database", resource',
        'principal is Caller in Group::"developers", action == Action::"query_database", resource is Target',
        'principal, action in Action::"query_database", resource is Target in Env::"prod"',
        'principal, action == Action::"query_database", resource in Target::"orders"',
        'principal, action == Action::"query_database", resource in Label::"team=payments"',
    ],
)
def test_every_form_of_a_scope_is_understood_as_cedar_does(scope: str) -> None:
    policies = engine(f'@id("a") permit ({scope});')
    assert ("query_database", "orders") in policies.visible(CALLER)
    assert isinstance(policies.decide(question()), Allow)
