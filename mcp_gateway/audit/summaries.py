"""What a call's events come to: one line for a list of calls. Pure.

The events are read back from a store that may have been tampered with: whatever cannot be understood is shown as
unreadable, and stops nothing. Texts that an agent wrote are given as they are; who prints them makes them inert.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mcp_gateway.audit.chain import decode_body
from mcp_gateway.calls import JSONObject
from mcp_gateway.events import EVENT_KINDS

UNREADABLE = "unreadable"
BEGINNING = 200
"""Characters of a call that a list of calls has at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One row of the store."""

    sequence: int
    at: str
    call_id: str | None
    kind: str
    body: JSONObject
    hash: str
    """In hexadecimal."""

    def to_json(self) -> JSONObject:
        """All of it; `id` is the place in the chain."""
        return {"id": self.sequence} | asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSummary:
    """One call at a glance. Empty where the record does not say."""

    call_id: str
    at: str
    door: str = ""
    tool: str = ""
    target: str = ""
    begins: str = ""
    """How the statement, command or request begins, on one line: to tell calls apart, `show` has all of it."""
    reason: str = ""
    issuer: str = ""
    subject: str = ""
    email: str = ""
    actor: str = ""
    decisions: tuple[str, ...] = ()
    """`allow`, `ask`, `deny`, in order: a call that waited for an approval is decided twice."""
    would: tuple[str, ...] = ()
    """Decisions that were not enforced: of policies in shadow mode, and on a target that is observed."""
    policies: tuple[str, ...] = ()
    """Those that determined the last decision."""
    outcome: str = ""
    """The kind of event that ended it."""
    code: str = ""
    """What its door was told, `ok` or an error code."""
    duration: float | None = None
    """Seconds, of what ran at the target."""
    rows: int | None = None
    masked: JSONObject | None = None
    """Data class to the number of values masked."""

    def to_json(self) -> JSONObject:
        """All of it; `id` is the call's."""
        return {"id": self.call_id} | asdict(self)


def stored_event(row: Sequence[Any]) -> StoredEvent:
    """A row of `sequence, at, call_id, kind, body, hash` as a value."""
    sequence, at, call_id, kind, body, found = row
    try:
        decoded = decode_body(body)
    except (ValueError, TypeError, RecursionError):
        decoded = {UNREADABLE: body}
    return StoredEvent(
        sequence=sequence, at=at, call_id=call_id, kind=kind, body=decoded, hash=bytes(found or b"").hex()
    )


def summarise(events: Sequence[StoredEvent]) -> CallSummary:
    """The events of one call, in order, to its summary."""
    found: dict[str, Any] = {"call_id": events[0].call_id or "", "at": events[0].at}
    decisions: list[str] = []
    would: list[str] = []
    for event in events:
        body = event.body
        match event.kind:
            case "Received":
                found |= _texts(body, "door", "tool", "target", "reason")
                found["begins"] = beginning(body.get("arguments"))
            case "Identified":
                found |= _texts(body, "issuer", "subject", "email", "actor")
            case "Decided":
                decisions.append(str(body.get("decision", "")))
                would += _not_enforced(body)
                found["policies"] = tuple(map(str, _listed(body.get("policies"))))
            case "Finished":
                found |= {name: body.get(name) for name in ("duration", "rows", "masked")}
            case "Answered":
                found |= _texts(body, "code")
            case _:
                pass
        if event.kind in EVENT_KINDS and EVENT_KINDS[event.kind].ends_call:
            found["outcome"] = event.kind
    return CallSummary(**found, decisions=tuple(decisions), would=tuple(would))


def beginning(arguments: Any) -> str:
    """The beginning of what was asked: the argument that says it in the built-in tools, of others the first text."""
    found = arguments if isinstance(arguments, dict) else {}
    match found:
        case {"sql": str(text)} | {"command": str(text)}:
            pass
        case {"argv": [*words]}:
            text = shlex.join(map(str, words[:BEGINNING]))
        case {"path": str(path)}:
            text = f"{found.get('method') or 'GET'} {path}"
        case _:
            text = next((value for value in found.values() if isinstance(value, str)), "")
    line = " ".join(text[: 4 * BEGINNING].split())
    return line if len(line) <= BEGINNING and len(text) <= 4 * BEGINNING else f"{line[:BEGINNING].rstrip()} ..."


def _not_enforced(decided: JSONObject) -> list[str]:
    said, shadow = str(decided.get("decision", "")), decided.get("shadow")
    shadowed = str(shadow.get("decision", "")) if isinstance(shadow, dict) else said
    return ([shadowed] if shadowed != said else []) + ([said] if decided.get("enforced") is False else [])


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(body: JSONObject, *names: str) -> dict[str, str]:
    return {name: str(body.get(name) or "") for name in names}
