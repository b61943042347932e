"""Head and tail of a stream within a limit, and enough around the cut for masking to give up. Pure.

What may be told at a cut end or a cut beginning is masking's to say (`masking.cuts`); here is only what is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

MARGIN_BYTES = 8 * 1024
"""What is kept beyond the limit at each side of the cut, because masking gives up about as much there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What is kept of a stream. Where something was left out, `head` and `tail` are cut."""

    head: bytes
    tail: bytes = b""
    keep: int = 0
    """How many bytes of each are to be shown once they are masked, at most."""
    dropped: int = 0
    """Bytes between what is to be shown of head and tail."""


class Capture:
    """Collects a stream, keeping at most `limit` bytes and two margins."""

    def __init__(self, *, limit: int) -> None:
        self._show = max(limit // 2, 1)
        self._keep = self._show + MARGIN_BYTES
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
        return Captured(head=head, tail=tail, keep=self._show, dropped=max(0, self.total - 2 * self._show))
