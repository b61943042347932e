"""How far code can be trusted, and what has been found out of it. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

FIRST_USER_OID: Final = 16384
"""Objects below it are the server's own (`FirstNormalObjectId`)."""
SYSTEM_SCHEMAS: Final = ("pg_catalog", "information_schema")


class Trust(IntEnum):
    """How much is known of what would run. The larger of two counts."""

    KNOWN = 0
    """The server's own or a vetted extension's, and harmless."""
    PROVED = 1
    """Somebody's own code that has been read, or any extension's that only computes: harmless."""
    UNPROVED = 2
    """It may do anything."""


@dataclass(slots=True)
class Verdicts:
    """What was found out about one catalog, by those who judge it together."""

    functions: dict[int, Trust] = field(default_factory=dict)
    """By their object id; the others by `schema.name`."""
    domains: dict[str, Trust] = field(default_factory=dict)
    """Of their CHECKs."""
    views: dict[str, Trust] = field(default_factory=dict)
    written: dict[str, Trust] = field(default_factory=dict)
    """Of what a write to a table evaluates."""
    policies: dict[str, Trust] = field(default_factory=dict)
    """Of a table's row-level security."""
    planned: dict[str, Trust] = field(default_factory=dict)
    """Of what planning a statement over a table runs."""
    column_names: frozenset[str] | None = None
    """Of the whole catalog, once they were asked for."""
    depth: int = 0
    """Of the bodies that are being read, one within another."""
