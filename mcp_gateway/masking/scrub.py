"""Credential scrubbing: no secret that was used for a call leaves with its result, in whatever form it was echoed.

Looked for are the encodings of each secret that `needles` lists, and all of them behind escapes, up to three layers of
them: percent-encoding in any mixture, backslash escapes of JSON, C and others, HTML entities, quoted-printable, full-width
letters, invisible characters, NULs between the letters (UTF-16); wrapped over lines; hexadecimal with separators.
Of a secret with several lines each line counts that is long enough to be one.

Some escapes end where what follows says so (`&#65`, octal ones, `=41`). They are taken off in views of their own, so that a
text in which they are no escapes hides nothing.

A secret under `MIN_SECRET` bytes is replaced only where it is a whole value: inside longer text it would tear holes
into everything and be guessable from them. `is_weak` lets `check` say so. Not covered, as for any filter of content:
what the target computes of a secret (reversed, encrypted, compressed, spelled out, in pieces, in other letters' case).
"""

from __future__ import annotations

import binascii
import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html.entities import html5
from urllib.parse import unquote_to_bytes

import orjson

from mcp_gateway.calls import Secret
from mcp_gateway.masking.folding import (
    CONTROLS,
    DROPPED,
    MAX_RUN,
    MAX_TOKEN,
    UNANCHORED,
    Folded,
    Lexer,
    compiled,
    holds_any,
)
from mcp_gateway.masking.needles import MIN_SECRET, Finder, Needles
from mcp_gateway.masking.stopping import NEVER, Stop

CREDENTIAL = "credential"
"""Under what a scrubbed credential is counted. No data class: no policy can reveal it."""
LEVELS = 3
"""How many layers of escapes are taken off."""
MARKS = ("[credential]", "[removed]", "[***]")

NAMED = b"|".join(
    name.encode() for name, text in sorted(html5.items()) if name.endswith(";") and len(text) == 1 and ord(text) < 0x180
)
ESCAPES = (
    rb"%[\dA-Fa-f]{2}|%u[\dA-Fa-f]{4}|\\u[\dA-Fa-f]{4}|\\u[dD][89abAB][\dA-Fa-f]{2}\\u[dD][c-fC-F][\dA-Fa-f]{2}"
    rb"|\\U[\dA-Fa-f]{8}|\\[ux]\{[\dA-Fa-f]{1,8}\}|\\x[\dA-Fa-f]{2}|\\[\\\"'/]"
    rb"|&#\d{1,32};|&#[xX][\dA-Fa-f]{1,32};|&(?:" + NAMED + rb")"
)
OPEN_ESCAPES = (
    rb"\\[0-7]{1,3}|&#\d{1,32}|&#[xX][\dA-Fa-f]{1,32}|&(?:amp|lt|gt|quot|AMP|LT|GT|QUOT)|=[\dA-Fa-f]{2}"
    rb"|=[ \t]{0,8}\r?\n|\xef\xbc[\x81-\xbf]|\xef\xbd[\x80-\x9e]"
)
"""Escapes without an end of their own, quoted-printable, and full-width characters."""
OPEN_SIGNS = compiled(
    rb"\\[0-7]|&#\d{1,32}[^\d;]|&#[xX][\dA-Fa-f]{1,32}[^\dA-Fa-f;]|&#[xX]?[\dA-Fa-f]{1,32}\z|(?i:&(?:amp|lt|gt|quot))(?:[^;]|\z)"
    rb"|\xef\xbc[\x90-\x99\xa1-\xba]|\xef\xbd[\x81-\x9a]"
).Match
OPEN_BYTES = (b"\\", b"&", b"\xef")
"""Each of them has one of these."""
QUOTED_PRINTABLE = compiled(rb"=[\dA-Fa-f]{2}|=[ \t]{0,8}\r?\n").Match
SEPARATORS = rb"[ \t\r\n:,;._-]{1,16}(?:0[xX])?|0[xX]"
"""Between the octets of hexadecimal."""
BREAKS = rb"(?:(?:\r?\n|\\r|\\n)[ \t]{0,8}){1,16}"
ESCAPE_SIGNS = (b"%", b"&", *CONTROLS)
BACKSLASH_SIGNS = (b"\\u", b"\\x", b"\\U")
INVISIBLE_SIGNS = (
    b"\xe2\x80", b"\xe2\x81", b"\xef\xbb", b"\xef\xb8", b"\xc2\xad", b"\xcd\x8f", b"\xd8\x9c", b"\xe1\xa0\x8e", b"\xf3\xa0",
)  # fmt: skip
"""How the characters of `DROPPED` begin that are no controls."""
SEPARATOR = "\n\0\n"
"""Between joined cells: text of PostgreSQL cannot hold a NUL, and no rule matches one."""


def is_weak(secret: Secret) -> bool:
    """Whether a secret is too short to be scrubbed out of longer text."""
    return len(secret.reveal().strip()) < MIN_SECRET


def _unescaped(token: bytes) -> bytes:
    if b"\b" in token:  # whatever it begins with is struck over
        return b""
    match token[:1]:
        case b"%" if token[1:2] != b"u":
            return unquote_to_bytes(token)
        case b"%":
            return _character(token[2:], token)
        case b"&":
            return html.unescape(token.decode()).encode("utf-8", "surrogatepass")
        case b"\\":
            return _after_backslash(token)
        case b"=" if token[1:2] not in b" \t\r\n":
            return binascii.unhexlify(token[1:])
        case b"\xef" if b"\xef\xbc\x81" <= token <= b"\xef\xbd\x9e":
            return chr(ord(token.decode()) - 0xFEE0).encode()
        case _:
            return b""


def _after_backslash(token: bytes) -> bytes:
    match token[1:2]:
        case b"u" | b"U" | b"x" if token[2:3] == b"{":
            return _character(token[3:-1], token)
        case b"u" if len(token) == 12:
            return token.decode("unicode_escape").encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode()
        case b"u" | b"U":
            return _character(token[2:], token)
        case b"x":
            return binascii.unhexlify(token[2:])
        case digit if digit.isdigit():
            return bytes([int(token[1:], 8) & 0xFF])
        case _:
            return token[1:]


def _character(digits: bytes, token: bytes) -> bytes:
    code = int(digits, 16)
    return chr(code).encode("utf-8", "surrogatepass") if code <= 0x10FFFF else token


_ESCAPES = Lexer(ESCAPES + rb"|(?:\x00|" + DROPPED + rb"){1,%d}" % MAX_RUN, _unescaped)
_ESCAPES_BUT_NUL = Lexer(ESCAPES + rb"|(?:" + DROPPED + rb"){1,%d}" % MAX_RUN, _unescaped)
_OPEN_ESCAPES = Lexer(ESCAPES + b"|" + OPEN_ESCAPES + rb"|(?:\x00|" + DROPPED + rb"){1,%d}" % MAX_RUN, _unescaped)
_OPEN_ESCAPES_BUT_NUL = Lexer(ESCAPES + b"|" + OPEN_ESCAPES + rb"|(?:" + DROPPED + rb"){1,%d}" % MAX_RUN, _unescaped)
_BREAKS = Lexer(BREAKS, lambda _: b"")
_SEPARATORS = Lexer(SEPARATORS, lambda _: b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A text as it is under some layers, and the layers in the order they were taken off."""

    text: bytes
    layers: tuple[Folded, ...] = ()
    hexadecimal: bool = False
    """Whether separators were taken off, so that only hexadecimal is looked for."""

    def start(self, offset: int) -> int:
        """Where in the original the byte at `offset` begins."""
        for layer in reversed(self.layers):
            offset = layer.start(offset)
        return offset

    def end(self, offset: int) -> int:
        """Where in the original the byte before `offset` ends."""
        for layer in reversed(self.layers):
            offset = layer.end(offset)
        return offset

    def floor(self, place: int) -> int:
        """The last place up to `place` at which the original can be cut without cutting a token of any layer."""
        if not self.layers:
            return place
        for layer in self.layers:
            place = layer.reach(place)
        return self.end(place) if place else 0

    def certain(self, place: int) -> int:
        """How many bytes of this view no byte of the original from `place` on can change."""
        for layer in self.layers:
            place = max(0, layer.reach(place) - MAX_TOKEN)
        return place


class Scrubber:
    """Finds the secrets of a call. Never changes."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._stop = NEVER
        values = {secret.reveal().strip() for secret in secrets} | {secret.reveal() for secret in secrets}
        values.discard(b"")
        self.short = frozenset(value for value in values if len(value) < MIN_SECRET)
        """Secrets that count only as a whole value."""
        needles = Needles.of(value for value in values if len(value) >= MIN_SECRET)
        self._needles = needles.every
        self._finder = Finder(exact=needles.exact, caseless=needles.caseless)
        self._hexadecimal = Finder(exact=(), caseless=needles.hexadecimal)
        self._sealed = Finder(exact={*needles.exact, *map(_in_json, needles.exact)}, caseless=needles.caseless)
        self._unbroken = Finder(
            exact=map(_unbroken, needles.exact), caseless=(_unbroken(needle) for needle in needles.caseless)
        )
        self._has_nul = any(b"\0" in needle for needle in self._needles)
        self.longest = max(map(len, self._needles), default=0)
        self._longest_hexadecimal = max(map(len, needles.hexadecimal), default=0)
        self._shortest = min(map(len, self._needles), default=0)
        self.mark = next((mark for mark in MARKS if not self._finder.anywhere(mark.encode())), "")

    def longest_in(self, view: View) -> int:
        """How long what is looked for in a view can be."""
        return self._longest_hexadecimal if view.hexadecimal else self.longest

    def stopped_by(self, stop: Stop) -> Scrubber:
        """The same, for a call that can be told to stop."""
        found = Scrubber.__new__(Scrubber)
        found.__dict__.update(self.__dict__)
        found._stop = stop  # noqa: SLF001 - of the same class
        return found

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._needles or self.short)

    def scrub(self, data: bytes, *, nul: bool = True) -> tuple[bytes, int]:
        """A whole text without the secrets, and how often there was one.

        `nul=False` is for joined cells, whose separator has a NUL.
        """
        if data.strip() in self.short:
            return self.mark.encode(), 1
        if len(data) < self._shortest:  # and under no layer it is longer
            return data, 0
        spans = self.spans(data, nul=nul)
        return self.replaced(data, spans), len(spans)

    def spans(self, data: bytes, *, nul: bool = True) -> list[tuple[int, int]]:
        """Where in a whole text a secret stands, in order and without overlap."""
        return merged(self.spans_in(self.views(data, nul=nul)))

    def replaced(
        self, data: bytes, spans: Iterable[tuple[int, int]], *, begin: int = 0, stop: int | None = None
    ) -> bytes:
        """A piece of a text with the mark in the place of those spans that lie in it; none may lie across its edges."""
        stop = len(data) if stop is None else stop
        pieces, place = [], begin
        for start, end in spans:
            if begin <= start and end <= stop:
                pieces += [data[place:start], self.mark.encode()]
                place = end
        return b"".join([*pieces, data[place:stop]]) if pieces else data[begin:stop]

    def spans_in(self, views: Iterable[View]) -> list[tuple[int, int]]:
        """Every place in the original of what shows in any of its views, in order, overlaps included."""
        return sorted({span for view in views for span in self._occurrences(view)})

    def views(self, data: bytes, *, nul: bool = True, all_of_them: bool = False) -> list[View]:
        """The text, and what it is under each layer that it has.

        Line breaks and backslashes are mostly just that: without `all_of_them` a layer is taken off only where that can
        show something.
        """
        if not self._needles:
            return []
        closed = self._chain(
            View(text=data),
            _ESCAPES if nul else _ESCAPES_BUT_NUL,
            lambda text: all_of_them or self._may_be_escaped(text, nul=nul),
        )
        views = [*closed]
        for view in closed:
            views += self._chain(
                view,
                _OPEN_ESCAPES if nul else _OPEN_ESCAPES_BUT_NUL,
                lambda text, view=view: (  # type: ignore[misc]  # mypy infers no default of a lambda
                    all_of_them
                    or self._may_be_open(text)
                    or (text is not view.text and self._may_be_escaped(text, nul=nul))
                ),
                levels=1 if view.layers else LEVELS,
            )[1:]
        for view in tuple(views):
            if all_of_them or self._shows_unbroken(view.text, joined=not nul):
                views += self._chain(view, _BREAKS, lambda _: True, levels=1)[1:]
        for view in closed:
            if all_of_them or self._shows_hexadecimal(view.text):
                unseparated = self._chain(view, _SEPARATORS, lambda _: True, levels=1)[1:]
                views += [replace(found, hexadecimal=True) for found in unseparated]
        return views

    def _chain(self, view: View, lexer: Lexer, worth: Callable[[bytes], bool], *, levels: int = LEVELS) -> list[View]:
        """A view and what it is when a layer is taken off, and another, as long as that is worth it."""
        views = [view]
        for _ in range(levels):
            folded = lexer.fold(views[-1].text, asked=self._stop) if worth(views[-1].text) else None
            if folded is None:
                break
            views.append(View(text=folded.text, layers=(*views[-1].layers, folded)))
        return views

    def in_sealed(self, structured: bytes) -> bool:
        """Whether any form of a secret stands in JSON bytes."""
        return self._sealed.anywhere(structured)

    def in_text(self, text: str) -> bool:
        """Whether a form of a secret stands in a text as it is."""
        return self._finder.anywhere(text.encode("utf-8", "surrogatepass"))

    def _may_be_escaped(self, text: bytes, *, nul: bool) -> bool:
        """Whether taking escapes off could show anything: quoted JSON is full of backslashes that do not matter."""
        backslashes = b"\\" in text
        if (
            holds_any(text, ESCAPE_SIGNS)
            or (backslashes and holds_any(text, BACKSLASH_SIGNS))
            or (not text.isascii() and holds_any(text, INVISIBLE_SIGNS))
            or (nul and b"\0" in text)
        ):
            return True
        for _ in range(LEVELS if backslashes else 0):
            text = text.replace(b"\\/", b"/").replace(b'\\"', b'"').replace(b"\\'", b"'").replace(b"\\\\", b"\\")
            if self._finder.anywhere(text) or self._unbroken.anywhere(_unbroken(text)):
                return True
        return False

    def _may_be_open(self, text: bytes) -> bool:
        """The same of the escapes without an end."""
        if holds_any(text, OPEN_BYTES) and OPEN_SIGNS(UNANCHORED, text, 0, len(text))[0][0] >= 0:
            return True
        return b"=" in text and QUOTED_PRINTABLE(UNANCHORED, text, 0, len(text))[0][0] >= 0

    def _shows_hexadecimal(self, text: bytes) -> bool:
        """Whether taking separators off could show hexadecimal."""
        return self._hexadecimal.anywhere(
            text.translate(None, b" \t\r\n:,;._-").replace(b"0x", b"").replace(b"0X", b"")
        )

    def _shows_unbroken(self, text: bytes, *, joined: bool) -> bool:
        """Whether taking line breaks off could show anything. Those of a separator show only what has a NUL in it."""
        separators = text.count(SEPARATOR.encode()) if joined and not self._has_nul else 0
        if b"\\" not in text and text.count(b"\n") == 2 * separators:
            return False
        return self._unbroken.anywhere(_unbroken(text))

    def _occurrences(self, view: View) -> Iterable[tuple[int, int]]:
        finder = self._hexadecimal if view.hexadecimal else self._finder
        for start, end in finder.places(view.text, self._stop):
            yield view.start(start), view.end(end)


@lru_cache(maxsize=16)
def scrubber_for(secrets: tuple[Secret, ...]) -> Scrubber:
    """The scrubber of these secrets: they stay the same from call to call, and a `Secret` equals nothing but itself."""
    return Scrubber(secrets)


def merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, with those that overlap made one."""
    found: list[tuple[int, int]] = []
    for start, end in spans:
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _unbroken(text: bytes) -> bytes:
    return text.translate(None, b"\r\n \t").replace(b"\\n", b"").replace(b"\\r", b"")


def _in_json(needle: bytes) -> bytes:
    return orjson.dumps(needle.decode("utf-8", "replace"))[1:-1]
