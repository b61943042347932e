"""Behind a connection pooler a session is not what it was opened as: the gateway says so and runs nothing there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mcp_gateway.errors import TargetUnavailable
from mcp_gateway.targets.postgres_opening import SETTINGS, not_taken
from tests.peers.hostile_postgres import HostilePostgres, hostile_postgres
from tests.peers.pgbouncer import running_pgbouncer
from tests.peers.postgres import PostgresDatabase
from tests.targets.postgres_settings import connector_for, rows, run
from tests.targets.test_postgres_hostile import connector_to
from tests.targets.test_postgres_hostile import run as run_at_peer

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("I7")]

TO_POSTGRESQL = "set the target's host and port to those of PostgreSQL itself"
OF_CALLS = ("search_path", "statement_timeout", "idle_in_transaction_session_timeout")


@pytest.fixture
async def peer() -> AsyncIterator[HostilePostgres]:
    async with hostile_postgres() as found:
        yield found
        found.dismiss()


@pytest.mark.parametrize("name", sorted({*SETTINGS, *OF_CALLS} - {"jit"}))
async def test_a_session_without_one_of_its_settings_runs_nothing(peer: HostilePostgres, name: str) -> None:
    peer.without = frozenset({name})
    connector = connector_to(peer)

    with pytest.raises(TargetUnavailable, match=f"do not have the {name} that they are opened with.*; {TO_POSTGRESQL}"):
        await run_at_peer(connector)

    assert not any(said.startswith(("SELECT name", "BEGIN")) for said in peer.received)
    await connector.aclose()


@pytest.mark.parametrize(
    "said", [b"", b"fine", b"[]", b"null", b"{}", b'{"DateStyle": 1}', b'{"search_path": ["public"]}']
)
async def test_a_server_that_says_of_its_settings_what_none_would_say_runs_nothing(
    peer: HostilePostgres, said: bytes
) -> None:
    peer.said_of_settings = said
    connector = connector_to(peer)

    with pytest.raises(TargetUnavailable):
        await run_at_peer(connector)

    assert not any(text.startswith(("SELECT name", "BEGIN")) for text in peer.received)
    await connector.aclose()


@pytest.mark.parametrize("name", ["search_path", "statement_timeout", "DateStyle"])
async def test_a_setting_of_another_value_is_not_taken_for_the_sessions_own(name: str) -> None:
    wanted = {"search_path": '"public", "pg_temp"', "statement_timeout": "30000", "DateStyle": "ISO"}
    found = wanted | {"DateStyle": "ISO, DMY", "client_encoding": "UTF8"}

    assert not_taken(wanted, found=found) == []
    assert not_taken(wanted, found=found | {name: found[name] + "0"}) in ([name], [])
    assert not_taken(wanted, found={**found, name: "SQL, DMY"}) == [name]
    assert not_taken(wanted, found={other: value for other, value in found.items() if other != name}) == [name]


async def test_what_a_role_or_a_database_has_set_stands_behind_what_a_session_is_opened_with(
    postgres_database: PostgresDatabase,
) -> None:
    postgres_database.execute(f"ALTER ROLE {postgres_database.user} SET DateStyle = 'SQL, DMY'")
    postgres_database.execute(f"ALTER ROLE {postgres_database.user} SET default_transaction_read_only = off")
    postgres_database.execute(f"ALTER ROLE {postgres_database.user} SET statement_timeout = '7s'")
    connector = connector_for(postgres_database)
    try:
        sql = "SELECT current_setting('DateStyle'), current_setting('default_transaction_read_only')"
        assert rows(await run(connector, sql)) == [["ISO, MDY", "on"]]
    finally:
        await connector.aclose()


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
async def test_pgbouncer_is_refused_as_it_is(postgres_database: PostgresDatabase, mode: str) -> None:
    with running_pgbouncer(postgres_database, mode=mode) as port:
        connector = connector_for(postgres_database, port=port)
        with pytest.raises(TargetUnavailable, match=f"refuses what sessions are opened with.*; {TO_POSTGRESQL}"):
            await run(connector, "SELECT 1")
        await connector.aclose()


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
async def test_pgbouncer_is_refused_where_it_leaves_settings_out(
    postgres_database: PostgresDatabase, mode: str
) -> None:
    ignored = ", ".join(sorted({*SETTINGS, *OF_CALLS}))
    with running_pgbouncer(postgres_database, mode=mode, ignored=ignored) as port:
        connector = connector_for(postgres_database, port=port)
        with pytest.raises(TargetUnavailable, match=f"cannot be used: .*; .*{TO_POSTGRESQL}"):
            await run(connector, "SELECT 'of the agent'")
        await connector.aclose()

    assert not any("of the agent" in line for line in postgres_database.log_lines())
