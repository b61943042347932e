from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from mcp_gateway.audit.schema import Migration, check
from mcp_gateway.errors import StoreError
from tests.audit.records import evidence, loaded, opened_store, rows, tampering

pytestmark = pytest.mark.anyio

FIRST = Migration(
    name="notes-1",
    script="""
    CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
    CREATE TRIGGER notes_stay BEFORE DELETE ON notes BEGIN SELECT RAISE(ABORT, 'notes stay; really'); END;
    """,
)
SECOND = Migration(name="notes-2", script="ALTER TABLE notes ADD COLUMN by TEXT; CREATE INDEX notes_by ON notes (by)")


async def test_a_package_keeps_tables_of_its_own_in_the_store(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data", migrations=[FIRST]) as store:
        await store.transact(lambda tx: tx.execute("INSERT INTO notes (text) VALUES ('a')"))

    assert rows(tmp_path / "data", "SELECT text FROM notes") == [("a",)]


async def test_a_migration_runs_once(tmp_path: Path) -> None:
    for _ in range(3):
        async with opened_store(tmp_path / "data", migrations=[FIRST]) as store:
            await store.transact(lambda tx: tx.execute("INSERT INTO notes (text) VALUES ('a')"))

    assert rows(tmp_path / "data", "SELECT count(*) FROM notes") == [(3,)]
    assert rows(tmp_path / "data", "SELECT name FROM migrations ORDER BY name") == [
        ("audit-1",),
        ("notes-1",),
        ("usage-1",),
    ]


async def test_a_later_migration_finds_what_the_earlier_left(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data", migrations=[FIRST]) as store:
        await store.transact(lambda tx: tx.execute("INSERT INTO notes (text) VALUES ('a')"))
    async with opened_store(tmp_path / "data", migrations=[FIRST, SECOND]):
        pass

    assert rows(tmp_path / "data", "SELECT text, by FROM notes") == [("a", None)]


async def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = Migration(name="notes-2", script="CREATE TABLE more (id INTEGER) STRICT; CREATE TABLE notes (id INTEGER);")

    with pytest.raises(StoreError, match="table notes already exists"):
        async with opened_store(tmp_path / "data", migrations=[FIRST, broken]):
            pass

    async with opened_store(tmp_path / "data", migrations=[FIRST]) as store:
        await store.append(loaded())
    assert rows(tmp_path / "data", "SELECT count(*) FROM sqlite_master WHERE name = 'more'") == [(0,)]


@pytest.mark.requirement("R29")
async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data", migrations=[FIRST, SECOND]):
        pass

    with pytest.raises(StoreError) as raised:
        async with opened_store(tmp_path / "data", migrations=[FIRST]):
            pass

    assert str(raised.value) == (
        "the store was made by a newer version of the gateway: it has 'notes-2'; start that version, or a newer one"
    )


@pytest.mark.requirement("R29")
async def test_a_store_with_newer_tables_of_its_own_is_refused(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data"):
        pass
    with tampering(tmp_path / "data") as connection:
        connection.execute("INSERT INTO migrations VALUES ('audit-2', 'x')")

    with pytest.raises(StoreError, match="made by a newer version of the gateway: it has 'audit-2'"):
        async with opened_store(tmp_path / "data"):
            pass


@pytest.mark.requirement("R6")
async def test_a_list_of_migrations_that_is_none_is_refused(tmp_path: Path) -> None:
    """As flipped bytes leave it: a row that has lost its name."""
    connection = sqlite3.connect(tmp_path / "damaged.db", isolation_level=None)
    connection.execute("CREATE TABLE migrations (name, checksum)")
    connection.execute("INSERT INTO migrations VALUES (NULL, 'x')")
    with contextlib.closing(connection), pytest.raises(StoreError, match="list of migrations is damaged"):
        check(connection, ())


@pytest.mark.requirement("R6")
@pytest.mark.parametrize(
    ("lost", "made"), [("notes-1", "table 'notes', trigger 'notes_stay'"), ("audit-1", "index 'events_by_call', .*")]
)
async def test_a_list_that_lost_a_migration_is_refused_and_the_file_stays_as_it_is(
    tmp_path: Path, lost: str, made: str
) -> None:
    """As flipped bytes leave it: a row that has another name."""
    data = tmp_path / "data"
    async with opened_store(data, migrations=[FIRST]):
        pass
    with tampering(data) as connection:
        connection.execute("UPDATE migrations SET name = 'motes-7' WHERE name = ?", (lost,))
    before = evidence(data)

    with pytest.raises(
        StoreError, match=f"list of migrations is damaged: it does not have the one that made {made}; keep the file"
    ):
        async with opened_store(data, migrations=[FIRST]):
            pass

    assert evidence(data) == before


async def test_a_command_that_knows_fewer_packages_can_open_the_store(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data", migrations=[FIRST]):
        pass

    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded())


async def test_a_migration_that_was_changed_after_it_ran_is_refused(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data", migrations=[FIRST]):
        pass
    changed = Migration(name="notes-1", script=FIRST.script + "CREATE TABLE x (id INTEGER) STRICT;")

    with pytest.raises(StoreError, match="the store was made with another form of migration 'notes-1'"):
        async with opened_store(tmp_path / "data", migrations=[changed]):
            pass


@pytest.mark.parametrize(
    ("migrations", "message"),
    [
        ([FIRST, FIRST], "migration 'notes-1' is given twice or out of order"),
        ([SECOND], "migration 'notes-2' is given twice or out of order"),
        ([Migration(name="Notes", script="")], "a migration is named package-number, got 'Notes'"),
        ([Migration(name="notes-1", script="SELECT 'x")], "ends in an unfinished statement: \"SELECT 'x"),
    ],
)
async def test_a_mistake_in_a_migration_stops_the_start(
    tmp_path: Path, migrations: list[Migration], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        async with opened_store(tmp_path / "data", migrations=migrations):
            pass


async def test_another_program_s_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    path = tmp_path / "data" / "audit.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    path.chmod(0o600)

    with pytest.raises(StoreError, match="the file is a database, but not an audit store"):
        async with opened_store(tmp_path / "data"):
            pass


@pytest.mark.requirement("R7")
@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (
            "CREATE TRIGGER quiet AFTER INSERT ON events BEGIN DELETE FROM intents; END",
            "trigger 'quiet'",
        ),
        ("DROP TRIGGER events_remain", "trigger 'events_remain'"),
        ("ALTER TABLE events ADD COLUMN note TEXT", "table 'events'"),
        ("DROP TABLE intents", "table 'intents'"),
    ],
)
async def test_tables_that_something_else_changed_are_refused(tmp_path: Path, tamper: str, named: str) -> None:
    async with opened_store(tmp_path / "data"):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "audit.db")) as connection:
        connection.execute(tamper)

    with pytest.raises(StoreError, match=f"the store's tables were changed by something else: .*{named}"):
        async with opened_store(tmp_path / "data"):
            pass


@pytest.mark.requirement("R7")
@pytest.mark.parametrize("statement", ["UPDATE events SET body = '{}'", "DELETE FROM events", "DELETE FROM results"])
async def test_no_statement_of_the_gateway_s_own_changes_what_is_recorded(tmp_path: Path, statement: str) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.transact(lambda tx: (tx.append(loaded()), tx.save_result("c", b"x")))

        with pytest.raises(StoreError, match="are append-only"):
            await store.transact(lambda tx: tx.execute(statement))
