"""Times on the command line, as they are given and as they are shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import typer

Time: TypeAlias = Annotated[str | None, typer.Option(metavar="TIME", help="ISO 8601, or how long ago: 15m, 2h, 7d.")]


def time_of(given: str | None, option: str) -> datetime | None:
    """The time that an option names; None where it was left out."""
    return None if given is None else parse_time(given, option)


def parse_time(given: str, option: str) -> datetime:
    """A time, or how long ago it was. Raises `typer.BadParameter` of that option."""
    from mcp_gateway.clock import utc_now
    from mcp_gateway.quantities import parse_duration

    try:
        if re.fullmatch(r"[0-9]+[a-z]+", given, re.ASCII):
            return utc_now() - parse_duration(given)
        found = datetime.fromisoformat(given)
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"expected a time such as 2026-01-31T12:00:00Z, 2026-01-31 or 2h, got {given!r}", param_hint=option
        ) from None


def seconds(at: str) -> str:
    """A recorded time for people, to the second; a text that is none stays as it is."""
    try:
        return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return at
