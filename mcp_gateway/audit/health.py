"""What a failure of SQLite means, and whether a store can be trusted again.

A failure is the store's when the next write may meet it too: a full disk, an I/O error, a damaged or locked file. The
store then closes. Anything else is one unit's own fault and leaves the store open.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from mcp_gateway.audit.chain import Entry, Flaw, Head, follow
from mcp_gateway.errors import StoreError

GOES_ON = "a running gateway goes on by itself within seconds"
EVIDENCE = "keep the files as evidence, run `mcp-gateway audit verify`, and restore the store from a copy"
VERIFIED = "keep the files as evidence, and restore the store from a copy"
"""The same for who has run it."""
PRIMARY = 0xFF
"""SQLite's extended result codes carry the primary one in their low byte (sqlite.org/rescode.html)."""
FAILURES = {
    sqlite3.SQLITE_FULL: ("there is no space left for it", f"free some; {GOES_ON}"),
    sqlite3.SQLITE_IOERR: ("its disk fails", f"check the disk; when it works again {GOES_ON}"),
    sqlite3.SQLITE_READONLY: ("it cannot be written", f"make its file system writable; {GOES_ON}"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "check data_dir, its owner and its modes"),
    sqlite3.SQLITE_PERM: ("access to it is denied", "check data_dir, its owner and its modes"),
    sqlite3.SQLITE_BUSY: ("another process keeps it locked", f"end that process; {GOES_ON}"),
    sqlite3.SQLITE_LOCKED: ("another connection keeps it locked", f"end whatever reads it; {GOES_ON}"),
    sqlite3.SQLITE_PROTOCOL: ("its lock cannot be got", f"end whatever holds it; {GOES_ON}"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", EVIDENCE),
    sqlite3.SQLITE_NOTADB: ("it is not a database", EVIDENCE),
    sqlite3.SQLITE_NOMEM: ("there is no memory left for it", GOES_ON),
    sqlite3.SQLITE_INTERNAL: ("SQLite itself failed", "report this, with the version of SQLite"),
    sqlite3.SQLITE_NOLFS: ("its file system takes no large files", "set data_dir to another file system"),
}
CHUNK_ROWS = 2000
"""Rows read at a time: no read holds a snapshot for long, so the WAL can always be reset."""
HASH_BYTES = 32
INDEXED = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('results', 'probes') ORDER BY name"
CHUNK = """
    SELECT sequence, at, call_id, kind, body, hash FROM events
    WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?
"""


def is_failure(error: Exception) -> bool:
    """Whether it is the store that failed, and not one unit's statement. No memory is what Python makes of SQLite's own."""
    return (
        is_damage(error)
        or isinstance(error, MemoryError)
        or getattr(error, "sqlite_errorcode", 0) & PRIMARY in FAILURES
    )


def is_damage(error: Exception) -> bool:
    """Whether the file itself is broken. Its texts, those of SQLite's own messages too, may then be no UTF-8."""
    code = getattr(error, "sqlite_errorcode", 0) & PRIMARY
    return isinstance(error, UnicodeDecodeError) or code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def failure(error: Exception, *, path: Path) -> StoreError:
    """What to tell the operator."""
    if isinstance(error, UnicodeDecodeError):
        return StoreError(f"the audit store {str(path)!r} refuses: it is damaged ({error})", next_step=EVIDENCE)
    extended = sqlite3.SQLITE_NOMEM if isinstance(error, MemoryError) else getattr(error, "sqlite_errorcode", 0)
    code = sqlite3.SQLITE_FULL if extended == sqlite3.SQLITE_IOERR_SHMSIZE else extended & PRIMARY
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    what, next_step = FAILURES.get(code, (str(error), "report this"))
    return StoreError(f"the audit store {str(path)!r} refuses: {what} ({name})", next_step=next_step)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Let nothing of SQLite's or the system's out but `StoreError`."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError, MemoryError) as error:
        raise failure(error, path=path) from error
    except OSError as error:
        raise StoreError(f"the audit store cannot be used: {error}", next_step="check the disk and data_dir") from error


def read_head(connection: sqlite3.Connection, *, empty: Head) -> Head:
    """The end of the chain as the database has it; `empty` for a store without events."""
    row = connection.execute("SELECT sequence, hash FROM events ORDER BY sequence DESC LIMIT 1").fetchone()
    if row is None:
        return empty
    sequence, found = row
    if sequence < 1 or not isinstance(found, bytes) or len(found) != HASH_BYTES:
        raise StoreError(f"the audit store does not verify: event {sequence} is no event", next_step=EVIDENCE)
    return Head(sequence=sequence, hash=found)


def before_first(connection: sqlite3.Connection) -> Flaw | None:
    """A row that is not in the chain, since it comes before its first place: nobody who walks the chain meets it."""
    (sequence,) = connection.execute("SELECT min(sequence) FROM events").fetchone()
    if sequence is None or sequence >= 1:
        return None
    return Flaw(sequence=sequence, why="is not in the chain, which begins with event 1")


def hash_at(connection: sqlite3.Connection, sequence: int, *, empty: Head) -> bytes | None:
    """The hash that the row at a place of the chain claims."""
    if sequence == 0:
        return empty.hash
    row = connection.execute("SELECT hash FROM events WHERE sequence = ?", (sequence,)).fetchone()
    return None if row is None else bytes(row[0])


def check_continues(connection: sqlite3.Connection, *, known: Head, empty: Head) -> None:
    """Refuse a chain that lacks an event which this process has acknowledged: the file went back, or is another."""
    if hash_at(connection, known.sequence, empty=empty) != known.hash:
        raise StoreError(
            f"the audit store no longer holds event {known.sequence} as it was recorded", next_step=EVIDENCE
        )


def walk(
    connection: sqlite3.Connection, *, head: Head, upto: int
) -> Iterator[tuple[Sequence[Entry], Head, Flaw | None]]:
    """Verify what comes after `head`, chunk by chunk: the rows, the last that fits and the first that does not.

    The connection's `text_factory` must be `bytes`. Where a chunk cannot be read, its rows are taken one by one, so that
    the error comes at the row which cannot be.
    """
    rows = CHUNK_ROWS
    while head.sequence < upto:
        try:
            entries = connection.execute(CHUNK, (head.sequence, upto, rows)).fetchall()
        except (sqlite3.Error, UnicodeDecodeError):
            if rows == 1:
                raise
            rows = 1
            continue
        if not entries:
            return
        head, flaw = follow(entries, head=head)
        yield entries, head, flaw
        if flaw is not None:
            return


def check_indexes(connection: sqlite3.Connection) -> None:
    """Refuse a store whose indexes do not fit its tables: one that has lost a row hides a revocation or an outcome.

    Results are left out: they are found by their call's id alone, and tied to the chain by their hashes. Takes about a
    microsecond for each event.
    """
    for (name,) in connection.execute(INDEXED).fetchall():
        table = name.decode() if isinstance(name, bytes) else name
        (found,) = connection.execute(f"PRAGMA integrity_check('{table}')").fetchone()
        text = found.decode("utf-8", "replace") if isinstance(found, bytes) else found
        if text != "ok":
            raise StoreError(f"the audit store is inconsistent in {table!r}: {text}", next_step=EVIDENCE)


def check_tail(connection: sqlite3.Connection, *, rows: int, empty: Head) -> None:
    """Refuse a store whose last `rows` events do not verify."""
    stray = before_first(connection)
    if stray is not None:
        raise StoreError(f"the audit store does not verify: {stray}", next_step=EVIDENCE)
    last = read_head(connection, empty=empty).sequence
    start = max(0, last - rows)
    known = hash_at(connection, start, empty=empty)
    if known is None:
        raise StoreError(f"the audit store does not verify: event {start} is missing", next_step=EVIDENCE)
    sequence = start
    try:
        for _, head, flaw in walk(connection, head=Head(sequence=start, hash=known), upto=last):
            sequence = head.sequence
            if flaw is not None:
                raise StoreError(f"the audit store does not verify: {flaw}", next_step=EVIDENCE)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if not is_damage(error):
            raise
        raise StoreError(
            f"the audit store does not verify: event {sequence + 1} cannot be read: {error}", next_step=EVIDENCE
        ) from error
