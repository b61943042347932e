"""Ids that are given by their beginning, where several begin so."""

from __future__ import annotations

from collections.abc import Sequence

MAX_NAMED = 10
CANDIDATES = MAX_NAMED + 1
"""How many to look up: those that are named, and one more that tells whether there are others."""


def several_text(what: str, beginning: str, candidates: Sequence[str]) -> str:
    """Which ones begin so, for whoever has to give more; `what` they are is a plural."""
    more = " and more" if len(candidates) > MAX_NAMED else ""
    named = ", ".join(candidates[:MAX_NAMED])
    return f"several {what} begin with {beginning!r}: {named}{more}; give more of the id"
