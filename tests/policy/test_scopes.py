"""The scope matcher against Cedar itself: a permit without conditions allows exactly where its scope matches."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.decisions import Allow
from mcp_gateway.policy.scopes import Principal, Scope, entities_of_target
from tests.policy.worlds import CALLER, ORDERS, SANDBOX, engine, question

DANA = Principal.of(CALLER)
GROUPS = ["developers", "dba", "caller"]
PRINCIPALS = st.sampled_from(
    [
        "principal",
        'principal == Caller::"https://idp.example.com|dana"',
        'principal in Caller::"https://idp.example.com|dana"',
        "principal is Caller",
        *(f'principal in Group::"{group}"' for group in GROUPS),
        *(f'principal is Caller in Group::"{group}"' for group in GROUPS),
    ]
)
RESOURCES = st.sampled_from(
    [
        "resource",
        'resource == Target::"orders"',
        'resource in Target::"orders"',
        "resource is Target",
        'resource in Env::"dev"',
        'resource is Target in Env::"prod"',
        'resource in Label::"team=payments"',
    ]
)
ACTIONS = st.sampled_from(
    [
        'action == Action::"query_database"',
        'action in Action::"query_database"',
        'action in [Action::"query_database", Action::"call_api"]',
        'action in [Action::"run_ssh_command", Action::"call_api"]',
    ]
)


@settings(max_examples=80, deadline=None)
@given(PRINCIPALS, ACTIONS, RESOURCES, st.sampled_from(["dana", "eve"]), st.frozensets(st.sampled_from(GROUPS)))
def test_a_scope_matches_where_cedar_says_so(
    principal: str, action: str, resource: str, subject: str, groups: frozenset[str]
) -> None:
    policies = engine(f'@id("a") permit ({principal}, {action}, {resource});')
    caller = replace(CALLER, subject=subject, groups=groups)
    for target in (ORDERS, SANDBOX):
        allowed = isinstance(policies.decide(question(caller=caller, target=target)), Allow)
        assert (("query_database", target.name) in policies.visible(caller)) == allowed


def test_a_scope_that_is_not_understood_shows_nothing_and_is_asked_about() -> None:
    odd = Scope(principal={"op": "new"}, action={"op": "new"}, resource={"op": "is", "entity_type": "Target", "x": 1})
    assert not odd.matches_principal(DANA)
    assert not odd.matches_target(ORDERS)
    assert not odd.names("query_database")
    assert odd.could_match("query_database", principal=DANA.entities, resource=entities_of_target(ORDERS))
