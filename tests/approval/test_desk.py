from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.approval.desk import (
    AGENTS_SEE_NOTHING,
    NOT_FOUND,
    ONLY_ITS_OWN,
    Desk,
    Refused,
    to_json,
)
from mcp_gateway.approval.store import ApprovalStore, Page
from mcp_gateway.approval.tables import MIGRATIONS
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.beginnings import MAX_NAMED
from mcp_gateway.calls import Caller, Secret
from mcp_gateway.clock import new_id
from mcp_gateway.decisions import Requirement
from mcp_gateway.events import Examined
from mcp_gateway.identity.approver import ApproverPolicy
from tests.approval.tickets import NOW, a_caller, a_ticket
from tests.audit.records import received, tampering

pytestmark = pytest.mark.anyio


def person(subject: str = "dana", *groups: str, **changes: Any) -> Caller:
    """Somebody who signed in at the approvers' client."""
    values = {
        "subject": subject,
        "email": f"{subject}@example.com",
        "groups": frozenset(groups or {"dba"}),
        "client_id": "approver",
        "actor": "approver",
        "auth_time": NOW,
    }
    return a_caller(**values | changes)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[tuple[Desk, Ticket]]:
    tmp_path.chmod(0o700)
    store = await AuditStore.open(tmp_path / "data", clock=lambda: NOW, migrations=MIGRATIONS)
    approvals = ApprovalStore(store, key=Secret(bytes(32)), clock=lambda: NOW, new_id=new_id)
    ticket = a_ticket()
    await store.transact(lambda tx: approvals.open_or_continue(tx, ticket))
    try:
        yield Desk(approvals, policy=ApproverPolicy(clients=frozenset({"approver"})), clock=lambda: NOW), ticket
    finally:
        await store.aclose()


async def refusals(desk: Desk) -> list[tuple[str, str, str]]:
    """Decision, person and cause of each attempt that is on record."""
    query = (
        "SELECT body ->> '$.decision', body ->> '$.by', body ->> '$.cause' FROM events WHERE kind = 'DecisionRefused'"
    )
    return await desk._approvals._store.read(lambda rows: rows.execute(query).fetchall())


async def test_the_right_person_approves(opened: tuple[Desk, Ticket]) -> None:
    desk, ticket = opened

    moved = await desk.move(person(), ticket.id, move="approve", channel="cli", note="fine")

    assert isinstance(moved, Ticket)
    assert moved.state == "approved"
    assert moved.votes[0].note == "fine"


@pytest.mark.requirement("R12")
@pytest.mark.parametrize(
    ("who", "why"),
    [
        (person("alice", "dba"), "nobody approves their own call"),
        (person("alicia", "dba", email="Alice@example.com"), "nobody approves their own call, whichever account they use"),
        (person(client_id="agent"), AGENTS_SEE_NOTHING),
        (person(delegated=True), AGENTS_SEE_NOTHING),
        (person(auth_time=NOW.replace(hour=NOW.hour - 1)), "you signed in more than 5 minutes ago; sign in again"),
        (person("mallory", "interns"), NOT_FOUND),
    ],
)  # fmt: skip
async def test_nobody_else_does(opened: tuple[Desk, Ticket], who: Caller, why: str) -> None:
    desk, ticket = opened

    for move in ("approve", "deny"):
        refused = await desk.move(who, ticket.id, move=move, channel="cli")
        assert refused == Refused(why=why, state="" if why in {NOT_FOUND, AGENTS_SEE_NOTHING} else "pending")
    assert await refusals(desk) == [(move, who.key, why) for move in ("approve", "deny")]


async def test_an_approval_is_seen_by_its_human_and_by_those_who_may_decide(opened: tuple[Desk, Ticket]) -> None:
    desk, ticket = opened

    assert (await desk.page(person())).tickets == [ticket]
    assert (await desk.page(person("alice", "dev"))).tickets == [ticket]
    assert (await desk.page(person("mallory", "interns"))).tickets == []
    assert await desk.show(person("mallory", "interns"), ticket.id) == Refused(why=NOT_FOUND)
    assert await desk.show(person(), "nowhere") == Refused(why=NOT_FOUND)


@pytest.mark.requirement("R12")
async def test_an_agent_sees_its_own_requests_and_no_others(opened: tuple[Desk, Ticket]) -> None:
    desk, ticket = opened
    own = person("alice", "dev", client_id="agent", actor="agent")
    another = person("alice", "dev", client_id="other", actor="other")
    colleagues = person("dana", "dba", client_id="agent", actor="agent", delegated=True)

    assert (await desk.page(own)).tickets == [ticket]
    assert (await desk.page(person())).note == ""
    for agent in (another, colleagues):
        assert await desk.page(agent) == Page(tickets=[], next_after=None, note=ONLY_ITS_OWN)
        assert isinstance(await desk.show(agent, ticket.id), Refused)
        for move in ("approve", "deny", "withdraw"):
            assert isinstance(await desk.move(agent, ticket.id, move=move, channel="cli"), Refused)


async def test_only_its_human_withdraws_a_request(opened: tuple[Desk, Ticket]) -> None:
    desk, ticket = opened

    assert isinstance(await desk.move(person(), ticket.id, move="withdraw", channel="cli"), Refused)
    agent = person("alice", "dev", delegated=True, actor="agent")
    assert isinstance(await desk.move(agent, ticket.id, move="withdraw", channel="cli"), Refused)
    moved = await desk.move(person("alice", "dev"), ticket.id, move="withdraw", channel="cli")
    assert isinstance(moved, Ticket)
    assert moved.state == "withdrawn"


async def test_a_loser_sees_the_winner(opened: tuple[Desk, Ticket]) -> None:
    desk, ticket = opened
    await desk.move(person(), ticket.id, move="deny", channel="cli")

    late = await desk.move(person("erin"), ticket.id, move="approve", channel="cli")

    winner = "denied by dana@example.com (https://idp.example.com|dana) at 2026-11-23T12:00:00Z"
    assert late == Refused(why=f"the approval is {winner}, not pending", state="denied")


async def test_a_note_is_short(opened: tuple[Desk, Ticket]) -> None:
    desk, ticket = opened

    refused = await desk.move(person(), ticket.id, move="deny", channel="cli", note="x" * 501)

    assert refused == Refused(why="a note has at most 500 characters, this one has 501")


def test_the_json_form_is_complete() -> None:
    ticket = a_ticket(requirements=(Requirement(group="dba", approvers=2),))

    found = to_json(ticket)

    assert found["shown"] == {"statement": "DELETE FROM orders"}
    assert found["needs"] == {"dba": 2}
    assert found["id"] == ticket.id


async def test_an_ended_approval_keeps_what_it_was_about_as_it_is_on_record(opened: tuple[Desk, Ticket]) -> None:
    desk, ticket = opened
    store = desk._approvals._store
    facts = {"kinds": ["DELETE"], "writes": ["public.orders"]}
    await store.append(
        received(
            ticket.call_id,
            arguments={"sql": "DELETE FROM o WHERE mail = '[pii.email]'", "target": "orders", "params": [1]},
            reason="why",
        ),
        Examined(at=NOW, call_id=ticket.call_id, digest="another", facts={"kinds": []}, environment=""),
        Examined(at=NOW, call_id=ticket.call_id, digest=ticket.digest, facts=facts, environment=""),
        received("another-call", arguments={"sql": "SELECT 1"}),
    )
    await desk.move(person(), ticket.id, move="deny", channel="cli", note="not today")

    for who in (person(), person("alice", "dev")):
        shown = await desk.show(who, ticket.id)
        assert isinstance(shown, Ticket)
        assert shown.shown == {"sql": "DELETE FROM o WHERE mail = '[pii.email]'", "params": "[1]"}
        assert (shown.facts, shown.reason, shown.why) == (facts, "why", "not today")
        assert to_json(shown)["as_recorded"] is True
    assert await desk.show(person("mallory", "interns"), ticket.id) == Refused(why=NOT_FOUND)


@pytest.mark.requirement("R7")
@pytest.mark.parametrize("body", ["no json", "[1]", '{"arguments": 5, "reason": 7}', "{}"])
async def test_a_record_that_was_changed_leaves_an_ended_approval_without_a_statement(
    opened: tuple[Desk, Ticket], tmp_path: Path, body: str
) -> None:
    desk, ticket = opened
    await desk._approvals._store.append(received(ticket.call_id, arguments={"sql": "SELECT 1"}))
    await desk.move(person(), ticket.id, move="deny", channel="cli")
    with tampering(tmp_path / "data") as connection:
        connection.execute("UPDATE events SET body = ? WHERE kind = 'Received'", (body,))

    shown = await desk.show(person(), ticket.id)

    assert isinstance(shown, Ticket)
    assert (shown.shown, to_json(shown)["as_recorded"]) == ({}, False)


async def another(desk: Desk, ticket: Ticket, **changes: Any) -> None:
    opened = replace(ticket, digest=changes["id"], **changes)
    await desk._approvals._store.transact(lambda tx: desk._approvals.open_or_continue(tx, opened))


async def test_the_beginning_of_an_id_shows_the_one_that_the_person_may_see(opened: tuple[Desk, Ticket]) -> None:
    desk, ticket = opened
    await another(desk, ticket, id="ticket-2", subject="bob", requirements=(Requirement(group="interns"),))

    assert await desk.show(person(), "tick") == ticket
    seen = await desk.show(person("mallory", "interns"), "tick")
    assert isinstance(seen, Ticket)
    assert seen.id == "ticket-2"
    for nothing in ("", "%", "t%", "ticket-11", "icket"):
        assert await desk.show(person(), nothing) == Refused(why=NOT_FOUND)
    assert await desk.show(person("eve", "nobodies"), "tick") == Refused(why=NOT_FOUND)


async def test_a_beginning_of_several_ids_is_refused_with_those_that_the_person_may_see(
    opened: tuple[Desk, Ticket],
) -> None:
    desk, ticket = opened
    await another(desk, ticket, id="ticket-2")
    await another(desk, ticket, id="ticket-3", subject="bob", requirements=(Requirement(group="interns"),))

    assert await desk.show(person(), "tick") == Refused(
        why="several approvals begin with 'tick': ticket-1, ticket-2; give more of the id"
    )
    for number in range(4, MAX_NAMED + 2):
        await another(desk, ticket, id=f"ticket-{number}")
    refused = await desk.show(person(), "tick")
    assert isinstance(refused, Refused)
    assert not refused.why.endswith(" and more; give more of the id")
    await another(desk, ticket, id="ticket-99")
    refused = await desk.show(person(), "tick")
    assert isinstance(refused, Refused)
    assert refused.why.endswith(" and more; give more of the id")
    assert refused.why.count("ticket-") == MAX_NAMED


@pytest.mark.requirement("R12")
async def test_a_decision_takes_the_whole_id(opened: tuple[Desk, Ticket]) -> None:
    desk, ticket = opened

    for move in ("approve", "deny", "withdraw"):
        assert await desk.move(person(), ticket.id[:-1], move=move, channel="cli") == Refused(why=NOT_FOUND)
    assert await desk.show(person(), ticket.id) == ticket
