"""What a durable event costs, against a bare SQLite insert with the same guarantees.

    python benchmarks/audit_store.py [--rounds N] [--dir DIR]

The floor is what nobody can do without: one INSERT of the same bytes in one durable commit (WAL, synchronous=FULL), by
`sqlite3` alone, in one thread; for n callers, n inserts in one commit. The store adds the chain, the savepoint for each
unit, the lock that processes share, the looks at its files, and two thread changes. Rounds of floor and store take
turns; medians and their ratio are printed. `verify` is measured on what was written, `open` on the same store.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mcp_gateway.audit.chain import encode_body
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.audit.verify import verify
from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.events import Answered, Finished, Identified, Started

CALLERS = (1, 16, 128)
EVENTS_PER_ROUND = {1: 300, 16: 3200, 128: 12_800}
CALLS_TO_VERIFY = 5000
RESULT = b'{"columns":[{"name":"id","type":"int8"}],"rows":[[1],[2],[3]],"row_count":3,"masked":{}}' * 12


def event(call_id: str) -> Identified:
    return Identified(
        at=utc_now(),
        call_id=call_id,
        issuer="https://idp.example.com/realms/corp",
        subject="f:4c2b:dana",
        actor="agent-1",
        email="dana@example.com",
        groups=frozenset({"dba", "payments"}),
        scopes=frozenset({"db"}),
        token_id="0123456789abcdef",
        token_issued_at=datetime(2026, 11, 24, tzinfo=UTC),
        token_expires_at=datetime(2026, 11, 24, tzinfo=UTC),
        assurance="token",
    )


class Floor:
    """Bare durable inserts of the same bytes, with the one index that finding a call needs."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(
            "CREATE TABLE events (sequence INTEGER PRIMARY KEY, at TEXT, call_id TEXT, kind TEXT, body TEXT, hash BLOB)"
        )
        self._connection.execute("CREATE INDEX by_call ON events (call_id)")
        self._body = encode_body(event("x").body())

    def round(self, *, callers: int, events: int) -> float:
        begin = time.perf_counter()
        for _ in range(events // callers):
            self._connection.execute("BEGIN IMMEDIATE")
            for _ in range(callers):
                self._connection.execute(
                    "INSERT INTO events (at, call_id, kind, body, hash) VALUES (?, ?, ?, ?, ?)",
                    ("2026-11-24T12:00:00.000000+00:00", new_id(), "Identified", self._body, bytes(32)),
                )
            self._connection.execute("COMMIT")
        return time.perf_counter() - begin

    def close(self) -> None:
        self._connection.close()


async def store_round(store: AuditStore, *, callers: int, events: int) -> float:
    async def caller() -> None:
        for _ in range(events // callers):
            await store.append(event(new_id()))

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return time.perf_counter() - begin


async def measure_appends(directory: Path, *, rounds: int) -> None:
    print(f"{'callers':>8} {'floor/s':>10} {'store/s':>10} {'ratio':>6} {'latency ms':>11} {'events/commit':>14}")
    store = await AuditStore.open(directory / "data", clock=utc_now)
    with closing(Floor(directory / "floor.db")) as floor:
        for callers in CALLERS:
            events = EVENTS_PER_ROUND[callers]
            floors, stores = [], []
            commits = store.commits
            for _ in range(rounds):
                floors.append(floor.round(callers=callers, events=events))
                stores.append(await store_round(store, callers=callers, events=events))
            per_commit = rounds * events / (store.commits - commits)
            bare, whole = events / statistics.median(floors), events / statistics.median(stores)
            print(
                f"{callers:>8} {bare:>10.0f} {whole:>10.0f} {whole / bare:>6.2f} {1000 * callers / whole:>11.2f}"
                f" {per_commit:>14.1f}"
            )
    await store.aclose()


async def write_calls(data_dir: Path) -> None:
    """Calls with results, many in a transaction: what `verify` then reads."""
    store = await AuditStore.open(data_dir, clock=utc_now)
    for _ in range(CALLS_TO_VERIFY // 100):

        def work(tx):  # type: ignore[no-untyped-def]
            for _ in range(100):
                call_id, now = new_id(), utc_now()
                tx.append(event(call_id))
                tx.append(Started(at=now, call_id=call_id, target="orders", tool="query_database", instance="here"))
                digest = tx.save_result(call_id, RESULT)
                tx.append(
                    Finished(
                        at=now, call_id=call_id, duration=timedelta(seconds=1), masked={}, rows=3, result_hash=digest
                    )
                )
                tx.append(Answered(at=now, call_id=call_id, code="ok"))

        await store.transact(work)
    await store.aclose()


def median_seconds(work: Callable[[], object], *, rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def measure_verify(directory: Path, *, rounds: int) -> None:
    for name, data_dir in (("plain events", directory / "data"), ("whole calls with results", directory / "calls")):
        found = verify(data_dir)
        assert found.flaw is None
        seconds = median_seconds(lambda data_dir=data_dir: verify(data_dir), rounds=rounds)  # type: ignore[misc]
        print(f"verify, {name}: {found.events} events, {found.results} results: {found.events / seconds:,.0f} events/s")

    async def open_and_close() -> None:
        await (await AuditStore.open(directory / "data", clock=utc_now)).aclose()

    seconds = median_seconds(lambda: asyncio.run(open_and_close()), rounds=rounds)
    print(f"open and close a store of {verify(directory / 'data').events} events: {1000 * seconds:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, default=None, help="a directory on the disk to measure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as directory:
        asyncio.run(measure_appends(Path(directory), rounds=arguments.rounds))
        asyncio.run(write_calls(Path(directory) / "calls"))
        measure_verify(Path(directory), rounds=arguments.rounds)


if __name__ == "__main__":
    main()
