"""What a text that leaves the strict subset seems to run: names for people and policies, never a proof. Pure.

A light reading of bash: quotes, substitutions, redirections, assignments, lists, compound commands, and of expansions
what `shell_values` knows. Words that are only known when they are expanded are left out. Whoever asks has already called
the command opaque.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mcp_gateway.facts.shell_values import BLANKS, SPLIT, Variables, ansi_c, expand_braces, printed

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
ESAC = re.compile(r"e(?:\\\n)*s(?:\\\n)*a(?:\\\n)*c(?:\\\n)*(?=[ \t\r\n;&|<>()]|\Z)")
END_OF_WORD = frozenset(" \t\n;&|<>()")
PLAIN = re.compile(r"[A-Za-z0-9_./+-]+\Z", re.ASCII)
"""A word that is what it says, also as a pattern."""
UNQUOTED = re.compile(r"[^'\"\\$`]*\Z")
DECLARING = frozenset(("declare", "export", "local", "readonly", "typeset"))


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


@dataclass(slots=True)
class _Case:
    """A `case` that is being read."""

    subject: str | None
    """The word that is looked for, where it is a plain one."""
    found: bool = False
    """Whether the branch that is being read, or one before, is surely the one that is taken."""
    dead_from: int | None = None
    """How many commands there were when that branch ended: no later one is run."""


class _Reader:
    def __init__(self, text: str, *, depth: int, variables: Variables | None = None) -> None:
        self._text = text
        self._variables = variables or Variables(text)
        self._at = 0
        self._depth = depth
        self._pattern = False
        self._documents: list[tuple[str, bool]] = []
        self.commands: list[list[str]] = []

    def read_list(self, *, closed_by: str) -> None:
        """Commands up to a closing bracket, or to the end."""
        words: list[str | None] = []
        cases: list[_Case] = []
        while True:
            self._skip_blank(newlines=self._pattern)
            if self._pattern:
                self._read_pattern(cases[-1])
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
                self._substitute(quoted=False)
                words.append(None)
            elif redirection:
                self._redirect(redirection)
            elif operator:
                self._end(words)
                self._at = operator.end()
                if cases and operator[0] in {";;", ";&", ";;&"}:
                    self._end_branch(cases[-1], operator[0])
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
                self._read_word(words, cases)

    def _read_word(self, words: list[str | None], cases: list[_Case]) -> None:
        """One word, and what it begins."""
        begin = self._at
        word = self._word()
        raw = self._text[begin : self._at].replace("\\\n", "")
        if words:
            words += _fields(word, raw)
            return
        assignment = ASSIGNMENT.match(raw)
        if assignment:
            self._assign(assignment[0], word)
            if raw.endswith("=") and self._text[self._at : self._at + 1] == "(":
                end = self._closing(")")
                self._inner_text(self._text[self._at + 1 : end])
                self._at = end + 1
            return
        if raw in OPENING:
            return
        match raw:
            case "for" | "select" | "function" | "[[":
                self._skip_to("]]" if raw == "[[" else "")
            case "case":
                cases.append(_Case(self._read_subject()))
                self._skip_to("in")
                self._pattern = True
            case "esac":
                words.append(None)
                if cases:
                    ended = cases.pop()
                    if ended.dead_from is not None:
                        del self.commands[ended.dead_from :]
            case _:
                words += [None] if raw in CLOSING else _fields(word, raw)

    def _assign(self, sign: str, word: str | None) -> None:
        """Take note of an assignment: `sign` is all of it before the value."""
        name = sign.rstrip("+=").partition("[")[0]
        value = word[len(sign) :] if word is not None and word.startswith(sign) else None
        self._variables.assign(name, None if "[" in sign else value, add=sign.endswith("+="))

    def _read_subject(self) -> str | None:
        """The word after `case`, where it is a plain one."""
        self._skip_blank(newlines=True)
        begin = self._at
        self._word()
        raw = self._text[begin : self._at]
        return raw if PLAIN.match(raw) else None

    def _end_branch(self, case: _Case, sign: str) -> None:
        self._pattern = True
        if sign != ";;":
            case.subject, case.found = None, False  # the next branch is run, too, or may be
        elif case.found and case.dead_from is None:
            case.dead_from = len(self.commands)

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

    def _read_pattern(self, case: _Case) -> None:
        """The pattern of a `case`, where one begins, or a comment before it."""
        if self._text.startswith("#", self._at):
            self._at = self._find("\n")
            return
        self._pattern = False
        if ESAC.match(self._text, self._at):
            return
        inside = 0
        self._at += self._text.startswith("(", self._at)
        while self._at < len(self._text) and (inside or self._text[self._at] != ")"):
            begin = self._at
            self._word()
            case.found |= case.subject is not None and self._text[begin : self._at] == case.subject
            if self._at == begin:
                # `!(x)` matches all but `x` in a shell that is told to read it so.
                inside += {"(": 1, ")": -1}.get(self._text[begin], 0)
                case.subject = None if inside else case.subject
                self._at += 1
        case.found &= case.subject is not None
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
            self._substitute(quoted=False)
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
            known = [word for word in words if word is not None]
            self.commands.append(known)
            if known[0] in DECLARING:
                for word in known[1:]:
                    assignment = ASSIGNMENT.match(word)
                    if assignment:
                        self._assign(assignment[0], word)
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
                found.append(self._backquoted(quoted=quoted))
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
            return self._substitute(quoted=quoted)
        if following in {"{", "["}:
            closing = self._closing("}" if following == "{" else "]", begin=self._at + 2)
            inner = self._text[self._at + 2 : closing]
            self._at = closing + 1
            if following == "{":
                return self._in_braces(inner, quoted=quoted)
            self._inner_text(inner)
            return None
        if following == "'" and not quoted:
            match = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL).match(self._text, self._at)
            if match is None:
                raise _Unreadable
            self._at = match.end()
            return ansi_c(match[1])
        name = NAME.match(self._text, self._at + 1)
        if name is None:
            self._at += 1
            return "$"
        self._at = name.end()
        return self._value(name[0], quoted=quoted)

    def _in_braces(self, inner: str, *, quoted: bool) -> str | None:
        """What `${inner}` is."""
        default = self._variables.default(inner)
        if default is None:
            self._inner_text(inner)
            name = NAME.match(inner)
            whole = name is not None and (name.end() == len(inner) or name[0] == "IFS")
            return self._value(name[0], quoted=quoted) if name is not None and whole else None
        name_of, written, stays = default
        value = self._inner_text(written)
        if stays:
            self._variables.assign(name_of, value)
        return value if value is None or quoted else BLANKS.sub(SPLIT, value)

    def _value(self, name: str, *, quoted: bool) -> str | None:
        if name in EMPTY:
            return None if self._variables.positional else ""
        return self._variables.value(name, quoted=quoted) if name[0].isalpha() or name[0] == "_" else None

    def _substitute(self, *, quoted: bool) -> str | None:
        """`$(...)`: nothing where there is nothing in it. `<(...)` is the name of a file."""
        before = self._text[self._at]
        begin = self._at + 2
        inner = _Reader(self._text[begin:], depth=self._depth + 1, variables=self._variables)
        if self._depth >= MAX_DEPTH:
            raise _Unreadable
        inner.read_list(closed_by=")")
        self.commands += inner.commands
        self._at = begin + inner._at
        return _output(self._text[begin : self._at - 1], quoted=quoted) if before == "$" else None

    def _backquoted(self, *, quoted: bool) -> str | None:
        match = re.compile(r"`((?:[^`\\]|\\.)*)`", re.DOTALL).match(self._text, self._at)
        if match is None:
            raise _Unreadable
        self._at = match.end()
        inner = re.sub(r"\\([`\\$])", r"\1", match[1])
        self._inner(inner)
        return _output(inner, quoted=quoted)

    # What stands inside something else.

    def _inner(self, text: str) -> None:
        """A list of commands of its own."""
        if self._depth >= MAX_DEPTH:
            raise _Unreadable
        reader = _Reader(text, depth=self._depth + 1, variables=self._variables)
        reader.read_list(closed_by="")
        self.commands += reader.commands

    def _inner_text(self, text: str) -> str | None:
        """Text that is expanded, and no command: what it comes to."""
        if self._depth >= MAX_DEPTH:
            raise _Unreadable
        reader = _Reader(text, depth=self._depth + 1, variables=self._variables)
        value = reader._parts(lambda _: False, quoted=True)
        self.commands += reader.commands
        return value

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


def _fields(word: str | None, raw: str) -> list[str | None]:
    """What a word is when it is expanded: several words, or none at all where what it stood for is empty."""
    if word is None:
        return [None]
    if UNQUOTED.match(raw) and "{" in raw:
        return list(expand_braces(word))
    if word == "" and (("'" not in raw and '"' not in raw) or raw == '"$@"'):
        return []
    return [field for field in word.split(SPLIT) if field] if SPLIT in word else [word]


def _output(text: str, *, quoted: bool) -> str | None:
    """What a substitution leaves in its place."""
    value = printed(text) if text.strip() else ""
    return value if value is None or quoted else BLANKS.sub(SPLIT, value)
