"""Head and tail of a stream within a limit, with enough around the cut that a secret across it can be masked. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MARGIN_BYTES = 2048
"""The longest value that a detector finds; see `Captured`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What is kept of a stream.

    Where something was left out, `head` ends and `tail` begins with `MARGIN_BYTES` that are there to be masked with the
    rest and are then cut off: a value that lies across the cut is either masked whole or lies in the margin.
    """

    head: bytes
    tail: bytes = b""
    dropped: int = 0
    """Bytes between head and tail, margins left aside."""


class Capture:
    """Collects a stream, keeping at most `limit` bytes and two margins."""

    def __init__(self, *, limit: int) -> None:
        self._keep = max(limit // 2, 1) + MARGIN_BYTES
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        self.total += len(chunk)
        room = self._limit + 2 * MARGIN_BYTES - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        if len(self._tail) > 4 * self._keep:
            del self._tail[: -self._keep]

    def captured(self) -> Captured:
        """What was kept."""
        if self.total <= self._limit:
            return Captured(head=bytes(self._head))
        seen = bytes(self._head + self._tail)
        head, tail = bytes(self._head[: self._keep]), seen[-self._keep :]
        return Captured(head=head, tail=tail, dropped=self.total - len(head) - len(tail) + 2 * MARGIN_BYTES)
