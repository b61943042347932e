"""Several gateway processes on one store: one chain, whoever writes (R31)."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

import pytest

from mcp_gateway.audit.store import Pace
from mcp_gateway.audit.verify import verify
from mcp_gateway.errors import StoreError
from tests.audit.programs import end, line, running
from tests.audit.records import kinds, loaded, opened_store, reopened, rows

pytestmark = pytest.mark.anyio
CALLS = 60


@pytest.mark.requirement("R31", "R35", "I3", "I6")
@pytest.mark.parametrize("processes", [2, 4])
async def test_processes_that_write_at_once_make_one_chain(tmp_path: Path, processes: int) -> None:
    data_dir = tmp_path / "data"
    with contextlib.ExitStack() as stack:
        neighbours = [
            stack.enter_context(running("call", data_dir, str(label), str(CALLS), "6")) for label in range(processes)
        ]
        for process in neighbours:
            assert line(process) == "ready"
        for process in neighbours:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in neighbours:
            end(process)

    found = verify(data_dir)
    counts = Counter(kinds(data_dir))
    assert found.flaw is None
    assert found.results == processes * CALLS
    assert [sequence for sequence, _, _ in rows(data_dir)] == list(range(1, processes * CALLS * 6 + 1))
    assert counts["Started"] == counts["Finished"] == counts["Answered"] == processes * CALLS
    assert rows(data_dir, "SELECT count(*) FROM intents") == [(0,)]


@pytest.mark.requirement("R31")
async def test_two_stores_in_one_process_share_the_chain(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as one, opened_store(tmp_path / "data") as other:
        for number in range(20):
            await one.append(loaded(number))
            await other.append(loaded(number))

    assert verify(tmp_path / "data").events == 40


@pytest.mark.requirement("R5", "R31")
@pytest.mark.parametrize("holder", ["lock_file", "lock_database"])
async def test_a_store_that_another_process_keeps_locked_closes_and_recovers(tmp_path: Path, holder: str) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded())
        with running(holder, tmp_path / "data") as process:
            line(process)
            with pytest.raises(StoreError, match=r"locked|another process has held"):
                await store.append(loaded())
            with pytest.raises(StoreError):
                await store.append(loaded())
            end(process)
        await reopened(store)
        await store.append(loaded())

    assert kinds(tmp_path / "data") == ["PolicyLoaded", "StoreReopened", "PolicyLoaded"]
    assert verify(tmp_path / "data").flaw is None


@pytest.mark.requirement("R5")
@pytest.mark.parametrize("holder", ["lock_file", "lock_database"])
async def test_a_store_that_is_locked_at_the_start_is_refused(tmp_path: Path, holder: str) -> None:
    async with opened_store(tmp_path / "data"):
        pass
    with running(holder, tmp_path / "data") as process:
        line(process)
        with pytest.raises(StoreError, match=r"locked|another process has held"):
            async with opened_store(tmp_path / "data"):
                pass


@pytest.mark.requirement("R5")
def test_no_call_waits_for_a_lock_for_longer_than_two_seconds() -> None:
    assert Pace().lock_wait_seconds == 2.0


@pytest.mark.requirement("R5")
async def test_a_reader_is_not_held_up_by_a_writer(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded())
        with running("lock_database", tmp_path / "data") as process:
            line(process)
            assert verify(tmp_path / "data").events == 1
            assert await store.read(
                lambda connection: connection.execute("SELECT count(*) FROM events").fetchone()
            ) == (1,)
