"""Text for the eyes of somebody who decides: nothing in it acts, hides, reorders or scrolls away.

For approvers, terminals and logs. Whatever has no glyph of its own, or moves others, is written as `<U+202E>`; a run of
spaces or line breaks long enough to push the rest out of sight says how long it is. Nothing is cut. HTML and CSV
have escapes of their own, which their writers apply on top. Look-alike letters are not marked.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
INVISIBLE_LETTERS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\U00016fe4\U0001d159"
)
"""Default-ignorable or blank characters that Unicode does not count as format or space."""
VARIATION_SELECTORS = frozenset(chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
MAX_SPACES = 40
MAX_BREAKS = 3
MAX_MARKS = 2
"""Combining marks on one letter; more of them paint over the lines around."""
REMEMBERED_CHARACTERS = 4096
MAX_COLUMNS = 80
"""Of spaces and tabs in a row, where tabs stay what they are."""
TAB_COLUMNS = 8
BLANK_LINES = re.compile(rf"\n(?:[ \t]*\n){{{MAX_BREAKS},}}")
BLANKS = re.compile(r"[ \t]+")
NOT_PLAIN = re.compile(r" +|\n+|[^ \n!-~]+")
TOO_WIDE = " " * (MAX_SPACES + 1)


def make_visible(text: str, *, block: bool = False) -> str:
    """The text as it can be shown on one line, or with `block` as lines: line feeds and tabs stay what they are then."""
    if text.isascii() and text.isprintable() and TOO_WIDE not in text:
        return text
    if block:
        text = BLANK_LINES.sub(lambda match: _breaks("\n" * match.group().count("\n"), block=True), text)
        text = BLANKS.sub(lambda match: _blanks(match.group()), text)
    return NOT_PLAIN.sub(lambda match: _shown(match.group(), block=block), text)


def _shown(run: str, *, block: bool) -> str:
    """A run of spaces, of line feeds, or of characters that are not plain ASCII."""
    if run[0] == " ":
        return run if len(run) <= MAX_SPACES else f"<{len(run):,} spaces>"
    if run[0] == "\n":
        return _breaks(run, block=block)
    pieces: list[str] = []
    marks = 0
    for character in run:
        marks = marks + 1 if _is_mark(character) else 0
        kept = (block and character == "\t") or (_is_visible(character) and marks <= MAX_MARKS)
        pieces.append(character if kept else f"<U+{ord(character):04X}>")
    return "".join(pieces)


def _blanks(run: str) -> str:
    """A run of spaces and tabs. One of spaces alone is told below."""
    tabs = run.count("\t")
    too_wide = tabs and len(run) + (TAB_COLUMNS - 1) * tabs > MAX_COLUMNS
    return f"<{len(run):,} spaces and tabs>" if too_wide else run


def _breaks(run: str, *, block: bool) -> str:
    if not block:
        return "<U+000A>" * len(run) if len(run) <= MAX_BREAKS else f"<{len(run):,} line breaks>"
    return run if len(run) <= MAX_BREAKS else f"\n<{len(run):,} line breaks>\n"


@lru_cache(maxsize=REMEMBERED_CHARACTERS)
def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in {"Mn", "Me"}


@lru_cache(maxsize=REMEMBERED_CHARACTERS)
def _is_visible(character: str) -> bool:
    return (
        unicodedata.category(character) not in INVISIBLE_CATEGORIES
        and character not in INVISIBLE_LETTERS
        and character not in VARIATION_SELECTORS
    )
