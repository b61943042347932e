"""Trouble in the one exchange of a statement: it is told as it is of one that goes step by step, and nothing runs twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import anyio
import pytest

from mcp_gateway.errors import TargetError, TargetFailed, TargetTimeout, TargetUnavailable
from mcp_gateway.targets.postgres import PostgresConnector
from tests.peers.postgres import PostgresDatabase
from tests.peers.relay import Relay, relay
from tests.targets.postgres_settings import alike, connector, connector_for, rows, run, sleeping, statement
from tests.targets.test_postgres_at_once import PEOPLE, RELATIONS, Exchanges, exchanges, outcome, waiting, warm
from tests.waiting import until

__all__ = ["connector", "exchanges"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R24")]

WAYS: dict[str, dict[str, Any]] = {"at once": {}, "step by step": {"shape": None}}
NAME = "SELECT name FROM people WHERE id = {}"


@asynccontextmanager
async def behind_relay(peer: PostgresDatabase) -> AsyncIterator[tuple[PostgresConnector, Relay]]:
    async with relay(peer.port) as between:
        connector = connector_for(peer, port=between.port)
        try:
            yield connector, between
        finally:
            between.reset()
            await connector.aclose()


def executed(peer: PostgresDatabase, text: str) -> int:
    """How often the server ran it."""
    return sum("execute <unnamed>" in line and text in line for line in peer.log_lines())


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_that_is_reset_while_it_runs_is_told_and_nothing_runs_again(
    postgres_database: PostgresDatabase, way: str
) -> None:
    async with behind_relay(postgres_database) as (connector, between):
        await warm(connector, "SELECT pg_sleep(0)", **WAYS[way])

        async def lost() -> None:
            with pytest.raises(TargetFailed, match=r"lost while the statement ran.*; it changed nothing$"):
                await run(connector, "SELECT pg_sleep(30)", **WAYS[way])

        async with anyio.create_task_group() as group:
            group.start_soon(lost)
            await until(lambda: sleeping(postgres_database))
            between.reset()
        assert executed(postgres_database, "pg_sleep(30)") == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_falls_silent_while_it_runs_is_not_taken_for_one_that_is_away(
    postgres_database: PostgresDatabase, way: str
) -> None:
    async with behind_relay(postgres_database) as (connector, between):
        await warm(connector, "SELECT pg_sleep(0)", **WAYS[way])
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(run, connector, "SELECT pg_sleep(0.2)")
        idle = len(connector._sessions._idle)
        assert idle > 1

        async def late() -> None:
            with pytest.raises(TargetTimeout, match=r"did not end within 1 s and was cancelled$"):
                await run(connector, "SELECT pg_sleep(60)", timeout=timedelta(seconds=1), **WAYS[way])

        async with anyio.create_task_group() as group:
            group.start_soon(late)
            await until(lambda: sleeping(postgres_database))
            between.mode = "silence"
        assert len(connector._sessions._idle) == idle - 1, "the others are not suspected"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("ending", "error", "message"),
    [
        ("pg_cancel_backend", TargetFailed, "57014"),
        ("pg_terminate_backend", TargetUnavailable, "lost before the statement ran"),
    ],
)
async def test_what_ends_it_while_it_waits_to_be_parsed_is_told_and_it_does_not_run(
    connector: PostgresConnector,
    postgres_database: PostgresDatabase,
    way: str,
    ending: str,
    error: type[Exception],
    message: str,
) -> None:
    postgres_database.execute(PEOPLE)
    await warm(connector, NAME.format(1), **RELATIONS, **WAYS[way])

    async def ended() -> None:
        with pytest.raises(error, match=message):
            await run(connector, NAME.format(2), **RELATIONS, **WAYS[way])

    with postgres_database.server.connect(postgres_database.name) as other:
        other.execute("BEGIN; LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
        async with anyio.create_task_group() as group:
            group.start_soon(ended)
            ((pid,),) = await until(lambda: waiting(postgres_database))
            postgres_database.execute(f"SELECT {ending}(%s)", [pid])
        other.execute("COMMIT")
    assert not executed(postgres_database, NAME.format(2))
    assert rows(await run(connector, NAME.format(3), **RELATIONS, **WAYS[way])) == [["p3"]]


@pytest.mark.parametrize("way", WAYS)
async def test_a_lock_that_is_not_given_in_time_is_the_servers_to_tell(
    connector: PostgresConnector, postgres_database: PostgresDatabase, way: str
) -> None:
    postgres_database.execute(PEOPLE)
    await warm(connector, NAME.format(1), **RELATIONS, **WAYS[way])
    mark = len(postgres_database.log_lines())
    with postgres_database.server.connect(postgres_database.name) as other:
        other.execute("BEGIN; LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TargetTimeout, match="did not end within 1 s"):
            await run(connector, NAME.format(2), timeout=timedelta(seconds=1), **RELATIONS, **WAYS[way])
    said = [line for line in postgres_database.log_lines()[mark:] if "canceling statement" in line]
    assert len(said) == 1 and "due to statement timeout" in said[0], "it is not cancelled from here"


DIFFERENT = {
    "parameters of another type": (
        ('SELECT count(*) FROM t WHERE "w (2)" = $1', [[1, 2]]),
        ('SELECT count(*) FROM t WHERE "w (1)" = $1', [[1, 2]]),
    ),
    "another number of parameters": (("SELECT /* 'abc' */ 7", []), ("SELECT /* '*/ $1::int, /*' */ 7", [])),
    "an error, and other columns": (('SELECT 1 AS "w (1)"', []), ("SELECT 1 / 0, 'x' AS \"w (2)\"", [])),
}


@pytest.mark.parametrize("what", DIFFERENT)
async def test_what_is_taken_for_a_statement_of_another_shape_has_its_own_outcome(
    connector: PostgresConnector, postgres_database: PostgresDatabase, exchanges: Exchanges, what: str
) -> None:
    """Parameters are sent as those of the other one; what comes of that is not told."""
    postgres_database.execute(
        """CREATE TABLE t ("w (1)" jsonb, "w (2)" int[]); INSERT INTO t VALUES ('[1, 2]', '{1,2}'); GRANT SELECT ON t TO PUBLIC"""
    )
    (first, values), (second, others) = DIFFERENT[what]
    one = await statement(connector, first, values, relations=["t"])
    for _ in range(2):
        await connector.run(one)
    for _ in range(2):
        same = await statement(connector, second, others, relations=["t"], shape=alike(first))
        alone = await statement(connector, second, others, relations=["t"], shape=None)
        assert await outcome(connector, same) == await outcome(connector, alone)
    assert exchanges.outcomes[:1] == ["done"]
    assert exchanges.outcomes.count("NotAtOnce") <= 1


async def test_a_cancellation_that_comes_late_ends_nothing_for_good(
    connector: PostgresConnector, postgres_database: PostgresDatabase, exchanges: Exchanges
) -> None:
    """A session would else do without for half an hour."""
    postgres_database.execute(PEOPLE)
    await warm(connector, NAME.format(1), **RELATIONS)
    (session,) = connector._sessions._idle
    storm = """DO $$ BEGIN FOR i IN 1..300 LOOP
        PERFORM pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND application_name LIKE 'mcp-gateway%' AND application_name <> 'mcp-gateway/catalog';
        PERFORM pg_stat_clear_snapshot(); END LOOP; END $$"""
    done = anyio.Event()

    async def cancelling() -> None:
        await anyio.to_thread.run_sync(postgres_database.execute, storm)
        done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(cancelling)
        while not done.is_set():
            with suppress(TargetError):
                assert rows(await run(connector, NAME.format(2), **RELATIONS)) == [["p2"]]
    assert session.at_once.possible
    await warm(connector, NAME.format(2), **RELATIONS)
    assert exchanges.outcomes[-1] == "done"


async def test_what_is_large_to_keep_is_not_kept(connector: PostgresConnector) -> None:
    """An agent can have as many shapes as it likes, and what the driver knows of 1,500 columns is a megabyte."""
    await warm(connector, "SELECT " + ", ".join(f"1 AS column_{number}" for number in range(1500)), times=2)
    await warm(connector, "SELECT 1", times=2)
    (kept,) = connector.shapes._prepared.values()
    assert kept and len(kept.described) < 100
