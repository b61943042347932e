r"""What a command would run: an argument vector, or a string in a strict subset of POSIX shell. Pure.

The subset is read the same by every POSIX shell, and by bash in particular: simple commands joined by `|`, `&&`,
`||`, `;` and newlines, of words made of plain characters, single quotes and double quotes without `$`, backquote,
backslash or `!`. Everything else, a variable, a glob, a backslash, a redirection to or from a name, an
assignment, a keyword, is not proved to run only what can be seen: the command is *opaque*, and policy decides on that.

An argument vector is quoted with `quote` and so holds no syntax at all; only its program can make it opaque, and
arguments that a builtin of that name would evaluate once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mcp_gateway.calls import ShellFacts
from mcp_gateway.facts.programs import (
    EVALUATING,
    NOT_WRITING,
    PRIVILEGED,
    RUNNERS,
    SHELL_BUILTINS,
    SYSTEM_FOLDERS,
)

MAX_COMMAND_BYTES = 64 * 1024

TOKEN = re.compile(
    r"""
    (?P<blank>[ \t]+)
  | (?P<quiet>2>&1|[12]?>[ \t]*/dev/null)(?=[ \t\n;|&]|$)
  | (?P<join>\|\||&&|[|;\n])
  | (?P<word>(?: [A-Za-z0-9_./:,+@%=\-]+ | '[^']*' | "[^"$`\\!]*" )+)
    """,
    re.VERBOSE | re.ASCII,
)
"""One token of the subset, always matched at the reading position; no match means that the text leaves it."""

KEYWORDS = frozenset(
    "! [[ ]] case coproc do done elif else end esac fi for foreach function if in repeat select then time until while { }".split()
)
VERSION = re.compile(r"[-.]?[0-9][0-9.]*\Z")
LOADER = re.compile(r"ld(?:-[a-z0-9_-]+)?\.so(?:\.[0-9]+)?\Z")
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")


class ShellError(ValueError):
    """The command is not text that any shell could be given."""


def quote(argv: Sequence[str]) -> str:
    """The one string that makes a POSIX shell run exactly this argument vector.

    Raises:
        ShellError: a NUL, a lone surrogate, an empty vector or an empty program.
    """
    if not argv or not argv[0]:
        raise ShellError("argv names no program")
    # Every word is quoted: `shlex.join` leaves `A=b` and `time` bare, which a shell reads as more than words.
    text = " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in argv)
    _check(text)
    return text


def examine_shell(*, argv: Sequence[str] | None = None, command: str | None = None) -> ShellFacts:
    """Say which programs would run, whether that is all, and what is known of them.

    Exactly one of `argv` and `command` is given.

    Raises:
        ShellError: the text cannot be given to a shell, or both or neither are given.
    """
    if (argv is None) == (command is None):
        raise ShellError("give exactly one of argv and command")
    if argv is not None:
        quote(argv)
        return _facts([list(argv)], proved=True)
    text = command or ""
    _check(text)
    commands, proved = _commands(text)
    return _facts(commands, proved=proved)


def _facts(commands: list[list[str]], *, proved: bool) -> ShellFacts:
    programs, opaque, writes, privileged = set[str](), not proved, False, False
    for words in commands:
        program = words[0]
        folder, slash, name = program.rpartition("/")
        programs.add(program)
        # `python3.11` is a python, and some file systems take `SH` for `sh`.
        known_as = {name.lower(), VERSION.sub("", name.lower())}
        opaque |= not RUNNERS.isdisjoint(known_as) or LOADER.match(name) is not None
        opaque |= name in SHELL_BUILTINS or name == ""
        opaque |= name == "printf" and any(word.startswith("-v") for word in words)
        opaque |= name in EVALUATING and any(sign in word for word in words[1:] for sign in "[$`")
        privileged |= not PRIVILEGED.isdisjoint(known_as)
        writes |= name not in NOT_WRITING or (bool(slash) and folder not in SYSTEM_FOLDERS)
    return ShellFacts(
        programs=frozenset(programs), opaque=opaque, writes_files=writes or not proved, privileged=privileged
    )


def _commands(text: str) -> tuple[list[list[str]], bool]:
    """The simple commands of the text as far as the subset reaches, and whether that is all of it."""
    commands: list[list[str]] = [[]]
    last = ";"
    for item in _tokens(text):
        match item:
            case None:
                return [words for words in commands if words], False
            case "join", joint:
                # An empty command is an error in every shell but before a newline; `;` may end the text.
                if not commands[-1] and joint != "\n":
                    return [words for words in commands if words], False
                commands.append([])
                last = joint
            case _, word:
                commands[-1].append(word)
    found = [words for words in commands if words]
    return found, bool(found) and (bool(commands[-1]) or last in {";", "\n"})


def _tokens(text: str) -> Iterator[tuple[str, str] | None]:
    """Tokens in order; None where the text leaves the subset, and nothing after it."""
    position, first_of_command = 0, True
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            yield None
            return
        position = match.end()
        kind, token = match.lastgroup, match.group()
        if kind == "join":
            first_of_command = True
            yield "join", token
        elif kind == "quiet":
            # `a2>&1` is a word `a2`, so a redirection has to stand apart; and one that stands alone runs nothing.
            if first_of_command or text[match.start() - 1] not in " \t":
                yield None
                return
        elif kind == "word":
            word = _unquoted(token)
            if first_of_command and (_is_shell_word(word) or ASSIGNMENT.match(token)):
                yield None
                return
            if position < len(text) and text[position] not in " \t\n;|&":
                yield None
                return
            first_of_command = False
            yield "word", word


def _unquoted(token: str) -> str:
    return re.sub(r"'([^']*)'|\"([^\"]*)\"", lambda match: match.group(1) or match.group(2) or "", token)


def _is_shell_word(word: str) -> bool:
    """Whether a shell reads this first word as something other than a program to look up."""
    return word in KEYWORDS or word == ""


def _check(text: str) -> None:
    if "\0" in text:
        raise ShellError("the command contains a NUL character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ShellError("the command contains a lone surrogate") from None
    if size > MAX_COMMAND_BYTES:
        raise ShellError(f"the command has {size:,} bytes, more than the {MAX_COMMAND_BYTES:,} that are examined")
