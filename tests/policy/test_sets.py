"""What Cedar is shown is enough: verdicts are those it comes to with every policy, the whole context and the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cedarpy
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_gateway.calls import JSONObject
from mcp_gateway.decisions import NOT_APPROVED, Approved
from mcp_gateway.policy.decide import Verdict
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.question import Question, QuestionError, context_of, named, principal_of, rendered, resource_of
from mcp_gateway.policy.schema import REVEAL, classes_of, schema_text
from mcp_gateway.policy.scopes import Principal
from mcp_gateway.policy.statement import Compiled, handle_of
from tests.fuzz.sizes import FULL
from tests.policy.test_engine_memory import (
    CLASSES,
    PERMITS,
    REVEAL_CONDITIONS,
    SQL_CONDITIONS,
    UNLESS,
    forbid,
    variants,
)
from tests.policy.test_scopes import ACTIONS, PRINCIPALS, RESOURCES
from tests.policy.worlds import BILLING, CALLER, COMMAND, ORDERS, READ_ALL, REQUEST, TARGETS, WEB, compiled, question

EVERY_CLASS = classes_of(TARGETS, configured=())
SCHEMA = cedarpy.Schema.from_str(schema_text(targets=TARGETS, classes=EVERY_CLASS))
DBA = Approved(by=frozenset({"dba"}), approvers=1)
CONDITIONS = [
    *SQL_CONDITIONS,
    "context has sql && context.sql has read_only && context.sql.read_only",
    'context has http && context.http.method == "GET"',
    "context.usage.rows_1h > 10 || context.agent_usage.calls_1m == 0",
    'context.usage.touched_24h.contains(DataClass::"pii.email")',
    "context.usage == context.agent_usage",
    'context.sql.infers.contains(DataClass::"pii.email") || context.sql.row_limit == 0',
    'context.sql.statements + 9223372036854775806 > 1 && principal.actor == "agent"',
]


def whole(policies: Compiled, asked: Question, approval: Approved, *, reveals: str | None = None) -> Verdict:
    """What Cedar says when nothing is left out."""
    try:
        context: JSONObject = context_of(asked, classes=EVERY_CLASS)
        principal = principal_of(Principal.of(asked.caller))
    except QuestionError as error:
        return Verdict(allowed=False, error=str(error))
    resource = resource_of(asked.target)
    about: Mapping[str, Any] = resource["uid"]
    if reveals is not None:
        context = {**{name: context[name] for name in ("call", "usage", "agent_usage")}, "target": {"__entity": about}}
        about = named(("DataClass", reveals))
    request = {
        "principal": principal["uid"],
        "action": named(("Action", asked.tool if reveals is None else REVEAL)),
        "resource": about,
        "context": rendered(context, approval),
    }
    entities = cedarpy.Entities.from_json_str(orjson.dumps([principal, resource]).decode())
    result = cedarpy.is_authorized(request, handle_of(policies.forms), entities, SCHEMA)
    assert result.decision is not cedarpy.Decision.NoDecision
    if result.diagnostics.errors:
        return Verdict(allowed=False, error="some")
    return Verdict(allowed=result.allowed, policies=tuple(sorted(result.diagnostics.reasons)))


def without_words(verdict: Verdict) -> Verdict:
    return replace(verdict, error=None if verdict.error is None else "some")


def agree(policies: Compiled, asked: Question) -> None:
    engine = PolicyEngine(policies, targets=TARGETS)
    for approval in (NOT_APPROVED, DBA):
        expected = whole(policies, engine.concealed(asked), approval)
        assert without_words(engine.evaluate(asked, approval)) == without_words(expected)


@pytest.mark.requirement("R28")
@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_is_shown_all_that_it_looks_at(condition: str) -> None:
    policies = compiled(PERMITS + forbid(1, "query_database", condition, UNLESS[1]))
    for changes in variants():
        agree(policies, question(**changes))


@pytest.mark.parametrize("condition", REVEAL_CONDITIONS)
def test_so_is_one_on_revealing(condition: str) -> None:
    policies = compiled(PERMITS + forbid(1, REVEAL, condition, ""))
    engine = PolicyEngine(policies, targets=TARGETS, remember=False)
    for changes in variants():
        asked = question(**changes)
        shown = {
            name for name in CLASSES if whole(policies, asked, asked.approval, reveals=name).allowed and asked.tool
        }
        assert engine.reveal(asked, CLASSES) == shown, changes


@settings(max_examples=1000 if FULL else 60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["permit", "forbid"]),
            PRINCIPALS,
            ACTIONS | st.just("action"),
            RESOURCES,
            st.sampled_from(CONDITIONS),
        ),
        max_size=8,
    ),
    st.lists(st.sampled_from(variants()), min_size=1, max_size=4),
)
def test_policies_that_are_left_out_would_have_changed_nothing(
    written: list[tuple[str, str, str, str, str]], asked: list[dict[str, Any]]
) -> None:
    text = READ_ALL + "".join(
        f'@id("p{number}") {effect} ({principal}, {action}, {resource}) when {{ {guarded(action, condition)} }};\n'
        for number, (effect, principal, action, resource, condition) in enumerate(written)
        if effect == "forbid" or action != "action"
    )
    policies = compiled(text)
    for changes in asked:
        agree(policies, question(**changes))
    agree(policies, question(tool="run_ssh_command", target=WEB, facts=COMMAND))
    agree(policies, question(tool="call_api", target=BILLING, facts=REQUEST))


def guarded(action: str, condition: str) -> str:
    """A condition that fits the schema of each action that it is for."""
    several = action == "action" or "[" in action
    return condition if not several or "sql" not in condition else f"context has sql && ({condition})"


def test_of_five_hundred_policies_those_of_others_are_not_shown() -> None:
    text = READ_ALL + "".join(
        f'@id("p{number}") forbid (principal in Group::"g{number}", action, resource) when {{ true }};\n'
        for number in range(50)
    )
    engine = PolicyEngine(compiled(text), targets=TARGETS)
    principal = Principal.of(replace(CALLER, groups=frozenset({"g7"})))
    shown = engine._enforced._slice("query_database", principal, (("Target", ORDERS.name),))
    assert set(orjson.loads(cedarpy.policies_to_json_str(str(shown)))["staticPolicies"]) == {"policy0", "policy1"}


def test_tokens_of_the_same_caller_are_one_to_policy() -> None:
    engine = PolicyEngine(compiled(READ_ALL), targets=TARGETS)
    for number in range(300):
        caller = replace(CALLER, token_id=f"token-{number}", expires_at=CALLER.expires_at.replace(year=2027 + number))
        engine.decide(question(caller=caller))
        engine.visible(caller)
        engine.reveal(question(caller=caller), {"pii.email"})
    for memory in (engine._principals, engine._visible, engine._revealing, engine._entities):
        assert memory.cache_info().currsize == 1
