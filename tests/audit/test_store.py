"""The store in one process, with nothing going wrong outside it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sqlite3
import threading
from pathlib import Path

import anyio
import pytest

from mcp_gateway.audit.store import Pace, Transaction
from mcp_gateway.audit.verify import verify
from mcp_gateway.audit.writer import MAX_GROUP
from mcp_gateway.errors import LimitError, StoreError
from tests.audit.records import bodies, busy, finished, kinds, loaded, opened_store, rows, run_call, started

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("I6")
async def test_what_was_appended_is_in_the_store_in_order(tmp_path: Path) -> None:
    events = [loaded(number) for number in range(5)]
    async with opened_store(tmp_path / "data") as store:
        for event in events:
            await store.append(event)

    found = rows(tmp_path / "data", "SELECT json(body) FROM events ORDER BY sequence")
    assert len(found) == len(bodies(events)) == 5
    assert verify(tmp_path / "data").flaw is None


@pytest.mark.requirement("I6")
async def test_a_chain_goes_on_where_it_ended_before_the_restart(tmp_path: Path) -> None:
    for _ in range(3):
        async with opened_store(tmp_path / "data") as store:
            await run_call(store, f"c-{store.attempts}-{_}")

    found = verify(tmp_path / "data")
    assert (found.events, found.results, found.flaw) == (18, 3, None)


@pytest.mark.requirement("R3")
async def test_every_commit_is_synced(tmp_path: Path) -> None:
    """In WAL mode only FULL syncs at each commit (sqlite.org/pragma.html#pragma_synchronous)."""
    async with opened_store(tmp_path / "data") as store:
        found = await store.transact(
            lambda tx: [
                tx.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("synchronous", "journal_mode", "fullfsync", "wal_autocheckpoint", "trusted_schema")
            ]
        )

    assert found == [2, "wal", 1, 4000, 0]


async def test_a_unit_that_raises_is_rolled_back_alone(tmp_path: Path) -> None:
    def fail(tx: Transaction) -> None:
        tx.append(loaded(99))
        tx.append(started("x"))
        tx.save_result("x", b"x")
        raise LimitError("too many", next_step="wait")

    async with opened_store(tmp_path / "data") as store:
        commits = store.commits
        async with busy(store):
            units = [
                asyncio.ensure_future(store.transact(fail) if number % 3 == 1 else store.append(loaded(number)))
                for number in range(30)
            ]
            await anyio.sleep(0)
        done = await asyncio.gather(*units, return_exceptions=True)

        assert [type(outcome) for outcome in done] == [LimitError if n % 3 == 1 else tuple for n in range(30)]
        assert str(done[1]) == "too many"
        assert store.commits - commits == 2
    numbers = [row[0] for row in rows(tmp_path / "data", "SELECT json_extract(body, '$.policies') FROM events")]
    assert numbers == [number for number in range(30) if number % 3 != 1]
    assert rows(tmp_path / "data", "SELECT count(*) FROM intents") == [(0,)]
    assert verify(tmp_path / "data").flaw is None


async def test_a_broken_statement_is_its_unit_s_own_fault(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        with pytest.raises(StoreError, match="refuses this record: no such table: elsewhere"):
            await store.transact(lambda tx: tx.execute("SELECT * FROM elsewhere"))

        assert store.failure is None
        await store.append(loaded())


async def test_a_unit_that_swallows_its_own_mistake_keeps_the_rest(tmp_path: Path) -> None:
    def work(tx: Transaction) -> None:
        tx.append(loaded(1))
        with contextlib.suppress(sqlite3.Error):
            tx.execute("INSERT INTO results (call_id) VALUES ('x')")

    async with opened_store(tmp_path / "data") as store:
        await store.transact(work)

    assert kinds(tmp_path / "data") == ["PolicyLoaded"]


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK"])
async def test_a_unit_that_ends_the_transaction_acknowledges_nothing(tmp_path: Path, statement: str) -> None:
    async with opened_store(tmp_path / "data", pace=Pace(retry_seconds=0.01)) as store:
        with pytest.raises(StoreError, match=r"a unit ended the transaction that it ran in|no such savepoint"):
            await store.transact(lambda tx: (tx.append(loaded()), tx.execute(statement)))
        with anyio.fail_after(5):
            while store.failure is not None:
                await anyio.sleep(0.01)
        await store.append(loaded())

    assert verify(tmp_path / "data").flaw is None


async def test_many_callers_share_few_commits(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        commits = store.commits
        async with anyio.create_task_group() as group:
            for number in range(600):
                group.start_soon(store.append, loaded(number))

        assert store.commits - commits < 60
    assert verify(tmp_path / "data").events == 600


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("calls", "units"), [(3, 2), (4, 3), (8, 6)])
async def test_records_wait_for_each_other_where_several_calls_are_under_way(
    tmp_path: Path, calls: int, units: int
) -> None:
    async with (
        opened_store(tmp_path / "data", pace=Pace(gather_seconds=120.0)) as store,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(calls):
            stack.enter_context(store.call_under_way())
        before = store.commits
        records = [asyncio.ensure_future(store.append(loaded(number))) for number in range(units - 1)]
        await anyio.sleep(0.05)
        assert not any(record.done() for record in records)
        await store.append(loaded(units))
        await asyncio.gather(*records)

        assert store.commits - before == 1
    assert verify(tmp_path / "data").events == units


@pytest.mark.timeout(60)
@pytest.mark.parametrize("held_up", [0, 2])
async def test_where_few_calls_are_on_their_way_nobody_is_waited_for(tmp_path: Path, held_up: int) -> None:
    async with (
        opened_store(tmp_path / "data", pace=Pace(gather_seconds=120.0)) as store,
        contextlib.AsyncExitStack() as stack,
    ):
        for number in range(2 + held_up):
            stack.enter_context(store.call_under_way())
            if number < held_up:
                stack.enter_context(store.call_held_up())
        for number in range(2):
            await store.append(loaded(number))

        assert store.calls_under_way == 2 + held_up


async def test_a_group_is_bounded(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        commits = store.commits
        async with busy(store):
            units = [asyncio.ensure_future(store.append(loaded(number))) for number in range(2 * MAX_GROUP)]
            await anyio.sleep(0)
        await asyncio.gather(*units)

        assert store.commits - commits == 3


async def test_the_units_of_one_caller_are_written_in_their_order(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        units = [asyncio.ensure_future(store.append(loaded(number))) for number in range(200)]
        await asyncio.gather(*units)

    found = rows(tmp_path / "data", "SELECT json_extract(body, '$.policies') FROM events ORDER BY sequence")
    assert [number for (number,) in found] == list(range(200))


async def test_a_reader_sees_what_was_committed_while_others_write(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:

        async def write() -> None:
            for number in range(100):
                await store.append(loaded(number), loaded(number))

        async def read() -> None:
            for _ in range(50):
                first, second = await store.read(
                    lambda connection: (
                        connection.execute("SELECT count(*) FROM events").fetchone()[0],
                        connection.execute("SELECT max(sequence) FROM events").fetchone()[0] or 0,
                    )
                )
                assert first == second
                assert first % 2 == 0

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            for _ in range(6):
                group.start_soon(read)


async def test_a_caller_reads_what_it_has_just_written(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        for number in range(20):
            (sequence,) = await store.append(loaded(number))
            assert (
                await store.read(
                    lambda connection: connection.execute("SELECT max(sequence) FROM events").fetchone()[0]
                )
                == sequence
            )


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        with pytest.raises(StoreError, match="it cannot be written"):
            await store.read(lambda connection: connection.execute("DELETE FROM intents"))

        assert await store.read(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)


async def test_a_reader_s_own_exception_comes_back(tmp_path: Path) -> None:
    def work(_: sqlite3.Connection) -> None:
        raise LimitError("no", next_step="")

    async with opened_store(tmp_path / "data") as store:
        with pytest.raises(LimitError):
            await store.read(work)


async def test_a_broken_query_is_refused(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        with pytest.raises(StoreError, match="refuses this query: no such column"):
            await store.read(lambda connection: connection.execute("SELECT elsewhere FROM events"))


async def test_how_a_call_ended_can_be_asked(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("a"), started("b"), finished("a"))

        assert [await store.outcome_of(call_id) for call_id in ("a", "b", "c")] == ["ok", None, None]


# Cancellation: the contract in the module's docstring.


@pytest.mark.parametrize("how", ["scope", "task", "time-out"])
async def test_a_cancelled_caller_s_unit_is_written_and_its_group_is_whole(tmp_path: Path, how: str) -> None:
    answered: list[object] = []

    async with opened_store(tmp_path / "data") as store:

        async def caller() -> None:
            answered.append(await store.append(loaded(1)))
            await anyio.sleep(0)
            answered.append("went on")

        async with busy(store) as gate:
            other = asyncio.ensure_future(store.append(loaded(2)))
            match how:
                case "scope":
                    with anyio.CancelScope() as scope:
                        async with anyio.create_task_group() as group:
                            group.start_soon(caller)
                            await anyio.wait_all_tasks_blocked()
                            scope.cancel()
                            threading.Timer(0.02, gate.set).start()
                    assert scope.cancelled_caught
                case "task":
                    task = asyncio.ensure_future(caller())
                    await anyio.sleep(0)
                    task.cancel()
                    await anyio.sleep(0)
                    task.cancel()
                    await anyio.sleep(0)
                    gate.set()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                case _:
                    threading.Timer(0.05, gate.set).start()
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.001):
                            await caller()
            await other

        assert answered in ([(1,)], [(2,)])
        await store.append(loaded(3))
    assert verify(tmp_path / "data").events == 3
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_a_cancelled_caller_still_learns_that_the_store_refused(tmp_path: Path) -> None:
    learnt: list[str] = []

    async with opened_store(tmp_path / "data") as store:

        async def caller() -> None:
            try:
                await store.append(started("c"), started("c"))
            except StoreError as error:
                learnt.append(str(error))
                raise

        async with busy(store):
            task = asyncio.ensure_future(caller())
            await anyio.sleep(0)
            task.cancel()
            await anyio.sleep(0)
        await asyncio.wait([task])

    assert learnt == ["call 'c' has 'Started' on record already; report this, with the call's record"]
    assert isinstance(task.exception(), StoreError)


async def test_a_caller_is_told_when_the_disk_does_not_answer(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data", pace=Pace(answer_seconds=0.05)) as store:
        async with busy(store, event=loaded(1)):
            with pytest.raises(StoreError) as raised:
                await store.append(loaded(2))
        await store.read(lambda connection: connection.total_changes)

    assert str(raised.value) == (
        "the audit store has not answered for 0.05 s; the record may still be written; check the disk"
    )
    # What had begun is written; what still waited is not, for nobody waits for it any more.
    assert verify(tmp_path / "data").events == 1


# Closing.


async def test_what_waits_is_written_before_the_store_closes(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        units = [asyncio.ensure_future(store.append(loaded(number))) for number in range(100)]
        await anyio.sleep(0)
    await asyncio.gather(*units)

    assert verify(tmp_path / "data").events == 100


async def test_a_closed_store_refuses(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        pass
    await store.aclose()

    for attempt in (store.append(loaded()), store.read(lambda connection: connection.total_changes)):
        with pytest.raises(StoreError, match="the audit store is closed"):
            await attempt


@pytest.mark.requirement("I8")
async def test_a_store_leaves_no_thread_and_no_open_file(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "warm-up") as store:
        await store.read(lambda connection: connection.total_changes)
    gc.collect()
    threads, files = set(threading.enumerate()), len(list(Path("/dev/fd").iterdir()))
    for number in range(5):
        async with opened_store(tmp_path / f"data-{number}") as store:
            await store.append(loaded())
            await store.read(lambda connection: connection.total_changes)
    gc.collect()

    assert {thread.name for thread in set(threading.enumerate()) - threads if "audit" in thread.name} == set()
    assert len(list(Path("/dev/fd").iterdir())) == files


@pytest.mark.requirement("R31")
async def test_a_store_is_of_no_use_after_a_fork(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded())
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            try:
                store._writer.refuse_if_closed()
                os.write(writer, b"it went on")
            except StoreError as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        said = os.read(reader, 1000).decode()
        os.close(reader)

        assert said == "the audit store was opened by another process; open it after the fork"
        await store.append(loaded())
    assert verify(tmp_path / "data").flaw is None
