"""The database fails over: restarts, standbys, connections cut around COMMIT. The next call works; no write runs twice."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import anyio.abc
import pytest

from mcp_gateway.errors import OutcomeLost, TargetFailed, TargetUnavailable
from mcp_gateway.targets.postgres import PostgresConnector
from tests.peers.hostile_postgres import Visit, hostile_postgres
from tests.peers.postgres import PostgresDatabase, PostgresServer, running_server
from tests.targets.postgres_settings import WRITE, connector, connector_for, rows, run, sleeping, statement
from tests.targets.test_postgres_hostile import connector_to
from tests.targets.test_postgres_hostile import run as run_at_peer
from tests.waiting import until

__all__ = ["connector"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R24")]

BACK_SECONDS = 5.0


@pytest.fixture
def own_server(postgres_programs: Any) -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with running_server(postgres_programs, settings={"wal_level": "replica"}) as server:
        yield server


@pytest.fixture
async def own(own_server: PostgresServer) -> AsyncIterator[PostgresConnector]:
    own_server.execute("CREATE TABLE users (id int)")
    database = PostgresDatabase(server=own_server, name="postgres", user="postgres", password=own_server.password)
    found = connector_for(database)
    yield found
    await found.aclose()


async def writes(connector: PostgresConnector, value: int) -> None:
    await run(connector, f"INSERT INTO users VALUES ({value})", **(WRITE | {"harmless": True}))


async def written(server: PostgresServer) -> list[int]:
    return [value for (value,) in server.execute("SELECT id FROM users ORDER BY id")]


async def fill(connector: PostgresConnector, count: int = 4) -> None:
    """Leave some idle sessions in the pool."""
    one = await statement(connector, "SELECT pg_sleep(0.05)")
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(connector.run, one)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_after_a_restart_the_next_call_works(
    own: PostgresConnector, own_server: PostgresServer, mode: str
) -> None:
    await fill(own)
    await anyio.to_thread.run_sync(lambda: own_server.restart(mode=mode))

    with anyio.fail_after(BACK_SECONDS):
        assert rows(await run(own, "SELECT 1")) == [[1]]
        await writes(own, 1)

    assert await written(own_server) == [1]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_what_runs_during_a_restart_fails_honestly_and_is_not_run_again(
    own: PostgresConnector, own_server: PostgresServer, mode: str
) -> None:
    caught: list[Exception] = []
    database = PostgresDatabase(server=own_server, name="postgres", user="postgres", password=own_server.password)

    async def interrupted(sql: str, **changes: Any) -> None:
        with pytest.raises(TargetFailed) as found:
            await run(own, sql, **changes)
        caught.append(found.value)

    async with anyio.create_task_group() as group:
        group.start_soon(interrupted, "SELECT pg_sleep(60)")
        group.start_soon(
            lambda: interrupted("INSERT INTO users SELECT 1 FROM pg_sleep(60)", read_only=False, harmless=True)
        )
        await until(lambda: len(sleeping(database)) == 2)
        await anyio.to_thread.run_sync(lambda: own_server.restart(mode=mode))

    assert sorted(str(error).rpartition("; ")[2] for error in caught) == [
        "it changed nothing",
        "it was not committed and changed nothing",
    ]
    assert await written(own_server) == []


async def test_a_standby_takes_no_writes_says_so_and_is_left_when_it_is_promoted(
    own: PostgresConnector, own_server: PostgresServer
) -> None:
    await fill(own)
    await anyio.to_thread.run_sync(lambda: own_server.restart(standby=True))

    assert rows(await run(own, "SELECT pg_is_in_recovery()")) == [[True]]
    with pytest.raises(TargetUnavailable) as caught:
        await writes(own, 1)
    assert str(caught.value) == (
        f"PostgreSQL at 127.0.0.1:{own_server.port} takes no writes at present: it is a standby, or is being "
        "replaced by one"
    )

    await anyio.to_thread.run_sync(own_server.promote)
    with anyio.fail_after(BACK_SECONDS):
        await writes(own, 2)
    assert await written(own_server) == [2]


async def test_a_name_that_leads_to_a_new_primary_is_followed_at_the_first_write(
    own_server: PostgresServer, postgres_database: PostgresDatabase
) -> None:
    """As where a name or a proxy moves while the old primary lives on as a standby, with sessions to it in the pool."""
    old = replace(postgres_database, server=own_server)
    own_server.execute(f"CREATE ROLE {old.user} LOGIN PASSWORD '{old.password}'")
    own_server.execute(f"CREATE DATABASE {old.name}")
    await anyio.to_thread.run_sync(lambda: own_server.restart(standby=True))
    postgres_database.execute("CREATE TABLE users (id int)")
    async with relay(own_server.port) as way:
        connector = connector_for(postgres_database, port=way.port)
        await fill(connector)
        way.leads_to = postgres_database.port

        with anyio.fail_after(BACK_SECONDS):
            await run(connector, "INSERT INTO users VALUES (1)", **WRITE)
            assert rows(await run(connector, "SELECT pg_is_in_recovery()")) == [[False]]
        await connector.aclose()
    assert postgres_database.execute("SELECT id FROM users") == [(1,)]


async def test_a_host_that_vanished_costs_one_call_and_no_more() -> None:
    """Its sessions in the pool are open and say nothing."""
    async with hostile_postgres() as peer:
        connector = connector_to(peer)
        together = anyio.Event()

        async def gather(visit: Visit) -> bool:
            if peer.faults == 3:
                together.set()
            await together.wait()
            await visit.send(answer())
            return True

        peer.misbehave, peer.at = gather, "rows"
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(lambda: run_at_peer(connector, timeout=timedelta(seconds=10)))
        vanished = list(peer.visits)

        async def silent(visit: Visit) -> bool:
            if visit in vanished:
                await visit.hang()
            await visit.send(b"C" + struct.pack("!i", 10) + b"BEGIN\0" + b"Z\0\0\0\5T")
            return True

        peer.misbehave, peer.at = silent, "BEGIN"
        with pytest.raises(TargetUnavailable, match="no session with PostgreSQL"):
            await run_at_peer(connector)
        with anyio.fail_after(BACK_SECONDS):
            await run_at_peer(connector, timeout=timedelta(seconds=10))
        peer.dismiss()
        await connector.aclose()


def answer() -> bytes:
    return b"2\0\0\0\4" + b"D" + struct.pack("!ihi", 14, 1, 4) + b"fine" + b"C" + struct.pack("!i", 13) + b"SELECT 1\0"


# A relay in front of a real server, which cuts the connection around COMMIT.


class Relay:
    """Passes bytes on; where it leads to may change, and it cuts a connection at a COMMIT if told."""

    def __init__(self, port: int) -> None:
        self.leads_to = port
        self.port = 0
        self.connections = 0
        self.cut: str = ""
        """`before` the COMMIT is passed on, or `after` it was, without its answer."""
        self._muted = False

    async def serve(self, client: anyio.abc.SocketStream) -> None:
        self.connections += 1
        async with (
            client,
            await anyio.connect_tcp("127.0.0.1", self.leads_to) as server,
            anyio.create_task_group() as group,
        ):
            group.start_soon(self._back, server, client, group.cancel_scope)
            await self._forth(client, server)
            group.cancel_scope.cancel()

    async def _forth(self, client: anyio.abc.SocketStream, server: anyio.abc.SocketStream) -> None:
        try:
            async for data in client:
                commits = b"COMMIT\0" in data
                if commits and self.cut == "before":
                    return
                if commits and self.cut == "after":
                    self._muted = True
                await server.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass

    async def _back(
        self, server: anyio.abc.SocketStream, client: anyio.abc.SocketStream, scope: anyio.CancelScope
    ) -> None:
        try:
            async for data in server:
                if self._muted:
                    break
                await client.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        self._muted = False
        scope.cancel()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[Relay]:
    found = Relay(port)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        found.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, found.serve)
            yield found
            group.cancel_scope.cancel()


@pytest.mark.parametrize(("cut", "there"), [("before", []), ("after", [(1,)])])
async def test_a_commit_that_is_not_answered_is_unknown_whatever_became_of_it(
    postgres_database: PostgresDatabase, cut: str, there: list[Any]
) -> None:
    postgres_database.execute("CREATE TABLE users (id int)")
    async with relay(postgres_database.port) as way:
        connector = connector_for(postgres_database, port=way.port)
        way.cut = cut
        with pytest.raises(
            OutcomeLost, match=r"was lost while the write was committed .*; whether it took effect is not"
        ):
            await writes(connector, 1)
        way.cut = ""
        with anyio.fail_after(BACK_SECONDS):
            assert rows(await run(connector, "SELECT 1")) == [[1]]
        await connector.aclose()
    assert postgres_database.execute("SELECT id FROM users") == there
    assert len([line for line in postgres_database.log_lines() if "INSERT INTO users VALUES (1)" in line]) == 1


async def test_a_write_whose_session_is_ended_before_its_commit_left_nothing(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TABLE users (id int)")

    async def ended() -> None:
        with pytest.raises(
            TargetFailed, match=r"was lost while the statement ran .*; it was not committed and changed"
        ):
            await run(connector, "INSERT INTO users SELECT 1 FROM pg_sleep(60)", read_only=False, harmless=True)

    async with anyio.create_task_group() as group:
        group.start_soon(ended)
        (pid,) = await until(lambda: sleeping(postgres_database))
        postgres_database.execute("SELECT pg_terminate_backend(%s)", [pid])
    assert postgres_database.execute("SELECT count(*) FROM users") == [(0,)]
    await writes(connector, 1)
    assert postgres_database.execute("SELECT id FROM users") == [(1,)]
