from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from mcp_gateway.approval.store import (
    ENDED_AT_ONCE,
    MAX_PENDING_FOR_A_CALLER,
    ApprovalStore,
    ClaimError,
    Viewer,
)
from mcp_gateway.approval.tables import MIGRATIONS
from mcp_gateway.approval.ticket import Rejected, Ticket
from mcp_gateway.audit.store import AuditStore, Transaction
from mcp_gateway.calls import Secret
from mcp_gateway.clock import new_id
from mcp_gateway.decisions import CALLER_GROUP, Requirement
from mcp_gateway.errors import LimitError, StoreError
from mcp_gateway.events import Event
from tests.approval.tickets import ALICE, NOW, a_caller, a_ticket, a_vote

pytestmark = pytest.mark.anyio


DBA = Viewer(person="https://idp.example.com|dana", actor=None, groups=frozenset({"dba"}))


class Shelf:
    """A store of approvals with a clock that a test moves."""

    def __init__(self, store: AuditStore, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.now = NOW
        self.approvals = ApprovalStore(store, key=Secret(bytes(32)), clock=self.clock, new_id=new_id)

    def clock(self) -> datetime:
        return self.now

    async def open(self, **changes: object) -> Ticket:
        ticket = replace(a_ticket(id=new_id()), **changes)  # type: ignore[arg-type]  # one helper for all attributes
        return (await self.store.transact(lambda tx: self.approvals.open_or_continue(tx, ticket))).ticket

    async def claim(self, ticket: Ticket, call_id: str = "call-2") -> None:
        await self.store.transact(
            lambda tx: self.approvals.claim(
                tx,
                ticket.id,
                caller=a_caller(),
                call_id=call_id,
                digest=ticket.digest,
                bound=ticket.bound,
                at=NOW,
            )
        )

    async def listing(self, *, live_only: bool = True) -> list[Ticket]:
        return (await self.approvals.page(DBA, live_only=live_only, after=None, limit=1000)).tickets

    async def kinds(self) -> list[str]:
        rows = await self.store.read(
            lambda connection: connection.execute("SELECT kind FROM events ORDER BY sequence").fetchall()
        )
        return [row[0] for row in rows]


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    tmp_path.chmod(0o700)
    store = await AuditStore.open(tmp_path / "data", clock=lambda: NOW, migrations=MIGRATIONS)
    try:
        yield Shelf(store, tmp_path / "data")
    finally:
        await store.aclose()


async def test_an_approval_comes_back_as_it_was_opened(shelf: Shelf) -> None:
    ticket = await shelf.open(preview="about 3 rows")

    assert await shelf.approvals.get(ticket.id) == ticket
    assert await shelf.approvals.latest(ticket.digest) == ticket
    assert await shelf.listing() == [ticket]
    assert await shelf.approvals.get("nowhere") is None


async def test_each_move_is_one_event(shelf: Shelf) -> None:
    approved = await shelf.open()
    await shelf.approvals.approve(approved.id, vote=a_vote())
    await shelf.claim(approved)
    denied = await shelf.open(digest="1" * 64)
    await shelf.approvals.deny(denied.id, vote=a_vote())
    revoked = await shelf.open(digest="2" * 64)
    await shelf.approvals.approve(revoked.id, vote=a_vote())
    await shelf.approvals.deny(revoked.id, vote=a_vote("erin"))
    withdrawn = await shelf.open(digest="3" * 64)
    await shelf.approvals.withdraw(withdrawn.id, by="alice", why="")
    await shelf.open(digest="4" * 64)
    shelf.now += timedelta(minutes=15)
    assert await shelf.approvals.expire_due() == 1

    assert await shelf.kinds() == [
        "Asked", "Approved", "Claimed", "Asked", "ApprovalDenied", "Asked", "Approved", "ApprovalRevoked", "Asked",
        "ApprovalWithdrawn", "Asked", "ApprovalExpired",
    ]  # fmt: skip


async def test_a_move_that_is_not_made_is_recorded_and_moves_nothing(shelf: Shelf) -> None:
    ticket = await shelf.open()

    assert isinstance(await shelf.approvals.approve(ticket.id, vote=a_vote("mallory", "interns")), Rejected)
    assert await shelf.approvals.approve("nowhere", vote=a_vote()) is None
    assert await shelf.kinds() == ["Asked", "DecisionRefused"]
    assert await shelf.approvals.get(ticket.id) == ticket


@pytest.mark.requirement("R39")
async def test_a_decision_that_comes_late_or_twice_is_recorded_and_moves_nothing(shelf: Shelf) -> None:
    twice, late = await shelf.open(), await shelf.open(digest="1" * 64)
    for _ in range(2):
        await shelf.approvals.approve(twice.id, vote=a_vote())
    shelf.now += timedelta(minutes=15)
    await shelf.approvals.approve(late.id, vote=a_vote())
    await shelf.approvals.deny(late.id, vote=a_vote("erin"))

    rows = await shelf.store.read(
        lambda rows: rows.execute(
            "SELECT body ->> '$.decision', body ->> '$.by', body ->> '$.by_email', body ->> '$.state', body ->> '$.cause'"
            " FROM events"
            " WHERE kind = 'DecisionRefused' ORDER BY sequence"
        ).fetchall()
    )
    dana, erin = "https://idp.example.com|dana", "https://idp.example.com|erin"
    assert rows == [
        (
            "approve",
            dana,
            "dana@example.com",
            "approved",
            "the approval is approved by dana@example.com (https://idp.example.com|dana) at 2026-11-23T12:00:00Z, not pending",
        ),
        ("approve", dana, "dana@example.com", "expired", "the approval is expired, not pending"),
        ("deny", erin, "erin@example.com", "expired", "the approval is expired; nothing is left to deny"),
    ]
    assert await shelf.kinds() == [
        "Asked", "Asked", "Approved", "DecisionRefused", "ApprovalExpired", "DecisionRefused", "DecisionRefused",
    ]  # fmt: skip


@pytest.mark.requirement("R11")
async def test_racing_people_have_one_winner(shelf: Shelf) -> None:
    ticket = await shelf.open()
    results: list[object] = []

    async def move(yes: bool, who: str) -> None:
        act = shelf.approvals.approve if yes else shelf.approvals.deny
        results.append(await act(ticket.id, vote=a_vote(who)))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(move, number % 2 == 0, f"person{number}")

    final = await shelf.approvals.get(ticket.id)
    assert final is not None
    assert final.state == "denied"  # A no wins, whenever it comes.
    assert (await shelf.kinds()).count("Approved") <= 1
    assert all(isinstance(item, Ticket | Rejected) for item in results)


@pytest.mark.requirement("I4")
async def test_racing_claims_have_one_winner(shelf: Shelf) -> None:
    ticket = await shelf.open()
    await shelf.approvals.approve(ticket.id, vote=a_vote())
    won: list[int] = []

    async def claim(number: int) -> None:
        try:
            await shelf.claim(ticket, f"call-{number}")
        except ClaimError as error:
            assert error.rejected.state == "consumed"
        else:
            won.append(number)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(claim, number)

    assert len(won) == 1
    assert (await shelf.kinds()).count("Claimed") == 1


async def test_the_same_call_continues_its_approval(shelf: Shelf) -> None:
    first = await shelf.open()
    again = await shelf.open()

    assert again == first
    assert await shelf.kinds() == ["Asked"]


async def test_an_ended_approval_is_asked_again_when_it_is_forgotten(shelf: Shelf) -> None:
    first = await shelf.open()
    shelf.now += timedelta(minutes=15)

    second = await shelf.open(created_at=shelf.now, deadline=shelf.now + timedelta(minutes=15))

    assert second.id != first.id
    assert await shelf.kinds() == ["Asked", "ApprovalExpired", "Asked"]


@pytest.mark.requirement("R15")
async def test_at_most_so_many_are_pending_for_a_caller(shelf: Shelf) -> None:
    for number in range(MAX_PENDING_FOR_A_CALLER):
        await shelf.open(digest=f"{number:064}")

    with pytest.raises(LimitError, match="20 approvals are pending for this caller"):
        await shelf.open(digest="f" * 64)
    await shelf.open(digest="f" * 64, subject="bob")


@pytest.mark.requirement("I5")
async def test_what_the_agent_wrote_is_nowhere_in_the_clear_and_goes_with_the_end(shelf: Shelf) -> None:
    canary = "canary-3f9a"
    ticket = await shelf.open(shown={"statement": canary}, reason=canary, facts={"reads": [canary]}, preview=canary)

    assert not found(shelf.folder, canary)
    await shelf.approvals.deny(ticket.id, vote=a_vote())
    ended = await shelf.approvals.get(ticket.id)
    assert ended is not None
    assert (ended.shown, ended.reason, ended.preview) == ({}, "", "")
    assert not found(shelf.folder, canary)


def found(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def test_another_key_or_a_moved_row_is_a_clear_error(shelf: Shelf) -> None:
    ticket = await shelf.open()
    other = ApprovalStore(shelf.store, key=Secret(bytes(range(32))), clock=shelf.clock, new_id=new_id)

    with pytest.raises(StoreError, match="cannot be decrypted"):
        await other.get(ticket.id)


@pytest.mark.requirement("I1")
async def test_a_move_that_cannot_be_recorded_is_not_made(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = await shelf.open()

    def append(tx: Transaction, event: Event) -> int:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "append", append)
        with pytest.raises(StoreError):
            await shelf.approvals.approve(ticket.id, vote=a_vote())

    assert await shelf.approvals.get(ticket.id) == ticket


DIE = """
import os, sys, anyio
from datetime import timedelta
from pathlib import Path
from mcp_gateway.approval.store import ApprovalStore
from mcp_gateway.approval.tables import MIGRATIONS
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.calls import Secret
from mcp_gateway.clock import new_id
from tests.approval.tickets import ALICE, NOW, a_caller, a_ticket, a_vote

async def main():
    store = await AuditStore.open(Path(sys.argv[1]), clock=lambda: NOW, migrations=MIGRATIONS)
    approvals = ApprovalStore(store, key=Secret(bytes(32)), clock=lambda: NOW, new_id=new_id)
    ticket = a_ticket()
    await store.transact(lambda tx: approvals.open_or_continue(tx, ticket))
    if sys.argv[2] in ("approved", "consumed"):
        await approvals.approve(ticket.id, vote=a_vote())
    if sys.argv[2] == "consumed":
        await store.transact(lambda tx: approvals.claim(tx, ticket.id, caller=a_caller(), call_id="c",
            digest=ticket.digest, bound=ticket.bound, at=NOW))
    os.kill(os.getpid(), 9)

anyio.run(main, backend_options={"use_uvloop": True})
"""


@pytest.mark.requirement("R2", "R13")
@pytest.mark.parametrize("state", ["pending", "approved", "consumed"])
async def test_a_killed_process_leaves_each_state_as_it_was(tmp_path: Path, state: str) -> None:
    tmp_path.chmod(0o700)
    root = Path(__file__).parents[2]
    done = await anyio.run_process(
        [sys.executable, "-c", DIE, str(tmp_path / "data"), state], cwd=root, check=False, stderr=subprocess.PIPE
    )
    assert done.returncode == -9, done.stderr.decode()
    store = await AuditStore.open(tmp_path / "data", clock=lambda: NOW, migrations=MIGRATIONS)
    shelf = Shelf(store, tmp_path / "data")
    try:
        ticket = await shelf.approvals.get("ticket-1")
        assert ticket is not None
        assert ticket.state == state
        if state == "approved":
            await shelf.claim(ticket)
        else:
            with pytest.raises(ClaimError):
                await shelf.claim(ticket)
    finally:
        await store.aclose()


async def test_whether_a_claim_is_in_time_goes_by_the_stores_own_clock_not_by_the_calls(shelf: Shelf) -> None:
    ticket = await shelf.open()
    await shelf.approvals.approve(ticket.id, vote=a_vote())
    shelf.now += timedelta(days=1)

    with pytest.raises(ClaimError):
        await shelf.claim(ticket)  # at a time when it would have been

    assert "Claimed" not in await shelf.kinds()


@pytest.mark.requirement("R16")
async def test_a_clock_that_was_set_back_ends_all_that_has_a_deadline(shelf: Shelf) -> None:
    pending = await shelf.open()
    approved = await shelf.open(digest="1" * 64)
    await shelf.approvals.approve(approved.id, vote=a_vote())
    denied = await shelf.open(digest="2" * 64)
    await shelf.approvals.deny(denied.id, vote=a_vote())
    shelf.now -= timedelta(seconds=30)  # Less than a ticket shows by itself: whoever watches the clock says so.

    assert await shelf.approvals.distrust_deadlines() == 2
    assert await shelf.approvals.distrust_deadlines() == 0
    states = [item.state for item in await shelf.listing(live_only=False)]
    assert states == ["expired", "expired", "denied"]
    assert (await shelf.kinds())[-2:] == ["ApprovalExpired", "ApprovalExpired"]
    with pytest.raises(ClaimError):
        await shelf.claim(approved)
    assert (await shelf.open()).id != pending.id


async def test_what_is_shown_of_an_approval_is_what_holds_now(shelf: Shelf) -> None:
    ticket = await shelf.open()
    shelf.now += timedelta(minutes=15)

    found = await shelf.approvals.get(ticket.id)

    assert found is not None
    assert found.state == "expired"


@pytest.mark.requirement("R15")
@pytest.mark.parametrize(
    ("viewer", "seen"),
    [
        (DBA, {"alices", "bobs", "both"}),
        (Viewer(person="x", actor=None, groups=frozenset({"secops", "nobody"})), {"both"}),
        (Viewer(person=ALICE, actor=None, groups=frozenset()), {"alices", "both", "other agent"}),
        (Viewer(person=ALICE, actor="agent", groups=frozenset()), {"alices", "both"}),
        (Viewer(person="x", actor=None, groups=frozenset({"caller", "'dba'", "DBA", "db", ""})), set()),
    ],
)
async def test_a_page_holds_what_somebody_may_see(shelf: Shelf, viewer: Viewer, seen: set[str]) -> None:
    dba, secops = Requirement(group="dba"), Requirement(group="secops")
    caller = Requirement(group=CALLER_GROUP)
    kinds: dict[str, dict[str, object]] = {
        "alices": {"requirements": (dba,)},
        "bobs": {"subject": "bob", "requirements": (dba,)},
        "both": {"requirements": (dba, secops)},
        "other agent": {"actor": "other", "requirements": (Requirement(group="interns"),)},
        "confirmation": {"subject": "carol", "requirements": (caller,)},
    }
    for number, (reason, changes) in enumerate(kinds.items()):
        await shelf.open(reason=reason, digest=f"{number}" * 64, **changes)
    if CALLER_GROUP in viewer.groups:
        viewer = replace(viewer, groups=viewer.groups - {CALLER_GROUP})  # as the desk does

    page = await shelf.approvals.page(viewer, live_only=True, after=None, limit=10)

    assert {ticket.reason for ticket in page.tickets} == seen
    assert page.next_after is None


@pytest.mark.requirement("R15")
async def test_pages_lead_on_until_nothing_is_left(shelf: Shelf) -> None:
    opened = [await shelf.open(digest=f"{number}" * 64, subject=f"s{number}") for number in range(7)]
    await shelf.approvals.deny(opened[3].id, vote=a_vote())
    live = [ticket.id for ticket in opened if ticket is not opened[3]]

    for live_only, expected in ((True, live), (False, [ticket.id for ticket in opened])):
        found, after, pages = [], None, 0
        while True:
            page = await shelf.approvals.page(DBA, live_only=live_only, after=after, limit=3)
            found += [ticket.id for ticket in page.tickets]
            after, pages = page.next_after, pages + 1
            if after is None:
                break
        assert (found, pages) == (expected, 2 if live_only else 3)


@pytest.mark.requirement("R15", "R29")
async def test_approvals_of_the_version_before_are_found_by_their_groups(tmp_path: Path) -> None:
    """The store as it was before the second migration, filled as it was filled then."""
    tmp_path.chmod(0o700)
    store = await AuditStore.open(tmp_path / "data", clock=lambda: NOW, migrations=MIGRATIONS[:1])
    before = Shelf(store, tmp_path / "data")
    ticket = a_ticket(requirements=(Requirement(group="dba"), Requirement(group="secops", approvers=2)))
    insert = "INSERT INTO approvals (id, digest, state, person, due, body, sealed) VALUES (?, ?, ?, ?, ?, ?, ?)"
    row = (ticket.id, ticket.digest, ticket.state, ticket.person, *before.approvals._form.written(ticket))
    await store.transact(lambda tx: tx.execute(insert, row))
    await store.aclose()

    store = await AuditStore.open(tmp_path / "data", clock=lambda: NOW, migrations=MIGRATIONS)
    try:
        shelf = Shelf(store, tmp_path / "data")
        assert await shelf.listing() == [ticket]
        secops = Viewer(person="x", actor=None, groups=frozenset({"secops"}))
        assert (await shelf.approvals.page(secops, live_only=True, after=None, limit=1)).tickets == [ticket]
    finally:
        await store.aclose()


@pytest.mark.requirement("R15", "R16")
async def test_any_number_of_approvals_expires_at_once(shelf: Shelf) -> None:
    for number in range(ENDED_AT_ONCE + 5):
        await shelf.open(digest=f"{number:064}", subject=f"s{number}")
    shelf.now += timedelta(minutes=15)

    assert await shelf.approvals.expire_due() == ENDED_AT_ONCE + 5
    assert await shelf.approvals.expire_due() == 0
