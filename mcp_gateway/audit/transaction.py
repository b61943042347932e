"""What one unit of work may do inside a group of commits: append events, run statements, keep a result.

The chain's head travels through the group: a unit that fails is rolled back alone, and the next one appends where the
last good one ended. Events are gathered and written many at a time, at the latest when the group commits; a unit that
runs statements of its own gets a savepoint, and finds its events written.

An intent (`Started`) opens at most once for a call and ends in exactly one outcome; what would break that is refused
here, whoever asks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeAlias

from mcp_gateway.audit.chain import Head, encode_event, encode_time, entry_hash
from mcp_gateway.audit.health import is_failure
from mcp_gateway.audit.recordings import Recording, pack
from mcp_gateway.errors import StoreError
from mcp_gateway.events import EVENT_KINDS, Event, Started

EVENT_MAX_BYTES = 1 << 25
"""What is larger is refused by itself, before SQLite refuses the whole group for it."""
OUTCOMES = tuple(sorted(kind for kind, found in EVENT_KINDS.items() if found.ends_call))
"""The kinds of events that end a call."""
ENDING = ", ".join(f"'{kind}'" for kind in OUTCOMES)
ROWS_AT_ONCE = 32
"""In one statement, which does not give the interpreter's lock away between them; the driver keeps one for each number."""
INSERT = "INSERT INTO events (sequence, at, call_id, kind, body, hash) VALUES "
INSERTS = tuple(INSERT + ", ".join(["(?, ?, ?, ?, ?, ?)"] * count) for count in range(ROWS_AT_ONCE + 1))
STARTED_OR_ENDED = (
    f"SELECT kind FROM events WHERE call_id = ?1 AND kind IN ('Started', {ENDING}) "  # noqa: S608 - our own classes
    "ORDER BY sequence DESC LIMIT 1"
)
OPEN = f"INSERT INTO intents (call_id, instance, sequence) SELECT ?1, ?2, ?3 WHERE NOT EXISTS ({STARTED_OR_ENDED})"

Row: TypeAlias = tuple[int, str, "str | None", str, str, bytes]


class Group:
    """One durable transaction: where the chain stands in it, and what is still to be written."""

    def __init__(self, connection: sqlite3.Connection, *, head: Head) -> None:
        self.connection = connection
        self.head = head
        self.rows: list[Row] = []
        """Events of the units that have ended well, not yet written."""
        self.size = 0
        """Bytes that the units have added, roughly."""

    def flush(self) -> None:
        """Write the events that wait."""
        if self.rows:
            insert(self.connection, self.rows)
            self.rows = []


class Transaction:
    """One unit's view of the store. Works in the writer's thread and until its unit returns, never after."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._open = True
        self._saved = False
        self._sequence = group.head.sequence
        self._hash = group.head.hash
        self._rows: list[Row] = []
        self._size = 0
        self.broken: Exception | None = None
        """The store's own failure, kept even if the unit swallows the exception."""

    def append(self, event: Event) -> int:
        """Add an event to the chain; returns its number."""
        self._check_open()
        if event.ends_call or isinstance(event, Started):
            self._account(event)
        sequence, kind, call_id = self._sequence + 1, event.kind, event.call_id
        if not isinstance(call_id, str | None):
            raise StoreError(f"a call's id is text, got {type(call_id).__name__}", next_step="report this")
        at, text = encode_time(event.at), encode_event(event)
        body = text.encode()
        if len(body) > EVENT_MAX_BYTES:
            raise StoreError(f"an event has {len(body)} bytes, more than {EVENT_MAX_BYTES}", next_step="report this")
        found = entry_hash(sequence=sequence, at=at, call_id=call_id, kind=kind, body=body, previous=self._hash)
        self._rows.append((sequence, at, call_id, kind, text, found))
        self._sequence, self._hash = sequence, found
        self._size += len(body)
        return sequence

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> sqlite3.Cursor:
        """Run one statement. Read all of its rows before the unit returns; never end the transaction."""
        self._check_open()
        try:
            self._flush()
            return self._group.connection.execute(sql, parameters)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if is_failure(error):
                self.broken = error
            raise

    def save_result(self, call_id: str, result: bytes | Recording) -> str:
        """Keep a call's masked result; returns its SHA-256 in hexadecimal, for `Finished.result_hash`."""
        recording = result if isinstance(result, Recording) else pack(result)
        self._size += len(recording.data)  # before it is tried: what had no room counts for the self-test
        self.execute(
            "INSERT INTO results (call_id, size, data) VALUES (?, ?, ?)", (call_id, recording.size, recording.data)
        )
        return recording.digest

    def keep(self) -> None:
        """End the unit and hand what it did to its group."""
        self._open = False
        if self._saved:
            insert(self._group.connection, self._rows)
            self._group.connection.execute("RELEASE unit")
        else:
            self._group.rows += self._rows
        self._group.head = Head(sequence=self._sequence, hash=self._hash)
        self._group.size += self._size

    def undo(self) -> None:
        """End the unit and take back what it did."""
        self._open = False
        if self._saved:
            self._group.connection.execute("ROLLBACK TO unit")
            self._group.connection.execute("RELEASE unit")
        self._group.size += self._size

    def lose(self) -> None:
        """End the unit at which the store failed: its group is lost, and this is part of its size."""
        self._open = False
        self._group.size += self._size

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError("a transaction was used after its unit had returned", next_step="report this")

    def _flush(self) -> None:
        """Write what waits, with a savepoint between the others' and this unit's own."""
        if not self._saved:
            self._group.flush()
            self._group.connection.execute("SAVEPOINT unit")
            self._saved = True
        if self._rows:
            insert(self._group.connection, self._rows)
            self._rows = []

    def _account(self, event: Event) -> None:
        """Keep the list of open intents, and the rule that each ends once."""
        if isinstance(event, Started):
            if event.call_id is None:
                raise StoreError("an intent needs its call's id", next_step="report this")
            opened = self.execute(OPEN, (event.call_id, event.instance, self._sequence + 1)).rowcount
            if not opened:
                self._refuse_second(event.call_id)
        elif event.call_id is not None:
            ended = self.execute("DELETE FROM intents WHERE call_id = ?", (event.call_id,)).rowcount
            if not ended:
                self._refuse_second(event.call_id)

    def _refuse_second(self, call_id: str) -> None:
        row = self.execute(STARTED_OR_ENDED, (call_id,)).fetchone()
        if row is not None:
            raise StoreError(
                f"call {call_id!r} has {row[0]!r} on record already", next_step="report this, with the call's record"
            )


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Write events, in as few statements as there may be: one is prepared for each number of rows."""
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[begin : begin + ROWS_AT_ONCE]
        connection.execute(INSERTS[len(part)], [value for row in part for value in row])
