"""The hash chain: how an event becomes bytes, and how a run of rows is checked. Pure.

Row number n carries SHA-256 over one line of JSON, `[n, at, call_id, kind, previous]`, a newline, and the body exactly
as it is stored; `previous` is the hash of row n - 1 in hexadecimal. Row 1 follows on the genesis of its store, a hash
of the store's id, so that rows of two stores never fit together. `store` and `writer` append by this, `search` verifies
by it, and a dozen lines of any language can do the same.

What it finds: an edited, removed, inserted or moved row, the first one by number. What nobody can find in the rows
alone: a tail cut off, the whole file rolled back to an older copy, rows added at the end, and a suffix hashed anew
throughout. These show against a `Head` that was kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import orjson

from mcp_gateway.calls import JSONObject
from mcp_gateway.errors import StoreError
from mcp_gateway.events import Event, plain

GENESIS = b"mcp_gateway audit chain 1\n"

Entry: TypeAlias = tuple[int, "bytes | None", "bytes | None", "bytes | None", "bytes | None", "bytes | None"]
"""A row as the database has it: sequence, at, call id, kind, body, hash. Nothing about it is trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of a chain: the number of its last row, 0 for none, and that row's hash."""

    sequence: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """The first thing wrong in a chain."""

    sequence: int | None
    """Which event; None when it is not the fault of one."""
    why: str

    def __str__(self) -> str:
        return f"event {self.sequence} {self.why}" if self.sequence is not None else f"the store {self.why}"


def genesis(store_id: str) -> Head:
    """The head of an empty store."""
    return Head(sequence=0, hash=hashlib.sha256(GENESIS + store_id.encode()).digest())


def encode_time(at: datetime) -> str:
    """ISO 8601 in UTC with microseconds always written, so that texts sort as times do."""
    if getattr(at, "tzinfo", None) is None:
        raise StoreError(f"an event's time must have a zone, got {str(at)!r}", next_step="report this")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def encode_event(event: Event) -> str:
    """The body of an event, as `encode_body` writes it."""
    try:
        return orjson.dumps(event.values(), default=plain, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        return encode_body(event.body())


def encode_body(body: JSONObject) -> str:
    """One line of JSON with sorted keys.

    An agent chooses what its arguments hold. Integers beyond 64 bits and lone surrogates are written all the same;
    what JSON cannot hold refuses this one event, and so the call, and leaves the store open.
    """
    try:
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        pass
    try:
        return json.dumps(body, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"an event cannot be written as JSON: {error}") from None


def decode_body(text: str | bytes) -> JSONObject:
    """A body read back, exactly: integers of any size stay integers."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError("an event's body is a JSON object")
    return found


def entry_hash(*, sequence: int, at: str, call_id: str | None, kind: str, body: bytes, previous: bytes) -> bytes:
    """The hash of one row."""
    header = orjson.dumps([sequence, at, call_id, kind, previous.hex()])
    return hashlib.sha256(header + b"\n" + body).digest()


def follow(entries: Iterable[Entry], *, head: Head) -> tuple[Head, Flaw | None]:
    """Check the rows that come after `head`: the last that fits, and the first that does not."""
    sequence, previous = head.sequence, head.hash
    flaw: Flaw | None = None
    for number, at, call_id, kind, body, found in entries:
        if number != sequence + 1:
            flaw = Flaw(sequence=sequence + 1, why=f"is missing: event {number} comes after event {sequence}")
            break
        if at is None or kind is None or body is None:
            flaw = Flaw(sequence=number, why="lacks a part")
            break
        try:
            expected = entry_hash(
                sequence=number,
                at=at.decode(),
                call_id=None if call_id is None else call_id.decode(),
                kind=kind.decode(),
                body=body,
                previous=previous,
            )
        except (UnicodeDecodeError, AttributeError, TypeError):  # damage can make a number of it, too
            flaw = Flaw(sequence=number, why="is not text")
            break
        if found != expected:
            flaw = Flaw(sequence=number, why="does not fit its hash: it, or what comes before it, was changed")
            break
        sequence, previous = number, expected
    return Head(sequence=sequence, hash=previous), flaw
