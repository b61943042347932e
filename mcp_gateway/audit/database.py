"""The writing connection and everything that guards it: opening, groups of units, the self-test.

Used by one thread, the writer's. Every failure is a `StoreError`, after which the database must be opened again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from mcp_gateway.audit import health, schema
from mcp_gateway.audit.chain import Head, genesis
from mcp_gateway.audit.files import (
    RESTORE,
    Paths,
    Watch,
    check_file,
    exists,
    make_directory,
    make_file,
    refuse_network,
)
from mcp_gateway.audit.lock import CommitLock
from mcp_gateway.audit.transaction import ApartError, Group, Transaction
from mcp_gateway.errors import StoreError

CACHED_STATEMENTS = 512
"""One for each number of rows that are written at once, of each table."""
WAL_PAGES = 4000
"""A checkpoint about every 16 MiB of WAL."""
STORE_ID_BYTES = 16
PROBE_MIN_BYTES = 1 << 20
PROBE_MAX_BYTES = 1 << 26
TAIL_ROWS = 20_000
"""Events that are verified before a store is used; `verify` looks at all of them."""

Work: TypeAlias = Callable[[Transaction], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the store waits for what."""

    lock_wait_seconds: float = 2.0
    """For other processes, before a group of commits."""
    retry_seconds: float = 1.0
    """Between two self-tests of a store that has closed."""
    answer_seconds: float = 10.0
    """For the disk, before a caller is told that the store does not answer."""
    gather_seconds: float = 0.004
    """For what others are about to hand in, where many calls are under way: it then costs one commit with this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one unit came to."""

    value: Any = None
    error: Exception | None = None


class Database:
    """The store's file, open for writing."""

    def __init__(self, paths: Paths, *, migrations: Sequence[schema.Migration], pace: Pace) -> None:
        schema.check_migrations((*schema.BASE, *migrations))
        self._paths = paths
        self._path = paths.database
        self._migrations = migrations
        self._pace = pace
        self._lock: CommitLock | None = None
        self._connection: sqlite3.Connection | None = None
        self._watch: Watch | None = None
        self._empty: Head | None = None
        self._known: Head | None = None
        self._largest_lost = 0
        self._busy_tenths = 0
        self.commits = 0
        self.openings = 0
        """How often the files were opened: connections of an earlier opening may look at files that are gone."""
        self.attempts = 0
        """How often that was tried."""
        self.others: list[Callable[[], None]] = []
        """What closes this process's other connections, before the files are opened anew: SQLite shares what it maps
        among all connections of a process, and the last one that closes saves what is in a log that has lost its name."""

    def open(self) -> None:
        """Open the file or make it, and prove that it can be trusted.

        1. The directory and the files are this user's alone, no links, on a local disk.
        2. A store that has been here is here: the lock's file remembers its id. Where none ever was, what a process that
           was killed while it made one had begun is taken back.
        3. Its last events verify, those that this process has acknowledged are among them, and its indexes fit. This is
           read before anything could change the files: a store that is refused stays as it was found.
        4. Its tables are ours, and of a version that we know.
        """
        for close in self.others:
            close()
        self.close()
        self.attempts += 1
        with health.translated(self._path):
            # 1.
            make_directory(self._paths.data_dir)
            refuse_network(self._paths.data_dir)
            self._lock = CommitLock(self._paths, wait_seconds=self._pace.lock_wait_seconds)
            # 2.
            self._check_files(self._lock)
            self._take_back(self._lock)
            # 3.
            self._check_events(self._lock)
            with self._lock.held():
                # 4.
                self._connection = self._connect()
                self._empty = self._prepare(self._connection, self._lock)
                self._watch = Watch(self._paths)
        self.openings += 1

    def run(self, works: Sequence[Work]) -> list[Outcome]:
        """Run units as one durable transaction; returns what each came to, in their order.

        A unit that raises is rolled back alone. When the store fails, none of the group is acknowledged.
        """
        connection, lock, watch, _ = self._ready()
        with health.translated(self._path), lock.held() as waited:
            watch.check()
            self._bound_busy(connection, waited=waited)
            try:
                head, outcomes = self._run_group(connection, works, watch, apart=False)
            except ApartError:
                head, outcomes = self._run_group(connection, works, watch, apart=True)
        self._known = head
        self.commits += 1
        return outcomes

    def _run_group(
        self, connection: sqlite3.Connection, works: Sequence[Work], watch: Watch, *, apart: bool
    ) -> tuple[Head, list[Outcome]]:
        connection.execute("BEGIN IMMEDIATE")
        group: Group | None = None
        try:
            group = Group(connection, head=self._current_head(connection), apart=apart)
            outcomes = [self._run_unit(group, work) for work in works]
            group.flush()
            connection.execute("COMMIT")
            watch.check()
        except BaseException as error:
            if not isinstance(error, ApartError):
                self._largest_lost = max(self._largest_lost, group.size if group else 0)
            _roll_back(connection)
            raise
        return group.head, outcomes

    def run_one(self, work: Work) -> None:
        """Run one unit, and raise what it raises."""
        (outcome,) = self.run([work])
        if outcome.error is not None:
            raise outcome.error

    def check_files(self) -> None:
        """Refuse when the files are not those that were opened."""
        _, _, watch, _ = self._ready()
        watch.check()

    def probe(self) -> None:
        """Write and sync as much as the largest group that was lost: after a full disk, a small row proves nothing."""
        size = min(PROBE_MAX_BYTES, max(PROBE_MIN_BYTES, 2 * self._largest_lost))
        self.run_one(lambda tx: tx.execute("INSERT INTO probes (data) VALUES (randomblob(?))", (size,)))
        self.run_one(lambda tx: tx.execute("DELETE FROM probes"))
        self._largest_lost = 0

    def close(self) -> None:
        """Let go of everything; safe at any time and more than once."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        if self._lock is not None:
            self._lock.close()
        self._connection = self._lock = self._watch = None

    def _ready(self) -> tuple[sqlite3.Connection, CommitLock, Watch, Head]:
        if self._connection is None or self._lock is None or self._watch is None or self._empty is None:
            raise StoreError("the audit store is not open")
        return self._connection, self._lock, self._watch, self._empty

    def _bound_busy(self, connection: sqlite3.Connection, *, waited: float) -> None:
        """Let SQLite wait for what is left of the wait, in steps, so that the two together keep the bound."""
        tenths = max(1, round(10 * (self._pace.lock_wait_seconds - waited)))
        if tenths != self._busy_tenths:
            connection.execute(f"PRAGMA busy_timeout = {100 * tenths}")
            self._busy_tenths = tenths

    def _run_unit(self, group: Group, work: Work) -> Outcome:
        tx = Transaction(group)
        try:
            outcome = Outcome(value=work(tx))
        except Exception as error:  # noqa: BLE001 - a unit's own exception goes back to whoever handed it in
            outcome = Outcome(error=error)
        outcome = outcome if tx.spoiled is None else Outcome(error=tx.spoiled)
        if tx.broken is not None or (outcome.error is not None and health.is_failure(outcome.error)):
            tx.lose()
            raise tx.broken or outcome.error  # type: ignore[misc]  # one of them is there
        if not group.connection.in_transaction:
            raise StoreError("a unit ended the transaction that it ran in", next_step="report this")
        if outcome.error is None:
            tx.keep()
            return outcome
        tx.undo()
        if isinstance(outcome.error, sqlite3.Error):
            return Outcome(error=StoreError(f"the audit store refuses this record: {outcome.error}"))
        return outcome

    def _current_head(self, connection: sqlite3.Connection) -> Head:
        """Where the chain stands, whoever wrote last; what this process acknowledged must be in it."""
        _, _, _, empty = self._ready()
        head = health.read_head(connection, empty=empty)
        if self._known is not None and head != self._known:
            health.check_continues(connection, known=self._known, empty=empty)
        return head

    def _check_files(self, lock: CommitLock) -> None:
        if not exists(self._path):
            if lock.store_id:
                raise StoreError(
                    f"{str(self._path)!r} is gone", next_step=f"{RESTORE}; to begin anew, remove {lock.name}"
                )
            make_file(self._path)
        for path in self._paths.watched:
            if exists(path):
                check_file(path)

    def _take_back(self, lock: CommitLock) -> None:
        """Let SQLite undo what its journal says: whoever may only read refuses a database that has to be undone."""
        journal = Path(f"{self._path}-journal")
        if lock.store_id or not exists(journal):
            return
        check_file(journal)
        with lock.held(), contextlib.closing(connect(self._path, busy_seconds=self._pace.lock_wait_seconds)) as maker:
            maker.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self._path, busy_seconds=self._pace.lock_wait_seconds)
        with closed_unless_usable(connection):
            self._set_up(connection)
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        self._busy_tenths = 0
        connection.execute("PRAGMA journal_mode = WAL")
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            raise StoreError(f"SQLite cannot use WAL here, only {mode!r}", next_step="set data_dir to a local disk")
        for pragma in (
            "synchronous = FULL",
            "fullfsync = ON",
            "checkpoint_fullfsync = ON",
            f"wal_autocheckpoint = {WAL_PAGES}",
            "trusted_schema = OFF",
            "temp_store = MEMORY",  # masked values never spill into a temporary file
        ):
            connection.execute(f"PRAGMA {pragma}")

    def _prepare(self, connection: sqlite3.Connection, lock: CommitLock) -> Head:
        connection.execute("BEGIN IMMEDIATE")
        try:
            schema.migrate(connection, self._migrations, store_id=lock.store_id or os.urandom(STORE_ID_BYTES).hex())
            found = schema.store_id(connection)
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
        _check_id(found, lock=lock, path=self._path)
        if not lock.store_id:
            lock.remember(found)
        return genesis(found)

    def _check_events(self, lock: CommitLock) -> None:
        """Refuse what does not verify, and what is another store's. Nothing is to be verified in a new one."""
        with contextlib.closing(connect(self._path, read_only=True)) as reader:
            if not schema.is_store(reader):
                if lock.store_id:
                    raise StoreError(f"{str(self._path)!r} is empty", next_step=RESTORE)
                return
            found = schema.store_id(reader)
            _check_id(found, lock=lock, path=self._path)
            schema.check(reader, self._migrations)
            empty = genesis(found)
            reader.text_factory = bytes
            if self._known is not None:
                health.check_continues(reader, known=self._known, empty=empty)
            health.check_tail(reader, rows=TAIL_ROWS, empty=empty)
            if health.read_head(reader, empty=empty).sequence <= TAIL_ROWS:  # else the scrub does it in its time
                health.check_indexes(reader)


def _check_id(found: str, *, lock: CommitLock, path: Path) -> None:
    if lock.store_id not in {"", found}:
        raise StoreError(
            f"{str(path)!r} is another store's",
            next_step=f"{RESTORE}; to go on with this one, remove {lock.name}",
        )


def _roll_back(connection: sqlite3.Connection) -> None:
    """Undo what is left; after some failures SQLite has done so itself, after others it cannot."""
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def connect(
    path: Path, *, read_only: bool = False, immutable: bool = False, busy_seconds: float = 1.5
) -> sqlite3.Connection:
    """A connection in autocommit mode that makes no database and, where read only, changes none.

    `immutable` is for a file that nobody can write, on read-only media: SQLite then takes no locks at all.
    """
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}{'&immutable=1' if immutable else ''}",
        uri=True,
        isolation_level=None,
        timeout=busy_seconds,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    with closed_unless_usable(connection):
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    return connection


@contextlib.contextmanager
def closed_unless_usable(connection: sqlite3.Connection) -> Iterator[None]:
    """Close a connection if what is done with it first fails."""
    try:
        yield
    except BaseException:
        connection.close()
        raise
