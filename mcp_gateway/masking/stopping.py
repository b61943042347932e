"""How masking that has begun is ended: somebody asks, and the work looks every few hundred steps. Pure.

Masking takes linear time, but a result full of candidates costs seconds. Who waits for it (`aside`) may have enough of
it; a thread cannot be killed, so the loops that cost look here. A single step between two looks is RE2 over at most
the whole text, some hundredths of a second.
"""

from __future__ import annotations

from mcp_gateway.errors import MaskingError

STEPS = 256
"""How many candidates or tokens pass between two looks; a power of two."""


class Stop:
    """Whether to go on. Asked by one thread, looked at by another."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        """Have the work end at its next look, with a `MaskingError`."""
        self._asked = True

    def look(self) -> None:
        """Raise `MaskingError` if somebody asked."""
        if self._asked:
            raise MaskingError("masking was stopped before its end")


NEVER = Stop()
"""For work that nobody stops."""
