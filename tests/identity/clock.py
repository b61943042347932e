"""A clock that stands until a test moves it."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.identity.forging import NOW


class Clock:
    """Call it for the time."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **span: float) -> None:
        """Move on, or back, by a `timedelta` of these arguments."""
        self.now += timedelta(**span)
