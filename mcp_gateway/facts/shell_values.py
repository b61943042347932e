"""What expansions in an opaque command come to, where the text alone says so: names for policies, never a proof. Pure.

Quotes of the form `$'...'`, variables that the text itself sets, ones that nobody sets, `$(echo ...)` and braces: what
names are hidden with. `shell_seen` reads the text and asks here. A variable is taken to be what was assigned last before
it in the text; one that the text names in any other way, as `read x` and `for x in` do, is not known.
"""

from __future__ import annotations

import re
from functools import cached_property

from mcp_gateway.facts.shell_text import simple_commands

SPLIT = "\0"
"""Stands in a word where an expansion parts it in two; no command holds one."""
BLANKS = re.compile(r"[ \t\n]+")
SET_BY_NOBODY = re.compile(r"[a-z_][a-z0-9_]*\Z", re.ASCII)
"""Names that neither shells nor logins give to variables, by convention."""
DEFAULT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*):?([-=])", re.ASCII)
BRACES = re.compile(r"([^{}]*)\{([^{}]*)\}")
MAX_FIELDS = 64
"""That braces are expanded to."""
MAX_BRACED = 1024
MAX_VALUE = 256
"""Characters of a word with braces, and of a variable, that are looked at: what grows in a loop is not."""
MENTION = re.compile(r"(?:(\$\{?)|(?<![A-Za-z0-9_]))([A-Za-z_][A-Za-z0-9_]*)(\+?=)?", re.ASCII)

ESCAPE = re.compile(
    r"\\(?:(?P<octal>[0-7]{1,3})|x(?P<hex>[0-9A-Fa-f]{1,2})|u(?P<u>[0-9A-Fa-f]{1,4})|U(?P<U>[0-9A-Fa-f]{1,8})"
    r"|c(?P<control>.)|(?P<sign>.))",
    re.DOTALL,
)
SIGNS = {"a": 7, "b": 8, "e": 27, "E": 27, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
MAX_CODE_POINT = 0x10FFFF


def ansi_c(body: str) -> str:
    """What bash makes of `$'body'`; bytes that are no UTF-8 are replaced."""
    found = bytearray()
    at = 0
    for match in ESCAPE.finditer(body):
        found += body[at : match.start()].encode()
        found += _escaped(match)
        at = match.end()
    found += body[at:].encode()
    return bytes(found).split(b"\0")[0].decode(errors="replace")


def _escaped(match: re.Match[str]) -> bytes:
    if match["octal"]:
        return bytes([int(match["octal"], 8) & 0xFF])
    if match["hex"]:
        return bytes([int(match["hex"], 16)])
    if match["u"] or match["U"]:
        code = int(match["u"] or match["U"], 16)
        return chr(code).encode(errors="replace") if code <= MAX_CODE_POINT else b"?"
    if match["control"]:
        return bytes([ord(match["control"]) & 0x1F])
    sign: str = match["sign"]
    if sign in SIGNS:
        return bytes([SIGNS[sign]])
    return sign.encode() if sign in "\\'\"?" else match[0].encode()


def printed(text: str) -> str | None:
    """What a command prints that is nothing but `echo` or `printf` of plain words, without the newlines at its end."""
    if ">" in text or "\\" in text:
        return None
    commands, proved = simple_commands(text)
    if any(command.globs for command in commands):
        return None
    match [command.words for command in commands]:
        case [["echo", *words]] if proved:
            words = words[1:] if words[:1] == ["-n"] else words
            return None if words and words[0].startswith("-") else " ".join(words).rstrip("\n")
        case [["printf", word]] | [["printf", "%s", word]] if proved and "%" not in word:
            return word.rstrip("\n")
        case _:
            return None


def expand_braces(word: str) -> list[str]:
    """The words that a plain one with lists in braces stands for; what is nested, or large, is left as it is."""
    found = [""]
    at = 0
    for match in BRACES.finditer(word[:MAX_BRACED]):
        inner = match[2].split(",") if "," in match[2] else [f"{{{match[2]}}}"]
        if match.start() != at or len(found) * len(inner) > MAX_FIELDS:
            return [word]
        found = [before + match[1] + one for before in found for one in inner]
        at = match.end()
    return [before + word[at:] for before in found]


class Variables:
    """What the variables of one text are, as far as it has been read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._values: dict[str, str | None] = {}

    def assign(self, name: str, value: str | None, *, add: bool = False) -> None:
        """Take note of `name=value`, or of `name+=value`."""
        if add and value is not None:
            before = self._values.get(name, "")
            value = None if before is None else before + value
        small = value is not None and len(value) <= MAX_VALUE
        self._values[name] = value.replace(SPLIT, " ") if value is not None and small else None

    def value(self, name: str, *, quoted: bool) -> str | None:
        """What `$name` is, parted where a shell parts it."""
        found = self._values.get(name)
        if name not in self._values:
            found = " \t\n" if name == "IFS" else "" if SET_BY_NOBODY.match(name) else None
        if found is None or name in self._named or (not quoted and "IFS" in self._values):
            return None
        return found if quoted else BLANKS.sub(SPLIT, found)

    def default(self, inner: str) -> tuple[str, str, bool] | None:
        """Of `${inner}` that gives a value where a variable has none: its name, the value as written, whether it keeps it."""
        match = DEFAULT.match(inner)
        if match is None or self._values.get(match[1], "") or match[1] in self._named:
            return None
        written = inner[match.end() :]
        return None if any(sign in written for sign in "'\"\\") else (match[1], written, match[2] == "=")

    @cached_property
    def positional(self) -> bool:
        """Whether the text may give itself arguments."""
        return "set" in self._named

    @cached_property
    def _named(self) -> frozenset[str]:
        """What the text names other than to set it or to use it."""
        return frozenset(name for use, name, sign in MENTION.findall(self._text) if not (use or sign))
