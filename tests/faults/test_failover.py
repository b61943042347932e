"""The database goes away and comes back, as a standby and promoted, and is lost around a COMMIT: before a whole gateway."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.faults.gateways import QUERY, Gateway, Targets
from tests.faults.served import served
from tests.faults.sizes import times
from tests.invariants.world import Effect, Witness, World, until
from tests.peers.postgres import PostgresDatabase, PostgresServer, own_database, running_server
from tests.peers.relay import Relay, relay

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R24"), pytest.mark.timeout(600)]

BACK_SECONDS = float(times(commit=15, full=5))
"""From the moment that the server takes sessions again; a machine that also runs other tests is late by itself."""
SLOW = "SELECT pg_sleep(60)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByWay(PostgresDatabase):
    """A database that a gateway reaches by a relay, and a test as it is."""

    way: int

    @property
    def port(self) -> int:
        """The relay's."""
        return self.way


class Kept:
    """What a witness saw until now."""

    def __init__(self, witness: Witness) -> None:
        self._effects = witness.effects()
        self._left = [] if until(lambda: not witness.left_open(), seconds=10) else witness.left_open()

    def effects(self) -> list[Effect]:
        """All of it, in order."""
        return self._effects

    def left_open(self) -> list[str]:
        """What was open at the end."""
        return self._left


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A gateway before a database that a test may stop, by a relay that it may cut."""

    gateway: Gateway
    server: PostgresServer
    name: str
    way: Relay
    log_start: int
    """Where the server's log ended at the beginning."""

    async def write(self, value: int) -> dict[str, Any]:
        """Insert a row, which somebody approves; how the insert ended."""
        call = ("query_database", {"target": "db", "sql": f"INSERT INTO notes VALUES ({value}, 'written')"})
        asked = await self.gateway.call(*call)
        assert asked["code"] == "approval_pending", asked
        assert await self.gateway.move("approve", asked["approval"]["id"]) == 200
        return await self.gateway.call(*call)

    def written(self, value: int) -> int:
        """How often the row is there."""
        ((count,),) = self.server.execute("SELECT count(*) FROM notes WHERE id = %s", [value], database=self.name)
        return int(count)

    def sent(self, text: str) -> int:
        """How often the server was told to run a text that begins so; a plan that was asked for is no run."""
        return len(re.findall(rf"execute [^:]+: {re.escape(text)}", self.server.log.read_text()[self.log_start :]))

    async def back(self, call: tuple[str, dict[str, Any]] = QUERY) -> float:
        """Wait until calls work again, which they do at the next one or a little later; seconds."""
        began = time.monotonic()
        with anyio.fail_after(BACK_SECONDS):
            while await self.gateway.code(*call) != "ok":
                await anyio.sleep(0.05)
        return time.monotonic() - began

    async def runs(self) -> None:
        """Wait until the slow statement runs."""
        text = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
        with anyio.fail_after(30):
            while not self.server.execute(text):
                await anyio.sleep(0.02)


@pytest.fixture(scope="module")
def own_server(postgres_programs: Any) -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with running_server(postgres_programs, settings={"wal_level": "replica"}) as server:
        yield server


@asynccontextmanager
async def scene(folder: Path, targets: Targets, world: World, server: PostgresServer) -> AsyncIterator[Scene]:
    """Set it up, and start the gateway."""
    with own_database(server) as database:
        async with relay(server.port) as way:
            by_way = replace(
                targets,
                database=ByWay(
                    server=server, name=database.name, user=database.user, password=database.password, way=way.port
                ),
            )
            log_start = len(server.log.read_text())
            async with served(folder, by_way, world=world) as gateway:
                yield Scene(gateway=gateway, server=server, name=database.name, way=way, log_start=log_start)
            # The database is gone when the world is judged.
            world.witnesses = [Kept(one) for one in world.witnesses]


def said_so(ended: dict[str, Any], words: str) -> None:
    """A statement that was lost says what is known of it; on a slow machine its time may have been over before."""
    assert ended["code"] in {"failed", "timeout"}, ended
    assert ended["code"] == "timeout" or words in ended["message"], ended


async def test_the_database_goes_away_and_comes_back(
    tmp_path: Path, world: World, targets: Targets, own_server: PostgresServer
) -> None:
    """One gateway lives through all of it; as a standby, and promoted, the server comes back last."""
    async with scene(tmp_path, targets, world, own_server) as found:
        for mode in ("immediate", "fast")[: times(commit=1, full=2)]:
            await restarted_under_a_read_and_a_write(found, mode=mode)
        await session_ended_and_connection_lost(found)
        for cut, there in (("before", 0), ("after", 1)):
            await commit_whose_answer_is_lost(found, cut=cut, there=there)
        await standby_that_is_promoted(found)


async def restarted_under_a_read_and_a_write(found: Scene, *, mode: str) -> None:
    ended: dict[str, dict[str, Any]] = {}
    text = f"INSERT INTO notes SELECT 500, '{mode}' FROM pg_sleep(60)"

    async def read() -> None:
        ended["read"] = await found.gateway.call("query_database", {"target": "db", "sql": SLOW})

    async def write() -> None:
        call = ("query_database", {"target": "db", "sql": text})
        asked = await found.gateway.call(*call)
        assert await found.gateway.move("approve", asked["approval"]["id"]) == 200
        ended["write"] = await found.gateway.call(*call)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        group.start_soon(write)
        await found.runs()
        with anyio.fail_after(30):
            while not found.sent(text):
                await anyio.sleep(0.02)
        await anyio.to_thread.run_sync(lambda: found.server.restart(mode=mode))
    said_so(ended["read"], "it changed nothing")
    said_so(ended["write"], "was not committed and changed nothing")
    assert await found.back() < BACK_SECONDS
    assert found.written(500) == 0
    assert found.sent(text) == 1


async def session_ended_and_connection_lost(found: Scene) -> None:
    """57P01 and 08006."""

    def end() -> None:
        found.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
            " AND pid <> pg_backend_pid()"
        )

    before = found.sent(SLOW)
    for how in (end, found.way.reset):
        ended: list[dict[str, Any]] = []

        async def read(ended: list[dict[str, Any]] = ended) -> None:
            ended.append(await found.gateway.call("query_database", {"target": "db", "sql": SLOW}))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await found.runs()
            how()
        said_so(ended[0], "it changed nothing")
        assert await found.gateway.code(*QUERY) == "ok"
    assert found.sent(SLOW) <= before + 2


async def commit_whose_answer_is_lost(found: Scene, *, cut: str, there: int) -> None:
    for number in range(times(commit=2, full=50)):
        row = 700 + 100 * there + number
        setattr(found.way, f"cut_{cut}", b"COMMIT\0")
        lost = await found.write(row)
        setattr(found.way, f"cut_{cut}", b"")
        found.way.mode = "pass"

        assert lost["code"] == "outcome_unknown", lost
        assert found.written(row) == there
        assert found.sent(f"INSERT INTO notes VALUES ({row},") == 1
        # What was approved ran, or may have: nobody runs it again for the same yes.
        again = ("query_database", {"target": "db", "sql": f"INSERT INTO notes VALUES ({row}, 'written')"})
        assert await found.gateway.code(*again) in {"already_run", "approval_pending"}
        assert found.written(row) == there


async def standby_that_is_promoted(found: Scene) -> None:
    """25006: nothing was written, and nobody tries again by himself."""
    await anyio.to_thread.run_sync(lambda: found.server.restart(standby=True))
    await found.back()
    refused = await found.write(600)
    await anyio.to_thread.run_sync(found.server.promote)
    # It is told as the session begins that it may not write: then nothing was sent.
    assert refused["code"] in {"failed", "target_unavailable"}, refused
    assert found.written(600) == 0
    began = time.monotonic()
    assert (await found.write(601)).get("code", "ok") == "ok"
    assert time.monotonic() - began < BACK_SECONDS
    assert found.written(601) == 1
    assert found.sent("INSERT INTO notes VALUES (600") <= 1
