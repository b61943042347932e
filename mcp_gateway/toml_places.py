"""Where in a TOML text each key stands, so that an error can name the line and the column. Pure.

`tomllib` keeps no positions. This is a light scan of a text that `tomllib` has already accepted: it knows table
headers, keys, strings, comments, arrays and inline tables, and no more. Of what is not there, a missing key or an entry
too few, who asks gets the place of the nearest thing around it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

KeyPath = tuple[str, ...]
"""Keys from the top; an entry of an array, or of an array of tables, by its number from 0."""

_KEY = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)')[ \t]*([.=\]])""", re.ASCII)
_SCALAR = re.compile(
    r"""\"{3}(?:\\.|[^\\])*?"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[^,\]}\n#]+|.""", re.DOTALL
)
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_REST_OF_LINE = re.compile(r"[^\n]*\n?")


class Place(NamedTuple):
    """Line and column, from 1; 0 where that is not known."""

    line: int
    column: int


NOWHERE = Place(0, 0)


def key_places(text: str) -> Mapping[KeyPath, Place]:
    """The place of each table header, of each key and of each entry of an array, by its path."""
    return _Scan(text).places()


def place_of(path: Sequence[str | int], places: Mapping[KeyPath, Place]) -> Place:
    """The place of a path or of the nearest thing around it; `NOWHERE` when there is none."""
    names = tuple(str(part) for part in path)
    for length in range(len(names), 0, -1):
        if names[:length] in places:
            return places[names[:length]]
    return NOWHERE


class _Scan:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._offsets: dict[KeyPath, int] = {}
        self._implied: dict[KeyPath, int] = {}
        """Of tables that so far only the headers of those below them make."""
        self._tables: dict[KeyPath, int] = {}
        """How many tables each array of tables has so far."""

    def places(self) -> dict[KeyPath, Place]:
        table: KeyPath = ()
        while self._skip_blanks():
            begin = self._at
            if self._text[begin] == "[":
                table = self._header()
                self._note(table, begin)
                for length in range(1, len(table)):
                    self._implied.setdefault(table[:length], begin)
                self._at = self._end_of_line()
            elif path := self._key():
                self._note(table + path, begin, above=len(table))
                self._value(table + path)
            else:
                self._at = self._end_of_line()
        ends = [0, *(match.end() for match in re.finditer("\n", self._text))]
        offsets = self._implied | self._offsets
        lines = {path: bisect_right(ends, offset) for path, offset in offsets.items()}
        return {path: Place(line, offsets[path] - ends[line - 1] + 1) for path, line in lines.items()}

    def _note(self, path: KeyPath, offset: int, *, above: int | None = None) -> None:
        """Keep where something stands first; with `above` also where the tables begin that a dotted key makes below."""
        for length in range(len(path) if above is None else above + 1, len(path) + 1):
            self._offsets.setdefault(path[:length], offset)

    def _header(self) -> KeyPath:
        begin, of_array = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if of_array else 1
        *above, name = self._key() or ("",)
        path: KeyPath = ()
        for part in above:
            path = self._newest((*path, part))
        path = (*path, name)
        if not of_array:
            return self._newest(path)
        self._note(path, begin)
        self._tables[path] = self._tables.get(path, 0) + 1
        return self._newest(path)

    def _newest(self, path: KeyPath) -> KeyPath:
        return (*path, str(self._tables[path] - 1)) if path in self._tables else path

    def _key(self) -> KeyPath:
        path: list[str] = []
        while match := _KEY.match(self._text, self._at):
            bare, quoted, literal, after = match.groups()
            path.append(bare or literal or _unescape(quoted or ""))
            self._at = match.end()
            if after != ".":
                return tuple(path)
        return ()

    def _value(self, path: KeyPath) -> None:
        """Past a value and what is in it."""
        if not self._skip_blanks():
            return
        match self._text[self._at]:
            case "[":
                self._entries(path)
            case "{":
                self._inline_table(path)
            case _:
                scalar = _SCALAR.match(self._text, self._at)
                self._at = scalar.end() if scalar else len(self._text)

    def _entries(self, path: KeyPath) -> None:
        self._at += 1
        number = 0
        while self._skip_blanks() and self._text[self._at] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                number += 1
            else:
                self._note((*path, str(number)), self._at)
                self._value((*path, str(number)))
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._skip_blanks() and self._text[self._at] != "}":
            begin = self._at
            if key := self._key():
                self._note(path + key, begin, above=len(path))
                self._value(path + key)
            else:
                self._at += 1
        self._at += 1

    def _skip_blanks(self) -> bool:
        """Past blanks, line ends and comments; whether anything follows."""
        blank = _BLANK.match(self._text, self._at)
        self._at = blank.end() if blank else self._at
        return self._at < len(self._text)

    def _end_of_line(self) -> int:
        rest = _REST_OF_LINE.match(self._text, self._at)
        return rest.end() if rest else len(self._text)


def _unescape(text: str) -> str:
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape") if "\\" in text else text
    except UnicodeDecodeError:
        return text
