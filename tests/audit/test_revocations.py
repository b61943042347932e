from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest
import uvloop

from mcp_gateway.audit import revocations
from mcp_gateway.audit.mark import Mark
from mcp_gateway.audit.revocations import LOOK_SECONDS, MIGRATIONS, POLL_SECONDS, Revocations, What
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.audit.verify import verify
from mcp_gateway.calls import Caller
from mcp_gateway.errors import RevokedError, StoreError
from mcp_gateway.events import Revoked
from tests.audit.records import AT, loaded, opened_store, reopened, rows, tampering

pytestmark = pytest.mark.anyio

CALLER = Caller(
    issuer="https://idp.example.com",
    subject="auth0|123",
    actor="agent-1",
    client_id="client-1",
    delegated=False,
    email="Dana@example.com",
    groups=frozenset(),
    scopes=frozenset(),
    token_id="t-1",
    issued_at=AT,
    expires_at=AT + timedelta(minutes=5),
    auth_time=None,
    assurance="token",
)
OTHER = dataclasses.replace(
    CALLER, subject="auth0|9", email=None, actor="agent-9", client_id="client-9", token_id="t-9"
)
SLACK_SECONDS = 2.0
"""For a busy machine."""


@contextlib.asynccontextmanager
async def opened(data_dir: Path) -> AsyncIterator[tuple[AuditStore, Revocations]]:
    async with opened_store(data_dir, migrations=MIGRATIONS) as store:
        revocations = Revocations(store, clock=lambda: AT)
        try:
            yield store, revocations
        finally:
            revocations.close()


@pytest.mark.requirement("R42")
@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("token", "t-1"),
        ("subject", "auth0|123"),
        ("subject", "https://idp.example.com|auth0|123"),
        ("subject", "dana@EXAMPLE.com"),
        ("agent", "agent-1"),
        ("agent", "client-1"),
    ],
)
async def test_a_revoked_caller_is_refused_at_the_next_check(tmp_path: Path, what: What, value: str) -> None:
    async with opened(tmp_path / "data") as (_, revocations):
        assert revocations.refuses(CALLER) is None

        await revocations.revoke(what=what, value=value, by="https://idp.example.com|ops", note="left")

        assert revocations.refuses(CALLER) == what


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("token", "auth0|123"),
        ("subject", "agent-1"),
        ("agent", "t-1"),
        ("subject", "123"),
        ("subject", "auth0"),
        ("subject", "https://other.example.com|auth0|123"),
        ("token", "T-1"),
    ],
)
async def test_what_is_revoked_is_that_and_nothing_else(tmp_path: Path, what: What, value: str) -> None:
    async with opened(tmp_path / "data") as (_, revocations):
        await revocations.revoke(what=what, value=value, by="ops")

        assert revocations.refuses(CALLER) is None


@pytest.mark.requirement("R12")
async def test_a_person_is_revoked_by_the_key_that_approvals_use(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as (_, revocations):
        assert not revocations.is_revoked(what="subject", value=CALLER.key)
        await revocations.revoke(what="subject", value=CALLER.subject, by="ops")

        assert revocations.is_revoked(what="subject", value=CALLER.key)
        assert not revocations.is_revoked(what="subject", value="https://idp.example.com|other")
        assert not revocations.is_revoked(what="agent", value=CALLER.key)


@pytest.mark.requirement("R42", "R31")
async def test_a_revocation_reaches_the_other_processes_at_their_next_check(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as (_, here), opened(tmp_path / "data") as (_, there):
        assert there.refuses(CALLER) is None

        await here.revoke(what="agent", value="agent-1", by="ops")

        assert there.refuses(CALLER) == "agent"


@pytest.mark.requirement("R42", "R31")
async def test_a_revocation_counts_everywhere_once_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_gateway.audit.revocations.STEP_SECONDS", 0.2)
    async with opened(tmp_path / "data") as (_, here), opened(tmp_path / "data") as (_, there):
        assert there.refuses(CALLER) is None
        assert there.refuses(CALLER) is None  # now it holds for a step
        async with anyio.create_task_group() as group:
            group.start_soon(partial(here.revoke, what="agent", value="agent-1", by="ops"))
            while there.refuses(CALLER) is None:
                assert group._tasks  # type: ignore[attr-defined]  # it is not done yet
                await anyio.sleep(0.01)


@pytest.mark.requirement("R42")
def test_the_wait_of_whoever_revokes_is_over_no_sooner_by_any_event_loop() -> None:
    async def waited() -> float:
        began = time.monotonic()
        await revocations._outlast(0.001)
        return time.monotonic() - began

    for loop in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=loop) as runner:
            assert min(runner.run(waited()) for _ in range(500)) >= 0.001


@pytest.mark.requirement("R42")
@pytest.mark.parametrize(("seconds", "looks"), [(60.0, 2), (0.0, 6)], ids=["within a step", "in as many steps"])
async def test_what_was_looked_for_in_one_step_holds_until_its_end_and_no_longer_than_an_own_revocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, looks: int
) -> None:
    reads: list[Mark] = []
    read = Mark.read

    def counted(mark: Mark) -> bytes | None:
        reads.append(mark)
        return read(mark)

    monkeypatch.setattr(Mark, "read", counted)
    monkeypatch.setattr("mcp_gateway.audit.revocations.STEP_SECONDS", seconds)
    async with opened(tmp_path / "data") as (_, revocations):
        for _ in range(3):  # the first look is at the events
            assert revocations.refuses(CALLER) is None
            assert revocations.stops("shop") is None
        assert len(reads) == looks

        monkeypatch.setattr("mcp_gateway.audit.revocations.STEP_SECONDS", 0.0)  # which revoking waits for
        await revocations.revoke(what="token", value="t-1", by="test")

        assert revocations.refuses(CALLER) == "token"


@pytest.mark.requirement("R42")
async def test_a_revocation_outlives_the_process(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as (_, revocations):
        await revocations.revoke(what="token", value="t-1", by="ops")

    async with opened(tmp_path / "data") as (_, revocations):
        assert revocations.refuses(CALLER) == "token"


@pytest.mark.requirement("R42")
@pytest.mark.parametrize("marked", [True, False])
async def test_running_work_ends_when_another_process_revokes_its_caller(tmp_path: Path, *, marked: bool) -> None:
    """`marked=False`: the process that revoked died before it could change the mark."""
    ended: list[str] = []
    async with opened(tmp_path / "data") as (store, there), opened(tmp_path / "data") as (_, here):

        async def running() -> None:
            with pytest.raises(RevokedError, match="the subject of this call was revoked"):
                await here.unless_revoked(CALLER, anyio.sleep_forever, target="db")
            ended.append("revoked")

        async def other() -> None:
            seconds = 2 * POLL_SECONDS + LOOK_SECONDS
            assert await here.unless_revoked(OTHER, lambda: answer_after(seconds), target="db") == "answer"
            ended.append("answered")

        async with anyio.create_task_group() as group:
            group.start_soon(running)
            group.start_soon(other)
            await anyio.wait_all_tasks_blocked()
            if marked:
                await there.revoke(what="subject", value="auth0|123", by="ops")
            else:
                await store.append(Revoked(at=AT, what="subject", value="auth0|123", by="ops"))
            with anyio.fail_after(0.5 + SLACK_SECONDS):
                while not ended:
                    await anyio.sleep(0.01)

    assert ended == ["revoked", "answered"]


@pytest.mark.requirement("R42")
async def test_work_that_is_revoked_gives_nothing_even_if_it_ends_in_its_own_way(tmp_path: Path) -> None:
    async def stubborn() -> str:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("of its own")

    async with opened(tmp_path / "data") as (_, revocations), anyio.create_task_group() as group:

        async def running() -> None:
            with pytest.raises(RevokedError):
                await revocations.unless_revoked(CALLER, stubborn, target="db")

        group.start_soon(running)
        await anyio.wait_all_tasks_blocked()
        await revocations.revoke(what="agent", value="agent-1", by="ops")


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.01])
async def test_work_whose_time_is_over_is_cancelled(tmp_path: Path, seconds: float) -> None:
    ended = anyio.Event()

    async def endless() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with opened(tmp_path / "data") as (_, revocations):
        with pytest.raises(TimeoutError):
            await revocations.unless_revoked(CALLER, endless, target="db", seconds=seconds)

    assert ended.is_set()


@pytest.mark.requirement("R42")
async def test_a_revocation_without_a_mark_is_known_once_revoke_returns(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as (_, here), opened(tmp_path / "data") as (_, there):
        assert there.refuses(CALLER) is None
        (tmp_path / "data" / "audit.revoked").unlink()
        (tmp_path / "data" / "audit.revoked").mkdir()
        here.close()

        await here.revoke(what="agent", value="agent-1", by="ops")

        assert there.refuses(CALLER) == "agent"


async def answer_after(seconds: float) -> str:
    await anyio.sleep(seconds)
    return "answer"


@pytest.mark.requirement("R7")
async def test_a_revocation_is_an_event_of_the_chain(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as (_, revocations):
        await revocations.revoke(what="token", value="t-1", by="ops", note="lost laptop")

    assert rows(tmp_path / "data", "SELECT kind, json_extract(body, '$.note') FROM events") == [
        ("Revoked", "lost laptop")
    ]
    with tampering(tmp_path / "data") as connection:
        connection.execute("UPDATE events SET body = replace(body, 't-1', 't-2')")
    assert verify(tmp_path / "data").flaw is not None


async def test_nothing_cannot_be_revoked(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as (_, revocations):
        with pytest.raises(ValueError, match="nothing to revoke"):
            await revocations.revoke(what="token", value="", by="ops")


async def test_a_caller_without_an_address_is_not_matched_by_one(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as (_, revocations):
        await revocations.revoke(what="subject", value="None", by="ops")

        assert revocations.refuses(dataclasses.replace(CALLER, email=None, client_id=None)) is None


@pytest.mark.requirement("R42")
async def test_an_address_is_refused_whether_or_not_somebody_verified_it(tmp_path: Path) -> None:
    import dataclasses

    unverified = dataclasses.replace(CALLER, email=None, unverified_email="Dana@example.com")
    without = dataclasses.replace(CALLER, email=None)
    async with opened(tmp_path / "data") as (_, revocations):
        await revocations.revoke(what="subject", value="dana@example.com", by="ops")

        assert revocations.refuses(CALLER) == "subject"
        assert revocations.refuses(unverified) == "subject"
        assert revocations.refuses(without) is None, "an address says nothing of a token without one"


@pytest.mark.requirement("I7", "R5")
async def test_nobody_is_cleared_while_the_store_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "data" / "audit.db"
    async with opened(tmp_path / "data") as (store, revocations):
        revocations.refuses(CALLER)
        path.chmod(0o400)
        with pytest.raises(StoreError):
            await store.append(loaded())
        with pytest.raises(StoreError, match="has the mode 0400"):
            revocations.refuses(CALLER)

        path.chmod(0o600)
        await reopened(store)
        await revocations.revoke(what="token", value="t-1", by="ops")
        assert revocations.refuses(CALLER) == "token"


@pytest.mark.requirement("I7", "R7")
async def test_nobody_is_cleared_by_a_revocation_that_cannot_be_read(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as (_, revocations):
        await revocations.revoke(what="token", value="t-1", by="ops")
        with tampering(tmp_path / "data") as connection:
            connection.execute("UPDATE events SET body = '[]'")

        with pytest.raises(StoreError, match="the revocation in event 1 cannot be read"):
            revocations.refuses(CALLER)


@pytest.mark.requirement("I7", "R7")
async def test_nobody_is_cleared_by_a_revocation_that_disappears(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as (_, revocations):
        await revocations.revoke(what="token", value="t-1", by="ops")
        assert revocations.refuses(CALLER) == "token"
        with tampering(tmp_path / "data") as connection:
            connection.execute("DELETE FROM events")
        await anyio.sleep(LOOK_SECONDS)  # nobody but a revocation changes the mark

        with pytest.raises(StoreError, match="lost the revocation in event 1"):
            revocations.refuses(CALLER)


@pytest.mark.requirement("R12")
async def test_a_person_who_decided_is_known_by_address_in_any_spelling(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as (_, revocations):
        vote = {"person": "https://idp.example.com|d", "actor": "approver", "token_id": "t9"}
        await revocations.revoke(what="subject", value="Dana@Example.com", by="ops")

        assert revocations.refuses_vote(**vote, email="dana@example.COM") == "subject"
        assert revocations.refuses_vote(**vote, email="erin@example.com") is None
        assert revocations.refuses_vote(**vote, email=None) is None
