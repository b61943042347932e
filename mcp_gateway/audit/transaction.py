"""What one unit of work may do inside a group of commits: append events, run statements, keep a result.

The chain's head travels through the group: a unit that fails is taken back alone, and the next one appends where the last
good one ended. What units add is gathered and written many at a time, at the latest when the group commits; a unit that
runs statements of its own gets a savepoint, and finds everything written.

An intent (`Started`) opens at most once for a call and ends in exactly one outcome; what would break that is refused
here, whoever asks. Where that shows only when several units are written at once, nothing of the group is kept, and it is
done again with each unit written by itself (`ApartError`): then it is known whose fault it was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
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
STARTED_OR_ENDED = (
    f"SELECT kind FROM events WHERE call_id = ?1 AND kind IN ('Started', {ENDING}) "  # noqa: S608 - our own classes
    "ORDER BY sequence DESC LIMIT 1"
)

Row: TypeAlias = tuple[int, str, "str | None", str, str, bytes]
Execute: TypeAlias = Callable[[str, Sequence[Any]], sqlite3.Cursor]
Later: TypeAlias = Callable[[Execute, Sequence[Any]], object]
"""Writes many items at once."""


class ApartError(Exception):
    """What several units have added cannot be written at once."""


class Statement:
    """One that takes any number of rows, or of values."""

    def __init__(self, before: str, row: str, after: str = "") -> None:
        self._texts = [f"{before}{', '.join([row] * count)}{after}" for count in range(ROWS_AT_ONCE + 1)]

    def run(self, execute: Execute, rows: Sequence[Sequence[Any]]) -> Iterator[sqlite3.Cursor]:
        """Run it for all rows, so many at once as there may be. Each cursor is to be read before the next."""
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[begin : begin + ROWS_AT_ONCE]
            yield execute(self._texts[len(part)], [value for row in part for value in row])


EVENTS = Statement("INSERT INTO events (sequence, at, call_id, kind, body, hash) VALUES ", "(?, ?, ?, ?, ?, ?)")
RESULTS = Statement("INSERT INTO results (call_id, size, data) VALUES ", "(?, ?, ?)")
OPEN = Statement(
    "INSERT INTO intents (call_id, instance, sequence) SELECT column1, column2, column3 FROM (VALUES ",
    "(?, ?, ?)",
    f") WHERE NOT EXISTS (SELECT 1 FROM events WHERE call_id = column1 AND kind IN ('Started', {ENDING}))",  # noqa: S608
)
END = Statement("DELETE FROM intents WHERE call_id IN (", "?", ") RETURNING call_id")


class Pending:
    """What units have added and what is not written yet."""

    __slots__ = ("calls", "ends", "later", "opens", "results", "rows")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        """Events."""
        self.opens: list[tuple[str, str, int]] = []
        """Intents: call, instance, event."""
        self.ends: list[tuple[str]] = []
        """Calls whose intents end."""
        self.results: list[tuple[str, int, bytes]] = []
        self.later: dict[Later, list[Any]] = {}
        self.calls: set[str] = set()
        """Whose intents begin or end here."""

    def take(self, other: Pending) -> None:
        """Add what is in another one."""
        self.rows += other.rows
        self.opens += other.opens
        self.ends += other.ends
        self.results += other.results
        self.calls |= other.calls
        for write, items in other.later.items():
            self.later.setdefault(write, []).extend(items)

    def write(self, execute: Execute) -> None:
        """Write all of it. Raises `StoreError` for an intent that begins twice, or that has ended before."""
        if self.opens and sum(cursor.rowcount for cursor in OPEN.run(execute, self.opens)) != len(self.opens):
            for call, _, _ in self.opens:
                refuse_second(execute, call)
        if self.ends:
            ended = {call for cursor in END.run(execute, self.ends) for (call,) in cursor.fetchall()}
            for (call,) in self.ends:
                if call not in ended:
                    refuse_second(execute, call)
        for cursor in (*EVENTS.run(execute, self.rows), *RESULTS.run(execute, self.results)):
            cursor.close()
        for write, items in self.later.items():
            write(execute, items)


class Group:
    """One durable transaction: where the chain stands in it, and what is still to be written."""

    def __init__(self, connection: sqlite3.Connection, *, head: Head, apart: bool = False) -> None:
        """`apart` writes each unit by itself."""
        self.connection = connection
        self.head = head
        self.apart = apart
        self.pending = Pending()
        """Of the units that have ended well."""
        self.size = 0
        """Bytes that the units have added, roughly."""

    def flush(self) -> None:
        """Write what waits. Raises `ApartError` where that cannot be done for all of it together."""
        pending, self.pending = self.pending, Pending()
        try:
            pending.write(self.connection.execute)
        except Exception as error:
            if self.apart or is_failure(error):
                raise
            raise ApartError(repr(error)) from error


class Transaction:
    """One unit's view of the store. Works in the writer's thread and until its unit returns, never after."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._open = True
        self._saved = False
        self._sequence = group.head.sequence
        self._hash = group.head.hash
        self._pending = Pending()
        self._size = 0
        self.broken: Exception | None = None
        """The store's own failure, or the group's, kept even if the unit swallows the exception."""
        self.spoiled: Exception | None = None
        """Why something that it has added could not be written, likewise."""

    def append(self, event: Event) -> int:
        """Add an event to the chain; returns its number."""
        self._check_open()
        sequence, kind, call_id = self._sequence + 1, event.kind, event.call_id
        if not isinstance(call_id, str | None):
            raise StoreError(f"a call's id is text, got {type(call_id).__name__}", next_step="report this")
        at, text = encode_time(event.at), encode_event(event)
        body = text.encode()
        if len(body) > EVENT_MAX_BYTES:
            raise StoreError(f"an event has {len(body)} bytes, more than {EVENT_MAX_BYTES}", next_step="report this")
        if event.ends_call or isinstance(event, Started):
            self._account(event)  # only now: what cannot be written ends no intent
        found = entry_hash(sequence=sequence, at=at, call_id=call_id, kind=kind, body=body, previous=self._hash)
        self._pending.rows.append((sequence, at, call_id, kind, text, found))
        self._sequence, self._hash = sequence, found
        self._size += len(body)
        return sequence

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> sqlite3.Cursor:
        """Run one statement. Read all of its rows before the unit returns; never end the transaction."""
        self._check_open()
        try:
            self._flush()
            return self._group.connection.execute(sql, parameters)
        except Exception as error:
            if is_failure(error):
                self.broken = error
            raise

    def later(self, write: Later, item: Any) -> None:
        """Have an item written with those of other units, by the function that all of them name."""
        self._check_open()
        if self._is_apart:
            write(self.execute, [item])
        else:
            self._pending.later.setdefault(write, []).append(item)

    def save_result(self, call_id: str, result: bytes | Recording) -> str:
        """Keep a call's masked result; returns its SHA-256 in hexadecimal, for `Finished.result_hash`."""
        recording = result if isinstance(result, Recording) else pack(result)
        self._size += len(recording.data)  # before it is tried: what had no room counts for the self-test
        row = (call_id, recording.size, recording.data)
        if self._is_apart:
            for cursor in RESULTS.run(self.execute, [row]):
                cursor.close()
        else:
            self._check_open()
            self._pending.results.append(row)
        return recording.digest

    def keep(self) -> None:
        """End the unit and hand what it did to its group."""
        self._open = False
        if self._saved:
            self._pending.write(self._group.connection.execute)
            self._group.connection.execute("RELEASE unit")
        else:
            self._group.pending.take(self._pending)
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

    @property
    def _is_apart(self) -> bool:
        """Whether what the unit adds is written at once."""
        return self._saved or self._group.apart

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError("a transaction was used after its unit had returned", next_step="report this")

    def _flush(self) -> None:
        """Write what waits, with a savepoint between the others' and this unit's own."""
        if not self._saved:
            try:
                self._group.flush()
                self._group.connection.execute("SAVEPOINT unit")
            except Exception as error:
                self.broken = error  # what others have added is not written
                raise
            self._saved = True
        pending, self._pending = self._pending, Pending()
        try:
            pending.write(self._group.connection.execute)
        except Exception as error:
            self.spoiled = error
            raise

    def _account(self, event: Event) -> None:
        """Keep the list of open intents, and the rule that each ends once."""
        call = event.call_id
        if isinstance(event, Started) and call is None:
            raise StoreError("an intent needs its call's id", next_step="report this")
        if call is None:
            return
        if self._is_apart or call in self._pending.calls or call in self._group.pending.calls:
            self._account_now(event, call)
            return
        self._pending.calls.add(call)
        if isinstance(event, Started):
            self._pending.opens.append((call, event.instance, self._sequence + 1))
        else:
            self._pending.ends.append((call,))

    def _account_now(self, event: Event, call: str) -> None:
        if isinstance(event, Started):
            changed = OPEN.run(self.execute, [(call, event.instance, self._sequence + 1)])
        else:
            changed = END.run(self.execute, [(call,)])
        (cursor,) = changed
        if not (cursor.rowcount if isinstance(event, Started) else cursor.fetchall()):
            refuse_second(self.execute, call)


def refuse_second(execute: Execute, call_id: str) -> None:
    """Refuse to begin or to end a call that has begun or ended already, as the record says."""
    row = execute(STARTED_OR_ENDED, (call_id,)).fetchone()
    if row is not None:
        raise StoreError(
            f"call {call_id!r} has {row[0]!r} on record already", next_step="report this, with the call's record"
        )
