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
from functools import lru_cache
from itertools import count, islice
from operator import is_
from typing import Any

from mcp_gateway.answers import Masked
from mcp_gateway.calls import JSONObject, Secret
from mcp_gateway.errors import MaskingError
from mcp_gateway.masking import keys
from mcp_gateway.masking.classes import PII_NATIONAL_ID, SECRET_PASSWORD, SECRET_TOKEN
from mcp_gateway.masking.json_values import HAS_MEMBERS, SMALL_NUMBER, decoded, dumped, leaves, strings, text_of
from mcp_gateway.masking.scan import scanner_for, watchers_for
from mcp_gateway.masking.scrub import CREDENTIAL, Scrubber, scrubber_for
from mcp_gateway.masking.stopping import Stop
from mcp_gateway.masking.streams import MaskStream
from mcp_gateway.masking.styles import Markers
from mcp_gateway.masking.texts import TextMasker
from mcp_gateway.tool import Column

TOGETHER = 4096
"""Characters of cells up to which columns are gone through together; of a column alone one more may be added."""
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
    scrubber = scrubber_for(tuple(secrets)).stopped_by(stop)
    markers = Markers(styles, hash_key=hash_key)
    return CallMasker(
        stop=stop,
        revealed=revealed,
        texts=TextMasker(
            stop=stop,
            scanner=scanner_for(detectors=detectors, revealed=revealed),
            scrubber=scrubber,
            markers=markers,
            watchers=watchers_for(detectors=detectors, revealed=revealed),
        ),
        scrubber=scrubber,
        markers=markers,
        by_key=_by_key(detectors),
    )


@lru_cache(maxsize=64)
def _by_key(detectors: frozenset[str]) -> frozenset[str]:
    """The classes that the names of members give their values, where these detectors look."""
    return frozenset(data_class for detector, data_class in KEYED.items() if detector in detectors)


class CallMasker:
    """Masks what one call brings back. Not for several threads at once, but for `stop`."""

    def __init__(
        self,
        *,
        stop: Stop,
        revealed: frozenset[str],
        texts: TextMasker,
        scrubber: Scrubber,
        markers: Markers,
        by_key: frozenset[str],
    ) -> None:
        """`by_key` are the classes that a member's name gives its value."""
        self._stop = stop
        self._revealed = revealed
        self._texts = texts
        self._scrubber = scrubber
        self._markers = markers
        self._by_key = by_key
        self._streams: list[MaskStream] = []
        self._closed: Masked | None = None

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
            self._texts.shown |= classes - hidden
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
            self._texts.counts[name] += len(values) - kept
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
            if left < 0 or not column.classes <= self._revealed or set(map(type, column.values)) != {str}:
                found = self.column(column.values, classes=column.classes, computed=column.computed)
            else:
                left -= sum(map(len, column.values))
                together += column.values
                self._texts.shown |= column.classes
            cells.append(found)
        masked = self._texts.mask_each(together)
        settled = iter(self._texts.settled(together[names:], masked[names:]))
        return masked[:names], [
            list(islice(settled, len(column.values))) if found is None else found
            for column, found in zip(columns, cells, strict=True)
        ]

    def text(self, value: str, *, cut: bool = False, headless: bool = False) -> str:
        """Mask a text by detectors and credential scrubbing; `cut` and `headless` as for `raw`."""
        return decoded(self._texts.mask_bytes(value.encode("utf-8", "surrogatepass"), cut=cut, headless=headless))

    def texts(self, values: Sequence[str]) -> list[str]:
        """Mask many texts in one go, each as `text` would."""
        return self._texts.mask_each(values)

    def raw(self, value: bytes, *, cut: bool = False, headless: bool = False) -> bytes:
        """Mask bytes in the same way. A limit cut off their end (`cut`), or their beginning (`headless`).

        What may be a part of something that can no longer be told is left out then; `cuts` says how much that is.
        """
        return self._texts.mask_bytes(value, cut=cut, headless=headless)

    def json(self, value: Any) -> Any:
        """Mask every string in a JSON value, keys included, and numbers that are a card's or the like.

        One in which there is nothing to mask, of lists and of members with names, is given back itself.
        """
        texts: list[str] = []
        changes = self._collected(value, texts, depth=0)
        masked = self._texts.mask_values(texts)
        if not changes and all(map(is_, texts, masked)):
            return value
        return self._rebuilt(value, iter(list(zip(texts, masked, strict=True))))

    def stream(self) -> MaskStream:
        """For an output that arrives in chunks; what it masks is counted in this call's result."""
        stream = self._texts.stream()
        self._streams.append(stream)
        return stream

    @property
    def counts(self) -> dict[str, int]:
        """Class to the number of values that were masked so far."""
        found: Mapping[str, int] = self._texts.counts
        if self._streams:
            found = sum((stream.counts for stream in self._streams), Counter(found))
        return {name: count for name, count in sorted(found.items()) if count}

    @property
    def touched(self) -> frozenset[str]:
        """Data classes of which there was something so far, masked or raw."""
        return self._touched(self.counts)

    def seal(self, result: JSONObject, *, rows: int | None = None, truncated: bool = False) -> Masked:
        """Close a result: adds `masked`, scrubs credentials once more over the bytes, counts.

        Everything of the target's has been through `column`, `json`, `text` or `raw` before; the names of members and the
        numbers here are the gateway's own. Raises `MaskingError` where a credential cannot be taken out.
        """
        counts = self.counts
        structured = dumped(result | {"masked": counts})
        if self._scrubber.in_sealed(structured):
            result = self._without_credentials(result)
            counts = self.counts
            structured = dumped(result | {"masked": counts})
            if any(self._scrubber.in_text(text) for text in strings(result) if len(text) >= MIN_SURE):
                raise MaskingError("a credential stands where it cannot be taken out of the result")
        self._closed = Masked(
            structured=structured,
            counts=counts,
            touched=self._touched(counts),
            rows=rows,
            truncated=truncated,
        )
        return self._closed

    def made(self, result: object) -> bool:
        """Whether a result is the one that was closed here: a tool can build what looks like one."""
        return result is not None and result is self._closed

    def _touched(self, counts: Mapping[str, int]) -> frozenset[str]:
        return frozenset(counts) - {CREDENTIAL} | self._texts.shown

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
            return self._texts.mask_strings(found)
        if kinds == {int} and max(map(abs, found)) < SMALL_NUMBER:
            return found
        places, texts = [], []
        for place, value in enumerate(found):
            text = text_of(value)
            if text is not None:
                places.append(place)
                texts.append(text)
            elif isinstance(value, HAS_MEMBERS):
                found[place] = self.json(value)
        for place, before, after in zip(places, texts, self._texts.mask_values(texts), strict=True):
            if after is not before:
                found[place] = after
        return found

    def _collected(self, value: Any, texts: list[str], *, depth: int) -> bool:
        """Gather every text in a JSON value, in the order in which `_rebuilt` takes them.

        Gives whether the value becomes another one whatever is found in them: a name hides one, or it is not plain JSON.
        """
        changes = isinstance(value, tuple)
        if depth > MAX_DEPTH:
            raise MaskingError(f"a JSON value is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            for key, member in value.items():
                texts.append(str(key))
                if self._class_by_key(key, member) is not None:
                    changes = True
                elif type(member) is str:
                    texts.append(member)
                    changes |= type(key) is not str
                else:
                    changes |= self._collected(member, texts, depth=depth + 1) or type(key) is not str
        elif isinstance(value, list | tuple):
            for member in value:
                if type(member) is str:
                    texts.append(member)
                else:
                    changes |= self._collected(member, texts, depth=depth + 1)
        elif (text := text_of(value)) is not None:
            texts.append(text)
        return changes

    def _rebuilt(self, value: Any, masked: Iterator[tuple[str, str | None]]) -> Any:
        if isinstance(value, dict):
            members: dict[str, Any] = {}
            for key, member in value.items():
                before, name = next(masked)
                hidden = self._class_by_key(key, member)
                changed = self._rebuilt(member, masked) if hidden is None else self._under_key(member, hidden)
                members[_unused(name or (UNNAMED if before else ""), members)] = changed
            return members
        if isinstance(value, list | tuple):
            return [self._rebuilt(member, masked) for member in value]
        if text_of(value) is None:
            return value
        before, after = next(masked)
        return value if after is before else after

    def _class_by_key(self, key: object, value: object) -> str | None:
        """The class that a member's name gives its value, where this caller may not see it. Where it may, that is noted."""
        found = keys.class_of(key) if isinstance(key, str) else None
        if found is None or found not in self._by_key:
            return None
        members = list(leaves(value))
        texts = [str(member) for member in members if isinstance(member, str | int | float) and not _is_plain(member)]
        if any(isinstance(member, dict) for member in members) or not any(keys.fits(found, text) for text in texts):
            return None
        if found in self._revealed:
            self._texts.shown.add(found)
            return None
        return found

    def _under_key(self, value: Any, data_class: str) -> Any:
        if isinstance(value, list):
            return [self._under_key(member, data_class) for member in value]
        if _is_plain(value):
            return value
        self._texts.counts[data_class] += 1
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
        self._texts.counts[CREDENTIAL] += scrubbed
        return decoded(data) if scrubbed else value


def _is_plain(value: object) -> bool:
    """Whether a value is none that a name could speak for."""
    return value is None or isinstance(value, bool)


def _unused(name: str, members: Mapping[str, Any]) -> str:
    """A member's name, with a number behind it where masking made two of the same."""
    if name not in members:
        return name
    return next(numbered for number in count(2) if (numbered := f"{name} ({number})") not in members)
