"""Every test here in which a whole road ran is held to the invariants I1 to I8 of its gateway."""

from __future__ import annotations

from tests.invariants.fixtures import tasks_return, world

__all__ = ["tasks_return", "world"]
