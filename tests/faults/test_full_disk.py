"""R4: the disk of the audit store fills up under a gateway that serves: before an intent, before an outcome, in a checkpoint.

The gateway's standard error goes to the same disk, as it does where a supervisor keeps logs beside the data.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.audit.database import WAL_PAGES
from mcp_gateway.audit.verify import verify
from mcp_gateway.errors import StoreError
from tests.audit.records import opened_store, reopened, rows, run_call
from tests.faults.gateways import EACH_TOOL, REQUEST, Gateway
from tests.faults.sizes import times
from tests.faults.stores import fill, recovered, set_up, settled, small_disk
from tests.invariants.world import World, open_intents
from tests.peers.api import API, answer
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800), pytest.mark.requirement("R4", "I1", "I2", "I3")]

BIG_BYTES = 300_000
CHECKPOINT_BYTES = WAL_PAGES * 4096
LITTLE_BYTES = 200_000
"""Enough for a small record, far too little for a gateway to go on."""
MANY_CALLS = 300
UNKNOWN = "SELECT call_id FROM events WHERE kind = 'OutcomeUnknown'"
AT_ONCE = 4


async def closed(gateway: Gateway) -> int:
    """Call until the store has no room for a record; how many calls it still had room for."""
    for number in range(MANY_CALLS):
        code = await gateway.code(*REQUEST)
        if code != "ok":
            assert code == "audit_unavailable"
            return number
    raise AssertionError("a full disk has room for any number of calls")


def gaps(gateway: Gateway) -> list[tuple[str, int]]:
    """Each recorded time without a store: why, and how many records it refused."""
    found: list[tuple[str, int]] = rows(
        gateway.data,
        "SELECT json_extract(body, '$.cause'), json_extract(body, '$.refused') FROM events WHERE kind = 'StoreReopened'",
    )
    return found


async def test_a_full_disk_stops_every_call_and_withholds_every_result_until_there_is_space(
    tmp_path: Path, world: World, postgres_database: PostgresDatabase, ssh_server: SSHServer
) -> None:
    world.expected_errors = frozenset({"audit_unavailable"})
    with small_disk(tmp_path / "gateway", size="24m") as disk:
        async with set_up(tmp_path, world, postgres_database, ssh_server) as (gateway, api):
            await gateway.start()
            for round_ in range(times(commit=1, full=20)):
                await before_the_intent(gateway, api, disk, postgres_database)
                await before_the_outcome(gateway, api, disk)
                found = gaps(gateway)
                assert len(found) == 2 * (round_ + 1)
                assert all("no space left" in cause and refused >= 1 for cause, refused in found), found
            assert await gateway.end() == 0


async def before_the_intent(gateway: Gateway, api: API, disk: Path, database: PostgresDatabase) -> None:
    """From the first failure on nothing is sent, and a little space is not enough: a small record proves nothing."""
    assert [await gateway.code(*call) for call in EACH_TOOL] == ["ok"] * 3
    with read_by_an_auditor(gateway.data):
        filler = fill(disk)
        await closed(gateway)
        requests, statements = len(api.requests), len(database.log_lines())
        # Not by another filler: between the two there would be a moment with all the room that a self-test asks for.
        os.truncate(filler, filler.stat().st_size - LITTLE_BYTES)
        for _ in range(3):
            assert [await gateway.code(*call) for call in EACH_TOOL] == ["audit_unavailable"] * 3
            await anyio.sleep(0.6)  # longer than between half of the store's self-tests
    assert len(api.requests) == requests
    assert [line for line in database.log_lines()[statements:] if "SELECT id, text" in line] == []

    filler.unlink()
    await recovered(gateway)
    await settled(lambda: not open_intents(gateway.data))


@contextmanager
def read_by_an_auditor(data: Path) -> Iterator[None]:
    """As long as somebody reads, a store that is opened anew cannot make room by giving back its log."""
    with closing(sqlite3.connect(f"file:{data / 'audit.db'}?mode=ro", uri=True, isolation_level=None)) as auditor:
        auditor.execute("BEGIN")
        auditor.execute("SELECT count(*) FROM events").fetchone()
        yield


async def before_the_outcome(gateway: Gateway, api: API, disk: Path) -> None:
    """What was computed is withheld. Nobody knows what became of it, and the record says so without a restart."""
    api.held, api.answers = anyio.Event(), [answer(b"computed")]
    found: list[dict[str, Any]] = []

    async def call() -> None:
        found.append(await gateway.call(*REQUEST))

    requests = len(api.requests)
    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(call)
        await settled(lambda: len(api.requests) == requests + AT_ONCE, seconds=20)
        running = open_intents(gateway.data)
        filler = fill(disk)
        api.answers = [answer(b"result " * 3000)]  # more than what the log may have room for
        api.held.set()
    withheld = [one for one in found if one.get("code") == "audit_unavailable"]
    assert withheld
    assert all("result is withheld" in one["message"] for one in withheld)

    api.held, api.answers = None, [answer(b"ok")]
    filler.unlink()
    await recovered(gateway)
    await settled(lambda: not open_intents(gateway.data))
    unknown = {call_id for (call_id,) in rows(gateway.data, UNKNOWN)}
    assert {one["call_id"] for one in withheld} <= unknown & running


@pytest.mark.parametrize("left_bytes", [4096, 20_000, 50_000])
async def test_a_start_on_a_full_disk_says_so(tmp_path: Path, left_bytes: int) -> None:
    with small_disk(tmp_path / "disk", size="6m") as disk:
        async with opened_store(disk / "data") as store:
            await run_call(store, "before")
        filler = fill(disk, left_bytes=left_bytes)
        with pytest.raises(StoreError, match="there is no space left for it"):
            async with opened_store(disk / "data") as store:
                for number in range(100):
                    await run_call(store, f"c-{number}")
        filler.unlink()
        async with opened_store(disk / "data") as store:
            await run_call(store, "after")
        assert verify(disk / "data").flaw is None
        shutil.rmtree(disk / "data")


async def test_a_checkpoint_without_room_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The log has grown to where SQLite copies it into the database, and that has no room to grow."""
    with small_disk(tmp_path / "disk", size="48m") as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes(24 << 20))
        acknowledged: list[str] = []
        async with opened_store(disk / "data") as store:
            with pytest.raises(StoreError, match="no space left"):
                for number in range(100):
                    await run_call(store, f"c-{number}", result=os.urandom(BIG_BYTES))
                    acknowledged.append(f"c-{number}")
            database, log = disk / "data" / "audit.db", disk / "data" / "audit.db-wal"
            before = database.stat().st_size
            assert log.stat().st_size > CHECKPOINT_BYTES > before
            filler.unlink()
            await reopened(store)
            await run_call(store, "after")
            assert database.stat().st_size > before, "it was caught up with"
        finished = rows(disk / "data", "SELECT call_id FROM events WHERE kind = 'Finished'")
        assert {call_id for (call_id,) in finished} >= {*acknowledged, "after"}
        found = verify(disk / "data")
        assert found.flaw is None
        assert found.results == len(finished)
        # The last call's intent is open: no gateway runs here that would close it.
        shutil.rmtree(disk / "data")
