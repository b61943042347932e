"""Tables of the audit store, and how a file gets and keeps them.

A migration is a name, `package-number`, and a script; it runs once, and is then recorded with the hash of its script.
Other packages keep tables in the same file by giving theirs to `AuditStore.open`. A file that a newer version has
migrated, or whose tables are not what the migrations make, is refused: a trigger that somebody
slipped in could drop what is recorded.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mcp_gateway.errors import StoreError

APPLICATION_ID = 0x6D637067
"""`mcpg`, in the header of the file: what `file` and this module know a store by."""
NAME = re.compile(r"(?P<package>[a-z][a-z_]*)-(?P<number>[1-9][0-9]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema."""

    name: str
    """`package-number`, counted from 1 in each package."""
    script: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the script, in hexadecimal."""
        return hashlib.sha256(self.script.encode()).hexdigest()


LEDGER = "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, checksum TEXT NOT NULL) STRICT, WITHOUT ROWID"
USAGE_TABLES = """
    CREATE TABLE usage (
        who TEXT NOT NULL,
        unit INTEGER NOT NULL,
        slot INTEGER NOT NULL,
        calls INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        refusals INTEGER NOT NULL,
        PRIMARY KEY (who, unit, slot)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE touched (
        who TEXT NOT NULL,
        class TEXT NOT NULL,
        slot INTEGER NOT NULL,
        PRIMARY KEY (who, class)
    ) STRICT, WITHOUT ROWID;
"""
"""What is counted for callers; the chain of events has no part in it."""
BASE = (
    Migration(
        name="audit-1",
        script="""
        CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE events (
            sequence INTEGER PRIMARY KEY,
            at TEXT NOT NULL,
            call_id TEXT,
            kind TEXT NOT NULL,
            body TEXT NOT NULL,
            hash BLOB NOT NULL
        ) STRICT;
        CREATE INDEX events_by_call ON events (call_id) WHERE call_id IS NOT NULL;
        CREATE INDEX events_received ON events (at) WHERE kind = 'Received';
        CREATE TABLE results (
            call_id TEXT PRIMARY KEY,
            size INTEGER NOT NULL,
            data BLOB NOT NULL
        ) STRICT;
        CREATE TABLE intents (
            call_id TEXT PRIMARY KEY,
            instance TEXT NOT NULL,
            sequence INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE probes (number INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
        CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
        CREATE TRIGGER events_remain BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
        CREATE TRIGGER results_stay BEFORE UPDATE ON results BEGIN SELECT RAISE(ABORT, 'results are append-only'); END;
        CREATE TRIGGER results_remain BEFORE DELETE ON results BEGIN SELECT RAISE(ABORT, 'results are append-only'); END;
        """,
    ),
    Migration(name="usage-1", script=USAGE_TABLES),
)


def is_store(connection: sqlite3.Connection) -> bool:
    """Whether the file holds a store's tables. Raises `StoreError` when it holds something else."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if tables and application != APPLICATION_ID:
        raise StoreError("the file is a database, but not an audit store", next_step="check data_dir")
    return bool(tables)


def check(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Refuse, without changing anything, a store whose tables are not what the migrations that it has had make.

    All is read as of one moment: another process may be bringing the file up to date.
    """
    connection.execute("BEGIN")
    try:
        _check(connection, (*BASE, *migrations))
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _check(connection: sqlite3.Connection, wanted: Sequence[Migration]) -> None:
    applied = _applied(connection)
    _refuse_newer(applied, wanted)
    known = [migration for migration in wanted if migration.name in applied]
    for migration in known:
        _refuse_other_form(migration, applied[migration.name])
    _compare(connection, known)
    _refuse_unlisted(connection, known, wanted)


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration], *, store_id: str) -> None:
    """Bring the file up to `BASE` and `migrations`, inside the caller's transaction. `store_id` names a new store."""
    wanted = (*BASE, *migrations)
    if not is_store(connection):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(LEDGER)
    applied = _applied(connection)
    _refuse_newer(applied, wanted)
    for migration in wanted:
        checksum = applied.get(migration.name)
        if checksum is None:
            for statement in _statements(migration.script):
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?, ?)", (migration.name, migration.checksum))
        else:
            _refuse_other_form(migration, checksum)
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('store_id', ?)", (store_id,))
    _compare(connection, wanted)


def store_id(connection: sqlite3.Connection) -> str:
    """The id that the store was given when it was made."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
    if row is None:
        raise StoreError("the store has lost its id", next_step="restore the store from a copy")
    return str(row[0])


def check_migrations(migrations: Sequence[Migration]) -> None:
    """Raise `ValueError` for names that are misspelt, given twice or out of order, and for unfinished scripts."""
    numbers: dict[str, int] = {}
    for migration in migrations:
        match = NAME.fullmatch(migration.name)
        if match is None:
            raise ValueError(f"a migration is named package-number, got {migration.name!r}")
        package, number = match["package"], int(match["number"])
        if number != numbers.get(package, 0) + 1:
            raise ValueError(f"migration {migration.name!r} is given twice or out of order")
        numbers[package] = number
        list(_statements(migration.script))


def _applied(connection: sqlite3.Connection) -> dict[str, str]:
    """Names and checksums of the migrations that the file has had."""
    rows = connection.execute("SELECT name, checksum FROM migrations").fetchall()
    if not all(isinstance(value, str) for row in rows for value in row):
        raise StoreError("the store's list of migrations is damaged", next_step="restore the store from a copy")
    return dict(rows)


def _refuse_newer(applied: dict[str, str], wanted: Sequence[Migration]) -> None:
    packages = {migration.name.rpartition("-")[0] for migration in wanted}
    newer = sorted(set(applied) - {migration.name for migration in wanted})
    newer = [name for name in newer if name.rpartition("-")[0] in packages]
    if newer:
        raise StoreError(
            f"the store was made by a newer version of the gateway: it has {', '.join(map(repr, newer))}",
            next_step="start that version, or a newer one",
        )


def _refuse_other_form(migration: Migration, checksum: str) -> None:
    if checksum != migration.checksum:
        raise StoreError(
            f"the store was made with another form of migration {migration.name!r}",
            next_step="start the version of the gateway that made it",
        )


def _statements(script: str) -> Iterator[str]:
    """Cut a script at its statements' ends: `executescript` would commit the transaction that it runs in."""
    statement = ""
    for piece in re.split(r"(?<=;)", script.rstrip().removesuffix(";") + ";"):
        statement += piece
        if statement.strip() and sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        raise ValueError(f"a migration ends in an unfinished statement: {statement.strip()[:60]!r}")


def _refuse_unlisted(connection: sqlite3.Connection, known: Sequence[Migration], wanted: Sequence[Migration]) -> None:
    """Refuse a file that has what a migration makes, and not that migration in its list: it would be made again."""
    unlisted = _objects(connection).keys() & (_objects_of(wanted).keys() - _objects_of(known).keys())
    if unlisted:
        names = ", ".join(sorted(f"{kind} {name!r}" for kind, name, _ in unlisted))
        raise StoreError(
            f"the store's list of migrations is damaged: it does not have the one that made {names}",
            next_step="keep the file as evidence and restore the store from a copy",
        )


def _objects_of(migrations: Sequence[Migration]) -> dict[tuple[str, str, str], str]:
    """What these make, as `_objects` gives it."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
        model.execute(LEDGER)
        for migration in migrations:
            for statement in _statements(migration.script):
                model.execute(statement)
        return _objects(model)


def _compare(connection: sqlite3.Connection, wanted: Sequence[Migration]) -> None:
    """Refuse tables of ours that are not as the migrations make them, and triggers on them that are not ours."""
    expected, found = _objects_of(wanted), _objects(connection)
    ours = {table for _, _, table in expected}
    foreign = {key for key in found if key not in expected and key[0] == "trigger" and key[2] in ours}
    changed = {key for key, sql in expected.items() if found.get(key) != sql} | foreign
    if changed:
        names = ", ".join(sorted(f"{kind} {name!r}" for kind, name, _ in changed))
        raise StoreError(
            f"the store's tables were changed by something else: {names}",
            next_step="keep the file as evidence and restore the store from a copy",
        )


def _objects(connection: sqlite3.Connection) -> dict[tuple[str, str, str], str]:
    """Kind, name and table of everything in the schema that has a text, to that text."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {(kind, name, table): " ".join(sql.replace("IF NOT EXISTS ", "").split()) for kind, name, table, sql in rows}
