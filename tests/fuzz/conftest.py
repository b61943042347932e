"""Messages are sent by the thousand: what they did is judged by the invariants when a gateway has ended."""

from __future__ import annotations

from tests.invariants.resources import tasks_return

__all__ = ["tasks_return"]
