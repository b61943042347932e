"""What a statement tells about masked data, as policy sees it: typed, about hidden classes alone, worst when unknown."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mcp_gateway.calls import SQLFacts
from mcp_gateway.decisions import Allow, Approved, Ask, Deny
from mcp_gateway.inference import KINDS
from tests.policy.worlds import CALLER, NOW, ORDERS, READ, READ_ALL, SANDBOX, WEB, engine, problems, question

ASKS = (
    READ_ALL
    + """
@id("infers") @approval("dba") forbid (principal, action == Action::"query_database", resource)
unless { [Inference::"null_test"].containsAll(context.sql.inference) } unless { context.approval.by.contains("dba") };
"""
)
MAIL = """
@id("mail") permit (principal in Group::"hr", action == Action::"reveal", resource == DataClass::"pii.email");
"""
HR = replace(CALLER, groups=frozenset({"hr"}))


def telling(**inference: str) -> SQLFacts:
    """A read that tells about classes, by kind."""
    return replace(READ, inference={kind: frozenset(names.split()) for kind, names in inference.items()})


@pytest.mark.parametrize(
    "condition",
    [
        'context.sql.infers.contains(DataClass::"pii.emial")',
        '[DataClass::"pii.emial"].containsAll(context.sql.infers)',
        'context.sql.inference.contains(Inference::"wehre")',
        '[Inference::"wehre"].containsAll(context.sql.inference)',
        'context.sql.infers.contains("pii.email")',
        'context.sql.inference.contains(DataClass::"pii.email")',
        'context.sql.inferred.contains(DataClass::"pii.email")',
    ],
)
def test_a_misspelt_class_kind_or_attribute_does_not_load(condition: str) -> None:
    text = f'@id("a") forbid (principal, action == Action::"query_database", resource) when {{ {condition} }};'
    assert problems(text) != []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_named(kind: str) -> None:
    condition = f'context.sql.inference.contains(Inference::"{kind}")'
    policies = engine(
        READ_ALL + f'@id("no") forbid (principal, action == Action::"query_database", resource) when {{ {condition} }};'
    )
    assert isinstance(policies.decide(question(facts=telling(**{kind: "pii.email"}))), Deny)
    other = "where" if kind != "where" else "order"
    assert isinstance(policies.decide(question(facts=telling(**{other: "pii.email"}))), Allow)


def test_what_is_told_is_asked_about_and_an_approval_lifts_it() -> None:
    policies = engine(ASKS)
    facts = telling(order="pii.email")
    assert isinstance(policies.decide(question(facts=facts)), Ask)
    approved = Approved(by=frozenset({"dba"}), approvers=1)
    assert isinstance(policies.decide(question(facts=facts, approval=approved)), Allow)
    assert isinstance(policies.decide(question(facts=telling(null_test="pii.email"))), Allow)
    assert isinstance(policies.decide(question(facts=telling())), Allow)


def test_a_class_can_be_let_through() -> None:
    policies = engine(
        ASKS.replace(
            "unless { [Inf", 'unless { [DataClass::"shop.margin"].containsAll(context.sql.infers) }\nunless { [Inf'
        )
    )
    assert isinstance(policies.decide(question(facts=telling(order="shop.margin", where="shop.margin"))), Allow)
    assert isinstance(policies.decide(question(facts=telling(order="shop.margin", where="pii.email"))), Ask)


def test_a_revealed_class_is_no_matter_and_its_kinds_neither() -> None:
    policies = engine(ASKS + MAIL)
    both = telling(order="pii.email", where="pii.email shop.margin")
    concealed = policies.concealed(question(facts=both, caller=HR)).facts
    assert isinstance(concealed, SQLFacts)
    assert concealed.context()["infers"] == ["shop.margin"]
    assert concealed.context()["inference"] == ["where"]
    assert concealed.to_json()["inference"] == {"order": ["pii.email"], "where": ["pii.email", "shop.margin"]}
    assert isinstance(policies.decide(question(facts=telling(order="pii.email"), caller=HR)), Allow)
    assert isinstance(policies.decide(question(facts=telling(order="pii.email"))), Ask)


def test_each_set_of_policies_asks_anew_who_sees_what() -> None:
    seen = engine(ASKS + MAIL).concealed(question(facts=telling(order="pii.email"), caller=HR))
    assert isinstance(engine(ASKS + MAIL).decide(seen), Allow)
    assert isinstance(engine(ASKS).decide(seen), Ask)


def test_what_is_revealed_only_by_an_approval_stays_hidden_here() -> None:
    policies = engine(
        ASKS
        + MAIL
        + '@id("four-eyes") @approval("dpo") forbid (principal, action == Action::"reveal", resource)'
        + ' unless { context.approval.by.contains("dpo") };'
    )
    facts = telling(order="pii.email")
    approved = Approved(by=frozenset({"dpo"}), approvers=1)
    asked = question(facts=facts, caller=HR, approval=approved)
    assert policies.reveal(asked, ["pii.email"]) == {"pii.email"}
    assert isinstance(policies.decide(asked), Ask)


def test_what_nobody_found_out_is_every_kind_of_every_class_of_the_target() -> None:
    unknown = replace(READ, inference=None)
    concealed = engine(ASKS).concealed(question(facts=unknown)).facts
    assert isinstance(concealed, SQLFacts)
    assert concealed.context()["infers"] == sorted(ORDERS.classes)
    assert concealed.context()["inference"] == list(KINDS)
    assert isinstance(engine(ASKS).decide(question(facts=unknown)), Ask)
    bare = replace(ORDERS, classes=frozenset())
    assert isinstance(engine(ASKS, targets=[bare]).decide(question(facts=unknown, target=bare)), Allow)


def test_a_class_that_the_schema_does_not_have_is_a_deny() -> None:
    decision = engine(ASKS).decide(question(facts=telling(order="pii.unheard_of")))
    assert isinstance(decision, Deny)
    assert decision.error is not None


def test_an_error_while_asking_what_is_seen_hides_it() -> None:
    policies = engine(
        ASKS
        + MAIL
        + '@id("odd") forbid (principal, action == Action::"reveal", resource)'
        + " when { context.call.token_age + 9223372036854775807 > 1 };"
    )
    assert isinstance(policies.decide(question(facts=telling(order="pii.email"), caller=HR)), Ask)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, "AskAllow"),
        ({"time": NOW + timedelta(hours=2)}, "AskAsk"),
        ({"door": "stdio"}, "AskAsk"),
        ({"target": SANDBOX}, "AskAsk"),
    ],
)
def test_memory_tells_apart_what_is_hidden(changes: dict[str, Any], kinds: str) -> None:
    text = (
        ASKS
        + '@id("mail") permit (principal in Group::"hr", action == Action::"reveal", resource == DataClass::"pii.email")'
        + ' when { context.call.door == "http" && context.target.name == "orders"'
        + ' && context.call.time < datetime("2026-01-05T13:00:00Z") };'
    )
    policies = engine(text)
    facts = telling(order="pii.email")
    for _ in range(2):  # the second time from memory
        here = [policies.decide(question(facts=facts, **changes, caller=caller)) for caller in (CALLER, HR)]
        assert "".join(type(decision).__name__ for decision in here) == kinds
        assert isinstance(policies.decide(question(facts=facts, caller=HR)), Allow)


def test_other_tools_have_no_inference() -> None:
    asked = question(tool="run_ssh_command", target=WEB, facts=READ)
    assert isinstance(engine(ASKS).decide(asked), Deny)
