"""Searching and showing: the reader's side of the store, on connections of its own, also when no gateway has it open.

Nothing is held for long: a search reads its candidates in small snapshots, so the WAL can be reset between them. The
database narrows by what it can read inside the events; what it finds is checked again on the summaries, so a record
that cannot be read is never missing from an answer because it cannot be read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from mcp_gateway.audit import health
from mcp_gateway.audit.chain import encode_time
from mcp_gateway.audit.consents import Consent, consents
from mcp_gateway.audit.database import closed_unless_usable, connect
from mcp_gateway.audit.files import Paths, exists
from mcp_gateway.audit.recordings import RecordingError, unpack
from mcp_gateway.audit.schema import is_store
from mcp_gateway.audit.summaries import UNREADABLE, CallSummary, StoredEvent, stored_event, summarise
from mcp_gateway.calls import person_key
from mcp_gateway.errors import StoreError

PAGE_CALLS = 200
EVENTS_OF_CALL = "SELECT sequence, at, call_id, kind, body, hash FROM events WHERE call_id = ? ORDER BY sequence"
CALLS_BEGINNING = "SELECT DISTINCT call_id FROM events WHERE call_id >= ? AND call_id < ? ORDER BY call_id LIMIT ?"
LAST_CHARACTER = "\U0010ffff"
Clause: TypeAlias = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which calls are asked for; None = any."""

    caller: str | None = None
    """The human's subject, `issuer|subject` or e-mail address, or the agent."""
    tool: str | None = None
    target: str | None = None
    decision: str | None = None
    """`allow`, `ask` or `deny`: any decision that was made on the call."""
    would: str | None = None
    """The same of a decision that was not enforced: of policies in shadow mode, or on a target that is observed."""
    code: str | None = None
    """What the door was told, `ok` or an error code."""
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    """Somewhere in the events, ASCII letters in either case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything about one call."""

    summary: CallSummary
    events: tuple[StoredEvent, ...]
    result: bytes | None
    """The masked result, if one was recorded and it is whole."""
    result_flaw: str = ""
    """Why a recorded result is not given."""
    consents: tuple[Consent, ...] = ()
    """The approvals that it asked for or used, and what people decided."""


def search(data_dir: Path, *, filters: Filters, limit: int = 50) -> list[CallSummary]:
    """Calls, the newest first."""
    found: list[CallSummary] = []
    with opened(data_dir) as connection:
        for events in _candidates(connection, filters):
            summary = summarise(events)
            if _fits(summary, events, filters):
                found.append(summary)
                if len(found) >= limit:
                    break
    return found


def show(data_dir: Path, *, call_id: str) -> Record | None:
    """One call with all its events and its masked result; None if there is none of this id."""
    with opened(data_dir) as connection:
        events = _events(connection, call_id)
        if not events:
            return None
        result, flaw = _result(connection, call_id, events)
        decided = consents(
            connection, call_id=call_id, events=events, events_of=lambda asker: _events(connection, asker)
        )
    return Record(summary=summarise(events), events=tuple(events), result=result, result_flaw=flaw, consents=decided)


def calls_beginning(data_dir: Path, beginning: str, *, limit: int) -> list[str]:
    """The ids of calls that begin with a text, at most `limit`. None begins with nothing."""
    if not beginning:
        return []
    with opened(data_dir) as connection:
        rows = connection.execute(CALLS_BEGINNING, (beginning, f"{beginning}{LAST_CHARACTER}", limit)).fetchall()
    return [call_id for (call_id,) in rows]


@contextlib.contextmanager
def opened(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to the store of a directory; all of SQLite's errors become `StoreError`."""
    path = Paths(data_dir).database
    if not exists(path):
        raise StoreError(
            f"there is no audit store in {str(data_dir)!r}", next_step="nothing was recorded yet, or data_dir is wrong"
        )
    with health.translated(path), contextlib.closing(_connect(path)) as connection:
        connection.text_factory = _lenient_text
        if not is_store(connection):
            raise StoreError(f"{str(path)!r} is empty", next_step="restore the store from a copy")
        yield connection


def _connect(path: Path) -> sqlite3.Connection:
    """Open a store, also one on read-only media, where SQLite cannot make its shared memory."""
    connection = connect(path, read_only=True)
    with closed_unless_usable(connection):
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            wal = path.with_name(f"{path.name}-wal")
            if exists(wal) and wal.stat().st_size:
                raise
        else:
            return connection
    connection.close()
    return connect(path, read_only=True, immutable=True)


def _candidates(connection: sqlite3.Connection, filters: Filters) -> Iterator[list[StoredEvent]]:
    """The events of each call that may fit, the newest call first."""
    clauses = list(_clauses(filters))
    condition = "".join(f" AND {sql}" for sql, _ in clauses)
    parameters = [value for _, values in clauses for value in values]
    query = (
        "SELECT at, sequence, call_id FROM events AS received"  # noqa: S608 - conditions of this module's own
        f" WHERE kind = 'Received' AND (at, sequence) < (?, ?){condition} ORDER BY at DESC, sequence DESC LIMIT ?"
    )
    at, sequence = "~", 0
    while rows := connection.execute(query, (at, sequence, *parameters, PAGE_CALLS)).fetchall():
        for _, _, call_id in rows:
            if events := _events(connection, call_id):
                yield events
        at, sequence, _ = rows[-1]


def _clauses(filters: Filters) -> Iterator[Clause]:
    if filters.since is not None:
        yield "at >= ?", (encode_time(filters.since),)
    if filters.until is not None:
        yield "at < ?", (encode_time(filters.until),)
    for name, value in (("tool", filters.tool), ("target", filters.target)):
        if value is not None:
            yield _readable(f"json_extract(body, '$.{name}') = ?"), (value,)
    if filters.caller is not None:
        names = ("subject", "email", "actor")
        alike = " OR ".join(f"json_extract(body, '$.{name}') = ? COLLATE NOCASE" for name in names)
        both = "json_extract(body, '$.issuer') || '|' || json_extract(body, '$.subject') = ?"
        yield _of_call("Identified", _readable(f"({alike} OR {both})")), (filters.caller,) * 4
    if filters.decision is not None:
        yield _of_call("Decided", _readable("json_extract(body, '$.decision') = ?")), (filters.decision,)
    if filters.would is not None:
        shadowed = (
            "(json_extract(body, '$.shadow.decision') = ?"
            " AND json_extract(body, '$.shadow.decision') <> json_extract(body, '$.decision'))"
        )
        observed = "(json_extract(body, '$.enforced') = 0 AND json_extract(body, '$.decision') = ?)"
        yield _of_call("Decided", _readable(f"({shadowed} OR {observed})")), (filters.would,) * 2
    if filters.code is not None:
        yield _of_call("Answered", _readable("json_extract(body, '$.code') = ?")), (filters.code,)
    if filters.text is not None:
        patterns = (_pattern(filters.text, ascii_only=False), _pattern(filters.text, ascii_only=True))
        yield _of_call(None, r"(body LIKE ? ESCAPE '\' OR body LIKE ? ESCAPE '\')"), patterns


def _readable(condition: str) -> str:
    """A condition on a body, which one that is no JSON object passes: the summary shows what it is."""
    return f"CASE WHEN json_valid(body) THEN json_type(body) <> 'object' OR {condition} ELSE 1 END"


def _of_call(kind: str | None, condition: str) -> str:
    of_kind = f"kind = '{kind}' AND " if kind else ""
    return f"EXISTS (SELECT 1 FROM events WHERE call_id = received.call_id AND {of_kind}{condition})"  # noqa: S608 - as above


def _pattern(text: str, *, ascii_only: bool) -> str:
    """A LIKE pattern for a text as it stands inside a body: escaped in one of the two ways of `chain`, then for LIKE."""
    written = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
    for special in ("\\", "%", "_"):
        written = written.replace(special, f"\\{special}")
    return f"%{written}%"


def _fits(summary: CallSummary, events: Sequence[StoredEvent], filters: Filters) -> bool:
    if any(UNREADABLE in event.body for event in events):
        return True
    callers = {summary.subject, summary.actor, person_key(summary.issuer, summary.subject), summary.email.casefold()}
    return (
        filters.tool in {None, summary.tool}
        and filters.target in {None, summary.target}
        and (filters.caller is None or bool({filters.caller, filters.caller.casefold()} & callers))
        and (filters.decision is None or filters.decision in summary.decisions)
        and (filters.would is None or filters.would in summary.would)
        and filters.code in {None, summary.code}
    )


def _events(connection: sqlite3.Connection, call_id: str | None) -> list[StoredEvent]:
    return [stored_event(row) for row in connection.execute(EVENTS_OF_CALL, (call_id,)).fetchall()]


def _result(connection: sqlite3.Connection, call_id: str, events: Sequence[StoredEvent]) -> tuple[bytes | None, str]:
    """A call's result, if it is the one that its `Finished` was recorded with; else why not."""
    expected = [event.body.get("result_hash") for event in events if event.kind == "Finished"]
    row = connection.execute("SELECT size, data FROM results WHERE call_id = ?", (call_id,)).fetchone()
    if row is None:
        return None, "it is missing" if any(expected) else ""
    try:
        result = unpack(row[1], size=row[0])
    except RecordingError as error:
        return None, str(error)
    if hashlib.sha256(result).hexdigest() not in expected:
        return None, "it is not the one that was recorded"
    return result, ""


def _lenient_text(data: bytes) -> str:
    """Text of a file that may have been tampered with."""
    return data.decode("utf-8", "replace")
