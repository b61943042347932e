"""What a command would do: an argument vector, or a string in a strict subset of POSIX shell. Pure.

What leaves the subset (`shell_text`) is not proved to run only what can be seen: the command is *opaque*, and policy
decides on that. What each simple command does is judged in `commands`, by what is known of its program.

An argument vector is quoted with `quote` and so holds no syntax at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mcp_gateway.calls import ShellFacts
from mcp_gateway.facts.commands import Judge
from mcp_gateway.facts.program_files import built_in
from mcp_gateway.facts.programs import Knowledge

MAX_COMMAND_BYTES = 64 * 1024
UNLIKE = re.compile(r"'|\\{2,}|\\(?=\Z|['!])")
"""What shells do not read alike in single quotes: fish takes `\\'` and `\\\\` there for one character, csh `\\!`."""


class ShellError(ValueError):
    """The command is not text that any shell could be given."""


def quote(argv: Sequence[str]) -> str:
    """The one string that makes a shell, a POSIX one or fish, run exactly this argument vector.

    A csh does so, too, unless a word holds a new line, `!#` or the like, so that a vector with one is opaque.

    Raises:
        ShellError: a NUL, a lone surrogate, an empty vector or an empty program.
    """
    if not argv or not argv[0]:
        raise ShellError("argv names no program")
    # Every word is quoted: `shlex.join` leaves `A=b` and `time` bare, which a shell reads as more than words.
    text = " ".join("'" + UNLIKE.sub(_spelt, word) + "'" for word in argv)
    _check(text)
    return text


def examine_shell(
    *, argv: Sequence[str] | None = None, command: str | None = None, knowledge: Knowledge | None = None
) -> ShellFacts:
    """Say what would run, whether that is all, and what is known of it. `knowledge`: the built-in one if none is given.

    Exactly one of `argv` and `command` is given.

    Raises:
        ShellError: the text cannot be given to a shell, or both or neither are given.
    """
    if (argv is None) == (command is None):
        raise ShellError("give exactly one of argv and command")
    judge = Judge(knowledge or built_in())
    if argv is not None:
        quote(argv)
        judge.judge_vector(argv)
    else:
        text = command or ""
        _check(text)
        judge.judge_text(text)
    return ShellFacts(
        programs=frozenset(judge.programs),
        subcommands=frozenset(judge.subcommands),
        opaque=judge.opaque,
        read_only=judge.harmless and not (judge.opaque or judge.privileged),
        writes_files=judge.writing,
        privileged=judge.privileged,
        network=judge.network,
        writes=frozenset(judge.writes),
        removes=frozenset(judge.removes),
        paths_known=judge.paths_known,
    )


def _spelt(match: re.Match[str]) -> str:
    """Out of the single quotes, and in again: backslashes in pairs, which stand for one everywhere."""
    return "'\"'\"'" if match[0] == "'" else "'" + "\\\\" * len(match[0]) + "'"


def _check(text: str) -> None:
    if "\0" in text:
        raise ShellError("the command contains a NUL character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ShellError("the command contains a lone surrogate") from None
    if size > MAX_COMMAND_BYTES:
        raise ShellError(f"the command has {size:,} bytes, more than the {MAX_COMMAND_BYTES:,} that are examined")
