"""How long the writer waits for what others are about to hand in: a commit costs more than what is in it.

Where few calls are under way it waits for nobody. Where there are several, most of them are about to hand something in, as
long as the event loop is what they wait for: then it waits for three quarters of them, and never for longer than its pace
says. Where it is something else, a target that takes its time, hardly anybody comes: then it is tried ever more rarely.
"""

from __future__ import annotations

import queue
from collections.abc import Callable

EXPECTED = 0.75
"""Of the calls under way. Of fewer than three that is one at most, and nobody waits."""
WORTH = 1 / 3
"""Of those that are expected: where fewer came, the wait was not worth while."""
RAREST = 64
"""Groups of which one waits at least."""


class Gathering:
    """What is awaited. `under_way` and `handed_in` are the event loop's, the rest is the writer's thread's."""

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self.under_way = 0
        """Calls that may be about to hand something in; a guess is enough."""
        self._wanted = 0
        """How many units end the wait; 0 where nobody waits."""
        self._enough: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._pause = self._paused = 0
        """Groups that do not wait after one that waited in vain, and those of them that are to come."""

    def handed_in(self, waiting: int) -> None:
        """Say how many units wait by now."""
        if 0 < self._wanted <= waiting:
            self._wanted = 0
            self._enough.put(None)

    def wait(self, waiting: Callable[[], int]) -> None:
        """Wait until enough of them do, if that is worth while."""
        wanted = int(EXPECTED * self.under_way)
        if waiting() >= wanted:
            return
        if self._paused:
            self._paused -= 1
            return
        self._wait(wanted, waiting)
        self._pause = 0 if waiting() > max(1, WORTH * wanted) else min(2 * self._pause + 1, RAREST - 1)
        self._paused = self._pause

    def _wait(self, wanted: int, waiting: Callable[[], int]) -> None:
        while not self._enough.empty():  # of a wait that was over when it was put in
            self._enough.get_nowait()
        self._wanted = wanted
        try:
            if waiting() < wanted:
                self._enough.get(timeout=self._seconds)
        except queue.Empty:
            pass
        finally:
            self._wanted = 0
