"""Texts and bytes of one call, masked by detectors and rid of credentials, and what was found in them counted.

Below `masker`, which says what of a result goes through here and masks whole what columns and names speak for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from mcp_gateway.masking import cuts
from mcp_gateway.masking.encoded import EncodedBytes
from mcp_gateway.masking.json_values import decoded
from mcp_gateway.masking.scan import Hit, Scanner
from mcp_gateway.masking.scrub import CREDENTIAL, SEPARATOR, Scrubber
from mcp_gateway.masking.stopping import Stop
from mcp_gateway.masking.streams import MaskStream
from mcp_gateway.masking.styles import Markers


class TextMasker:
    """Masks what stands in the texts of one call."""

    def __init__(
        self,
        *,
        stop: Stop,
        scanner: Scanner,
        scrubber: Scrubber,
        markers: Markers,
        watchers: Mapping[str, Scanner],
    ) -> None:
        """`watchers` find what is revealed, by its class, so that it is known that it was shown.

        Each has its own, because what one finds may hold what another would: an address inside a password.
        """
        self._stop = stop
        self._scanner = scanner
        self._scrubber = scrubber
        self._markers = markers
        self._watchers = watchers
        self.counts: defaultdict[str, int] = defaultdict(int)
        """Class to the number of values that were masked. `masker` adds those it masks whole; streams count by themselves."""
        self.shown: set[str] = set()
        """Revealed classes of which there was something."""

    def stream(self) -> MaskStream:
        """For an output that arrives in chunks, which counts by itself what it masks."""
        return MaskStream(scrubber=self._scrubber, scanner=self._scanner, markers=self._markers)

    def mask_bytes(self, value: bytes, *, cut: bool = False, headless: bool = False) -> bytes:
        """Mask bytes. A limit cut off their end (`cut`), or their beginning (`headless`).

        What may be a part of something that can no longer be told is left out then; `cuts` says how much that is.
        """
        if not cut and not headless:
            return self._mask(value, counts=self.counts)
        begin = cuts.first(value, scrubber=self._scrubber) if headless else 0
        end = cuts.last(value, scrubber=self._scrubber) if cut else len(value)
        return self._mask_between(value, begin, end)

    def mask_values(self, texts: list[str]) -> list[str | None]:
        """Mask many texts; one that has nothing to mask is given back itself, and None where null stands for all of it."""
        if EncodedBytes not in set(map(type, texts)):
            return self.mask_strings(texts)
        inside = [self._mask_encoded(text) if isinstance(text, EncodedBytes) else text for text in texts]
        outside = self.mask_strings(inside)
        # What is as it was has to be the same object, by which whoever asked knows it.
        return [before if after == before else after for before, after in zip(texts, outside, strict=True)]

    def mask_strings(self, texts: list[str]) -> list[str | None]:
        """The same of texts of which none is encoded."""
        return self.settled(texts, self.mask_each(texts))

    def mask_each(self, texts: Sequence[str]) -> list[str]:
        """Mask many texts in one go, each as if it were alone."""
        if not texts:
            return []
        joined = SEPARATOR.join(texts)
        if joined.count("\0") == len(texts) - 1 and not self._scrubber.short:
            counts: defaultdict[str, int] = defaultdict(int)
            masked = self._mask(joined.encode("utf-8", "surrogatepass"), counts=counts, nul=False)
            if not counts:
                return list(texts)
            try:
                parts = masked.decode("utf-8", "surrogatepass").split(SEPARATOR)
            except UnicodeDecodeError:
                parts = [decoded(part) for part in masked.split(SEPARATOR.encode())]
            if len(parts) == len(texts):
                for name, count in counts.items():
                    self.counts[name] += count
                return parts
        # A value reached over a cell's end (a key that never closes): only one by one is each cell its own text.
        return [decoded(self._mask(text.encode("utf-8", "surrogatepass"), counts=self.counts)) for text in texts]

    def settled(self, before: Sequence[str], after: Sequence[str]) -> list[str | None]:
        """What masked texts leave as: themselves where they are as they were, None where null stands for all of one."""
        if before == after:
            return list(before)
        nulls = self._markers.nulls
        return [old if new == old else None if new in nulls else new for old, new in zip(before, after, strict=True)]

    def _mask_encoded(self, text: EncodedBytes) -> str:
        """Mask what is encoded."""
        raw = text.raw
        masked = self._mask(raw, counts=self.counts)
        return text if masked == raw else EncodedBytes.of(masked)

    def _mask(self, data: bytes, *, counts: defaultdict[str, int], nul: bool = True) -> bytes:
        if self._scrubber:
            data, scrubbed = self._scrubber.scrub(data, nul=nul)
            if scrubbed:
                counts[CREDENTIAL] += scrubbed
        self._watch(data, nul=nul)
        hits = self._scanner.hits(data, nul=nul, asked=self._stop)
        return self._marked(data, hits, counts=counts)

    def _watch(self, data: bytes, *, nul: bool = True) -> None:
        """Note which revealed classes are in a text."""
        for name, watcher in self._watchers.items():
            if name not in self.shown and watcher.hits(data, nul=nul, asked=self._stop):
                self.shown.add(name)

    def _mask_between(self, data: bytes, begin: int, end: int) -> bytes:
        """Mask a whole text and give a part of it: what lies across its beginning is left out, across its end masked."""
        spans = self._scrubber.spans(data)
        for start, stop in spans:
            begin = stop if start < begin < stop else begin
            end = start if start < end < stop else end
        if begin >= end:
            return b""
        text = data
        if spans:
            replaced = [
                self._scrubber.replaced(data, spans, begin=start, stop=stop)
                for start, stop in ((0, begin), (begin, end), (end, len(data)))
            ]
            self.counts[CREDENTIAL] += sum(begin <= start < end for start, _ in spans)
            text, begin = b"".join(replaced), len(replaced[0])
            end = begin + len(replaced[1])
        self._watch(text)
        hits = self._scanner.hits(text, asked=self._stop)
        begin = max([begin, *(stop for start, stop, _ in hits if start < begin)])
        shown = [hit for hit in hits if begin <= hit[0] < end]
        end = max([end, *(stop for _, stop, _ in shown)])
        return self._marked(text, shown, counts=self.counts, place=begin, end=end)

    def _marked(
        self, data: bytes, hits: Sequence[Hit], *, counts: defaultdict[str, int], place: int = 0, end: int | None = None
    ) -> bytes:
        if not hits:
            return data[place:end]
        masked = bytearray()
        for start, stop, rule in hits:
            counts[rule.data_class] += 1
            masked += data[place:start]
            masked += self._markers.marker(rule.data_class, data[start:stop]).encode()
            place = stop
        masked += data[place:end]
        return bytes(masked)
