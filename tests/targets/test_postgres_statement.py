"""Statements of agents against a real server: forms, limits, transactions, ways to end, sessions, errors."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.errors import TargetFailed, TargetTimeout, TargetUnavailable
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.targets.postgres_errors import SnapshotStale
from mcp_gateway.targets.postgres_preface import OWN
from tests.peers.postgres import PostgresDatabase
from tests.targets.postgres_settings import (
    CALL_ID,
    WRITE,
    connector,
    connector_for,
    rows,
    run,
    sessions,
    sleeping,
    statement,
)
from tests.waiting import until

__all__ = ["connector"]

pytestmark = pytest.mark.anyio


# What runs, and in which form it comes back.


async def test_the_agents_text_runs_unchanged_under_the_calls_name(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    sql = "SELECT  /* as it is */ 1 AS n,\n 'x' AS n -- twice"
    result = await run(connector, sql)
    assert [(column.name, column.type, column.values) for column in result.columns] == [
        ("n", "integer", [1]),
        ("n", "text", ["x"]),
    ]
    assert any(f"mcp-gateway/{CALL_ID}@" in line and "as it is" in line for line in postgres_database.log_lines())


async def test_the_number_of_parameters_has_to_fit(connector: PostgresConnector) -> None:
    with pytest.raises(TargetFailed, match=r"^the statement has 2 parameters and 1 values were given$"):
        await run(connector, "SELECT $1::int + $2::int", 1)


async def test_a_parameter_that_does_not_read_is_an_error_of_the_statement(connector: PostgresConnector) -> None:
    with pytest.raises(TargetFailed, match=r"22P02 \(invalid_text_representation\)"):
        await run(connector, "SELECT $1::int", "x")


async def test_origins_are_those_of_stored_columns(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TABLE users (id int, dropped int, ssn text); ALTER TABLE users DROP dropped")
    found = (await run(connector, "WITH x AS (SELECT ssn AS a, upper(ssn) AS b FROM users) SELECT * FROM x")).columns
    relation = (await connector.catalog()).relations["public.users"]
    assert [(column.origin.relation, column.origin.number) for column in found] == [(relation.oid, 3), (0, 0)]


async def test_a_write_is_committed_and_counts_its_rows(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TABLE users (id int)")
    inserted = await run(connector, "INSERT INTO users SELECT generate_series(1, 3)", **WRITE)
    assert (inserted.columns, inserted.rows, inserted.affected) == ((), 0, 3)
    updated = await run(connector, "UPDATE users SET id = id + 1 RETURNING id", **WRITE)
    assert (rows(updated), updated.affected) == ([[2], [3], [4]], None)
    assert postgres_database.execute("SELECT count(*) FROM users") == [(3,)]


async def test_a_result_without_columns_still_has_rows(connector: PostgresConnector) -> None:
    result = await run(connector, "SELECT FROM generate_series(1, 3)")
    assert (result.columns, result.rows, result.truncated) == ((), 3, False)


# Limits.


@pytest.mark.requirement("R19")
@pytest.mark.parametrize(("there", "truncated"), [(4, False), (5, False), (6, True)])
async def test_rows_are_cut_at_the_limit_and_say_so(connector: PostgresConnector, there: int, truncated: bool) -> None:
    result = await run(connector, f"SELECT generate_series(1, {there})", max_rows=5)
    assert (result.rows, result.truncated) == (min(there, 5), truncated)


@pytest.mark.requirement("R19")
async def test_bytes_are_cut_at_the_limit_between_rows(connector: PostgresConnector) -> None:
    result = await run(connector, "SELECT n, repeat('x', 300) FROM generate_series(1, 900) n", max_bytes=100_000)
    assert result.truncated
    assert 250 < result.rows < 340
    assert result.columns[0].values == list(range(1, result.rows + 1))
    assert rows(await run(connector, "SELECT 1")) == [[1]]


@pytest.mark.requirement("R19")
async def test_a_value_of_many_megabytes_is_never_taken(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    sql = "SELECT 1 AS n, 'small' AS t UNION ALL SELECT 2, repeat('x', 60000000)"
    before = resident()
    result = await run(connector, sql)
    assert (rows(result), result.truncated) == ([[1, "small"]], True)
    with pytest.raises(TargetFailed, match=r"the first row alone is larger than the 1,000,000 bytes"):
        await run(connector, "SELECT repeat('x', 60000000)")
    assert resident() - before < 32 * 1024 * 1024
    await until(lambda: not sessions(postgres_database))


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.requirement("R19")
async def test_a_write_that_returns_too_much_is_committed_all_the_same(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TABLE users (id int, note text)")
    result = await run(
        connector,
        "INSERT INTO users SELECT n, repeat('x', 10000) FROM generate_series(1, 200) n RETURNING *",
        max_bytes=50_000,
        max_rows=100,
        **WRITE,
    )
    assert (result.rows, result.truncated) == (4, True)
    assert postgres_database.execute("SELECT count(*) FROM users") == [(200,)]


# Transactions.


async def test_a_read_cannot_write_even_if_the_facts_were_wrong(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute(
        """
        CREATE TABLE users (id int);
        CREATE FUNCTION sneak() RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO users VALUES (1); RETURN 1; END';
        CREATE FUNCTION sneakier() RETURNS int LANGUAGE plpgsql AS
          'BEGIN PERFORM set_config(''transaction_read_only'', ''off'', false); INSERT INTO users VALUES (1); RETURN 1; END';
        CREATE FUNCTION sneakiest() RETURNS int LANGUAGE plpgsql AS
          'BEGIN RESET transaction_read_only; INSERT INTO users VALUES (1); RETURN 1; END';
        """
    )
    for sql in ("INSERT INTO users VALUES (1)", "SELECT sneak()", "SELECT sneakier()", "CREATE TABLE other (id int)"):
        with pytest.raises(TargetFailed, match=r"25006|25001"):
            await run(connector, sql)
    # This one gets through on servers before 16.2; the rollback takes it back.
    with suppress(TargetFailed):
        await run(connector, "SELECT sneakiest()")
    assert postgres_database.execute("SELECT count(*) FROM users") == [(0,)]


@pytest.mark.requirement("R9")
async def test_the_mode_of_the_transaction_cannot_be_changed(connector: PostgresConnector) -> None:
    for sql in ("SET TRANSACTION READ WRITE", "SET transaction_read_only = off"):
        with pytest.raises(TargetFailed):
            await run(connector, sql)
    with pytest.raises(TargetFailed, match="25001"):
        await run(connector, "SELECT set_config('transaction_read_only', 'off', false)")


async def test_one_statement_is_all_that_runs(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TABLE users (id int)")
    for sql in ("COMMIT; DROP TABLE users", "SELECT 1; DROP TABLE users"):
        with pytest.raises(TargetFailed, match=r"42601 \(syntax_error\)"):
            await run(connector, sql, **WRITE)
    assert postgres_database.execute("SELECT count(*) FROM users") == [(0,)]


async def test_a_statement_that_ends_its_transaction_commits_nothing(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    """Facts refuse COMMIT long before; here only the session matters, which is never used again."""
    for sql in ("COMMIT", "ROLLBACK", "COMMIT AND CHAIN"):
        with suppress(TargetFailed):
            await run(connector, sql)
    assert rows(await run(connector, "SELECT current_setting('transaction_read_only')")) == [["on"]]


async def test_a_deferred_constraint_fails_the_write_at_its_commit(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TABLE users (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(TargetFailed, match=r"23505 \(unique_violation\)") as caught:
        await run(connector, "INSERT INTO users VALUES (1), (1)", quiet=True, **WRITE)
    assert not caught.value.detail_released
    assert postgres_database.execute("SELECT count(*) FROM users") == [(0,)]


@pytest.mark.requirement("R14")
async def test_what_changed_since_the_examination_does_not_run(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TABLE users (id int, ssn text); CREATE VIEW safe AS SELECT id FROM users")
    before, _ = await connector.snapshot()
    examined = await statement(connector, "SELECT * FROM safe", relations=["safe"])
    await connector.run(examined)
    postgres_database.execute("CREATE OR REPLACE VIEW safe AS SELECT id, ssn FROM users")
    with pytest.raises(SnapshotStale, match="nothing has run"):
        await connector.run(examined)
    snapshot, looked = await connector.snapshot(beside=before)
    assert looked == "catalog loaded"
    assert len(snapshot.catalog.relations["public.safe"].columns) == 2


@pytest.mark.requirement("R14")
async def test_a_redefinition_waits_for_a_statement_that_was_parsed(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    """Between the comparison and the run nobody can change what the statement names."""
    postgres_database.execute("CREATE TABLE users (id int); CREATE VIEW safe AS SELECT id FROM users")
    examined = await statement(
        connector, "SELECT pg_sleep(30) FROM safe RIGHT JOIN (SELECT 1) one ON true", relations=["safe"]
    )
    async with anyio.create_task_group() as group:
        group.start_soon(connector.run, examined)
        await until(lambda: sleeping(postgres_database))
        with pytest.raises(Exception, match="lock timeout"):
            postgres_database.execute("SET lock_timeout = 100; DROP VIEW safe")
        group.cancel_scope.cancel()


# Time, cancellation, lost connections.


@pytest.mark.requirement("R8")
async def test_the_server_ends_a_statement_at_its_timeout(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    with pytest.raises(TargetTimeout, match=r"^the statement did not end within 0.2 s and was cancelled$"):
        await run(connector, "SELECT pg_sleep(30)", timeout=timedelta(seconds=0.2))
    assert [line for line in postgres_database.log_lines() if "canceling statement due to statement timeout" in line]


@pytest.mark.requirement("R8")
async def test_a_write_that_takes_too_long_is_undone(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TABLE users (id int)")
    with pytest.raises(TargetTimeout):
        await run(
            connector,
            "INSERT INTO users SELECT 1 FROM (SELECT pg_sleep(30)) slow",
            timeout=timedelta(seconds=0.2),
            **WRITE,
        )
    assert postgres_database.execute("SELECT count(*) FROM users") == [(0,)]


@pytest.mark.requirement("R8")
async def test_a_lock_that_is_not_given_is_not_waited_for_longer_than_the_timeout(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TABLE users (id int)")
    await connector.snapshot()
    with postgres_database.server.connect(postgres_database.name) as holder:
        holder.execute("BEGIN; LOCK TABLE users")
        with pytest.raises(TargetTimeout):
            await run(connector, "SELECT * FROM users", timeout=timedelta(seconds=0.3))


@pytest.mark.requirement("R9")
@pytest.mark.parametrize("changes", [{}, WRITE])
async def test_a_cancelled_call_is_cancelled_at_the_server(
    connector: PostgresConnector, postgres_database: PostgresDatabase, changes: dict[str, Any]
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(partial(run, connector, "SELECT pg_sleep(60)", **changes))
        await until(lambda: sleeping(postgres_database))
        group.cancel_scope.cancel()
    await until(lambda: not sessions(postgres_database), seconds=2)
    assert [line for line in postgres_database.log_lines() if "canceling statement due to user request" in line]
    assert rows(await run(connector, "SELECT 1")) == [[1]]


@pytest.mark.requirement("R9")
async def test_cancelled_calls_leave_no_session_and_no_slot_behind(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    for _ in range(3):
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(run, connector, "SELECT pg_sleep(60)")
            await until(lambda: len(sleeping(postgres_database)) == 8)
            group.cancel_scope.cancel()
    await until(lambda: not sessions(postgres_database))
    async with anyio.create_task_group() as group:
        for _ in range(12):
            group.start_soon(run, connector, "SELECT 1")


@pytest.mark.requirement("R24")
async def test_a_read_whose_session_is_ended_fails_and_the_next_one_runs(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    async with anyio.create_task_group() as group:

        async def ended() -> None:
            with pytest.raises(TargetFailed, match=r"was lost while the statement ran .*; it changed nothing$"):
                await run(connector, "SELECT pg_sleep(60)")

        group.start_soon(ended)
        (pid,) = await until(lambda: sleeping(postgres_database))
        postgres_database.execute("SELECT pg_terminate_backend(%s)", [pid])
    assert rows(await run(connector, "SELECT 1")) == [[1]]


@pytest.mark.requirement("R24")
async def test_sessions_that_died_in_the_pool_are_replaced(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    for _ in range(2):
        assert rows(await run(connector, "SELECT 1")) == [[1]]
        postgres_database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [postgres_database.name],
        )


@pytest.mark.requirement("R8")
async def test_no_session_free_in_time_means_nothing_ran(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    waiting = await statement(connector, "SELECT 1", timeout=timedelta(seconds=0.2))
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(run, connector, "SELECT pg_sleep(60)")
        await until(lambda: len(sleeping(postgres_database)) == 10)
        with pytest.raises(TargetUnavailable, match=r"^no session with PostgreSQL at .* within 0.2 s$"):
            await connector.run(waiting)
        group.cancel_scope.cancel()


# Sessions and what must not outlive a call.


@pytest.mark.requirement("R25")
async def test_nothing_of_one_call_is_left_for_the_next(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    own = ", ".join(f"$${text.strip()}$$" for text in OWN.values())
    look = (
        "SELECT (SELECT json_object_agg(name, setting) FROM pg_settings WHERE name <> 'application_name'),"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),"
        f" (SELECT count(*) FROM pg_prepared_statements WHERE statement <> ALL (ARRAY[{own}])), (SELECT count(*) FROM pg_listening_channels()),"
        " (SELECT count(*) FROM pg_cursors), (SELECT count(*) FROM pg_class WHERE relpersistence = 't'), current_user"
    )
    before = rows(await run(connector, look))
    for sql in (
        "SELECT set_config('search_path', 'evil', false), set_config('statement_timeout', '0', false)",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        "SELECT set_config('role', 'pg_monitor', false)",
        "SELECT pg_advisory_lock(42)",
        "SELECT pg_advisory_lock_shared(43)",
        "SET standard_conforming_strings = off",
        "SET DateStyle = 'German'",
        "PREPARE stolen AS SELECT 1",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "LISTEN news",
        "CREATE TEMP TABLE users (id int)",
        "LOAD 'auto_explain'",
    ):
        for changes in ({"harmless": False}, WRITE):
            with suppress(TargetFailed):
                await run(connector, sql, **changes)
            assert rows(await run(connector, look)) == before, sql


@pytest.mark.requirement("R25")
async def test_a_read_that_ends_its_transaction_fails_and_its_session_is_thrown_away_even_if_called_harmless(
    connector: PostgresConnector,
) -> None:
    pid = rows(await run(connector, "SELECT pg_backend_pid()"))
    assert rows(await run(connector, "SELECT pg_backend_pid()")) == pid
    with pytest.raises(TargetFailed, match="the statement ended its transaction"):
        await run(connector, "COMMIT")  # what followed in this session would stay
    assert rows(await run(connector, "SELECT pg_backend_pid()")) != pid


@pytest.mark.requirement("R25")
async def test_the_text_of_one_call_is_not_shown_to_the_next(connector: PostgresConnector) -> None:
    await run(connector, "SELECT 'secret of the first'")
    found = rows(await run(connector, "SELECT count(*) FROM pg_prepared_statements"))
    assert found == [[0]]


async def test_a_call_id_that_is_none_never_becomes_sql(connector: PostgresConnector) -> None:
    with pytest.raises(ValueError, match="cannot be part of an application_name"):
        await run(connector, "SELECT 1", call_id="x'; DROP TABLE users; --")


async def test_names_mean_the_roles_own_schemas_and_temporary_tables_come_last(
    postgres_database: PostgresDatabase,
) -> None:
    postgres_database.execute(
        f"""
        CREATE SCHEMA {postgres_database.user} AUTHORIZATION {postgres_database.user};
        CREATE TABLE {postgres_database.user}.users AS SELECT 'own' AS whose;
        CREATE TABLE public.users AS SELECT 'public' AS whose;
        CREATE SCHEMA "Odd ""name";
        """
    )
    connector = connector_for(postgres_database)
    assert (await connector.catalog()).search_path == (postgres_database.user, "public")
    assert rows(await run(connector, "SELECT whose FROM users")) == [["own"]]
    postgres_database.execute(f"ALTER ROLE {postgres_database.user} SET search_path = public")
    assert rows(await run(connector, "SELECT whose FROM users", harmless=False)) == [["own"]]
    assert rows(await run(connector, "SELECT whose FROM users")) == [["own"]]
    await connector.aclose()


# Errors.


async def test_what_parsing_says_is_released_with_its_position(connector: PostgresConnector) -> None:
    with pytest.raises(TargetFailed) as caught:
        await run(connector, "SELECT * FROM userz", quiet=True)
    assert str(caught.value) == "PostgreSQL cannot run this statement: 42P01 (undefined_table) at character 15"
    assert (caught.value.detail, caught.value.detail_released, caught.value.position) == (
        'relation "userz" does not exist',
        True,
        15,
    )


@pytest.mark.parametrize("quiet", [True, False])
async def test_what_running_says_is_released_only_where_it_can_hold_no_secret(
    connector: PostgresConnector, postgres_database: PostgresDatabase, quiet: bool
) -> None:
    postgres_database.execute("CREATE TABLE users (ssn text); INSERT INTO users VALUES ('123-45-6789')")
    with pytest.raises(TargetFailed) as caught:
        await run(connector, "SELECT ssn::int FROM users", quiet=quiet)
    assert str(caught.value) == "the statement failed: 22P02 (invalid_text_representation)"
    assert caught.value.detail_released is not quiet
    assert "123-45-6789" in caught.value.detail


async def test_a_code_that_postgresql_does_not_define_is_not_passed_on(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute(
        "CREATE FUNCTION spell(code text) RETURNS int LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION USING ERRCODE = code, MESSAGE = code; END'"
    )
    for code in ("AB123", "22ZZZ"):
        with pytest.raises(TargetFailed) as caught:
            await run(connector, f"SELECT spell('{code}')", quiet=True, harmless=False)
        assert code not in str(caught.value)


async def test_notices_go_nowhere(
    connector: PostgresConnector, postgres_database: PostgresDatabase, capfd: pytest.CaptureFixture[str]
) -> None:
    postgres_database.execute(
        "CREATE FUNCTION tell() RETURNS int LANGUAGE plpgsql AS "
        "'BEGIN RAISE INFO ''canary-31337''; RAISE WARNING ''canary-31337''; RETURN 1; END'"
    )
    assert rows(await run(connector, "SELECT tell()", harmless=False)) == [[1]]
    assert "canary" not in "".join(capfd.readouterr())


@pytest.mark.requirement("R27")
async def test_text_that_is_not_utf_8_is_an_error_and_no_crash(postgres_database: PostgresDatabase) -> None:
    server, name = postgres_database.server, f"{postgres_database.name}_bytes"
    server.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    connector = connector_for(postgres_database, database=name)
    with pytest.raises(TargetFailed, match=r"22021 \(character_not_in_repertoire\)"):
        await run(connector, "SELECT convert_from('\\xff', 'SQL_ASCII')")
    assert rows(await run(connector, "SELECT 1")) == [[1]]
    await connector.aclose()
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")
