"""Credential scrubbing: no secret that was used for a call leaves with its result, in whatever form it was echoed.

Looked for are each secret as it is, in base64 (standard and URL-safe, at all three alignments, so also inside
`user:password`), in hexadecimal, and all of these behind escapes: percent-encoding in any mixture, backslash escapes of
JSON and C, HTML entities, invisible characters, NULs between the letters (UTF-16), twice over; and wrapped over lines.
Of a secret with several lines each line counts that is long enough to be one.

A secret under `MIN_SECRET` bytes is replaced only where it is a whole value: inside longer text it would tear holes
into everything and be guessable from them. `is_weak` lets `check` say so. Not covered, as for any filter of content:
what the target computes of a secret (reversed, encrypted, spelled out, in pieces).
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import orjson

from mcp_gateway.calls import Secret
from mcp_gateway.masking.folding import DROPPED, MAX_RUN, MAX_TOKEN, Folded, Lexer
from mcp_gateway.masking.stopping import NEVER, Stop

CREDENTIAL = "credential"
"""Under what a scrubbed credential is counted. No data class: no policy can reveal it."""
MIN_SECRET = 4
MIN_LINE = 16
"""A line of a secret that is shorter gives too little away to tear holes for it."""
LEVELS = 2
"""How many layers of escapes are taken off."""
MARKS = ("[credential]", "[removed]", "[***]")

ESCAPES = rb"%[\dA-Fa-f]{2}|\\u[\dA-Fa-f]{4}|\\x[\dA-Fa-f]{2}|\\[\\\"'/]|&(?:amp|lt|gt|quot|apos|#\d{1,4}|#[xX][\dA-Fa-f]{1,4});"
BREAKS = rb"(?:(?:\r?\n|\\r|\\n)[ \t]{0,8}){1,16}"
ESCAPE_SIGNS = (b"%", b"&", b"\x1b", b"\x08", b"\x7f")
BACKSLASH_SIGNS = (b"\\u", b"\\x")
INVISIBLE_SIGNS = (b"\xe2\x80", b"\xe2\x81", b"\xef\xbb", b"\xc2\xad")
SEPARATOR = "\n\0\n"
"""Between joined cells: text of PostgreSQL cannot hold a NUL, and no rule matches one."""


def is_weak(secret: Secret) -> bool:
    """Whether a secret is too short to be scrubbed out of longer text."""
    return len(secret.reveal().strip()) < MIN_SECRET


def _unescaped(token: bytes) -> bytes:
    match token[:1]:
        case b"%":
            return unquote_to_bytes(token)
        case b"&":
            return html.unescape(token.decode()).encode("utf-8", "surrogatepass")
        case b"\\" if token[1:2] in {b"u", b"x"} and len(token) > 2:
            return chr(int(token[2:], 16)).encode("utf-8", "surrogatepass")
        case b"\\" if len(token) == 2:
            return token[1:]
        case _:
            return b""


_ESCAPES = Lexer(ESCAPES + rb"|(?:\x00|" + DROPPED + rb"){1,%d}" % MAX_RUN, _unescaped)
_ESCAPES_BUT_NUL = Lexer(ESCAPES + rb"|(?:" + DROPPED + rb"){1,%d}" % MAX_RUN, _unescaped)
_BREAKS = Lexer(BREAKS, lambda _: b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A text as it is under some layers, and the layers in the order they were taken off."""

    text: bytes
    layers: tuple[Folded, ...] = ()

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
        self._needles = _needles(value for value in values if len(value) >= MIN_SECRET)
        self._sealed = tuple({*self._needles, *(_in_json(needle) for needle in self._needles)})
        self._without_breaks = tuple({_unbroken(needle) for needle in self._needles})
        self._has_nul = any(b"\0" in needle for needle in self._needles)
        self.longest = max(map(len, self._needles), default=0)
        self._shortest = min(map(len, self._needles), default=0)
        self.mark = next((mark for mark in MARKS if not any(needle in mark.encode() for needle in self._needles)), "")

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
        views = [View(text=data)]
        escapes = _ESCAPES if nul else _ESCAPES_BUT_NUL
        for _ in range(LEVELS):
            view = views[-1]
            folded = (
                escapes.fold(view.text, asked=self._stop)
                if all_of_them or self._may_be_escaped(view.text, nul=nul)
                else None
            )
            if folded is None:
                break
            views.append(View(text=folded.text, layers=(*view.layers, folded)))
        for view in tuple(views):
            if all_of_them or self._shows_unbroken(view.text, joined=not nul):
                folded = _BREAKS.fold(view.text, asked=self._stop)
                if folded is not None:
                    views.append(View(text=folded.text, layers=(*view.layers, folded)))
        return views

    def in_sealed(self, structured: bytes) -> bool:
        """Whether any form of a secret stands in JSON bytes."""
        return any(needle in structured for needle in self._sealed)

    def in_text(self, text: str) -> bool:
        """Whether a form of a secret stands in a text as it is."""
        data = text.encode("utf-8", "surrogatepass")
        return any(needle in data for needle in self._needles)

    def _may_be_escaped(self, text: bytes, *, nul: bool) -> bool:
        """Whether taking escapes off could show anything: quoted JSON is full of backslashes that do not matter."""
        backslashes = b"\\" in text
        if (
            any(sign in text for sign in ESCAPE_SIGNS)
            or (backslashes and any(sign in text for sign in BACKSLASH_SIGNS))
            or (not text.isascii() and any(sign in text for sign in INVISIBLE_SIGNS))
            or (nul and b"\0" in text)
        ):
            return True
        for _ in range(LEVELS if backslashes else 0):
            text = text.replace(b"\\/", b"/").replace(b'\\"', b'"').replace(b"\\'", b"'").replace(b"\\\\", b"\\")
            if any(needle in text for needle in self._needles):
                return True
        return False

    def _shows_unbroken(self, text: bytes, *, joined: bool) -> bool:
        """Whether taking line breaks off could show anything. Those of a separator show only what has a NUL in it."""
        separators = text.count(SEPARATOR.encode()) if joined and not self._has_nul else 0
        if b"\\" not in text and text.count(b"\n") == 2 * separators:
            return False
        text = _unbroken(text)
        return any(needle in text for needle in self._without_breaks)

    def _occurrences(self, view: View) -> Iterable[tuple[int, int]]:
        text = view.text
        for needle in self._needles:
            place = text.find(needle)
            while place >= 0:
                self._stop.look()
                yield view.start(place), view.end(place + len(needle))
                place = text.find(needle, place + 1)


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


def _needles(values: Iterable[bytes]) -> tuple[bytes, ...]:
    forms: set[bytes] = set()
    for value in values:
        forms |= {value, value.hex().encode(), value.hex().upper().encode(), *_base64_cores(value)}
        lines = [line.strip() for line in value.splitlines()]
        if len(lines) > 1:
            forms.add(b"".join(lines))
            forms |= {line for line in lines if len(line) >= MIN_LINE and not line.startswith(b"-----")}
    return tuple(sorted(form for form in forms if len(form) >= MIN_SECRET))


def _base64_cores(value: bytes) -> set[bytes]:
    """The characters that stand for nothing but the value, for each alignment inside longer data."""
    cores = set()
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + value)
        core = encoded[-(-8 * shift // 6) : 8 * (shift + len(value)) // 6]
        cores |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    return cores


def _in_json(needle: bytes) -> bytes:
    return orjson.dumps(needle.decode("utf-8", "replace"))[1:-1]
