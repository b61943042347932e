"""What a real server shows of a statement that it runs: the labels of `tests.facts.corpus` are held against it.

Each statement runs in a transaction of its own. Before its end the session that ran it is asked, and another one that
looks on; then the transaction is rolled back where it changed anything, and committed otherwise, so that messages are
sent. What is seen is named by these words:

`files`      the server's folder has another file, or its configuration changed
`locks`      a lock is held that others wait for: an advisory lock, or a table's that excludes writers
`messages`   a notification was sent
`sequences`  a sequence moved
`session`    settings, roles, cursors, prepared statements or channels of the session are not what they were
`writes`     the transaction got a number, as it does before it changes any row, definition, right or large object
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.facts.corpus import Statement
from tests.peers.postgres import PostgresServer

WORDS = frozenset({"files", "locks", "messages", "sequences", "session", "writes"})
FOLDER = "FOLDER"
"""Stands in a text for the server's own folder."""
OUTPUT = "corpus_out"
"""What statements that write files call theirs."""
CHANNEL = "corpus"

INSIDE = """
SELECT md5(string_agg(name || '=' || coalesce(setting, ''), ',' ORDER BY name)) || current_user || session_user
    || coalesce(current_setting('myapp.user', true), ''),
    ARRAY(SELECT name FROM pg_prepared_statements) || ARRAY(SELECT name FROM pg_cursors) || ARRAY(SELECT pg_listening_channels()),
    (SELECT jsonb_object_agg(schemaname || '.' || sequencename, last_value) FROM pg_sequences),
    pg_current_xact_id_if_assigned() IS NOT NULL
FROM pg_settings WHERE name NOT LIKE '%.%' OR source = 'session'
"""
OUTSIDE = """
SELECT
    ARRAY(
        SELECT locktype || ' ' || mode FROM pg_locks
        WHERE pid = %s AND locktype IN ('advisory', 'object', 'relation')
            AND (locktype = 'advisory' OR mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))
    ),
    ARRAY(SELECT pg_ls_dir('.') EXCEPT VALUES ('postmaster.pid') ORDER BY 1)
        || md5(pg_read_file('postgresql.auto.conf')),
    pg_snapshot_xmax(pg_current_snapshot())::text
"""
TABLES = """
SELECT n.nspname || '.' || c.relname,
    pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid) + pg_stat_get_xact_tuples_deleted(c.oid),
    c.oid, c.xmin::text, ARRAY(
        SELECT xmin::text FROM pg_attribute WHERE attrelid = c.oid UNION ALL SELECT xmin::text FROM pg_trigger WHERE tgrelid = c.oid
        ORDER BY 1)::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('f', 'm', 'p', 'r') AND n.nspname NOT IN ('information_schema', 'pg_catalog', 'pg_toast')
"""
"""Each table, how many of its rows this transaction wrote (and those before it that are not yet counted), and versions."""

LOCKED = """
SELECT n.nspname || '.' || c.relname FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = %s AND l.locktype = 'relation' AND c.relkind IN ('f', 'm', 'p', 'r', 'v')
    AND n.nspname NOT IN ('information_schema', 'pg_catalog', 'pg_toast')
"""
"""Every table and view that a transaction has looked at: it holds a lock on each to its end, whatever code took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one statement did."""

    shows: frozenset[str]
    changed: frozenset[str]
    """Tables whose rows or definition are not what they were, as `schema.name`."""
    tag: str
    """The first word of the server's answer: SELECT, INSERT, CREATE."""


class Witness:
    """A session that runs statements, and one that looks on."""

    def __init__(self, running: psycopg.Connection[Any], looking_on: psycopg.Connection[Any], *, folder: Path) -> None:
        self._running, self._looking_on, self._folder = running, looking_on, folder
        self._messages: list[str] = []
        running.prepare_threshold = looking_on.prepare_threshold = None  # what is prepared is looked at
        looking_on.execute("SET lock_timeout = '5s'")
        running.add_notify_handler(lambda notification: self._messages.append(notification.payload))
        running.execute(f"LISTEN {CHANNEL}")
        self._inside, self._outside = self._ask_inside(), self._ask_outside()

    def watch(self, statement: Statement) -> Seen:
        """Run it and undo it. Raises `psycopg.Error` where the server refuses it."""
        sql = statement.sql.replace(FOLDER, str(self._folder))
        if statement.alone:
            tag = self._run(sql)
            seen = self._seen(inside=self._ask_inside(), outside=self._ask_outside())
            self._clean()
            return Seen(shows=seen, changed=frozenset(), tag=tag)
        changed: frozenset[str] = frozenset()
        self._running.execute("BEGIN")
        tables = self._tables() if statement.has_effect else set()
        try:
            tag = self._run(sql)
            inside, outside = self._ask_inside(), self._ask_outside()
            if inside[-1]:
                changed = frozenset(name for name, *_ in tables ^ self._tables())
        except psycopg.Error:
            self._running.execute("ROLLBACK")
            raise
        self._running.execute("ROLLBACK" if inside[-1] else "COMMIT")
        shows = self._seen(inside=inside, outside=(*outside[:-1], self._outside[-1]))
        shows |= self._seen(inside=self._ask_inside(), outside=self._outside)
        if shows:
            self._clean()
        return Seen(shows=shows, changed=changed, tag=tag)

    def looks_at(self, sql: str) -> frozenset[str]:
        """The tables and views that it looks at, as `schema.name`. For texts without an effect."""
        self._running.execute("BEGIN")
        try:
            self._run(sql)
            pid = self._running.info.backend_pid
            return frozenset(name for (name,) in self._looking_on.execute(LOCKED.encode(), (pid,)))
        finally:
            self._running.execute("ROLLBACK")

    def _run(self, sql: str) -> str:
        with self._running.cursor() as cursor:
            if "TO STDOUT" in sql:
                with cursor.copy(sql.encode()) as copy:
                    for _ in copy:
                        pass
            else:
                cursor.execute(sql.encode())
            return (cursor.statusmessage or "").partition(" ")[0]

    def _tables(self) -> set[Any]:
        return set(self._running.execute(TABLES.encode()))

    def _ask_inside(self) -> Any:
        return self._running.execute(INSIDE.encode()).fetchone()

    def _ask_outside(self) -> Any:
        return self._looking_on.execute(OUTSIDE, (self._running.info.backend_pid,)).fetchone()

    def _seen(self, *, inside: Any, outside: Any) -> frozenset[str]:
        locks, files, number = (now != then for now, then in zip(outside, self._outside, strict=True))
        then, now = self._inside[-2], inside[-2]
        return frozenset(
            word
            for word, is_seen in {
                "files": files,
                "locks": locks,
                "messages": self._messages,
                "sequences": any(then[name] != now[name] for name in then.keys() & now.keys()),
                "session": inside[:-2] != self._inside[:-2],
                "writes": inside[-1] or number,
            }.items()
            if is_seen
        )

    def _clean(self) -> None:
        """Take back what a rollback does not."""
        self._running.execute("DISCARD ALL")
        self._running.execute(f"LISTEN {CHANNEL}")
        self._looking_on.execute("ALTER SYSTEM RESET ALL")
        (self._folder / OUTPUT).unlink(missing_ok=True)
        for name, value in self._ask_inside()[-2].items():
            before = self._inside[-2][name]
            if value != before:
                self._looking_on.execute("SELECT setval(%s, %s, %s)", (name, before or 1, before is not None))
        self._messages.clear()
        self._outside = self._ask_outside()


@contextmanager
def witness_of(server: PostgresServer, *, database: str) -> Iterator[Witness]:
    """A witness in one database, which nobody else works in."""
    with server.connect(database) as running, server.connect(database) as looking_on:
        yield Witness(running, looking_on, folder=server.data)
