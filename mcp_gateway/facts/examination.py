"""What examining a SQL text gives: its facts, and what else the gateway goes by.

Values only. `facts.sql` finds them, in a process of its own; `facts.frames` carries them from there, by their types.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcp_gateway.calls import SQLFacts
from mcp_gateway.facts.absent import Absent


@dataclass(frozen=True, slots=True, kw_only=True)
class SQLExamination:
    """The facts about a text, and what follows from them whatever policy says."""

    facts: SQLFacts
    refusal: str | None
    """Why this may never run in a call; None if policy decides."""
    harmless: bool
    """It can be planned, and everything it calls is on the list of what is known to be harmless: `EXPLAIN` of it runs no
    other code."""
    called: frozenset[str] = frozenset()
    """Bare names of functions in their own case: with the relations, what the facts rest on in the catalog."""
    leaves: frozenset[str] = frozenset()
    """Of the relations, those whose version need not be watched: parts of one that tells when it has others."""
    unknown: frozenset[str] = frozenset()
    """Relations and functions that the catalog does not know: misspelt, or newer than the snapshot."""
    absent: frozenset[Absent] = frozenset()
    """Names for which the server must refuse the statement, as long as the snapshot holds."""
