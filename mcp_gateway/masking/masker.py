"""The masker of one call: what its caller may not see is replaced, and counted by class.

Three layers, as everything that leaves goes through them: columns by what the lineage says of them, values by
detectors, credentials by what was used for the call. Nothing proved about a column means its values are masked
whole, NULL among them: `nullif(ssn, 'guess')` answers a question by being NULL. Where the lineage proves a stored
column passed through unchanged, `keep_nulls` leaves NULLs as they are.

What a JSON key says of its value counts as well: the string under `"password"` is masked whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice, starmap
from typing import Any

import orjson

from mcp_gateway.answers import Masked
from mcp_gateway.calls import JSONObject, Secret
from mcp_gateway.errors import MaskingError
from mcp_gateway.masking import cuts, keys
from mcp_gateway.masking.classes import PII_NATIONAL_ID, SECRET_PASSWORD, SECRET_TOKEN
from mcp_gateway.masking.encoded import EncodedBytes
from mcp_gateway.masking.scan import Hit, Scanner, scanner_for
from mcp_gateway.masking.scrub import CREDENTIAL, SEPARATOR, Scrubber, scrubber_for
from mcp_gateway.masking.stopping import Stop
from mcp_gateway.masking.streams import MaskStream
from mcp_gateway.masking.styles import Markers
from mcp_gateway.tool import Column

TOGETHER = 4096
"""Characters of cells up to which columns are gone through together; of a column alone one more may be added."""
SMALL_NUMBER = 10**7
"""Integers of fewer digits than this are nothing that a detector finds."""
HAS_MEMBERS = (dict, list, tuple)
NO_TEXT = (bool, *HAS_MEMBERS)
MAX_DEPTH = 200
MIN_SURE = 8
"""Letters that a string has at least for a credential in it to be no coincidence."""
UNNAMED = "[masked]"
"""The name of a member whose own name is masked to nothing."""
KEYED = {"assigned_secret": SECRET_PASSWORD, "auth_header": SECRET_TOKEN, "labelled_national_id": PII_NATIONAL_ID}
"""The detectors that a member's name stands in for, and the class it then has."""


def masker_for(
    *,
    revealed: frozenset[str],
    all_classes: frozenset[str],
    styles: Mapping[str, str],
    detectors: frozenset[str],
    secrets: Sequence[Secret],
    hash_key: bytes,
) -> CallMasker:
    """The masker of one call.

    `revealed` are the classes that the policy lets this caller see, out of `all_classes`, those it was asked about;
    `detectors` is what `detectors.resolve` gives; `hash_key` is needed where a style is `hash`.
    """
    revealed &= all_classes
    stop = Stop()
    return CallMasker(
        stop=stop,
        revealed=revealed,
        scanner=scanner_for(detectors=detectors, revealed=revealed),
        scrubber=scrubber_for(tuple(secrets)).stopped_by(stop),
        markers=Markers(styles, hash_key=hash_key),
        by_key=frozenset(
            data_class for detector, data_class in KEYED.items() if detector in detectors and data_class not in revealed
        ),
        watcher=scanner_for(detectors=detectors, revealed=all_classes - revealed) if revealed else None,
    )


class CallMasker:
    """Masks what one call brings back. Not for several threads at once, but for `stop`."""

    def __init__(
        self,
        *,
        stop: Stop,
        revealed: frozenset[str],
        scanner: Scanner,
        scrubber: Scrubber,
        markers: Markers,
        by_key: frozenset[str],
        watcher: Scanner | None = None,
    ) -> None:
        """`watcher` finds what is revealed, so that it is known that it was shown."""
        self._stop = stop
        self._revealed = revealed
        self._scanner = scanner
        self._scrubber = scrubber
        self._markers = markers
        self._by_key = by_key
        self._watcher = watcher
        self._streams: list[MaskStream] = []
        self._closed: Masked | None = None
        self._counts: Counter[str] = Counter()
        self._shown: set[str] = set()
        """Revealed classes of which there was something."""

    def stop(self) -> None:
        """From another thread: end what is going on, with a `MaskingError`; nothing can be masked after it."""
        self._stop.ask()

    def hides(self, classes: frozenset[str]) -> frozenset[str]:
        """Those of `classes` that this caller may not see raw."""
        return classes - self._revealed

    def column(
        self, values: Sequence[Any], *, classes: frozenset[str], keep_nulls: bool = False, computed: bool = False
    ) -> list[Any]:
        """Mask one column of JSON values: whole where a class is hidden, else what the detectors find in them.

        `keep_nulls` is for a column that is proved to be a stored one passed through unchanged. One that is `computed`
        has the same marker in all its cells: by the last four of `left(card, 12)`, or the fingerprint of one letter
        beside that of another, a value would be spelt out.
        """
        self._stop.look()
        hidden = self.hides(classes)
        if values:
            self._shown |= classes - hidden
        if not hidden:
            return self._scanned(values)
        if computed:
            masked = [self._markers.cell(hidden, None)] * len(values)
        elif keep_nulls or self._markers.depends_on_value(hidden):
            masked = [self._cell(value, hidden, keep_nulls=keep_nulls) for value in values]
        else:
            masked = [self._markers.cell(hidden, b"")] * len(values)
        kept = sum(value is None for value in values) if keep_nulls and not computed else 0
        for name in hidden:
            self._counts[name] += len(values) - kept
        return masked

    def table(self, columns: Sequence[Column]) -> tuple[list[str], list[list[Any]]]:
        """Mask the names of columns as `texts`, and each one's values as `column` does.

        The texts of a small result are gone through in one go, because most of what that takes is the beginning.
        """
        together = [column.name for column in columns]
        names, left = len(together), TOGETHER
        cells: list[list[Any] | None] = []
        for column in columns:
            found = None
            if left < 0 or self.hides(column.classes) or set(map(type, column.values)) != {str}:
                found = self.column(column.values, classes=column.classes, computed=column.computed)
            else:
                left -= sum(map(len, column.values))
                together += column.values
                self._shown |= column.classes
            cells.append(found)
        pairs = zip(together, self._each(together), strict=True)
        masked = [name for _, name in islice(pairs, names)]
        settled = starmap(self._settled, pairs)
        return masked, [
            list(islice(settled, len(column.values))) if found is None else found
            for column, found in zip(columns, cells, strict=True)
        ]

    def text(self, value: str, *, cut: bool = False, headless: bool = False) -> str:
        """Mask a text by detectors and credential scrubbing; `cut` and `headless` as for `raw`."""
        return decoded(self.raw(value.encode("utf-8", "surrogatepass"), cut=cut, headless=headless))

    def texts(self, values: Sequence[str]) -> list[str]:
        """Mask many texts in one go, each as `text` would."""
        return self._each(values)

    def raw(self, value: bytes, *, cut: bool = False, headless: bool = False) -> bytes:
        """Mask bytes in the same way. A limit cut off their end (`cut`), or their beginning (`headless`).

        What may be a part of something that can no longer be told is left out then; `cuts` says how much that is.
        """
        if not cut and not headless:
            return self._masked(value, counts=self._counts)
        begin = cuts.first(value, scrubber=self._scrubber) if headless else 0
        end = cuts.last(value, scrubber=self._scrubber) if cut else len(value)
        return self._masked_between(value, begin, end)

    def json(self, value: Any) -> Any:
        """Mask every string in a JSON value, keys included, and numbers that are a card's or the like."""
        texts: list[str] = []
        self._collected(value, texts, depth=0)
        return self._rebuilt(value, iter(list(zip(texts, self._texts(texts), strict=True))))

    def stream(self) -> MaskStream:
        """For an output that arrives in chunks; what it masks is counted in this call's result."""
        stream = MaskStream(scrubber=self._scrubber, scanner=self._scanner, markers=self._markers)
        self._streams.append(stream)
        return stream

    @property
    def counts(self) -> dict[str, int]:
        """Class to the number of values that were masked so far."""
        return dict(sorted(sum((stream.counts for stream in self._streams), +self._counts).items()))

    def seal(self, result: JSONObject, *, rows: int | None = None, truncated: bool = False) -> Masked:
        """Close a result: adds `masked`, scrubs credentials once more over the bytes, counts.

        Everything of the target's has been through `column`, `json`, `text` or `raw` before; the names of members and the
        numbers here are the gateway's own. Raises `MaskingError` where a credential cannot be taken out.
        """
        structured = dumped(result | {"masked": self.counts})
        if self._scrubber.in_sealed(structured):
            result = self._without_credentials(result)
            structured = dumped(result | {"masked": self.counts})
            if any(self._scrubber.in_text(text) for text in _strings(result) if len(text) >= MIN_SURE):
                raise MaskingError("a credential stands where it cannot be taken out of the result")
        counts = self.counts
        self._closed = Masked(
            structured=structured,
            counts=counts,
            touched=frozenset(counts) - {CREDENTIAL} | self._shown,
            rows=rows,
            truncated=truncated,
        )
        return self._closed

    def made(self, result: object) -> bool:
        """Whether a result is the one that was closed here: a tool can build what looks like one."""
        return result is not None and result is self._closed

    def _cell(self, value: Any, hidden: frozenset[str], *, keep_nulls: bool) -> str | None:
        if value is None and keep_nulls:
            return None
        return self._markers.cell(
            hidden, value.encode("utf-8", "surrogatepass") if isinstance(value, str) else dumped(value)
        )

    def _scanned(self, values: Sequence[Any]) -> list[Any]:
        """Cells by what they look like: text, numbers by their digits, nested values by their strings."""
        found = list(values)
        kinds = set(map(type, found))
        if kinds == {str}:
            return self._plain(found)
        if kinds == {int} and max(map(abs, found)) < SMALL_NUMBER:
            return found
        places, texts = [], []
        for place, value in enumerate(found):
            text = _text_of(value)
            if text is not None:
                places.append(place)
                texts.append(text)
            elif isinstance(value, HAS_MEMBERS):
                found[place] = self.json(value)
        for place, before, after in zip(places, texts, self._texts(texts), strict=True):
            if after is not before:
                found[place] = after
        return found

    def _texts(self, texts: list[str]) -> list[str | None]:
        """Mask many texts; one that has nothing to mask is given back itself, and None where null stands for all of it."""
        if EncodedBytes not in set(map(type, texts)):
            return self._plain(texts)
        inside = [self._inside(text) if isinstance(text, EncodedBytes) else text for text in texts]
        outside = self._plain(inside)
        # What is as it was has to be the same object, by which whoever asked knows it.
        return [before if after == before else after for before, after in zip(texts, outside, strict=True)]

    def _inside(self, text: EncodedBytes) -> str:
        """Mask what is encoded."""
        raw = text.raw
        masked = self._masked(raw, counts=self._counts)
        return text if masked == raw else EncodedBytes.of(masked)

    def _plain(self, texts: list[str]) -> list[str | None]:
        return [self._settled(before, after) for before, after in zip(texts, self._each(texts), strict=True)]

    def _each(self, texts: Sequence[str]) -> list[str]:
        if not texts:
            return []
        joined = SEPARATOR.join(texts)
        if joined.count("\0") == len(texts) - 1 and not self._scrubber.short:
            counts: Counter[str] = Counter()
            masked = self._masked(joined.encode("utf-8", "surrogatepass"), counts=counts, nul=False)
            if not counts:
                return list(texts)
            try:
                parts = masked.decode("utf-8", "surrogatepass").split(SEPARATOR)
            except UnicodeDecodeError:
                parts = [decoded(part) for part in masked.split(SEPARATOR.encode())]
            if len(parts) == len(texts):
                self._counts += counts
                return parts
        # A value reached over a cell's end (a key that never closes): only one by one is each cell its own text.
        return [decoded(self._masked(text.encode("utf-8", "surrogatepass"), counts=self._counts)) for text in texts]

    def _settled(self, before: str, after: str) -> str | None:
        if after == before:
            return before
        return None if after in self._markers.nulls else after

    def _masked(self, data: bytes, *, counts: Counter[str], nul: bool = True) -> bytes:
        if self._scrubber:
            data, scrubbed = self._scrubber.scrub(data, nul=nul)
            if scrubbed:
                counts[CREDENTIAL] += scrubbed
        self._watch(data)
        hits = self._scanner.hits(data, nul=nul, asked=self._stop)
        return self._marked(data, hits, counts=counts)

    def _watch(self, data: bytes) -> None:
        """Note which revealed classes are in a text."""
        if self._watcher is not None and not self._revealed <= self._shown:
            self._shown |= {rule.data_class for _, _, rule in self._watcher.hits(data, asked=self._stop)}

    def _masked_between(self, data: bytes, begin: int, end: int) -> bytes:
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
            self._counts[CREDENTIAL] += sum(begin <= start < end for start, _ in spans)
            text, begin = b"".join(replaced), len(replaced[0])
            end = begin + len(replaced[1])
        self._watch(text)
        hits = self._scanner.hits(text, asked=self._stop)
        begin = max([begin, *(stop for start, stop, _ in hits if start < begin)])
        shown = [hit for hit in hits if begin <= hit[0] < end]
        end = max([end, *(stop for _, stop, _ in shown)])
        return self._marked(text, shown, counts=self._counts, place=begin, end=end)

    def _marked(
        self, data: bytes, hits: Sequence[Hit], *, counts: Counter[str], place: int = 0, end: int | None = None
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

    def _collected(self, value: Any, texts: list[str], *, depth: int) -> None:
        """Every text in a JSON value, in the order in which `_rebuilt` takes them."""
        if depth > MAX_DEPTH:
            raise MaskingError(f"a JSON value is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            for key, member in value.items():
                texts.append(str(key))
                if self._class_by_key(key, member) is None:
                    self._collected(member, texts, depth=depth + 1)
        elif isinstance(value, list | tuple):
            for member in value:
                self._collected(member, texts, depth=depth + 1)
        elif (text := _text_of(value)) is not None:
            texts.append(text)

    def _rebuilt(self, value: Any, masked: Iterator[tuple[str, str | None]]) -> Any:
        if isinstance(value, dict):
            members: dict[str, Any] = {}
            for key, member in value.items():
                _, name = next(masked)
                hidden = self._class_by_key(key, member)
                changed = self._rebuilt(member, masked) if hidden is None else self._under_key(member, hidden)
                members[_unused(name or UNNAMED, members)] = changed
            return members
        if isinstance(value, list | tuple):
            return [self._rebuilt(member, masked) for member in value]
        if _text_of(value) is None:
            return value
        before, after = next(masked)
        return value if after is before else after

    def _class_by_key(self, key: object, value: object) -> str | None:
        """The class that a member's name gives its value, where this caller may not see it."""
        found = keys.class_of(key) if isinstance(key, str) else None
        if found is None or found not in self._by_key:
            return None
        members = value if isinstance(value, list) and value else [value]
        texts = [
            str(member) for member in members if isinstance(member, str | int | float) and not isinstance(member, bool)
        ]
        return found if len(texts) == len(members) and any(keys.fits(found, text) for text in texts) else None

    def _under_key(self, value: Any, data_class: str) -> Any:
        if isinstance(value, list):
            return [self._under_key(member, data_class) for member in value]
        self._counts[data_class] += 1
        return self._cell(value, frozenset({data_class}), keep_nulls=False)

    def _without_credentials(self, value: Any) -> Any:
        """A result with its strings scrubbed once more."""
        if isinstance(value, dict):
            return {key: self._without_credentials(member) for key, member in value.items()}
        if isinstance(value, list | tuple):
            return [self._without_credentials(member) for member in value]
        if not isinstance(value, str):
            return value
        data, scrubbed = self._scrubber.scrub(value.encode("utf-8", "surrogatepass"))
        self._counts[CREDENTIAL] += scrubbed
        return decoded(data) if scrubbed else value


def decoded(data: bytes) -> str:
    """Masked bytes as text again. A credential that is no text can have left half a character behind."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def dumped(value: Any) -> bytes:
    """JSON in UTF-8. What JSON cannot carry goes as text; a lone surrogate as U+FFFD."""
    try:
        return orjson.dumps(value, default=str)
    except TypeError:
        return orjson.dumps(_carried(value), default=str)


def _carried(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_carried(key)): _carried(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_carried(member) for member in value]
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str(value) if isinstance(value, int) and value.bit_length() > 63 else value


def _text_of(value: object) -> str | None:
    """The text in which a value could be sensitive, or None for what is provably harmless or has members."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, NO_TEXT):
        return None
    if isinstance(value, int):
        return None if -SMALL_NUMBER < value < SMALL_NUMBER else str(value)
    return str(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield str(key)
            yield from _strings(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _strings(member)
    elif isinstance(value, str):
        yield value


def _unused(name: str, members: Mapping[str, Any]) -> str:
    """A member's name, with a number behind it where masking made two of the same."""
    if name not in members:
        return name
    return next(numbered for number in count(2) if (numbered := f"{name} ({number})") not in members)
