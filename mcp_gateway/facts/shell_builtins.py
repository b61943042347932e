"""What shells do by themselves, without a program: builtins that change the shell, or evaluate what they are given. Pure.

`commands` asks for every command that is judged; a target's account may have any shell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SHELL_BUILTINS = frozenset(
    """
    - : alias autoload bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown enable eval
    exec exit export fc fg getopts hash help history jobs let local logout mapfile popd pushd read readarray
    readonly return set shift shopt source suspend times trap type typeset ulimit umask unalias unset wait .
    disable emulate float functions getln integer nameref nocorrect noglob print private rehash sched setopt unsetopt vared whence
    zcompile zmodload zparseopts zstyle
    abbr chdir emit hup limit onintr setenv stop unlimit unsetenv uncomplete
    @ breaksw glob goto settc
    """.split()
)
"""Builtins that change the shell which reads the rest, or run what they are given; a target without one looks for a
program of that name. `echo`, `kill`, `printf`, `pwd`, `test`, `true` and `false` are taken as the programs that they also are."""

EVALUATING = frozenset(("[", "printf", "test"))
"""Builtins that some shell evaluates its arguments in."""
NUMERIC_TESTS = frozenset(("-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-t"))
COMPARISONS = frozenset(("=", "==", "!="))
CALCULATED = re.compile(r"=|\+\+|--")
"""What in an arithmetic expression assigns."""
CONVERSION = re.compile(
    r"%[-+ #0',]*(?P<fields>(?:\*|[0-9]+\$?)?(?:\.(?:\*|[0-9]*))?)[hlLjztqvw]*(?P<letter>.?)", re.DOTALL
)
AS_TEXT = frozenset("sbc%")
"""Conversions of `printf` that evaluate nothing. `%q` is another one with a letter after it in some shells."""
SPELT = re.compile(r"\\[0-7xuUcC]")
"""Escapes by which a format may spell what is not seen in it: zsh reads `\\045n` as `%n`."""


def may_evaluate(name: str, arguments: Sequence[str]) -> bool:
    """Whether some shell's builtin of this name would run or assign something for these arguments.

    `test -v 'a[$(id)]'` runs `id` in bash. `printf %n PATH` sets PATH to a number in bash and zsh, and so do
    `test PATH=0 -eq 0` in ksh and `printf %d PATH=0` in zsh: commands after it would be other programs.
    """
    if name not in EVALUATING:
        return False
    if any(sign in word for word in arguments for sign in "[$`"):
        return True
    if name != "printf":
        return not NUMERIC_TESTS.isdisjoint(arguments) and _assigns(
            word for word in arguments if word not in COMPARISONS
        )
    if any(word.startswith("-v") for word in arguments):
        return True
    form, *values = [word for word in arguments if word != "--"] or [""]
    return bool(values) and (SPELT.search(form) is not None or _converts(form, values))


def _converts(form: str, values: Sequence[str]) -> bool:
    found = [(match["fields"], match["letter"]) for match in CONVERSION.finditer(form)]
    if any(letter == "n" for _, letter in found):
        return True
    return _assigns(values) and any("*" in fields or letter not in AS_TEXT for fields, letter in found)


def _assigns(words: Iterable[str]) -> bool:
    return any(CALCULATED.search(word) for word in words)
