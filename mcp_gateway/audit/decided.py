"""Calls that were decided, read back from the record: who called, what it would have done, and what policy said then."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mcp_gateway.audit.chain import decode_body, encode_time
from mcp_gateway.calls import JSONObject
from mcp_gateway.usage import NO_REFUSALS, Spent

KINDS = ("Received", "Identified", "Examined", "Decided", "Started", "Finished", "Answered")
NEEDED = KINDS[:3]
_FIRST = "SELECT min(sequence), count(*) FROM events WHERE kind = 'Received' AND at >= ?"
_ROWS = (
    "SELECT at, call_id, kind, body FROM events WHERE sequence >= ? AND call_id IS NOT NULL"  # noqa: S608 - constants
    f" AND kind IN ({', '.join(repr(kind) for kind in KINDS)}) ORDER BY sequence"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedCall:
    """One call up to its first decision, which no approval had a part in. Bodies are those of its events."""

    call_id: str
    at: str
    """When it was decided, as recorded."""
    received: JSONObject
    identified: JSONObject
    examined: JSONObject
    decided: JSONObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a call added to what is counted for its caller."""

    at: str
    identified: JSONObject
    spent: Spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """In place of a call whose record cannot be read."""

    why: str


@dataclass(slots=True, kw_only=True)
class _Call:
    """A call that has not come to its end."""

    counts: bool
    """Whether it came in in time; of others only what they added is told."""
    events: dict[str, JSONObject] = field(default_factory=dict)


def count_since(connection: sqlite3.Connection, since: datetime) -> int:
    """How many calls came in since then."""
    return int(connection.execute(_FIRST, (encode_time(since),)).fetchone()[1])


def decided_since(
    connection: sqlite3.Connection, since: datetime, *, before: timedelta = timedelta(0)
) -> Iterator[DecidedCall | Counted | Unreadable]:
    """Calls that came in since then and were decided, each where it was decided, and what calls added, where they did.

    What calls added is told from `before` that time on. Calls that were refused before any decision are left out.
    """
    first = connection.execute(_FIRST, (encode_time(since - before),)).fetchone()[0]
    if first is None:
        return
    known: dict[str, _Call] = {}
    in_time = encode_time(since)
    for at, call_id, kind, body in connection.execute(_ROWS, (first,)):
        if kind == "Received":
            known[call_id] = _Call(counts=at >= in_time)
        call = known.get(call_id)
        if call is None:  # it came in before
            continue
        try:
            found = decode_body(body)
        except (ValueError, TypeError, RecursionError):
            if call.counts and "Decided" not in call.events:
                yield Unreadable(why=f"its {kind} cannot be read")
            del known[call_id]
            continue
        if kind == "Decided" and call.counts and "Decided" not in call.events:
            yield _decided(call_id, at, call.events, found)
        if kind in ("Identified", "Examined") and "Decided" not in call.events:
            # The last one: a later token may prove its caller otherwise, and other policies have had more found out.
            call.events[kind] = found
        call.events.setdefault(kind, found)
        spent = _spent(kind, found, started="Started" in call.events)
        if spent is not None and "Identified" in call.events:
            yield Counted(at=at, identified=call.events["Identified"], spent=spent)
        if kind == "Answered":
            del known[call_id]


def _decided(call_id: str, at: str, events: dict[str, JSONObject], decided: JSONObject) -> DecidedCall | Unreadable:
    missing = [name for name in NEEDED if name not in events]
    if missing:
        return Unreadable(why=f"it has no {missing[0]}")
    return DecidedCall(
        call_id=call_id,
        at=at,
        received=events["Received"],
        identified=events["Identified"],
        examined=events["Examined"],
        decided=decided,
    )


def _spent(kind: str, body: JSONObject, *, started: bool) -> Spent | None:
    match kind:
        case "Started":
            return Spent(calls=1)
        case "Finished":
            return Spent(
                rows=_number(body.get("rows")), bytes=_number(body.get("size")), touched=_names(body.get("touched"))
            )
        case "Answered" if started:
            said = Spent(bytes=_number(body.get("said")), touched=_names(body.get("touched")))
            return said if said != Spent() else None
        case "Answered":
            return None if body.get("code") in {*NO_REFUSALS, "ok", "cancelled"} else Spent(refusals=1)
        case _:
            return None


def _number(value: Any) -> int:
    return value if type(value) is int else 0


def _names(value: Any) -> frozenset[str]:
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()
