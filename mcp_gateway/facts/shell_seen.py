"""What a text that leaves the strict subset seems to run: names for people and policies, never a proof. Pure.

A light reading of bash: quotes, substitutions, redirections, assignments, lists, compound commands. Words that are
only known when they are expanded are left out. Whoever asks has already called the command opaque.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_DEPTH = 20
"""Substitutions within substitutions; what is deeper is not looked at."""

OPENING = frozenset(("if", "then", "elif", "else", "while", "until", "do", "{", "!", "time", "coproc"))
CLOSING = frozenset(("fi", "done", "esac", "}"))
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\[[^\]\s]*\])?\+?=")
REDIRECTION = re.compile(r"[0-9]*(?:<<<|<<-?|<>|<&|>>|>&|>\||[<>])|&>>?")
OPERATOR = re.compile(r"&&|\|\||\|&|;;&?|;&|[;&|\n]")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]")
EMPTY = frozenset("@*123456789")
"""Parameters that are empty where nobody gives any."""
END_OF_WORD = frozenset(" \t\n;&|<>()")


class _Unreadable(Exception):
    """The text ends in the middle of something."""


def seen_commands(text: str) -> list[list[str]] | None:
    """The commands that can be seen, in any order, each with those of its words that are known; None: not readable."""
    reader = _Reader(text, depth=0)
    try:
        reader.read_list(closed_by="")
    except (_Unreadable, RecursionError):
        return None
    return reader.commands


class _Reader:
    def __init__(self, text: str, *, depth: int) -> None:
        self._text = text
        self._at = 0
        self._depth = depth
        self._pattern = False
        self._documents: list[tuple[str, bool]] = []
        self.commands: list[list[str]] = []

    def read_list(self, *, closed_by: str) -> None:
        """Commands up to a closing bracket, or to the end."""
        words: list[str | None] = []
        cases = 0
        while True:
            self._skip_blank(newlines=self._pattern)
            if self._pattern:
                self._skip_pattern()
                continue
            if self._at >= len(self._text):
                if closed_by:
                    raise _Unreadable
                self._end(words)
                return
            redirection = REDIRECTION.match(self._text, self._at)
            operator = OPERATOR.match(self._text, self._at)
            here = self._text[self._at]
            if here in "<>" and self._text[self._at + 1 : self._at + 2] == "(":
                self._substitute(skip=2)
                words.append(None)
            elif redirection:
                self._redirect(redirection)
            elif operator:
                self._end(words)
                self._at = operator.end()
                self._pattern = cases > 0 and operator[0] in {";;", ";&", ";;&"}
                if operator[0] == "\n":
                    self._skip_documents()
            elif here == ")":
                if closed_by != ")":
                    raise _Unreadable
                self._end(words)
                self._at += 1
                return
            elif here == "(":
                self._bracket(words)
            elif here == "#":
                self._at = self._find("\n")
            else:
                cases += self._read_word(words)

    def _read_word(self, words: list[str | None]) -> int:
        """One word, and what it begins; returns by how much the depth of `case` changes."""
        begin = self._at
        word = self._word()
        raw = self._text[begin : self._at]
        if words:
            words.append(word)
            return 0
        if ASSIGNMENT.match(raw):
            if raw.endswith("=") and self._text[self._at : self._at + 1] == "(":
                end = self._closing(")")
                self._inner_text(self._text[self._at + 1 : end])
                self._at = end + 1
            return 0
        if raw in OPENING:
            return 0
        match raw:
            case "for" | "select" | "function" | "[[":
                self._skip_to("]]" if raw == "[[" else "")
            case "case":
                self._skip_to("in")
                self._pattern = True
                return 1
            case "esac":
                words.append(None)
                return -1
            case _:
                words.append(None if raw in CLOSING else word)
        return 0

    def _skip_to(self, last: str) -> None:
        """Words without a program among them, to one of them or to the end of the command."""
        while True:
            self._skip_blank(newlines=last == "]]")
            if self._at >= len(self._text):
                return
            if not last and (OPERATOR.match(self._text, self._at) or self._text.startswith(("{", "()"), self._at)):
                return
            if self._text[self._at] in "()<>&|;!":
                self._at += 1
                continue
            begin = self._at
            self._word()
            if self._at == begin:
                self._at += 1
            if last and self._text[begin : self._at] == last:
                return

    def _skip_pattern(self) -> None:
        """The pattern of a `case`, where one begins."""
        self._pattern = False
        if re.compile(r"esac\b").match(self._text, self._at):
            return
        while self._at < len(self._text) and self._text[self._at] != ")":
            begin = self._at
            self._word()
            if self._at == begin:
                self._at += 1
        self._at += 1

    def _bracket(self, words: list[str | None]) -> None:
        if self._text.startswith("((", self._at) and not words:
            end = self._text.find("))", self._at)
            if end < 0:
                raise _Unreadable
            self._inner_text(self._text[self._at + 2 : end])
            self._at = end + 2
        elif len(words) == 1 and self._text.startswith("()", self._at):
            words.clear()  # the name of a function
            self._at += 2
        elif words:
            raise _Unreadable
        else:
            self._at += 1
            self.read_list(closed_by=")")
            words.append(None)

    def _redirect(self, redirection: re.Match[str]) -> None:
        self._at = redirection.end()
        self._skip_blank()
        begin = self._at
        if self._text.startswith(("<(", ">("), self._at):
            self._substitute(skip=2)
            return
        word = self._word()
        if redirection[0].endswith(("<<", "<<-")) and not redirection[0].endswith("<<<"):
            raw = self._text[begin : self._at]
            self._documents.append((word or raw, raw == word))

    def _skip_documents(self) -> None:
        for end, expanded in self._documents:
            body = []
            while self._at < len(self._text):
                line_end = self._find("\n")
                line = self._text[self._at : line_end]
                self._at = line_end + 1
                if line.lstrip("\t") == end:
                    break
                body.append(line)
            if expanded:
                self._inner_text("\n".join(body))
        self._documents.clear()

    def _end(self, words: list[str | None]) -> None:
        if words and words[0]:
            self.commands.append([word for word in words if word is not None])
        words.clear()

    # Words.

    def _word(self) -> str | None:
        """The word at the reading position without its quotes; None when it is not known."""
        return self._parts(lambda here: here in END_OF_WORD)

    def _parts(self, ends: Callable[[str], bool], *, quoted: bool = False) -> str | None:
        found: list[str | None] = []
        while self._at < len(self._text) and not ends(self._text[self._at]):
            here = self._text[self._at]
            if here == "\\":
                found.append(self._escaped(quoted=quoted))
            elif here == "'" and not quoted:
                end = self._text.find("'", self._at + 1)
                if end < 0:
                    raise _Unreadable
                found.append(self._text[self._at + 1 : end])
                self._at = end + 1
            elif here == '"' and not quoted:
                self._at += 1
                found.append(self._parts(lambda sign: sign == '"', quoted=True))
                if self._at >= len(self._text):
                    raise _Unreadable
                self._at += 1
            elif here == "`":
                found.append(self._backquoted())
            elif here == "$":
                found.append(self._dollar(quoted=quoted))
            else:
                found.append(None if not quoted and here in "*?[" and len(found) > 0 else here)
                self._at += 1
        return None if None in found else "".join(part for part in found if part is not None)

    def _escaped(self, *, quoted: bool) -> str:
        following = self._text[self._at + 1 : self._at + 2]
        self._at += 2
        if following == "\n":
            return ""
        return f"\\{following}" if quoted and following not in '"\\$`' else following

    def _dollar(self, *, quoted: bool) -> str | None:
        following = self._text[self._at + 1 : self._at + 2]
        if following == "(":
            if self._text.startswith("$((", self._at):
                end = self._text.find("))", self._at)
                if end >= 0:
                    self._inner_text(self._text[self._at + 3 : end])
                    self._at = end + 2
                    return None
            return self._substitute(skip=2)
        if following in {"{", "["}:
            closing = self._closing("}" if following == "{" else "]", begin=self._at + 2)
            self._inner_text(self._text[self._at + 2 : closing])
            self._at = closing + 1
            return None
        if following == "'" and not quoted:
            match = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL).match(self._text, self._at)
            if match is None:
                raise _Unreadable
            self._at = match.end()
            return None if "\\" in match[1] else match[1]
        name = NAME.match(self._text, self._at + 1)
        if name is None:
            self._at += 1
            return "$"
        self._at = name.end()
        return "" if name[0] in EMPTY else None

    def _substitute(self, *, skip: int) -> str | None:
        """`$(...)`: nothing where there is nothing in it."""
        begin = self._at + skip
        inner = _Reader(self._text[begin:], depth=self._depth + 1)
        if self._depth >= MAX_DEPTH:
            raise _Unreadable
        inner.read_list(closed_by=")")
        self.commands += inner.commands
        self._at = begin + inner._at
        return None if self._text[begin : self._at - 1].strip() else ""

    def _backquoted(self) -> str | None:
        match = re.compile(r"`((?:[^`\\]|\\.)*)`", re.DOTALL).match(self._text, self._at)
        if match is None:
            raise _Unreadable
        self._at = match.end()
        self._inner(re.sub(r"\\([`\\$])", r"\1", match[1]))
        return None if match[1].strip() else ""

    # What stands inside something else.

    def _inner(self, text: str) -> None:
        """A list of commands of its own."""
        if self._depth >= MAX_DEPTH:
            raise _Unreadable
        reader = _Reader(text, depth=self._depth + 1)
        reader.read_list(closed_by="")
        self.commands += reader.commands

    def _inner_text(self, text: str) -> None:
        """Text that is expanded, and no command."""
        if self._depth >= MAX_DEPTH:
            raise _Unreadable
        reader = _Reader(text, depth=self._depth + 1)
        reader._parts(lambda _: False, quoted=True)
        self.commands += reader.commands

    def _closing(self, sign: str, *, begin: int | None = None) -> int:
        """Where a bracket closes that opens at the reading position, or before `begin`; brackets inside are counted."""
        opening = {"}": "{", "]": "[", ")": "("}[sign]
        at = self._at + 1 if begin is None else begin
        depth = 1
        while at < len(self._text):
            if self._text[at] == "\\":
                at += 1
            elif self._text[at] == opening:
                depth += 1
            elif self._text[at] == sign:
                depth -= 1
                if not depth:
                    return at
            at += 1
        raise _Unreadable

    def _find(self, sign: str) -> int:
        found = self._text.find(sign, self._at)
        return len(self._text) if found < 0 else found

    def _skip_blank(self, *, newlines: bool = False) -> None:
        blank = " \t\r\n" if newlines else " \t\r"
        while self._at < len(self._text):
            if self._text.startswith("\\\n", self._at):
                self._at += 2
            elif self._text[self._at] in blank:
                self._at += 1
            else:
                return
