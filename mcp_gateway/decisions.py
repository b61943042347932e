"""What policy answers: `Allow`, `Ask` or `Deny`. Values, never exceptions.

Each carries the ids of the policies that determined it, sorted, and their reasons in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

CALLER_GROUP = "caller"
"""The reserved group of an `@approval` that the caller's own human confirms. No token can carry it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """The real approval that a decision takes as a fact: Cedar's `context.approval`."""

    by: frozenset[str] = frozenset()
    """Groups whose quorum has approved."""
    approvers: int = 0
    """Distinct people."""
    people: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    """Distinct people of each group that said yes, where it is known; for quorums that grew after the Ask."""


NOT_APPROVED = Approved()


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A group that has to say yes, and how many distinct people of it."""

    group: str
    approvers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """The call may run, within what the determining permits grant."""

    policies: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    max_rows: int | None = None
    timeout: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The call may run once every requirement is met."""

    policies: tuple[str, ...]
    reasons: tuple[str, ...]
    requirements: tuple[Requirement, ...]
    """Sorted by group; never empty."""
    ttl: timedelta | None = None
    """The smallest `@ttl` of the determining policies; None = the configured one."""

    @property
    def people(self) -> dict[str, int]:
        """By group how many distinct people of it are asked for."""
        return {needed.group: needed.approvers for needed in self.requirements}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """The call may not run, whoever approved it."""

    policies: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    error: str | None = None
    """Why no decision could be made; for the audit row, never for the agent."""


Decision: TypeAlias = Allow | Ask | Deny
