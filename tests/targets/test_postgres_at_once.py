"""Statements that are run in one exchange, at a real server: the same comes of them as step by step, and nothing more runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest

from mcp_gateway.errors import TargetError, TargetFailed, TargetTimeout
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.targets.postgres_errors import SnapshotStale
from mcp_gateway.targets.postgres_preface import OWN, AtOnce, Preface
from mcp_gateway.targets.postgres_session import Session
from mcp_gateway.targets.postgres_statement import Statement
from tests.peers.postgres import PostgresDatabase
from tests.targets.postgres_settings import (
    CALL_ID,
    alike,
    connector,
    connector_for,
    rows,
    run,
    sent_on,
    sleeping,
    statement,
)
from tests.waiting import until

__all__ = ["connector"]

pytestmark = pytest.mark.anyio

PEOPLE = """
CREATE TABLE people (id int PRIMARY KEY, name text, born date, pay numeric(10, 2), tags text[]);
INSERT INTO people SELECT n, 'p' || n, date '1990-01-01' + n, n / 3.0, ARRAY['a', NULL, n::text] FROM generate_series(1, 50) n;
GRANT SELECT ON people TO PUBLIC;
"""
RELATIONS: dict[str, Any] = {"relations": ["people"]}


class Exchanges:
    """What was run in one exchange, by outcome."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outcomes: list[str] = []
        self.steps: list[list[str]] = []
        real, preface = Session.run_at_once, AtOnce.preface

        async def run_at_once(session: Session, *args: Any, **named: Any) -> Any:
            try:
                found = await real(session, *args, **named)
            except BaseException as error:
                self.outcomes.append(type(error).__name__)
                raise
            self.outcomes.append("done")
            return found

        def asked(*args: Any, **named: Any) -> Preface:
            found = preface(*args, **named)
            self.steps.append(list(dict.fromkeys(step for _, step in found.answers)))
            return found

        monkeypatch.setattr(Session, "run_at_once", run_at_once)
        monkeypatch.setattr(AtOnce, "preface", asked)


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> Exchanges:
    return Exchanges(monkeypatch)


async def warm(connector: PostgresConnector, sql: str, *parameters: Any, times: int = 4, **changes: Any) -> None:
    """Run it until the session has seen the database hold still."""
    for _ in range(times):
        await run(connector, sql, *parameters, **changes)


STATEMENTS: dict[str, tuple[Any, ...]] = {
    "rows": ("SELECT * FROM people WHERE id < {} ORDER BY id",),
    "none": ("SELECT name FROM people WHERE id = -{}",),
    "a parameter": ("SELECT name, pay FROM people WHERE id = $1 AND id <> -{}", 7),
    "an array": ("SELECT array_agg(id ORDER BY id) FROM people WHERE id = ANY ($1) AND id <> -{}", [1, 2]),
    "no columns": ("SELECT FROM people WHERE id < {}",),
    "an error in a row": ("SELECT 1 / (id - 3) FROM people WHERE id <= {} ORDER BY id",),
    "a parameter that does not read": ("SELECT $1::int FROM people WHERE id = {}", "x"),
    "too many rows": ("SELECT id FROM generate_series(1, 1000 + {}) AS id",),
    "too many bytes": ("SELECT repeat('x', 300000) FROM people WHERE id < {}",),
    "one row too many bytes": ("SELECT repeat('x', 3000000), {}",),
    "not ASCII": ("SELECT 'žluťoučký' || name FROM people WHERE id = {}",),
}


async def outcome(connector: PostgresConnector, one: Statement) -> Any:
    try:
        found = await connector.run(one)
    except TargetError as error:
        return type(error), error.message, error.detail, error.detail_released
    return (
        rows(found),
        [(column.name, column.type, column.origin) for column in found.columns],
        found.truncated,
        found.size,
    )


@pytest.mark.parametrize("what", STATEMENTS)
async def test_the_same_comes_of_a_statement_as_step_by_step(
    postgres_database: PostgresDatabase, exchanges: Exchanges, what: str
) -> None:
    sql, *parameters = STATEMENTS[what]
    postgres_database.execute(PEOPLE)
    connector = connector_for(postgres_database)
    try:
        for number in range(2, 8):
            text = sql.format(number)
            at_once = await statement(connector, text, parameters, **RELATIONS)
            by_steps = await statement(connector, text, parameters, shape=None, **RELATIONS)
            assert await outcome(connector, at_once) == await outcome(connector, by_steps)
    finally:
        await connector.aclose()
    learned = "error" in what or "does not read" in what  # these are not learned from: an earlier one has to have run
    assert len(exchanges.outcomes) >= (0 if learned or what.startswith("one row") else 2)
    assert "NotAtOnce" not in exchanges.outcomes


async def test_an_error_of_a_statement_is_told_and_its_session_used_again(
    connector: PostgresConnector, postgres_database: PostgresDatabase, exchanges: Exchanges
) -> None:
    postgres_database.execute(PEOPLE)
    for number in (9, 9, 9):
        await run(connector, f"SELECT 1 / (id - 3) FROM people WHERE id >= {number}", **RELATIONS)
    with pytest.raises(TargetFailed, match=r"22012 \(division_by_zero\)"):
        await run(connector, "SELECT 1 / (id - 3) FROM people WHERE id >= 3", **RELATIONS)
    assert exchanges.outcomes == ["done", "done", "DivisionByZeroError"]
    (session,) = connector._sessions._idle
    await run(connector, "SELECT 1 / (id - 3) FROM people WHERE id >= 9", **RELATIONS)
    assert connector._sessions._idle == [session]


async def test_all_of_it_is_one_message_and_its_answers_are_as_predicted(
    connector: PostgresConnector, postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_database.execute(PEOPLE)
    await warm(connector, "SELECT name FROM people WHERE id = 1", **RELATIONS)
    (session,) = connector._sessions._idle
    sent = sent_on(session, monkeypatch)
    monkeypatch.setattr(Preface, "take", None)
    mark = len(postgres_database.log_lines())
    assert rows(await run(connector, "SELECT name FROM people WHERE id = 2", **RELATIONS)) == [["p2"]]
    assert len(sent) == 1
    logged = [line for line in postgres_database.log_lines()[mark:] if "LOG:" in line]
    assert [line.partition("LOG:  ")[2].partition(":")[0] for line in logged] == [
        *("execute begin", "execute limits", "execute calm", "execute <unnamed>", "statement")
    ]
    assert f"mcp-gateway/{CALL_ID}@" in logged[3]


CHANGES = {
    "a column": "ALTER TABLE people ADD note text",
    "another table in its place": "ALTER TABLE people RENAME TO old; CREATE VIEW people AS SELECT id, 'stolen' AS name FROM old",
    "a table that stands before it": "CREATE SCHEMA nearer; CREATE TABLE nearer.people (id int, name text)",
}


@pytest.mark.requirement("R14")
@pytest.mark.parametrize("times", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("what", CHANGES)
async def test_nothing_runs_when_what_it_names_has_changed(
    connector: PostgresConnector, postgres_database: PostgresDatabase, what: str, times: int
) -> None:
    """However well the session knows the statement. The lock of a change that is not committed yet is waited for."""
    postgres_database.execute(PEOPLE)
    await warm(connector, "SELECT name FROM people WHERE id = 1", times=times, **RELATIONS)
    examined = await statement(connector, "SELECT name FROM people WHERE id = 2", **RELATIONS)
    mark = len(postgres_database.log_lines())
    with postgres_database.server.connect(postgres_database.name) as other:
        other.execute(f"BEGIN; {CHANGES[what]}".encode())
        async with anyio.create_task_group() as group:

            async def stale() -> None:
                with pytest.raises(SnapshotStale):
                    await connector.run(examined)

            group.start_soon(stale)
            if "stands before" not in what:  # there is nothing to wait for
                await until(lambda: waiting(postgres_database))
            other.execute("COMMIT")
    assert not any("execute <unnamed>: SELECT name" in line for line in postgres_database.log_lines()[mark:])


def waiting(peer: PostgresDatabase) -> list[Any]:
    return peer.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'",
        [f"mcp-gateway/{CALL_ID}"],
    )


async def test_where_others_write_all_the_time_it_is_one_exchange_too(
    connector: PostgresConnector, postgres_database: PostgresDatabase, exchanges: Exchanges
) -> None:
    postgres_database.execute(PEOPLE + "CREATE TABLE busy (n int)")
    for number in range(6):
        postgres_database.execute("INSERT INTO busy VALUES (1)")
        assert rows(await run(connector, f"SELECT name FROM people WHERE id = 1 + {number}", **RELATIONS))
    assert exchanges.outcomes == ["done"] * 5
    assert all("check" in steps for steps in exchanges.steps)


async def test_a_commit_after_the_database_held_still_costs_one_exchange(
    connector: PostgresConnector, postgres_database: PostgresDatabase, exchanges: Exchanges
) -> None:
    postgres_database.execute(PEOPLE + "CREATE TABLE busy (n int)")
    await warm(connector, "SELECT name FROM people WHERE id = 1", **RELATIONS)
    postgres_database.execute("INSERT INTO busy VALUES (1)")
    await warm(connector, "SELECT name FROM people WHERE id = 1", **RELATIONS)
    assert exchanges.outcomes == ["done", "done", "done", "NotAtOnce", "done", "done", "done"]
    assert ["calm" in steps for steps in exchanges.steps] == [False, False, True, True, False, False, True]


async def test_values_of_another_type_have_their_own_result(connector: PostgresConnector, exchanges: Exchanges) -> None:
    """They have the shape of those before them, and the server describes them in another way."""
    found = [rows(await run(connector, f"SELECT {value}")) for value in ("1", "2", "3000000000", "4", "'5'", "'6'")]
    assert found == [[[1]], [[2]], [[3000000000]], [[4]], [["5"]], [["6"]]]
    assert exchanges.outcomes == ["done", "done", "done"]


async def mistake(connector: PostgresConnector, sql: str, *, for_one_of: str) -> None:
    """Have a statement taken for one of another shape."""
    known = connector.shapes._prepared.get(alike(for_one_of))
    assert known
    connector.shapes._prepared.put(alike(sql), known)


async def test_a_shape_with_several_descriptions_is_run_step_by_step_from_then_on(
    connector: PostgresConnector, exchanges: Exchanges
) -> None:
    await warm(connector, "SELECT 5 AS a", times=2)
    await mistake(connector, "SELECT '5' AS a", for_one_of="SELECT 5 AS a")
    for _ in range(2):
        assert rows(await run(connector, "SELECT '5' AS a")) == [["5"]]
        assert exchanges.outcomes == ["done", "NotAtOnce"]
    (session,) = connector._sessions._idle
    assert rows(await run(connector, "SELECT 7 AS a")) == [[7]]
    assert connector._sessions._idle == [session]


async def test_rows_that_are_described_in_another_way_do_not_show_however_many_they_are(
    connector: PostgresConnector,
) -> None:
    """Where they do not fit their session is closed, and the statement runs on another one."""
    await warm(connector, "SELECT 1")
    for text, limit, there in (("x", 3_000_000, 900), ("y", 10_000, 3)):
        (session,) = connector._sessions._idle
        sql = f"SELECT repeat('{text}', 3000) FROM generate_series(1, 900) AS {text}"
        await mistake(connector, sql, for_one_of="SELECT 1")
        found = rows(await run(connector, sql, max_bytes=limit))
        assert found == [[text * 3000]] * there
        assert (session in connector._sessions._idle) == (there == 900)


@pytest.mark.requirement("R36")
async def test_nobody_can_stand_in_for_what_is_checked_with(
    postgres_database: PostgresDatabase, exchanges: Exchanges
) -> None:
    """In a schema that comes before the server's own there are functions and operators that would say yes to everything."""
    postgres_database.execute(
        PEOPLE
        + """
CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.pg_current_snapshot() RETURNS text LANGUAGE sql AS $$SELECT 'evil'$$;
CREATE FUNCTION evil.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE sql AS $$SELECT 'read committed'$$;
CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT $2';
CREATE FUNCTION evil.yes(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (leftarg = text, rightarg = text, function = evil.yes);
CREATE FUNCTION evil.one(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OPERATOR evil./ (leftarg = int, rightarg = int, function = evil.one);
CREATE FUNCTION evil.concat_ws(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS $$SELECT 'same'$$;
"""
    )
    name = f'"{postgres_database.name}"'
    postgres_database.execute(f"ALTER DATABASE {name} SET search_path = evil, pg_catalog, public")
    connector = connector_for(postgres_database)
    try:
        await warm(connector, "SELECT name FROM people WHERE id = 1", times=5, **RELATIONS)
        assert exchanges.outcomes == ["done"] * 4
        examined = await statement(connector, "SELECT name FROM people WHERE id = 2", **RELATIONS)
        postgres_database.execute("ALTER TABLE people ADD note text")
        with pytest.raises(SnapshotStale):
            await connector.run(examined)
        assert exchanges.outcomes[4:] == ["NotAtOnce"]
    finally:
        await connector.aclose()


async def test_in_another_isolation_it_is_done_step_by_step(
    postgres_database: PostgresDatabase, exchanges: Exchanges
) -> None:
    """There a query would see the database as it was before the statement was parsed, and its relations locked."""
    postgres_database.execute(PEOPLE)
    name = f'"{postgres_database.name}"'
    postgres_database.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    connector = connector_for(postgres_database)
    try:
        for number in range(4):
            assert rows(await run(connector, f"SELECT name FROM people WHERE id = 1 + {number}", **RELATIONS))
    finally:
        await connector.aclose()
    assert exchanges.outcomes == ["NotAtOnce"]


async def test_statements_of_the_sessions_that_are_gone_cost_one_exchange(
    connector: PostgresConnector, exchanges: Exchanges
) -> None:
    await warm(connector, "SELECT 1", times=2)
    (session,) = connector._sessions._idle
    await session.control("DEALLOCATE ALL")
    await warm(connector, "SELECT 1", times=2)
    assert exchanges.outcomes == ["done", "NotAtOnce"]
    assert connector._sessions._idle == [session]


async def test_only_harmless_reads_are_run_so(connector: PostgresConnector, exchanges: Exchanges) -> None:
    for changes in ({"harmless": False}, {"read_only": False}, {"shape": None}):
        await warm(connector, "SELECT 1", **changes)
    await warm(connector, "SELECT $1::int", 1)
    with pytest.raises(TargetFailed, match="has 1 parameters and 2 values"):
        await run(connector, "SELECT $1::int", 1, 2)
    assert exchanges.outcomes == ["done"] * 3


async def test_its_time_is_the_calls(connector: PostgresConnector, postgres_database: PostgresDatabase) -> None:
    await warm(connector, "SELECT pg_sleep(0)")
    with pytest.raises(TargetTimeout, match=r"^the statement did not end within 0.3 s and was cancelled$"):
        await run(connector, "SELECT pg_sleep(60)", timeout=timedelta(seconds=0.3))
    assert not sleeping(postgres_database)


async def test_a_call_that_is_given_up_is_cancelled_at_the_server(
    connector: PostgresConnector, postgres_database: PostgresDatabase, exchanges: Exchanges
) -> None:
    await warm(connector, "SELECT pg_sleep(0)")
    async with anyio.create_task_group() as group:
        group.start_soon(run, connector, "SELECT pg_sleep(60)")
        await until(lambda: sleeping(postgres_database))
        group.cancel_scope.cancel()
    assert exchanges.outcomes[-1] == "CancelledError"
    await until(lambda: not sleeping(postgres_database))


@pytest.mark.requirement("R24")
async def test_a_connection_that_is_lost_while_it_runs_is_told(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    await warm(connector, "SELECT pg_sleep(0)")

    async def lost() -> None:
        with pytest.raises(TargetFailed, match=r"lost while the statement ran.*; it changed nothing$"):
            await run(connector, "SELECT pg_sleep(60)")

    async with anyio.create_task_group() as group:
        group.start_soon(lost)
        (pid,) = await until(lambda: sleeping(postgres_database))
        postgres_database.execute("SELECT pg_terminate_backend(%s)", [pid])


@pytest.mark.requirement("R24")
async def test_a_session_that_died_in_the_pool_is_replaced(
    connector: PostgresConnector, postgres_database: PostgresDatabase, exchanges: Exchanges
) -> None:
    for _ in range(4):
        assert rows(await run(connector, "SELECT 1")) == [[1]]
        postgres_database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [postgres_database.name],
        )
    assert "done" in exchanges.outcomes


async def test_what_stays_in_a_session_says_nothing_of_a_call(connector: PostgresConnector) -> None:
    look = "SELECT name, statement FROM pg_prepared_statements WHERE name <> '{}' ORDER BY name"
    await warm(connector, look.format(1))
    found = rows(await run(connector, look.format(2)))
    assert found == [[step, text.strip()] for step, text in sorted(OWN.items())]
