"""Policies in shadow mode are asked beside those that decide, and decide nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_gateway.decisions import Allow, Ask, Deny
from mcp_gateway.policy.explain import explain
from tests.policy.worlds import ORDERS, READ, READ_ALL, WRITE, WRITES_ASK, engine, problems, question

NO_ORDERS = """
@id("no-orders") @mode("shadow") forbid (principal, action == Action::"query_database", resource)
when { context.sql.reads.contains("orders") };
"""
SHADOWED_ASK = WRITES_ASK.replace('@id("writes")', '@id("writes") @mode("shadow")')
SHADOWED_PERMIT = READ_ALL.replace('@id("all")', '@id("all") @mode("shadow")')


def test_a_forbid_in_shadow_mode_denies_in_the_shadow_alone() -> None:
    policies = engine(READ_ALL + NO_ORDERS)
    assert policies.decide(question()) == Allow(policies=("all",), reasons=("",))
    assert policies.decide_shadowed(question()) == Deny(policies=("no-orders",), reasons=("",))
    elsewhere = question(facts=replace(READ, reads=frozenset({"items"})))
    assert policies.decide_shadowed(elsewhere) == policies.decide(elsewhere)


def test_an_ask_in_shadow_mode_bothers_nobody() -> None:
    policies = engine(READ_ALL + SHADOWED_ASK)
    assert isinstance(policies.decide(question(facts=WRITE)), Allow)
    assert isinstance(policies.decide_shadowed(question(facts=WRITE)), Ask)


def test_a_group_that_only_a_shadow_asks_lifts_nothing_that_is_enforced() -> None:
    """The second decision, with every approval given, is of the policies that are enforced alone."""
    enforced = (
        '@id("never") forbid (principal, action == Action::"query_database", resource) when { !context.sql.read_only };'
    )
    policies = engine(READ_ALL + enforced + SHADOWED_ASK)
    assert isinstance(policies.decide(question(facts=WRITE)), Deny)
    assert isinstance(policies.decide_shadowed(question(facts=WRITE)), Deny)


def test_a_permit_in_shadow_mode_permits_and_shows_nothing() -> None:
    policies = engine(SHADOWED_PERMIT)
    assert isinstance(policies.decide(question()), Deny)
    assert isinstance(policies.decide_shadowed(question()), Allow)
    assert policies.visible(question().caller) == frozenset()


def test_a_permit_in_shadow_mode_reveals_nothing() -> None:
    generous = (
        '@id("g") @mode("shadow") permit (principal, action in [Action::"query_database", Action::"reveal"], resource);'
    )
    policies = engine(READ_ALL + generous)
    assert policies.reveal(question(), {"pii.email"}) == frozenset()


def test_without_shadows_there_is_no_second_opinion() -> None:
    assert engine(READ_ALL).decide_shadowed(question()) is None


def test_a_shadow_that_cannot_be_evaluated_denies_in_the_shadow_alone() -> None:
    overflowing = NO_ORDERS.replace(
        'context.sql.reads.contains("orders")', "context.sql.statements * 9223372036854775807 > 0"
    )
    policies = engine(READ_ALL + overflowing)
    asked = question(facts=replace(READ, statements=2))
    assert isinstance(policies.decide(asked), Allow)
    shadowed = policies.decide_shadowed(asked)
    assert isinstance(shadowed, Deny)
    assert shadowed.error is not None


def test_what_only_a_shadow_reads_does_not_tell_decisions_apart() -> None:
    policies = engine(READ_ALL + NO_ORDERS)
    for reads in ("a", "b", "orders"):
        asked = question(facts=replace(READ, reads=frozenset({reads})))
        policies.decide(asked)
        assert isinstance(policies.decide_shadowed(asked), Deny if reads == "orders" else Allow)
    assert len(policies._enforced._decisions._entries) == 1


def test_a_shadow_that_reads_the_clock_leaves_the_memory_of_the_others_alone() -> None:
    timed = NO_ORDERS.replace("context.sql.reads", "context.call.scopes").replace(
        "when {", 'when { context.call.time > datetime("2020-01-01") &&'
    )
    policies = engine(READ_ALL + timed)
    assert policies._enforced._views["query_database"].cacheable
    assert policies._shadowed is not None
    assert not policies._shadowed._views["query_database"].cacheable


def test_explain_shows_both() -> None:
    found = explain(engine(READ_ALL + NO_ORDERS), question()).to_json()
    assert (found["decision"], found["shadow"]["decision"], found["enforced"]) == ("allow", "deny", True)
    assert [(policy["id"], policy["mode"]) for policy in found["determining"]] == [
        ("all", "enforce"),
        ("no-orders", "shadow"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (READ_ALL.replace('@id("all")', '@id("all") @mode("off")'), "@mode('off') is neither 'enforce' nor 'shadow'"),
        (
            '@id("r") @mode("shadow") permit (principal, action == Action::"reveal", resource);',
            "@mode has no effect on a policy for reveal alone",
        ),
    ],
)
def test_a_mode_that_would_have_no_effect_is_an_error(text: str, said: str) -> None:
    (problem,) = problems(text)
    assert said in problem


def test_a_target_that_is_observed_is_visible_without_a_permit() -> None:
    observed = replace(ORDERS, observed=True)
    assert engine("", targets=[observed]).visible(question().caller) == {("query_database", "orders")}
    assert engine("", targets=[ORDERS]).visible(question().caller) == frozenset()
