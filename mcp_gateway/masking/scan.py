"""Finding values in text: one pass over a group-free alternation of all rules, then the judges.

The alternation says only where something could begin and how far it reaches (leftmost, longest). Which rule it was is
asked of the rules whose first byte fits, anchored at that place: many times cheaper than capturing groups. Where a
judge refuses, the next rule has its turn: longest first, then in their order. RE2 takes linear time whatever the text.

`Scanner.hits` is for whole texts; `streams` drives `collect` and `proceed` over a window and gets the same hits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import re2

from mcp_gateway.errors import MaskingError
from mcp_gateway.masking.folding import Folded, compiled, fold, options
from mcp_gateway.masking.judging import DIGITS
from mcp_gateway.masking.rules import EDGE, MAX_KEY, MAX_MATCH, RULES, Rule
from mcp_gateway.masking.stopping import NEVER, STEPS, Stop

Match: TypeAlias = Callable[[Any, bytes, int, int], Sequence[tuple[int, int]]]
Hit: TypeAlias = tuple[int, int, Rule]
"""Start, end and rule. A tuple, because a large result can have many thousands."""

UNANCHORED = re2._re2.RE2.Anchor.UNANCHORED  # noqa: SLF001 - the binding under `re2`
AT_START = re2._re2.RE2.Anchor.ANCHOR_START  # noqa: SLF001
WHOLE = re2._re2.RE2.Anchor.ANCHOR_BOTH  # noqa: SLF001
END_WINDOW = 96
"""More bytes than the end of a private key has."""
MAX_CHARACTER = 4
"""Bytes of a character in UTF-8: a key that is cut off for its length ends with a whole one."""
MIN_CONTEXT = 4
"""Where a value stands at least so far behind its match's start, the part before it is scanned on its own."""
MAX_CANDIDATES = 1_000_000
"""Spans looked at in one text; each costs some microseconds. A result is in the hands of `aside`, which has a time."""
LEADING = b".-'%+"
"""What a value that reaches back before its pattern does not begin with."""
MAX_TRIED = 3
"""Rules that are tried one by one; of more the set says first which could match."""
WARM_UP = b"bob@example.com 192.0.2.1 password=hunter22"

QUOTED_TAILS = {
    b'"': rb"(?:[^\"\\\x00-\x1f]|\\[^\x00-\x1f])*",
    b"'": rb"(?:[^'\\\x00-\x1f]|\\[^\x00-\x1f])*",
    b'\\"': rb"[^\"\\\x00-\x1f]*",
    b"\\'": rb"[^'\\\x00-\x1f]*",
}
"""By what stands before the value: how it goes on to the closing quote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The last hit reaches beyond the window."""

    tail: Match | None
    """Takes what still belongs to it; None for a private key, which goes on to its end mark."""
    left: int = 0
    """Bytes after which a private key is taken to be over."""


@dataclass(slots=True, kw_only=True)
class _Compiled:
    rule: Rule
    match: Match
    tail: Match | None


class Scanner:
    """A compiled set of rules."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        families = [[rule for rule in rules if rule.numeric is numeric] for numeric in (False, True)]
        self._unions: list[Match] = [_union(family) for family in families if family]
        self._compiled = [_compiled(rule) for rule in rules]
        self._set = _anchored_set(rules)
        self._firsts: list[list[int]] = [[] for _ in range(256)]
        for index, rule in enumerate(rules):
            for byte in rule.starts or _first_bytes(rule):
                self._firsts[byte].append(index)

    def hits(self, data: bytes, *, nul: bool = True, asked: Stop = NEVER) -> list[Hit]:
        """All hits in a whole text, in order, without overlap, as byte offsets.

        `nul=False` is for joined cells, whose separator has a NUL. Raises `MaskingError`.
        """
        folded = fold(data, nul=nul, asked=asked)
        text = data if folded is None else folded.text
        hits: list[Hit] = []
        self.collect(text, place=0, limit=len(text), final=True, hits=hits, asked=asked)
        return hits if folded is None else [unfolded(hit, folded) for hit in hits]

    def collect(
        self,
        text: bytes,
        *,
        place: int,
        limit: int,
        final: bool,
        hits: list[Hit],
        floor: int = 0,
        end: int | None = None,
        asked: Stop = NEVER,
    ) -> tuple[int, Pending | None]:
        """Append the hits whose pattern starts in `[place, limit)`; where to go on, and whether the last is open.

        A hit may begin before its pattern (an address before its at sign), never before `floor`, and takes in hits
        that it covers. Without `final` more text may follow, so the caller keeps `limit` far from the text's end.
        """
        stop = len(text) if end is None else end
        if not final:
            limit = min(limit, stop)
        nexts = [(-1, -1)] * len(self._unions)
        for step in range(MAX_CANDIDATES):
            if not step % STEPS:
                asked.look()
            start = reach = limit
            for index, union in enumerate(self._unions):
                candidate = nexts[index]
                if candidate[0] < place:
                    candidate = union(UNANCHORED, text, place, stop)[0]
                    candidate = nexts[index] = candidate if candidate[0] >= 0 else (stop, stop)
                if candidate[0] < start or (candidate[0] == start < limit and candidate[1] > reach):
                    start, reach = candidate
            if start >= limit:
                return max(place, limit), None
            found = self._judged(text, start, reach, stop)
            if found is None:
                place = _past(text, start, reach)
                continue
            value_start, value_end, item = found
            if value_start - start >= MIN_CONTEXT:
                self.collect(
                    text, place=start + 1, limit=value_start, final=True, hits=hits, floor=floor, end=value_start
                )
            if value_start < start:
                value_start = _back_to(text, max(value_start, floor), start, hits)
                if value_start == start:
                    place = _past(text, start, reach)
                    continue
            place, pending = self._extended(text, value_start, value_end, item, stop=stop, final=final)
            hits.append((value_start, place, item.rule))
            if pending is not None:
                return place, pending
        raise MaskingError(f"a text holds more than {MAX_CANDIDATES:,} values to look at")

    def _judged(self, text: bytes, start: int, reach: int, stop: int) -> tuple[int, int, _Compiled] | None:
        """The rule, and the span that its judge gives: longest match first, then the order of the rules."""
        indexes: Sequence[int] = self._firsts[text[start]]
        if len(indexes) == 1:
            item = self._compiled[indexes[0]]
            judge = item.rule.judge
            span = (start, reach) if judge is None else judge(text, start, reach)
            return None if span is None else (*span, item)
        if len(indexes) > MAX_TRIED:
            # The slice may show an edge that the text does not have, so this names too many, never too few.
            indexes = sorted(self._set.Match(text[start : start + MAX_MATCH]))
        items = [self._compiled[index] for index in indexes]
        ends = [(item.match(AT_START, text, start, stop)[0][1], item) for item in items]
        ends = [(end, item) for end, item in ends if end > start]
        if not ends or max(end for end, _ in ends) != reach:
            raise MaskingError("the rules and their alternation disagree on a span")
        for end, item in sorted(ends, key=_longest) if len(ends) > 1 else ends:
            judge = item.rule.judge
            span = (start, end) if judge is None else judge(text, start, end)
            if span is not None:
                return *span, item
        return None

    def _extended(
        self, text: bytes, start: int, end: int, item: _Compiled, *, stop: int, final: bool
    ) -> tuple[int, Pending | None]:
        rule = item.rule
        if rule.until:
            return proceed(text, end, Pending(tail=None, left=MAX_KEY), final=final, stop=stop)
        tail = _quoted_tail(text, start) if rule.quoted else None
        tail = tail or item.tail
        if tail is None:
            return end, None
        return proceed(text, end, Pending(tail=tail), final=final, stop=stop)


def proceed(
    text: bytes, place: int, pending: Pending, *, final: bool, stop: int | None = None
) -> tuple[int, Pending | None]:
    """Follow an open hit from `place`: how far it reaches, and whether it is still open there."""
    stop = len(text) if stop is None else stop
    if pending.tail is not None:
        reach = pending.tail(AT_START, text, place, stop)[0][1]
        # One byte may be the first half of an escape, which only counts as a whole.
        return (reach, None) if final or reach < stop - 1 else (reach, pending)
    last = min(stop, place + pending.left)
    begin, end = _KEY_END(UNANCHORED, text, place, last)[0]
    if begin >= 0:
        return end, None
    if final or (last - place == pending.left and stop - last >= MAX_CHARACTER):
        while last < stop and 0x80 <= text[last] < 0xC0:
            last += 1
        return last, None
    reach = max(place, last - END_WINDOW)
    return reach, Pending(tail=None, left=pending.left - (reach - place))


def unfolded(hit: Hit, folded: Folded) -> Hit:
    """A hit in a folded text as one in the original."""
    start, end, rule = hit
    return folded.start(start), folded.end(end), rule


def _back_to(text: bytes, value_start: int, start: int, hits: list[Hit]) -> int:
    """Where a value that reaches back before its pattern begins, after taking in or leaving the hits before it."""
    while hits and hits[-1][1] > value_start:
        if hits[-1][0] < value_start or hits[-1][2].firm:
            value_start = hits[-1][1]
            break
        hits.pop()
    while value_start < start and text[value_start] in LEADING:
        value_start += 1
    return value_start


def _past(text: bytes, start: int, reach: int) -> int:
    """Where to look again after a span that was no hit: never inside the same run of digits."""
    place = start + 1
    if text[start] in DIGITS:
        while place < reach and text[place] in DIGITS:
            place += 1
    return place


def _quoted_tail(text: bytes, start: int) -> Match | None:
    quote = text[start - 1 : start] if start else b""
    escaped = start > 1 and text[start - 2 : start - 1] == b"\\"
    return _QUOTED.get(b"\\" + quote if escaped else quote)


def _longest(entry: tuple[int, _Compiled]) -> int:
    return -entry[0]


def _union(rules: Sequence[Rule]) -> Match:
    """The alternation of all patterns; those that begin at an edge share it, which keeps the automaton small."""
    edged = [rule.pattern.removeprefix(EDGE) for rule in rules if _is_edged(rule)]
    patterns = [b"(?:" + rule.pattern + b")" for rule in rules if not _is_edged(rule)]
    if edged:
        patterns.append(EDGE + b"(?:" + b"|".join(edged) + b")")
    match: Match = compiled(b"|".join(patterns)).Match
    # RE2 compiles the way back from an end to its start when it is first needed.
    match(UNANCHORED, WARM_UP, 0, len(WARM_UP))
    return match


def _is_edged(rule: Rule) -> bool:
    """Whether all of a pattern stands behind one edge."""
    rest = rule.pattern.removeprefix(EDGE + b"(?:")
    depth = 1
    for place, byte in enumerate(rest):
        escaped = rest[place - 1 : place] == b"\\"
        depth += (byte == 0x28 and not escaped) - (byte == 0x29 and not escaped)
        if not depth:
            return len(rest) != len(rule.pattern) and place == len(rest) - 1
    return False


def _compiled(rule: Rule) -> _Compiled:
    tail = compiled(rule.tail + b"*").Match if rule.tail else None
    return _Compiled(rule=rule, match=compiled(rule.pattern).Match, tail=tail)


def _anchored_set(rules: Sequence[Rule]) -> Any:
    found = re2.Set.MatchSet(options())
    for rule in rules:
        found.Add(rule.pattern)
    found.Compile()
    return found


def _first_bytes(rule: Rule) -> set[int]:
    edged = _is_edged(rule)
    pattern = rule.pattern.removeprefix(EDGE) if edged else rule.pattern
    known, low, high = compiled(pattern).PossibleMatchRange(1)
    # Both are cut to one byte, and the upper bound is the next byte then: every match is longer than that.
    found = range(low[0], high[0]) if known and low and high else range(256)
    return {*found, *(b"_" if edged else b"")}


@lru_cache(maxsize=64)
def scanner_for(*, detectors: frozenset[str], revealed: frozenset[str]) -> Scanner:
    """The compiled rules of these detectors, less those whose class is revealed."""
    return Scanner([rule for rule in RULES if rule.detector in detectors and rule.data_class not in revealed])


@lru_cache(maxsize=64)
def watchers_for(*, detectors: frozenset[str], revealed: frozenset[str]) -> Mapping[str, Scanner]:
    """For each revealed class that these detectors can find the compiled rules of it alone."""
    rules = [rule for rule in RULES if rule.detector in detectors and rule.data_class in revealed]
    classes = sorted({rule.data_class for rule in rules})
    return {name: Scanner([rule for rule in rules if rule.data_class == name]) for name in classes}


_KEY_END: Match = compiled(b"|".join({rule.until for rule in RULES if rule.until})).Match
_QUOTED: dict[bytes, Match] = {quote: compiled(tail).Match for quote, tail in QUOTED_TAILS.items()}
