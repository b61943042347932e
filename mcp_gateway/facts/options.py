"""The words of one command by the grammar of its program: options, operands, and whether all of it is known. Pure.

Strict where a program is lenient: an abbreviated long option, an argument that looks like an option and whatever the
entry does not list leave the command unproved.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mcp_gateway.facts.programs import Option, Program

NUMBER = re.compile(r"-?[0-9][0-9A-Za-z.:%]*\Z", re.ASCII)
DIGITS = re.compile(r"-[0-9]+\Z", re.ASCII)
ENDED_BY_OPERANDS = frozenset(("first", "each"))
"""Grammars in which the first operand ends the options."""
FIND_SIGNS = frozenset(("(", ")", "!", ","))
FIND_ENDS = frozenset((";", "+"))
FILLED = "{}"
"""What `find` puts paths in place of."""


@dataclass(slots=True)
class Read:
    """What was read of a command's words."""

    options: list[tuple[str, Option, str | None]] = field(default_factory=list)
    """Name, entry and argument, in order."""
    operands: list[str] = field(default_factory=list)
    commands: list[tuple[str, list[str]]] = field(default_factory=list)
    """Of `find`: the predicate and the words of each command."""
    odd: bool = False
    """Whether an argument is not what the entry knows of."""
    known: bool = True
    """False: an option is unknown, so that everything after it may be read otherwise."""


def read_words(words: Sequence[str], program: Program, *, leading: bool = False) -> Read:
    """Read words after the program's name; with `leading`, only the options before the first operand."""
    match program.grammar:
        case "find":
            return _read_find(words, program)
        case "pairs":
            return _read_pairs(words, program)
        case "words":
            return Read(operands=list(words))
        case _:
            return _Reader(words, program, leading=leading or program.grammar in ENDED_BY_OPERANDS).read()


class _Reader:
    """The grammars of `getopt_long` and its like."""

    def __init__(self, words: Sequence[str], program: Program, *, leading: bool) -> None:
        self._left = list(reversed(words))
        self._program = program
        self._leading = leading
        self._read = Read()

    def read(self) -> Read:
        if self._program.bundle and self._left and not self._left[-1].startswith("-"):
            self._letters(self._left.pop(), apart=True)
        while self._left and self._read.known:
            word = self._left.pop()
            if word == "--":
                self._read.operands += reversed(self._left)
                break
            if not word.startswith("-") or word == "-":
                self._read.operands.append(word)
                if self._leading:
                    self._read.operands += reversed(self._left)
                    break
            elif "-#" in self._program.options and DIGITS.match(word):
                self._add("-#", None)
            elif word.startswith("--") or self._program.grammar in {"single", "each"}:
                self._long(word)
            else:
                self._letters(word[1:], apart=False)
        return self._read

    def _long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        option = self._program.options.get(name)
        if option is None or (equals and option.argument in {"none", "two"}):
            self._read.known = False
        elif equals:
            self._add(name, value)
        else:
            if option.argument == "two":
                self._argument()
            self._add(name, self._argument() if option.argument in {"required", "two"} else None)

    def _letters(self, letters: str, *, apart: bool) -> None:
        """A bundle of short options; with `apart`, as of old, their arguments are the words that follow."""
        for position, letter in enumerate(letters):
            name = f"-{letter}"
            option = self._program.options.get(name)
            if option is None:
                self._read.known = False
                return
            rest = "" if apart else letters[position + 1 :]
            if option.argument == "none":
                self._add(name, None)
            elif rest:
                # `sh -ce x` runs `x`: the command of a shell is never attached.
                self._read.known &= self._program.attached and not option.command
                self._add(name, rest)
                return
            else:
                self._add(name, self._argument() if option.argument == "required" else None)

    def _argument(self) -> str | None:
        """The next word as an argument. One that looks like an option may be one elsewhere, or a mistake."""
        if not self._left or (self._left[-1].startswith("-") and not _is_number_or_dash(self._left[-1])):
            self._read.known = False
            return None
        return self._left.pop()

    def _add(self, name: str, argument: str | None) -> None:
        option = self._program.options[name]
        if option.value is not None and argument is not None and not option.value.fullmatch(argument):
            self._read.odd = True
        self._read.options.append((name, option, argument))


def _is_number_or_dash(word: str) -> bool:
    return word == "-" or NUMBER.match(word) is not None


def _read_pairs(words: Sequence[str], program: Program) -> Read:
    read = Read()
    for word in words:
        name, equals, value = word.partition("=")
        option = program.options.get(name)
        if option is None or bool(equals) != (option.argument == "required"):
            read.known = False
        else:
            read.options.append((name, option, value))
    return read


def _read_find(words: Sequence[str], program: Program) -> Read:
    read = Read()
    left = list(reversed(words))
    expression = False
    while left and read.known:
        word = left.pop()
        if not word.startswith("-") and word not in FIND_SIGNS:
            # A path after the expression has begun is an error in one `find` and a path in another.
            read.operands.append(word)
            read.known = not expression
            continue
        expression |= word not in {"-H", "-L", "-P"}
        if word in FIND_SIGNS:
            continue
        option = program.options.get(word)
        if option is None or (option.argument == "required" and not left):
            read.known = False
        elif option.command:
            inner: list[str] = []
            while left and left[-1] not in FIND_ENDS:
                inner.append(left.pop())
            # `+` ends a command only after `{}`, so that one elsewhere is a word of it.
            end = left.pop() if left else ""
            read.known = bool(inner) and (end == ";" or (end == "+" and inner[-1] == FILLED))
            if end == "+":
                inner.append(FILLED)  # It stands for many paths: `uniq` writes the second.
            if inner:
                read.commands.append((word, inner))
        else:
            read.options.append((word, option, left.pop() if option.argument == "required" else None))
    return read
