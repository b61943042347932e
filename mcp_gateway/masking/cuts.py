"""What of a text can be told where a limit cut off its beginning or its end: everything that no missing byte can change.

A value that lies across the cut is there in part, so no detector and no scrubber knows it. So the edge is given up: as
much as the longest form of a secret and the longest value can take, under every layer of escapes. What is masked is
always the whole text that is there; `masker` then leaves out what stands before `first` and behind `last`, and a value
across one of these is left out or masked as a whole. Every tool that keeps less than all goes this way. Pure.

A line break ends every value but a private key, so at a cut end the text goes on to its last one. A cut beginning is
given up to its next line break, and over lines that can be a private key's; without a line break nothing is certain:
a token or a quoted value may have begun at any distance.
"""

from __future__ import annotations

import re

from mcp_gateway.masking.folding import MAX_TOKEN, Folded, fold
from mcp_gateway.masking.rules import MAX_KEY, PEM_END
from mcp_gateway.masking.scrub import Scrubber, View
from mcp_gateway.masking.streams import AHEAD

KEY_LINES = re.compile(rb"(?:[A-Za-z\d+/=]{16,}\r?\n)+(?:[A-Za-z\d+/=]{1,76}(?:\r?\n|\Z))?")
"""Lines of the body of a private key that began before."""
KEY_END = re.compile(PEM_END)
KEY_BEGIN = b"-----BEGIN "


def last(data: bytes, *, scrubber: Scrubber) -> int:
    """Up to where a text whose end was cut off is certain."""
    folded = fold(data[-_reach(AHEAD) :], nul=True)
    line = data.rfind(b"\n", max(0, len(data) - AHEAD)) + 1
    if line:
        place = line
    elif folded is None:
        place = max(0, len(data) - AHEAD)
    else:
        kept = max(0, len(folded.text) - AHEAD)
        place = max(0, len(data) - _reach(AHEAD)) + folded.start(kept) if kept else 0
    if scrubber.longest:
        place = min(place, _before_secrets(data, scrubber))
    while place and place < len(data) and 0x80 <= data[place] < 0xC0:
        place -= 1
    return place


def first(data: bytes, *, scrubber: Scrubber) -> int:
    """From where on a text whose beginning was cut off is certain."""
    folded = fold(data[: _reach(AHEAD)], nul=True)
    place = min(len(data), AHEAD) if folded is None else _end(folded, AHEAD)
    if scrubber.longest:
        place = max(place, _behind_secrets(data, scrubber))
    line = data.find(b"\n", place) + 1
    if not line:
        return len(data)
    lines = KEY_LINES.match(data, line, line + MAX_KEY)
    place = lines.end() if lines else line
    ended = KEY_END.search(data, 0, place + MAX_KEY)
    if ended and KEY_BEGIN not in data[: ended.start()]:
        place = max(place, ended.end())
    return place


def _reach(count: int) -> int:
    """Bytes that hold so many folded ones, with all that folding can drop between any two."""
    return count * 64 + MAX_TOKEN


def _end(folded: Folded, count: int) -> int:
    return folded.end(min(count, len(folded.text))) if folded.text else 0


def _before_secrets(data: bytes, scrubber: Scrubber) -> int:
    """The last place at which no form of a secret can have begun that the missing end would complete."""
    skipped, views = _edge(data, scrubber, at_end=True)
    kept = [(view, len(view.text) - scrubber.longest_in(view)) for view in views]
    return min(skipped + view.start(count) if count > 0 else 0 for view, count in kept)


def _behind_secrets(data: bytes, scrubber: Scrubber) -> int:
    """The first place behind every form of a secret that can have begun in the missing part."""
    _, views = _edge(data, scrubber, at_end=False)
    return max(view.end(min(scrubber.longest_in(view), len(view.text))) if view.text else len(data) for view in views)


def _edge(data: bytes, scrubber: Scrubber, *, at_end: bool) -> tuple[int, list[View]]:
    """A piece of one end that holds the longest secret under every layer: the bytes left aside, and its views."""
    wanted = scrubber.longest + MAX_TOKEN
    size = wanted + MAX_TOKEN
    while True:
        piece = data[-size:] if at_end else data[:size]
        views = scrubber.views(piece, all_of_them=True)
        if len(piece) == len(data) or all(len(view.text) >= wanted for view in views):
            return len(data) - len(piece), views
        size *= 4
