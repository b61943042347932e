"""What a person reads before they decide: who asks, exactly what, why it is asked, and what it would do. Pure.

Nothing is cut, and everything that an agent could use to mislead (control, bidirectional, zero-width characters,
newlines in names) is made visible. Every channel shows this text or these fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.masking.visible import make_visible

NOTHING: tuple[object, ...] = ([], {}, "", None, -1)
"""Facts that say nothing: of a number of rows -1 is that none is known, or that none bounds it."""


def describe(ticket: Ticket) -> str:
    """The whole text, a fact a line."""
    return "\n".join(f"{label}: {text}" if text else label for label, text in lines(ticket))


def lines(ticket: Ticket) -> Iterator[tuple[str, str]]:
    """Label and text, in the order to be read; the command or statement comes before anything that explains it."""
    yield "who", make_visible(f"{ticket.email or ticket.subject}, through the agent {ticket.actor}")
    yield "wants", make_visible(f"{ticket.tool} on {ticket.target}")
    for label, text in ticket.shown.items():
        yield label, make_visible(text)
    for name, value in sorted(ticket.facts.items()):
        if value not in NOTHING:
            yield name.replace("_", " "), make_visible(fact_text(value))
    if ticket.preview:
        yield "preview", make_visible(ticket.preview)
    reasons = "; ".join(reason for reason in ticket.policy_reasons if reason)
    yield "policy", make_visible(f"{', '.join(ticket.policies)}{': ' + reasons if reasons else ''}")
    if ticket.reason:
        yield "the agent says", make_visible(ticket.reason)


def fact_text(value: Any) -> str:
    """A fact in words."""
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return "; ".join(f"{name.replace('_', ' ')} of {fact_text(of)}" for name, of in value.items())
        case _:
            return str(value)
