"""Events, stores and tampering hands for the tests of the audit package."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from mcp_gateway.audit.schema import Migration
from mcp_gateway.audit.store import AuditStore, Pace, Transaction
from mcp_gateway.calls import JSONObject
from mcp_gateway.clock import utc_now
from mcp_gateway.events import Answered, Decided, Event, Finished, Identified, PolicyLoaded, Received, Started

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
FAST = Pace(lock_wait_seconds=0.2, retry_seconds=0.02, answer_seconds=20)
"""Short waits where a test makes the store wait; nothing is asserted on how long they are."""
FIRST_EVENT = 1


def loaded(number: int = 0) -> PolicyLoaded:
    """A small event that belongs to no call."""
    return PolicyLoaded(at=AT, version=f"v{number}", policies=number)


def received(call_id: str, *, arguments: JSONObject | None = None, at: datetime = AT, **more: str) -> Received:
    found = {"door": "http", "tool": "query_database", "target": "orders"} | more
    return Received(at=at, call_id=call_id, arguments=arguments or {}, client={}, **found)


def identified(call_id: str, *, subject: str = "dana", email: str = "dana@example.com") -> Identified:
    return Identified(
        at=AT,
        call_id=call_id,
        issuer="https://idp.example.com",
        subject=subject,
        actor="agent-1",
        email=email,
        groups=frozenset({"dev"}),
        scopes=frozenset({"db"}),
        token_id="t-1",
        token_issued_at=AT,
        token_expires_at=AT + timedelta(minutes=5),
        assurance="token",
    )


def decided(call_id: str, decision: str = "allow") -> Decided:
    return Decided(at=AT, call_id=call_id, decision=decision, policies=("p1",), reasons=(), policy_version="v1")


def started(call_id: str, *, instance: str = "here") -> Started:
    return Started(at=AT, call_id=call_id, target="orders", tool="query_database", instance=instance)


def finished(call_id: str, *, result_hash: str = "") -> Finished:
    return Finished(at=AT, call_id=call_id, duration=timedelta(seconds=1), masked={}, rows=1, result_hash=result_hash)


async def run_call(store: AuditStore, call_id: str, *, result: bytes = b'{"rows":[]}', instance: str = "here") -> None:
    """The events of one allowed call, as the road records them."""
    await store.append(received(call_id), identified(call_id), decided(call_id), started(call_id, instance=instance))

    def end(tx: Transaction) -> None:
        tx.append(finished(call_id, result_hash=tx.save_result(call_id, result)))
        tx.append(Answered(at=AT, call_id=call_id, code="ok"))

    await store.transact(end)


@contextlib.asynccontextmanager
async def opened_store(
    data_dir: Path, *, migrations: Sequence[Migration] = (), pace: Pace = FAST
) -> AsyncIterator[AuditStore]:
    store = await AuditStore.open(data_dir, clock=utc_now, migrations=migrations, pace=pace)
    try:
        yield store
    finally:
        await store.aclose()


@contextlib.asynccontextmanager
async def busy(store: AuditStore, *, event: Event | None = None) -> AsyncIterator[threading.Event]:
    """A store whose writer is in the middle of a unit, until the yielded gate is set or the block ends."""
    begun, gate = threading.Event(), threading.Event()

    def work(tx: Transaction) -> None:
        if event is not None:
            tx.append(event)
        begun.set()
        assert gate.wait(20)

    unit = asyncio.ensure_future(store.transact(work))
    with anyio.fail_after(10):
        while not begun.is_set():
            await anyio.sleep(0.001)
    try:
        yield gate
    finally:
        gate.set()
        await asyncio.wait([unit])
        unit.exception()


async def reopened(store: AuditStore) -> None:
    """Wait until a store that had closed works again: at most 5 s after the cause is gone."""
    with anyio.fail_after(5):
        while store.failure is not None:
            await anyio.sleep(0.01)


async def tried_again(store: AuditStore, *, times: int = 2) -> None:
    """Wait until a closed store has looked at its files again, as often as asked."""
    seen = store.attempts + times
    with anyio.fail_after(10):
        while store.attempts < seen:
            await anyio.sleep(0.01)


@contextlib.contextmanager
def tampering(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """A hand inside the database: no triggers in its way, everything as a file editor could have left it."""
    connection = sqlite3.connect(data_dir / "audit.db", isolation_level=None)
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    try:
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, sql in triggers:
            connection.execute(sql)
    finally:
        connection.close()


@contextlib.contextmanager
def refusing(data_dir: Path, kind: str) -> Iterator[None]:
    """A store whose database refuses one kind of event and closes over it; until the block ends."""
    connection = sqlite3.connect(data_dir / "audit.db", isolation_level=None)
    try:
        connection.execute(
            f"CREATE TRIGGER refusing BEFORE INSERT ON events WHEN new.kind = '{kind}' "
            "BEGIN SELECT RAISE(ABORT, 'no room for this'); END"
        )
        try:
            yield
        finally:
            connection.execute("DROP TRIGGER refusing")
    finally:
        connection.close()


def evidence(data: Path) -> dict[str, bytes]:
    """What is evidence: the database and its log, where there is anything in it."""
    paths = (data / name for name in ("audit.db", "audit.db-wal"))
    return {path.name: path.read_bytes() for path in paths if path.exists() and path.stat().st_size}


def rows(data_dir: Path, query: str = "SELECT sequence, kind, body FROM events ORDER BY sequence") -> list[Any]:
    """What is in the database, read beside whoever writes it."""
    with contextlib.closing(sqlite3.connect(f"file:{data_dir / 'audit.db'}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def kinds(data_dir: Path) -> list[str]:
    return [kind for _, kind, _ in rows(data_dir)]


def bodies(events: Sequence[Event]) -> list[JSONObject]:
    return [event.body() for event in events]
