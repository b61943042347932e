"""Verifying a whole store: the chain, the results that it covers, and what lies beside it.

Works beside a running gateway and on a store that none has open; reads in small snapshots, up to the event that was the
last when it began.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from mcp_gateway.audit import health
from mcp_gateway.audit.chain import Entry, Flaw, Head, genesis
from mcp_gateway.audit.recordings import RecordingError, unpack
from mcp_gateway.audit.schema import store_id
from mcp_gateway.audit.search import opened
from mcp_gateway.calls import JSONObject
from mcp_gateway.errors import StoreError

FINISHED = b"Finished"
STRAY = """
    SELECT call_id FROM results
    WHERE NOT EXISTS (SELECT 1 FROM events WHERE events.call_id = results.call_id AND kind = 'Finished') LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What verifying a store found."""

    store_id: str
    events: int
    """Events of the chain that were found to fit, counted from the first."""
    results: int
    """Recorded results that fit their events."""
    head: Head
    """Where the chain stands after the last event that fits: what to keep elsewhere, for `expected` later."""
    flaw: Flaw | None
    """The first thing wrong; None when everything fits."""

    def to_json(self) -> JSONObject:
        """All of it."""
        flaw = None if self.flaw is None else {"sequence": self.flaw.sequence, "why": self.flaw.why}
        return {
            "id": self.store_id,
            "ok": self.flaw is None,
            "events": self.events,
            "results": self.results,
            "head": {"sequence": self.head.sequence, "hash": self.head.hash.hex()},
            "flaw": flaw,
        }


def verify(
    data_dir: Path, *, expected: Head | None = None, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Verification:
    """Verify a store.

    1. Every event fits its hash and follows on the one before, from the store's genesis to the last.
    2. The chain runs through `expected`, a head that was kept elsewhere: else it was cut, rolled back or hashed anew.
    3. Every `Finished` has the result that its hash names, and no result is without one.
    4. The indexes by which calls are searched agree with the events.

    `progress` is told how many events of how many are done. Raises `StoreError` where there is no store to verify.
    """
    try:
        with opened(data_dir) as connection:
            return _Walk(connection, expected=expected, progress=progress).run()
    except StoreError as error:
        if error.next_step != health.EVIDENCE:
            raise
        # Its advice is to verify, which is what has failed.
        raise StoreError(error.message, next_step=health.VERIFIED) from error


class _Walk:
    """One pass over a store."""

    def __init__(
        self, connection: sqlite3.Connection, *, expected: Head | None, progress: Callable[[int, int], None]
    ) -> None:
        self._connection = connection
        self._expected = expected
        self._progress = progress
        self._results = 0
        self._store_id = store_id(connection)
        self._head = genesis(self._store_id)
        connection.text_factory = bytes

    def run(self) -> Verification:
        flaw = next(self._flaws(), None)
        return Verification(
            store_id=self._store_id,
            events=self._head.sequence,
            results=self._results,
            head=self._head,
            flaw=flaw,
        )

    def _flaws(self) -> Iterator[Flaw]:
        # 1., and 2. and 3. for the events that fit.
        try:
            yield from self._chain_flaws()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            yield self._unreadable(error, sequence=self._head.sequence + 1)
        # 2.
        if self._expected is not None and self._expected.sequence > self._head.sequence:
            yield Flaw(
                sequence=self._head.sequence + 1,
                why=f"is missing: a head kept elsewhere is of {self._expected.sequence} events",
            )
        try:
            # 4.
            yield from self._index_flaws()
            # 3., the other way round, which goes by an index
            yield from self._stray_results()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            yield self._unreadable(error, sequence=None)

    def _chain_flaws(self) -> Iterator[Flaw]:
        stray = health.before_first(self._connection)
        if stray is not None:
            yield stray
        last = health.read_head(self._connection, empty=self._head).sequence
        for entries, head, flaw in health.walk(self._connection, head=self._head, upto=last):
            fitting = entries[: head.sequence - self._head.sequence]
            self._head = head
            yield from self._found_flaws(fitting)
            if flaw is not None:
                yield flaw
            self._progress(head.sequence, last)

    def _unreadable(self, error: Exception, *, sequence: int | None) -> Flaw:
        """A flaw for damage; a store that is only locked, or the like, cannot be verified now."""
        if not health.is_damage(error):
            raise error
        return Flaw(sequence=sequence, why=f"cannot be read: {error}")

    def _found_flaws(self, entries: Sequence[Entry]) -> Iterator[Flaw]:
        for sequence, _, call_id, kind, body, found in entries:
            if self._expected is not None and sequence == self._expected.sequence and found != self._expected.hash:
                yield Flaw(sequence=sequence, why="is not the one that a head kept elsewhere knows")
            if kind == FINISHED and body is not None:
                yield from self._result_flaws(sequence, call_id=call_id, digest=_result_hash(body))

    def _result_flaws(self, sequence: int, *, call_id: bytes | None, digest: str) -> Iterator[Flaw]:
        if not digest:
            return
        name = (call_id or b"").decode()
        try:
            row = self._connection.execute("SELECT size, data FROM results WHERE call_id = ?", (name,)).fetchone()
            if row is None:
                yield Flaw(sequence=sequence, why="names a result that is missing")
                return
            result = unpack(row[1], size=row[0])
        except (sqlite3.Error, UnicodeDecodeError) as error:
            unreadable = self._unreadable(error, sequence=None)
            yield Flaw(sequence=sequence, why=f"names a result that {unreadable.why}")
            return
        except RecordingError as error:
            yield Flaw(sequence=sequence, why=f"names a result that was changed: {error}")
            return
        if hashlib.sha256(result).hexdigest() != digest:
            yield Flaw(sequence=sequence, why="names a result that was changed")
        self._results += 1

    def _stray_results(self) -> Iterator[Flaw]:
        row = self._connection.execute(STRAY).fetchone()
        if row is not None:
            yield Flaw(
                sequence=None, why=f"holds a result of call {row[0].decode('utf-8', 'replace')!r} that no event names"
            )

    def _index_flaws(self) -> Iterator[Flaw]:
        (found,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != b"ok":
            yield Flaw(sequence=None, why=f"is inconsistent: {found.decode('utf-8', 'replace')}")


def _result_hash(body: bytes) -> str:
    """The result that a `Finished` names. Its hash fits, so its form is the gateway's own; if not, it is no result."""
    try:
        return str(orjson.loads(body).get("result_hash") or "")
    except (orjson.JSONDecodeError, AttributeError):
        return "unreadable"
