"""What people decided about a call: the approvals that it asked for or used, from the events of the calls they belong to.

A call that asks and the call that runs by the answer are often two. `Claimed` names the one that asked, whose events
hold every decision; the way back goes along the chain, for as long as a yes can be used. Nothing rests on the table of
approvals, which the chain does not cover.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mcp_gateway.audit.summaries import StoredEvent
from mcp_gateway.calls import JSONObject

DECISIONS = (
    "Approved", "ApprovalDenied", "ApprovalRevoked", "ApprovalWithdrawn", "ApprovalExpired", "DecisionRefused",
)  # fmt: skip
UNUSED = frozenset(DECISIONS) - {"Approved", "DecisionRefused"}
"""After one of these nothing runs by an approval any more."""
ROWS_AT_ONCE = 20_000
"""Of the chain, in one snapshot."""
CLAIM = """
    SELECT call_id FROM events
    WHERE sequence > ? AND sequence <= ? AND kind = 'Claimed'
    AND CASE WHEN json_valid(body) THEN body ->> '$.approval_id' END = ?
    ORDER BY sequence LIMIT 1
"""
EventsOf: TypeAlias = Callable[[str], list[StoredEvent]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """One approval, as far as the record tells."""

    approval_id: str
    asked_by: str
    """The call that asked for it."""
    used_by: str
    """The call that ran by it; empty while none has."""
    decisions: tuple[StoredEvent, ...]
    """Who said what and when, and what time did to it, in order."""

    def to_json(self) -> JSONObject:
        """All of it; `id` is the approval's."""
        return {
            "id": self.approval_id,
            "asked_by": self.asked_by,
            "used_by": self.used_by,
            "decisions": [event.to_json() for event in self.decisions],
        }


def consents(
    connection: sqlite3.Connection, *, call_id: str, events: Sequence[StoredEvent], events_of: EventsOf
) -> tuple[Consent, ...]:
    """The approvals that a call asked for or used, in the order in which its events name them."""
    found: dict[str, Consent] = {}
    for event in events:
        approval_id = _text(event, "approval_id")
        if event.kind in {"Asked", "Claimed"} and approval_id and approval_id not in found:
            asked_by = call_id if event.kind == "Asked" else _text(event, "asked_by")
            of_asker = events if asked_by == call_id else events_of(asked_by)
            found[approval_id] = _consent(connection, approval_id, asked_by=asked_by, events=of_asker, claim=event)
    return tuple(found.values())


def _consent(
    connection: sqlite3.Connection,
    approval_id: str,
    *,
    asked_by: str,
    events: Sequence[StoredEvent],
    claim: StoredEvent,
) -> Consent:
    decisions = tuple(
        event for event in events if event.kind in DECISIONS and _text(event, "approval_id") == approval_id
    )
    used_by = claim.call_id or "" if claim.kind == "Claimed" else _used_by(connection, approval_id, decisions)
    return Consent(approval_id=approval_id, asked_by=asked_by, used_by=used_by, decisions=decisions)


def _used_by(connection: sqlite3.Connection, approval_id: str, decisions: Sequence[StoredEvent]) -> str:
    """The call that used a complete yes. What a yes comes to is recorded at latest when its time is over."""
    complete = [event.sequence for event in decisions if event.kind == "Approved" and event.body.get("complete")]
    if not complete or any(event.kind in UNUSED for event in decisions):
        return ""
    (last,) = connection.execute("SELECT max(sequence) FROM events").fetchone()
    for start in range(complete[-1], last, ROWS_AT_ONCE):
        row = connection.execute(CLAIM, (start, start + ROWS_AT_ONCE, approval_id)).fetchone()
        if row is not None:
            return str(row[0])
    return ""


def _text(event: StoredEvent, name: str) -> str:
    return str(event.body.get(name) or "")
