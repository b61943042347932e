"""Text as a reader sees it: invisible characters gone, look-alike digits and punctuation in their ASCII form.

Detectors look at the folded text, so that a zero-width space, a colour code or full-width digits do not hide a
value; what they find is masked at its place in the original. Folding is a lexer of bounded tokens without any
context but adjacency, so a stream may go on from any token's start.

Folded: zero-width, bidirectional and tag characters, variation selectors, soft hyphens, control sequences of terminals,
overstrikes and a few control characters (dropped, up to `MAX_RUN` in a row); every decimal digit of Unicode, full-width ASCII,
Unicode's spaces, hyphens and minus (replaced). Not folded: letters that look alike, letters in mathematical styles,
digits written as words, images of text.
"""

from __future__ import annotations

import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from mcp_gateway.errors import MaskingError
from mcp_gateway.masking.stopping import NEVER, STEPS, Stop

MAX_RUN = 32
"""How many invisible characters in a row are dropped; behind so many stands a barrier that no detector crosses."""
MAX_TOKEN = 1024
"""No token is longer than this many bytes."""
MAX_TOKENS = 1_000_000
"""Tokens in one text. Each costs a microsecond; beyond this the text is withheld."""
BARRIER = b"\x1a"
CONTROLS = tuple(bytes([code]) for code in (0x1B, 0x08, 0x7F, 0x01, 0x02))

SEQUENCE = rb"\x1b\[[<=>?]?\d{0,3}(?:[;:]\d{0,3}){0,5} ?[A-Za-z]|\x1b\[\?\d{4}[hl]"
"""Control sequences of a terminal (ECMA-48 section 5.4): colours, `ESC [ 1 ; 31 m`, and modes, `ESC [ ? 25 h`. No number in
one is so long that it could be a value itself."""
DROPPED = (
    SEQUENCE + rb"|\x1b[()][A-Z\d]|\x1b[=>78]|\x1b|[!-~]\x08|\x08|\x7f|[\x01\x02]|\xc2\xad|\xcd\x8f|\xd8\x9c|\xe1\xa0\x8e"
    rb"|\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xa4\xa6-\xaf]|\xef\xb8[\x80-\x8f]|\xef\xbb\xbf|\xf3\xa0[\x80\x81][\x80-\xbf]"
)  # fmt: skip
DIGIT_BLOCKS = ((0x660, 0x1A9A), (0x1B50, 0x1C5A), (0xA620, 0xABFA), (0xFF10, 0xFF1A), (0x104A0, 0x11FFF), (0x16A60, 0x16B5A), (0x1CC00, 0x1FC00), (0x1D7CE, 0x1D800))  # fmt: skip
"""Where Unicode has decimal digits beside ASCII's; going through all of its characters would cost every start 0.1 s."""


def _replacements() -> dict[bytes, bytes]:
    table = {chr(code).encode(): chr(code - 0xFEE0).encode() for code in range(0xFF01, 0xFF5F)}
    table |= {character.encode(): b" " for character in "\u00a0\u1680\u202f\u205f\u3000"}
    table |= {chr(code).encode(): b" " for code in range(0x2000, 0x200B)}
    table |= {character.encode(): b"-" for character in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63"}
    table |= {character.encode(): b"." for character in "\u2024\ufe52\uff61"}
    table |= {character.encode(): b"@" for character in "\ufe6b"}
    digits = (code for block in DIGIT_BLOCKS for code in range(*block) if unicodedata.category(chr(code)) == "Nd")
    return table | {chr(code).encode(): str(unicodedata.decimal(chr(code))).encode() for code in digits}


REPLACED = _replacements()


def _alternation() -> bytes:
    """The replaced characters as prefixes with a class of last bytes."""
    lasts: dict[bytes, list[int]] = {}
    for character in REPLACED:
        lasts.setdefault(character[:-1], []).append(character[-1])
    return b"|".join(
        re2.escape(prefix) + b"[" + b"".join(rb"\x%02x" % last for last in sorted(found)) + b"]"
        for prefix, found in sorted(lasts.items())
    )


def options() -> Any:
    """RE2 over bytes, leftmost-longest, without captures."""
    found = re2.Options()
    found.encoding = re2.Options.Encoding.LATIN1
    found.longest_match = True
    found.never_capture = True
    found.log_errors = False
    found.max_mem = 64 << 20
    return found


def compiled(pattern: bytes) -> Any:
    """A compiled pattern; raises on one that RE2 does not take."""
    return re2.compile(pattern, options())._regexp  # noqa: SLF001 - `Match` without a Python object for each hit


UNANCHORED = re2._re2.RE2.Anchor.UNANCHORED  # noqa: SLF001 - the binding under `re2`


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """A folded text and the way back to the original."""

    text: bytes
    starts: Sequence[int]
    """Offsets in `text` at which a piece begins, ascending."""
    places: Sequence[int]
    """The offset in the original at which each piece begins."""
    widths: Sequence[int]
    """For a piece that stands for one token its bytes in the original; 0 for bytes taken over as they are."""

    def start(self, offset: int) -> int:
        """Where in the original the byte at `offset` begins."""
        piece = bisect_right(self.starts, offset) - 1
        return self.places[piece] + (0 if self.widths[piece] else offset - self.starts[piece])

    def end(self, offset: int) -> int:
        """Where in the original the byte before `offset` ends."""
        piece = bisect_right(self.starts, offset - 1) - 1
        return self.places[piece] + (self.widths[piece] or offset - self.starts[piece])

    def floor(self, place: int) -> int:
        """The last place up to `place` at which the original can be cut without cutting a token."""
        offset = self.reach(place)
        return self.end(offset) if offset else 0

    def reach(self, place: int) -> int:
        """How many folded bytes come from the original before `place`, whole tokens only."""
        piece = bisect_right(self.places, max(place, 0)) - 1
        following = self.starts[piece + 1] if piece + 1 < len(self.starts) else len(self.text)
        if self.widths[piece]:
            return following if place - self.places[piece] >= self.widths[piece] else self.starts[piece]
        return min(self.starts[piece] + max(place, 0) - self.places[piece], following)


def holds_any(text: bytes, needles: Iterable[bytes]) -> bool:
    """Whether one of some is in a text. A loop, since a generator for `any` takes longer to make than a few looks."""
    for needle in needles:  # noqa: SIM110
        if needle in text:
            return True
    return False


class Lexer:
    """Replaces tokens of a text and remembers where everything was.

    A token whose replacement is empty and that follows such a one directly becomes a barrier: a pattern takes in as
    many dropped characters in a row as it allows, so that there is a bound on how far apart two kept bytes are.
    """

    def __init__(self, pattern: bytes, replacement: Callable[[bytes], bytes]) -> None:
        self._match = compiled(pattern).Match
        self._replacement = replacement

    def fold(self, data: bytes, *, asked: Stop = NEVER) -> Folded | None:
        """Fold a text, or None where it has no token."""
        match, end = self._match, len(data)
        begin, stop = match(UNANCHORED, data, 0, end)[0]
        if begin < 0:
            return None
        text = bytearray()
        starts, places, widths = (array("I", [0]) for _ in range(3))
        place = 0
        dropped_to = -1
        for step in range(MAX_TOKENS):
            if not step % STEPS:
                asked.look()
            text += data[place:begin]
            replacement = self._replacement(data[begin:stop])
            if not replacement:
                replacement = BARRIER if begin == dropped_to else b""
                dropped_to = stop
            if replacement:
                starts.append(len(text))
                places.append(begin)
                widths.append(stop - begin)
                text += replacement
            starts.append(len(text))
            places.append(stop)
            widths.append(0)
            place = stop
            begin, stop = match(UNANCHORED, data, place, end)[0]
            if begin < 0:
                break
        else:
            raise MaskingError(f"a text holds more than {MAX_TOKENS:,} escapes or invisible characters")
        text += data[place:]
        return Folded(text=bytes(text), starts=starts, places=places, widths=widths)


def _as_seen(token: bytes) -> bytes:
    return REPLACED.get(token, b"")


_TEXT = Lexer(rb"(?:" + DROPPED + rb"){1,%d}|" % MAX_RUN + _alternation(), _as_seen)
_TEXT_WITHOUT_NUL = Lexer(rb"(?:\x00|" + DROPPED + rb"){1,%d}|" % MAX_RUN + _alternation(), _as_seen)


def fold(data: bytes, *, nul: bool, asked: Stop = NEVER) -> Folded | None:
    """Fold a text, or None where there is nothing to fold. `nul` says whether NULs are dropped as well."""
    if data.isascii() and not (nul and b"\0" in data) and not holds_any(data, CONTROLS):
        return None
    return (_TEXT_WITHOUT_NUL if nul else _TEXT).fold(data, asked=asked)
