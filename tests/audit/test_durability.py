"""What was acknowledged survives: `kill -9` at any moment (R1, R3 as far as a process can tell, R35)."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import anyio
import pytest

from mcp_gateway.audit.verify import verify
from mcp_gateway.errors import StoreError
from tests.audit.programs import line, rest, running
from tests.audit.records import kinds, loaded, opened_store, rows

pytestmark = pytest.mark.anyio


def policies(data_dir: Path) -> set[int]:
    return {number for (number,) in rows(data_dir, "SELECT json_extract(body, '$.policies') FROM events")}


@pytest.mark.requirement("R1", "I6")
async def test_what_was_acknowledged_is_there_after_kill_9(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    acknowledged: set[int] = set()
    for label in range(3):
        with running("write", data_dir, str(label)) as process:
            acknowledged |= {int(line(process)) for _ in range(random.randrange(1, 300))}
            process.kill()
            acknowledged |= {int(number) for number in rest(process)}

        found = verify(data_dir)
        assert found.flaw is None
        assert acknowledged <= policies(data_dir)

    async with opened_store(data_dir) as store:
        await store.append(loaded())
    assert verify(data_dir).events == len(kinds(data_dir)) >= len(acknowledged)


@pytest.mark.requirement("R1", "R31", "I6")
async def test_neighbours_that_are_killed_leave_each_other_a_whole_store(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    acknowledged: set[int] = set()
    async with opened_store(data_dir) as store:
        for label in range(0, 4, 2):
            with running("write", data_dir, str(label)) as one, running("write", data_dir, str(label + 1)) as other:
                for process in (one, other):
                    acknowledged |= {int(line(process)) for _ in range(random.randrange(1, 200))}
                    process.kill()
                    acknowledged |= {int(number) for number in rest(process)}
            await store.append(loaded(label))

    assert verify(data_dir).flaw is None
    assert acknowledged <= policies(data_dir)


HALF_MADE = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE migrations (name)")
for number in range(100):
    connection.execute("INSERT INTO migrations VALUES (randomblob(2000))")
os._exit(0)
"""
"""Its pages are in the file, and its journal says how to undo that."""


@pytest.mark.requirement("R1")
async def test_what_a_killed_maker_had_begun_is_taken_back(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    for name in ("audit.lock", "audit.db"):
        (data_dir / name).touch(mode=0o600)
    await anyio.run_process([sys.executable, "-c", HALF_MADE, str(data_dir / "audit.db")])
    assert (data_dir / "audit.db-journal").stat().st_size > 512

    async with opened_store(data_dir) as store:
        await store.append(loaded())
    assert verify(data_dir).flaw is None
    assert not (data_dir / "audit.db-journal").exists()


@pytest.mark.requirement("R1", "R6")
async def test_a_finished_store_is_not_changed_by_a_journal_that_lies_beside_it(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with opened_store(data_dir) as store:
        await store.append(loaded())
    half = tmp_path / "half.db"
    await anyio.run_process([sys.executable, "-c", HALF_MADE, str(half)])
    shutil.copy2(f"{half}-journal", data_dir / "audit.db-journal")
    (data_dir / "audit.db-journal").chmod(0o600)
    before = (data_dir / "audit.db").read_bytes()

    with pytest.raises(StoreError):
        async with opened_store(data_dir):
            pass
    assert (data_dir / "audit.db").read_bytes() == before
    (data_dir / "audit.db-journal").unlink()


@pytest.mark.requirement("R1")
@pytest.mark.parametrize("stage", ["", "audit.lock", "audit.db", "audit.db-wal", "audit.db-shm"])
async def test_a_store_whose_maker_was_killed_can_be_opened(tmp_path: Path, stage: str) -> None:
    with running("make", tmp_path / "data") as process:
        line(process)
        with anyio.fail_after(10):
            while not (tmp_path / "data" / stage).exists():
                await anyio.sleep(0)
        process.kill()

    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded())
    assert verify(tmp_path / "data").flaw is None
