"""Who may decide on an approval: a person, signed in just now, with a client for it, and not whoever asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mcp_gateway.calls import Caller
from mcp_gateway.identity.approver import ApproverPolicy, MayApprove, MayNotApprove, Requester, judge_approver
from tests.identity.forging import ISSUER, NOW

CLIENT = "mcp-gateway-approver"
POLICY = ApproverPolicy(clients=frozenset({CLIENT}))
STRICT = ApproverPolicy(clients=frozenset({CLIENT}), require_auth_time=True)
REQUESTER = Requester(issuer=ISSUER, subject="dana", email="dana@example.com", actor="claude")
ERIN = Caller(
    issuer=ISSUER,
    subject="erin",
    actor=CLIENT,
    client_id=CLIENT,
    delegated=False,
    email="erin@example.com",
    groups=frozenset({"dba", "engineering"}),
    scopes=frozenset(),
    token_id="t-2",
    issued_at=NOW - timedelta(minutes=1),
    expires_at=NOW + timedelta(minutes=4),
    auth_time=NOW - timedelta(minutes=1),
    assurance="token",
)


def judged(
    policy: ApproverPolicy = POLICY, *, asked: str = "dba", requester: Requester = REQUESTER, **changes: Any
) -> object:
    return judge_approver(
        replace(ERIN, **changes), asked=frozenset(asked.split()), requester=requester, policy=policy, now=NOW
    )


def test_a_person_of_the_group_may_decide() -> None:
    assert judged(STRICT) == MayApprove(groups=frozenset({"dba"}))


def test_a_person_counts_for_each_of_their_groups_that_is_asked() -> None:
    assert judged(asked="dba engineering security") == MayApprove(groups=frozenset({"dba", "engineering"}))


@pytest.mark.requirement("R12")
@pytest.mark.parametrize(
    ("asked_as", "approves_as"),
    [
        ("Dana@Example.com", "dana@example.COM"),
        ("jos\u00e9@example.com", "jose\u0301@example.com"),
        ("jos\u00c9@example.com", "jose\u0301@example.com"),
        ("stra\u00dfe@example.com", "STRASSE@example.com"),
        ("dana@example.com", "\uff44ana@example.com"),
    ],
)
def test_one_mailbox_in_two_spellings_is_one_person(asked_as: str, approves_as: str) -> None:
    requester = replace(REQUESTER, email=asked_as)

    assert judged(requester=requester, email=approves_as) == MayNotApprove(
        reason="nobody approves their own call, whichever account they use"
    )


@pytest.mark.requirement("R12")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"delegated": True, "actor": "claude"}, "this token lets an agent act for a person; only the person decides"),
        ({"client_id": "claude", "actor": "claude"}, "the client 'claude' is not one for approvers"),
        ({"client_id": CLIENT.upper()}, "the client 'MCP-GATEWAY-APPROVER' is not one for approvers"),
        ({"client_id": None}, "the client None is not one for approvers"),
        ({"subject": CLIENT}, "this is a program's token; only a person decides"),
        ({"subject": "dana"}, "nobody approves their own call"),
        ({"subject": "dana", "email": None}, "nobody approves their own call"),
        ({"email": "dana@example.com"}, "nobody approves their own call, whichever account they use"),
        ({"email": "Dana@Example.COM"}, "nobody approves their own call, whichever account they use"),
        ({"groups": frozenset()}, "you are in none of the groups that are asked: dba"),
        ({"groups": frozenset({"DBA", "dba2", "engineering"})}, "you are in none of the groups that are asked: dba"),
        ({"auth_time": NOW - timedelta(minutes=5, seconds=1)}, "you signed in more than 5 minutes ago; sign in again"),
        ({"auth_time": NOW - timedelta(days=30)}, "you signed in more than 5 minutes ago; sign in again"),
    ],
)
def test_an_illegitimate_approver_may_not(changes: dict[str, Any], reason: str) -> None:
    assert judged(**changes) == MayNotApprove(reason=reason)


@pytest.mark.requirement("R12")
def test_the_agent_that_asked_is_no_approver_even_if_it_is_listed() -> None:
    careless = ApproverPolicy(clients=frozenset({CLIENT, "claude"}))

    assert judged(careless, client_id="claude", actor="claude") == MayNotApprove(
        reason="the client 'claude' is the agent that asked"
    )


@pytest.mark.requirement("R12")
def test_without_clients_for_approvers_nobody_may() -> None:
    assert isinstance(judged(ApproverPolicy(clients=frozenset())), MayNotApprove)


def test_five_minutes_are_just_in_time() -> None:
    assert isinstance(judged(auth_time=NOW - timedelta(minutes=5)), MayApprove)


def test_a_token_that_does_not_say_when_is_accepted_unless_it_has_to() -> None:
    assert isinstance(judged(auth_time=None), MayApprove)
    assert judged(STRICT, auth_time=None) == MayNotApprove(reason="the token does not say when you signed in")


def test_the_same_address_at_another_issuer_is_another_person() -> None:
    elsewhere = replace(REQUESTER, issuer="https://other.example.com", email="erin@example.com")

    assert isinstance(judged(requester=elsewhere), MayApprove)


def test_without_addresses_only_the_subject_tells_people_apart() -> None:
    assert isinstance(judged(email=None), MayApprove)
    assert isinstance(judged(requester=replace(REQUESTER, email=None)), MayApprove)


@pytest.mark.requirement("R12")
def test_the_asking_human_confirms_for_themselves_and_for_no_group() -> None:
    own: dict[str, Any] = {"subject": "dana", "email": "dana@example.com", "groups": frozenset({"dba"})}

    assert judged(asked="caller", **own) == MayApprove(groups=frozenset({"caller"}))
    assert judged(asked="caller dba", **own) == MayApprove(groups=frozenset({"caller"}))


@pytest.mark.requirement("R12")
def test_nobody_else_confirms_for_the_asking_human() -> None:
    assert judged(asked="caller", groups=frozenset({"caller", "dba"})) == MayNotApprove(
        reason="you are in none of the groups that are asked: caller"
    )


@pytest.mark.requirement("R12")
def test_the_asking_human_confirms_only_with_a_client_for_approvers() -> None:
    assert isinstance(judged(asked="caller", subject="dana", client_id="claude", actor="claude"), MayNotApprove)
    assert isinstance(judged(asked="caller", subject="dana", delegated=True), MayNotApprove)


def test_another_account_of_the_asking_human_does_not_confirm_either() -> None:
    assert isinstance(judged(asked="caller", email="dana@example.com"), MayNotApprove)
