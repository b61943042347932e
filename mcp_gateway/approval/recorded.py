"""What an approval that has ended was about, from the audit events of the call that asked. Pure.

What was shown to the people who decided goes when the ticket ends; what the events keep has been through the detectors.
The events may have been tampered with: what cannot be read is left out, and stops nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from mcp_gateway.approval.ticket import ENDED, Ticket
from mcp_gateway.calls import JSONObject

TARGET = "target"
"""The argument that the ticket has by itself."""


def restored(ticket: Ticket, rows: Sequence[tuple[str, str]]) -> Ticket:
    """The ticket with arguments, reason and facts of `Received` and `Examined` events, given as kind and body."""
    received: JSONObject = {}
    facts: Any = {}
    for kind, body in rows:
        found = _object(body)
        if kind == "Received":
            received = found
        elif found.get("digest") == ticket.digest:
            facts = found.get("facts")
    arguments = received.get("arguments")
    given = arguments.items() if isinstance(arguments, dict) else ()
    shown = {name: _text(value) for name, value in given if name != TARGET}
    return replace(
        ticket,
        shown={name: text for name, text in shown.items() if text},
        facts=facts if isinstance(facts, dict) else {},
        reason=str(received.get("reason") or ""),
    )


def is_from_record(ticket: Ticket) -> bool:
    """Whether what a ticket shows comes from the record: one that has ended has nothing else to show."""
    return ticket.state in ENDED and bool(ticket.shown)


def _object(body: str) -> JSONObject:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
