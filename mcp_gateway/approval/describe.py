"""What a person reads before they decide: who asks, exactly what, why it is asked, and what it would do. Pure.

Nothing is cut, and everything that an agent could use to mislead (control, bidirectional, zero-width characters,
newlines in names) is made visible. Every channel shows this text or these fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.calls import JSONObject, person_text
from mcp_gateway.decisions import CALLER_GROUP
from mcp_gateway.inference import KINDS
from mcp_gateway.masking.visible import make_visible

NOTHING: tuple[object, ...] = ([], {}, "", None, -1)
"""Facts that say nothing: of a number of rows -1 is that none is known, or that none bounds it."""


def describe(ticket: Ticket) -> str:
    """The whole text, a fact a line."""
    return "\n".join(f"{label}: {text}" if text else label for label, text in lines(ticket))


def lines(ticket: Ticket) -> Iterator[tuple[str, str]]:
    """Label and text, in the order to be read; the command or statement comes before anything that explains it."""
    yield "who", make_visible(f"{person_text(ticket.person, email=ticket.email)}, through the agent {ticket.actor}")
    yield "wants", make_visible(f"{ticket.tool} on {ticket.target}")
    for label, text in ticket.shown.items():
        yield label, make_visible(text)
    for name, value in sorted(ticket.facts.items()):
        if value not in NOTHING:
            yield name.replace("_", " "), make_visible(fact_text(value))
    if ticket.preview:
        yield "preview", make_visible(ticket.preview)
    yield "policy", make_visible(policy_text(ticket.policies, ticket.policy_reasons))
    if ticket.reason:
        yield "the agent says", make_visible(ticket.reason)


def policy_text(policies: Sequence[str], reasons: Sequence[str]) -> str:
    """Each policy with its reason."""
    pairs = zip_longest(policies, reasons, fillvalue="")
    return "; ".join(f"{policy}: {reason}" if reason else policy for policy, reason in pairs)


def people_text(needs: Mapping[str, int]) -> str:
    """Who has to agree, by group and number of people, in words for people."""

    def words(group: str, people: int) -> str:
        if group == CALLER_GROUP:
            return "the person whom the agent acts for"
        return f"{people} people of {group}" if people > 1 else f"one of {group}"

    return " and ".join(words(group, people) for group, people in sorted(needs.items()))


def decision_text(*, person: str | None, email: str | None, groups: str, at: str, channel: str, why: str | None) -> str:
    """Who decided, for which groups, when, by which way, and in which words. What is empty is not known, and left out."""
    parts = (
        f"by {person_text(person, email=email)}" if person else "",
        f"for {groups}" if groups else "",
        f"at {at}",
        f"by way of {channel}" if channel else "",
    )
    return " ".join(filter(None, parts)) + (f": {why}" if why else "")


def fact_text(value: Any) -> str:
    """A fact in words."""
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return _by_what_is_told(value)
        case _:
            return str(value)


def _by_what_is_told(value: JSONObject) -> str:
    """`inference`: kinds that tell of the same classes together, since a statement that is not followed has them all."""
    told: dict[str, list[str]] = {}
    for name, of in value.items():
        told.setdefault(fact_text(of), []).append(name.replace("_", " "))
    if len(told) == 1 and value.keys() == {*KINDS}:
        return f"every kind, of {next(iter(told))}"
    return "; ".join(f"{', '.join(names)} of {of}" for of, names in told.items())
