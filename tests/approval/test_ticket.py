from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.approval.ticket import (
    ENDED,
    Rejected,
    Ticket,
    approve,
    binding,
    claim,
    deny,
    remembered,
    settle,
    withdraw,
)
from mcp_gateway.decisions import Approved, Requirement
from tests.approval.tickets import ALICE, NOW, a_caller, a_ticket, a_vote

LATER = NOW + timedelta(minutes=1)


def moved(result: Ticket | Rejected) -> Ticket:
    assert isinstance(result, Ticket), result
    return result


def rejected(result: Ticket | Rejected) -> str:
    assert isinstance(result, Rejected), result
    return result.why


def approved() -> Ticket:
    return moved(approve(a_ticket(), vote=a_vote(), now=NOW))


def use(ticket: Ticket, **changes: object) -> Ticket | Rejected:
    values: dict[str, object] = {
        "caller": a_caller(),
        "call_id": "call-2",
        "digest": ticket.digest,
        "bound": ticket.bound,
        "now": LATER,
    }
    return claim(ticket, **values | changes)  # type: ignore[arg-type]  # one table for all


def test_a_yes_of_the_asked_group_approves() -> None:
    ticket = approved()

    assert ticket.state == "approved"
    assert ticket.granted == Approved(by=frozenset({"dba"}), approvers=1)
    assert ticket.claim_until == NOW + timedelta(minutes=15)


def test_a_quorum_needs_distinct_people() -> None:
    ticket = a_ticket(requirements=(Requirement(group="dba", approvers=2),))
    once = moved(approve(ticket, vote=a_vote("dana"), now=NOW))

    assert once.state == "pending"
    assert once.missing == {"dba": 1}
    assert rejected(approve(once, vote=a_vote("dana"), now=NOW)) == "this person has approved already"
    assert moved(approve(once, vote=a_vote("erin"), now=NOW)).state == "approved"


def test_one_person_counts_once_in_each_of_their_groups() -> None:
    ticket = a_ticket(requirements=(Requirement(group="dba"), Requirement(group="security")))

    both = moved(approve(ticket, vote=a_vote("dana", "dba", "security"), now=NOW))

    assert both.state == "approved"
    assert both.granted == Approved(by=frozenset({"dba", "security"}), approvers=1)


def test_all_asked_groups_have_to_say_yes() -> None:
    ticket = a_ticket(requirements=(Requirement(group="dba"), Requirement(group="security")))

    half = moved(approve(ticket, vote=a_vote("dana", "dba"), now=NOW))

    assert half.state == "pending"
    assert half.granted.by == frozenset({"dba"})


@pytest.mark.requirement("R12")
def test_the_asking_human_never_counts_for_another_group() -> None:
    assert "none of the groups" in rejected(approve(a_ticket(), vote=a_vote("alice", "dba"), now=NOW))


@pytest.mark.requirement("R12")
def test_nobody_else_confirms_for_the_caller() -> None:
    ticket = a_ticket(requirements=(Requirement(group="caller"),))

    assert "none of the groups" in rejected(approve(ticket, vote=a_vote("dana", "caller"), now=NOW))
    assert moved(approve(ticket, vote=a_vote("alice", "caller"), now=NOW)).state == "approved"


@pytest.mark.requirement("R12")
def test_somebody_of_no_asked_group_counts_for_nothing() -> None:
    assert "none of the groups" in rejected(approve(a_ticket(), vote=a_vote("mallory", "interns"), now=NOW))
    assert "none of the groups" in rejected(deny(a_ticket(), vote=a_vote("mallory", "interns"), now=NOW))


def test_a_no_wins_before_and_after_the_quorum() -> None:
    half = moved(approve(a_ticket(requirements=(Requirement(group="dba", approvers=2),)), vote=a_vote("dana"), now=NOW))

    assert moved(deny(half, vote=a_vote("erin"), now=NOW)).state == "denied"
    assert moved(deny(approved(), vote=a_vote("erin"), now=NOW)).state == "denied"


@pytest.mark.requirement("R13")
@pytest.mark.parametrize(
    ("what", "changes", "why"),
    [
        ("another human", {"caller": a_caller(subject="bob")}, "the approval belongs to another caller"),
        ("another agent", {"caller": a_caller(actor="other")}, "the approval belongs to another caller"),
        ("another issuer", {"caller": a_caller(issuer="https://evil")}, "the approval belongs to another caller"),
        ("other arguments", {"digest": "e" * 64}, "the approval is for another call"),
        ("changed facts", {"bound": "c" * 64}, "what the approver saw is no longer so"),
        ("too late", {"now": NOW + timedelta(minutes=15)}, "the approval is expired, not approved"),
    ],
)
def test_an_approval_is_used_for_exactly_what_was_approved(what: str, changes: dict[str, object], why: str) -> None:
    assert rejected(use(approved(), **changes)) == why, what


@pytest.mark.requirement("I4")
def test_an_approval_is_used_once() -> None:
    consumed = moved(use(approved()))

    assert consumed.state == "consumed"
    assert consumed.consumed_by == "call-2"
    assert rejected(use(consumed)) == "the approval is consumed, not approved"


def test_a_refreshed_token_of_the_same_human_and_agent_uses_the_approval() -> None:
    fresh = a_caller(token_id="t9", groups=frozenset({"other"}), expires_at=NOW + timedelta(hours=9))

    assert moved(use(approved(), caller=fresh)).state == "consumed"


@pytest.mark.requirement("R39")
def test_a_late_decision_is_ignored() -> None:
    late = NOW + timedelta(minutes=15)

    assert settle(a_ticket(), now=late).state == "expired"
    assert rejected(approve(a_ticket(), vote=a_vote(), now=late)) == "the approval is expired, not pending"
    assert "expired" in rejected(deny(a_ticket(), vote=a_vote(), now=late))


def test_an_end_forgets_what_the_agent_wrote() -> None:
    for ended in (
        moved(deny(a_ticket(), vote=a_vote(), now=NOW)),
        moved(withdraw(a_ticket(), by="alice", now=NOW, why="changed my mind")),
        moved(use(approved())),
        settle(a_ticket(), now=NOW + timedelta(hours=1)),
    ):
        assert ended.state in ENDED
        assert ended.shown == {}


def test_a_denial_is_remembered_until_the_time_to_decide_is_over() -> None:
    denied = moved(deny(a_ticket(), vote=a_vote(), now=NOW))

    assert remembered(denied, now=NOW + timedelta(minutes=14))
    assert not remembered(denied, now=NOW + timedelta(minutes=15))


def test_a_use_is_remembered_for_as_long_after_it() -> None:
    consumed = moved(use(approved()))

    assert remembered(consumed, now=LATER + timedelta(minutes=14))
    assert not remembered(consumed, now=LATER + timedelta(minutes=15))


def test_what_expired_or_was_withdrawn_is_asked_again() -> None:
    assert not remembered(settle(a_ticket(), now=NOW + timedelta(hours=1)), now=NOW + timedelta(hours=1))
    assert not remembered(moved(withdraw(a_ticket(), by="alice", now=NOW, why="")), now=NOW)


def test_a_binding_changes_with_each_of_its_parts() -> None:
    base = {"facts": {"a": 1}, "shown": {"statement": "x"}, "environment": "e"}
    changed = [base | {"facts": {"a": 2}}, base | {"shown": {"statement": "y"}}, base | {"environment": "f"}]

    digests = {binding(**item) for item in (base, *changed)}  # type: ignore[arg-type]  # one table for all

    assert len(digests) == 4


MOVES = ("approve", "deny", "withdraw", "claim", "wait")


@pytest.mark.requirement("I4", "R11")
@given(st.lists(st.tuples(st.sampled_from(MOVES), st.sampled_from(["alice", "dana", "erin"])), max_size=12))
def test_no_order_of_moves_uses_an_approval_twice_or_revives_an_end(moves: list[tuple[str, str]]) -> None:
    ticket, now, claims = a_ticket(), NOW, 0
    for what, who in moves:
        before = ticket
        now += timedelta(minutes=4)
        result: Ticket | Rejected
        match what:
            case "approve":
                result = approve(ticket, vote=a_vote(who), now=now)
            case "deny":
                result = deny(ticket, vote=a_vote(who), now=now)
            case "withdraw":
                result = withdraw(ticket, by="alice", now=now, why="")
            case "claim":
                result = use(ticket, now=now)
            case _:
                result = settle(ticket, now=now)
        if isinstance(result, Ticket):
            claims += result.state == "consumed" and before.state != "consumed"
            ticket = result
        if before.state in ENDED:
            assert ticket.state == before.state
    assert claims <= 1
    if claims:
        assert any(person != ALICE for person in (vote.person for vote in ticket.votes))


@pytest.mark.requirement("R16")
def test_a_clock_that_was_set_back_makes_no_approval_immortal() -> None:
    hour, minute = timedelta(hours=1), timedelta(seconds=60)

    assert settle(a_ticket(), now=NOW - minute).state == "pending"
    assert settle(approved(), now=NOW - minute).state == "approved"
    for ticket in (a_ticket(), approved()):
        ended = settle(ticket, now=NOW - hour)
        assert (ended.state, ended.why) == ("expired", "the clock was set back, so its deadline means nothing any more")
        assert rejected(use(ticket, now=NOW - hour)) == "the approval is expired, not approved"
        assert rejected(approve(ticket, vote=a_vote("erin"), now=NOW - hour)) == "the approval is expired, not pending"


@pytest.mark.requirement("R16")
def test_a_clock_that_was_set_forward_ends_approvals_and_revives_none() -> None:
    ended = settle(approved(), now=NOW + timedelta(hours=1))

    assert ended.state == "expired"
    assert settle(ended, now=NOW) is ended
    assert not remembered(ended, now=NOW)


@pytest.mark.parametrize(
    ("ticket", "standing"),
    [
        (approved(), "approved by dana@example.com (https://idp.example.com|dana) at 2026-11-23T12:00:00Z"),
        (
            moved(deny(a_ticket(), vote=a_vote(), now=NOW)),
            "denied by dana@example.com (https://idp.example.com|dana) at 2026-11-23T12:00:00Z",
        ),
        (
            moved(deny(a_ticket(), vote=a_vote(email=None), now=NOW)),
            "denied by https://idp.example.com|dana at 2026-11-23T12:00:00Z",
        ),
        (
            moved(withdraw(a_ticket(), by=ALICE, email="alice@example.com", now=NOW, why="")),
            "withdrawn by alice@example.com (https://idp.example.com|alice) at 2026-11-23T12:00:00Z",
        ),
        (
            moved(withdraw(a_ticket(), by="gateway", now=NOW, why="stale")),
            "withdrawn by gateway at 2026-11-23T12:00:00Z",
        ),
    ],
)
def test_who_decided_is_named_alike_whatever_they_decided(ticket: Ticket, standing: str) -> None:
    assert ticket.standing == standing
