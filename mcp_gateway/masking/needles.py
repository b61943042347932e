"""What a secret looks like in the encodings that are looked for, and a quick look for all of them at once. Pure.

Each secret as it is and in Latin-1; in base64 (standard and URL-safe, at all three alignments, so also inside
`user:password`), that in base64 once more, and in UTF-16; in base32 at all five; in hexadecimal. Base32 and hexadecimal
in either case. Beside it is `scrub`, which takes escapes off.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import re2

from mcp_gateway.masking.folding import UNANCHORED, compiled, holds_any
from mcp_gateway.masking.stopping import Stop

MIN_SECRET = 4
MIN_LINE = 16
"""A line of a secret that is shorter gives too little away to tear holes for it."""
MIN_DERIVED = 8
"""Of the rarer encodings a form that is shorter is found in texts by chance."""
HEX_DIGITS = frozenset(bytes([digit]) for digit in b"0123456789abcdefABCDEF")
MOST_DIGITS = 6
"""Of an escape's digits these many at most can be a secret's first letters."""
GATE_BYTES = 12
"""So much of each form is looked for at first, all of them in one pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needles:
    """The forms of some secrets."""

    exact: tuple[bytes, ...]
    hexadecimal: tuple[bytes, ...]
    """In lower case."""
    caseless: tuple[bytes, ...]
    """Those and base32, in lower case."""

    @property
    def every(self) -> tuple[bytes, ...]:
        """All of them."""
        return self.exact + self.caseless

    @classmethod
    def of(cls, values: Iterable[bytes]) -> Needles:
        """The forms of these secrets."""
        exact: set[bytes] = set()
        hexadecimal: set[bytes] = set()
        base32: set[bytes] = set()
        for value in values:
            exact |= {value, *_lines(value), *_of_text(value), *_rest(value)}
            once = _base64_cores(value)
            exact |= once | {twice for core in once for twice in _base64_cores(core) if len(twice) >= MIN_DERIVED}
            hexadecimal.add(value.hex().encode())
            base32 |= {core for core in _base32_cores(value) if len(core) >= MIN_DERIVED}
        return cls(
            exact=tuple(sorted(form for form in exact if len(form) >= MIN_SECRET)),
            hexadecimal=tuple(sorted(hexadecimal)),
            caseless=tuple(sorted(hexadecimal | base32)),
        )


SHORT_BYTES, FEW = 512, 64
"""A text and needles that are looked for one by one: the gate gives the interpreter's lock away, which takes longer."""


class Finder:
    """Finds any of some needles; `caseless` ones are in lower case."""

    def __init__(self, *, exact: Iterable[bytes], caseless: Iterable[bytes]) -> None:
        self._exact = tuple(sorted(set(exact)))
        self._caseless = tuple(sorted(set(caseless)))
        gates = [re2.escape(needle[:GATE_BYTES]) for needle in self._exact]
        gates += [b"(?i:" + re2.escape(needle[:GATE_BYTES]) + b")" for needle in self._caseless]
        self._gate = compiled(b"|".join(gates)).Match if gates else None

    def anywhere(self, text: bytes) -> bool:
        """Whether one of them is in a text."""
        if not self._may_be_in(text):
            return False
        if holds_any(text, self._exact):
            return True
        lower = text.lower() if self._caseless else b""
        return holds_any(lower, self._caseless)

    def places(self, text: bytes, stop: Stop) -> Iterator[tuple[int, int]]:
        """Where they are: begin and end of each, overlaps included."""
        if not self._may_be_in(text):
            return
        for needles, looked in ((self._exact, text), (self._caseless, text.lower())):
            for needle in needles:
                place = looked.find(needle)
                while place >= 0:
                    stop.look()
                    yield place, place + len(needle)
                    place = looked.find(needle, place + 1)

    def _may_be_in(self, text: bytes) -> bool:
        if len(text) <= SHORT_BYTES and len(self._exact) + len(self._caseless) <= FEW:
            return True
        return self._gate is not None and self._gate(UNANCHORED, text, 0, len(text))[0][0] >= 0


def _rest(value: bytes) -> set[bytes]:
    """What is left of a secret whose first letters an escape could take for its digits: who asks for an echo may choose
    what stands before it.
    """
    return {value[MOST_DIGITS:]} if value[:1] in HEX_DIGITS and len(value) >= MIN_LINE else set()


def _lines(value: bytes) -> set[bytes]:
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) < 2:
        return set()
    return {b"".join(lines)} | {line for line in lines if len(line) >= MIN_LINE and not line.startswith(b"-----")}


def _of_text(value: bytes) -> set[bytes]:
    """In Latin-1, which is what a `x` escape means to some, and in base64 of UTF-16."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return set()
    wide = {core for core in _base64_cores(text.encode("utf-16-le")) if len(core) >= MIN_DERIVED}
    return wide | {text.encode("latin-1", "ignore")} if all(ord(character) < 0x100 for character in text) else wide


def _base64_cores(value: bytes) -> set[bytes]:
    """The characters that stand for nothing but the value, for each alignment inside longer data."""
    cores = set()
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + value)
        core = encoded[-(-8 * shift // 6) : 8 * (shift + len(value)) // 6]
        cores |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    return cores


def _base32_cores(value: bytes) -> set[bytes]:
    """The same for base32, in lower case."""
    cores = set()
    for shift in range(5):
        encoded = base64.b32encode(bytes(shift) + value).lower()
        cores.add(encoded[-(-8 * shift // 5) : 8 * (shift + len(value)) // 5])
    return cores
