"""Every scenario is held to the invariants when it is over."""

from __future__ import annotations

from tests.invariants.fixtures import tasks_return, world

__all__ = ["tasks_return", "world"]
