"""What one unit of work may do inside a group of commits: append events, run statements, keep a result.

The chain's head travels through the group: a unit that fails is rolled back alone, and the next one appends where the
last good one ended. An intent (`Started`) opens at most once for a call and ends in exactly one outcome; what would
break that is refused here, whoever asks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from mcp_gateway.audit.chain import Head, encode_body, encode_time, entry_hash
from mcp_gateway.audit.health import is_failure
from mcp_gateway.audit.recordings import Recording, pack
from mcp_gateway.errors import StoreError
from mcp_gateway.events import EVENT_KINDS, Event, Started

OUTCOMES = tuple(sorted(kind for kind, found in EVENT_KINDS.items() if found.ends_call))
"""The kinds of events that end a call."""
ENDING = ", ".join(f"'{kind}'" for kind in OUTCOMES)
INSERT = "INSERT INTO events (sequence, at, call_id, kind, body, hash) VALUES (?, ?, ?, ?, ?, ?)"
STARTED_OR_ENDED = (
    f"SELECT kind FROM events WHERE call_id = ? AND kind IN ('Started', {ENDING}) ORDER BY sequence DESC LIMIT 1"  # noqa: S608 - names of our own classes
)


class Transaction:
    """One unit's view of the store. Works in the writer's thread and until its unit returns, never after."""

    def __init__(self, connection: sqlite3.Connection, *, head: Head) -> None:
        self._connection = connection
        self._open = True
        self.head = head
        """Where the chain stands with what this unit has appended."""
        self.size = 0
        """Bytes that this unit has added, roughly."""
        self.broken: sqlite3.Error | None = None
        """The store's own failure, kept even if the unit swallows the exception."""

    def append(self, event: Event) -> int:
        """Add an event to the chain; returns its number."""
        self._account(event)
        sequence, kind = self.head.sequence + 1, event.kind
        at, body = encode_time(event.at), encode_body(event.body())
        hash_ = entry_hash(
            sequence=sequence, at=at, call_id=event.call_id, kind=kind, body=body.encode(), previous=self.head.hash
        )
        self.execute(INSERT, (sequence, at, event.call_id, kind, body, hash_))
        self.head = Head(sequence=sequence, hash=hash_)
        self.size += len(body)
        return sequence

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> sqlite3.Cursor:
        """Run one statement. Read all of its rows before the unit returns; never end the transaction."""
        if not self._open:
            raise StoreError("a transaction was used after its unit had returned", next_step="report this")
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.Error as error:
            if is_failure(error):
                self.broken = error
            raise

    def save_result(self, call_id: str, result: bytes | Recording) -> str:
        """Keep a call's masked result; returns its SHA-256 in hexadecimal, for `Finished.result_hash`."""
        recording = result if isinstance(result, Recording) else pack(result)
        self.execute(
            "INSERT INTO results (call_id, size, data) VALUES (?, ?, ?)", (call_id, recording.size, recording.data)
        )
        self.size += len(recording.data)
        return recording.digest

    def close(self) -> None:
        """End the unit's use of it."""
        self._open = False

    def _account(self, event: Event) -> None:
        """Keep the list of open intents, and the rule that each ends once."""
        if isinstance(event, Started):
            if event.call_id is None:
                raise StoreError("an intent needs its call's id", next_step="report this")
            self._refuse_second(event.call_id)
            self.execute(
                "INSERT INTO intents (call_id, instance, sequence) VALUES (?, ?, ?)",
                (event.call_id, event.instance, self.head.sequence + 1),
            )
        elif event.ends_call and event.call_id is not None:
            ended = self.execute("DELETE FROM intents WHERE call_id = ?", (event.call_id,)).rowcount
            if not ended:
                self._refuse_second(event.call_id)

    def _refuse_second(self, call_id: str) -> None:
        row = self.execute(STARTED_OR_ENDED, (call_id,)).fetchone()
        if row is not None:
            raise StoreError(
                f"call {call_id!r} has {row[0]!r} on record already", next_step="report this, with the call's record"
            )
