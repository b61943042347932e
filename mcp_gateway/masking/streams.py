"""Masking of bytes that arrive in chunks: the same output, byte for byte, as for the whole, however it was cut.

Bytes in, bytes out, no I/O. Each stage keeps back what later bytes could still change: the scrubber as much as the
longest form of a secret, the scanner the window of its judges. A hit without a bound (a key, a token) is swallowed
as it comes. A secret under `scrub.MIN_SECRET` bytes, which counts only as a whole value, is not looked for here.
"""

from __future__ import annotations

from collections import Counter

from mcp_gateway.masking.folding import BARRIER, MAX_TOKEN, Folded, fold
from mcp_gateway.masking.judging import LEFT, WINDOW
from mcp_gateway.masking.rules import MAX_MATCH
from mcp_gateway.masking.scan import Hit, Pending, Scanner, proceed
from mcp_gateway.masking.scrub import CREDENTIAL, Scrubber, View
from mcp_gateway.masking.styles import Markers, Running

AHEAD = WINDOW + MAX_MATCH
"""Folded bytes behind a match's start that can matter to what becomes of it."""
NEIGHBOURS = 2
"""Folded bytes of context that are kept before what is still to be decided."""

LARGE = 16 * 1024
"""A buffer beyond this is looked at again only when it has grown by half, so that each byte is looked at a few times."""


class ScrubStream:
    """Credentials out of a stream."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._buffer = b""
        self._covered = 0
        self._enough = 0
        """How large the buffer has to be before it is worth a look."""
        self.count = 0

    def feed(self, chunk: bytes, *, final: bool = False) -> bytes:
        """Take a chunk; give what is decided."""
        if not self._scrubber.longest:
            return chunk
        self._buffer += chunk
        if len(self._buffer) < self._enough and not final:
            return b""
        views = self._scrubber.views(self._buffer, all_of_them=True)
        decided = len(self._buffer) if final else self._decided(views)
        pieces, place = [], self._covered
        for start, end in self._scrubber.spans_in(views):
            if start >= decided:
                break
            if start >= place:
                pieces += [self._buffer[place:start], self._scrubber.mark.encode()]
                self.count += 1
            place = max(place, end)
        if place < decided:
            pieces.append(self._buffer[place:decided])
            place = decided
        self._buffer = self._buffer[decided:]
        self._enough = _enough(self._buffer)
        self._covered = place - decided
        return b"".join(pieces)

    def _decided(self, views: list[View]) -> int:
        """The last place such that no form of a secret that begins before it can change, and no escape is cut."""
        sure = len(self._buffer) - MAX_TOKEN
        if sure <= 0:
            return 0
        place = sure
        for view in views:
            known = view.certain(sure) - self._scrubber.longest_in(view)
            place = min(place, view.start(known) if known > 0 else 0)
        while (lower := min(view.floor(place) for view in views)) < place:
            place = lower
        return place


class ScanStream:
    """Values that detectors find out of a stream."""

    def __init__(self, scanner: Scanner, *, markers: Markers) -> None:
        self._scanner = scanner
        self._markers = markers
        self._buffer = b""
        self._enough = 0
        self._emitted = 0
        """Up to where in the buffer everything has been given out; before it is context."""
        self._place = 0
        """Folded offset at which scanning goes on."""
        self._hits: list[Hit] = []
        self._pending: Pending | None = None
        self._running: tuple[str, Running | None] | None = None
        """Class and fingerprint of a hit whose beginning has been given out and whose end has not come."""
        self._known = 0
        """Folded offset up to which that hit is known to reach."""
        self._closed = True
        """Whether it ends there."""
        self.counts: Counter[str] = Counter()

    def feed(self, chunk: bytes, *, final: bool = False) -> bytes:
        """Take a chunk; give what is decided."""
        self._buffer += chunk
        if len(self._buffer) < self._enough and not final:
            return b""
        folded = fold(self._buffer, nul=True) or _as_it_is(self._buffer)
        text = folded.text if final else folded.text[: folded.reach(len(self._buffer) - MAX_TOKEN)]
        limit = len(text) if final else len(text) - AHEAD
        self._advance(text, limit=limit, floor=folded.reach(self._emitted), final=final)
        settled = len(text) if final else max(0, self._place - LEFT)
        pieces = self._give(folded, settled=settled)
        if final:
            pieces.append(self._buffer[self._emitted :])
            self._buffer = b""
        else:
            self._forget(folded)
            self._enough = _enough(self._buffer)
        return b"".join(pieces)

    def _advance(self, text: bytes, *, limit: int, floor: int, final: bool) -> None:
        while True:
            if self._pending is not None:
                self._place, self._pending = proceed(text, self._place, self._pending, final=final)
                if self._running is None:
                    start, _, rule = self._hits[-1]
                    self._hits[-1] = (start, self._place, rule)
                else:
                    self._known = self._place
                    self._closed = self._pending is None
                    floor = self._place
            if self._pending is not None or self._place >= limit:
                return
            self._place, self._pending = self._scanner.collect(
                text, place=self._place, limit=limit, final=final, hits=self._hits, floor=floor
            )
            if self._pending is not None:
                return

    def _give(self, folded: Folded, *, settled: int) -> list[bytes]:
        """Everything before `settled`: a hit that begins there is given with its end, or as much of it as came."""
        pieces: list[bytes] = []
        if self._running is not None:
            pieces += self._swallow(folded.end(self._known) if self._known else 0, closed=self._closed)
        while self._hits and self._hits[0][0] < settled:
            start, end, rule = self._hits.pop(0)
            place = folded.start(start)
            pieces.append(self._buffer[self._emitted : place])
            self._emitted = place
            hashed = self._markers.style(rule.data_class) == "hash"
            self._running = (rule.data_class, self._markers.running(rule.data_class) if hashed else None)
            self.counts[rule.data_class] += 1
            self._known = end
            self._closed = bool(self._hits) or self._pending is None
            pieces += self._swallow(folded.end(end), closed=self._closed)
        if self._running is None and settled < len(folded.text):
            place = folded.start(settled)
            if place > self._emitted:
                pieces.append(self._buffer[self._emitted : place])
                self._emitted = place
        return pieces

    def _swallow(self, place: int, *, closed: bool) -> list[bytes]:
        """Take the value up to `place`; give its marker once it is complete."""
        if self._running is None:
            return []
        data_class, running = self._running
        value = self._buffer[self._emitted : place]
        self._emitted = max(self._emitted, place)
        if running is not None:
            running.update(value)
        if not closed:
            return []
        self._running = None
        if running is not None:
            return [self._markers.hashed(data_class, running).encode()]
        return [self._markers.marker(data_class, value).encode()]

    def _forget(self, folded: Folded) -> None:
        """Drop what has been given out, but for a little context."""
        kept = max(0, min(folded.reach(self._emitted), self._place) - NEIGHBOURS)
        # A barrier is one only behind what was dropped before it, so no buffer begins with one.
        while kept and folded.text[kept : kept + 1] == BARRIER:
            kept -= 1
        cut = folded.start(kept) if kept else 0
        self._buffer = self._buffer[cut:]
        self._emitted -= cut
        self._place -= kept
        self._known -= kept
        self._hits = [(start - kept, end - kept, rule) for start, end, rule in self._hits]


class MaskStream:
    """Both stages, for one output of a call."""

    def __init__(self, *, scrubber: Scrubber, scanner: Scanner, markers: Markers) -> None:
        self._scrub = ScrubStream(scrubber)
        self._scan = ScanStream(scanner, markers=markers)

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; give what is decided."""
        return self._scan.feed(self._scrub.feed(chunk))

    def finish(self) -> bytes:
        """The rest."""
        return self._scan.feed(self._scrub.feed(b"", final=True), final=True)

    @property
    def counts(self) -> Counter[str]:
        """Class to the number of values that were masked so far."""
        scrubbed = Counter({CREDENTIAL: self._scrub.count} if self._scrub.count else {})
        return self._scan.counts + scrubbed


def _enough(buffer: bytes) -> int:
    return len(buffer) * 3 // 2 if len(buffer) > LARGE else 0


def _as_it_is(data: bytes) -> Folded:
    return Folded(text=data, starts=[0], places=[0], widths=[0])
