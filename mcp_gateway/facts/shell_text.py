r"""The strict subset of POSIX shell: a text to its simple commands. Pure.

The subset is read the same by every POSIX shell, and by bash in particular: simple commands joined by `|`, `&&`,
`||`, `;` and newlines, of words made of plain characters, single quotes and double quotes without backquote,
backslash or `$`, but for one that ends them, and of globs below a literal folder (`globs`). Everything else, a variable, another glob,
a backslash, a redirection to or from a name, an assignment, a keyword, leaves it.

An account's own shell need not be a POSIX shell, and fish and csh end quotes elsewhere: fish reads `\'` in single quotes
as a quote, csh puts the line so far in place of `!#` in any quotes, and takes a new line in them for the end of a command. What
they would read otherwise leaves the subset, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mcp_gateway.facts.globs import GLOB, MAX_GLOBS, is_glob

TOKEN = re.compile(
    rf"""
    (?P<blank>[ \t]+)
  | (?P<quiet>2>&1|[12]?>[ \t]*/dev/null|<[ \t]*/dev/null)(?=[ \t\n;|&]|$)
  | (?P<join>\|\||&&|[|;\n])
  | (?P<glob>(?=/[^ \t\n;|&]*[*?\[]){GLOB}(?=[ \t\n;|&]|$))
  | (?P<word>(?: [A-Za-z0-9_./:,+@%=\-]+ | (?<=[A-Za-z0-9_])~ | '(?:[^'\\\n]|\\\\|\\(?![\\']))*' | "[^"$`\\\n]*\$?" )+)
    """,
    re.VERBOSE | re.ASCII,
)
"""One token of the subset, always matched at the reading position; no match means that the text leaves it."""

KEYWORDS = frozenset(
    "! [[ ]] and begin case coproc do done elif else end esac fi for foreach function if in not or repeat select then time until while { }".split()
)
QUOTES = ("'", '"')
LINE_SO_FAR = re.compile(r"!(?:#|\{)")
"""What csh puts commands of before in place of, whatever the quotes."""
ASSIGNMENT = re.compile(r"[A-Za-z0-9_]+\+?=")
"""zsh and fish take a number for a variable's name."""
FOUND_BY_NAME = re.compile(r"=(?!=?\Z)|%self\Z")
"""What zsh puts a program's path in place of, `=rm`, tcsh a folder of its stack, `=0`, and fish its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleCommand:
    """The words of one command."""

    words: list[str]
    globs: set[int] = field(default_factory=set)
    """Which of the words are globs, by place."""
    piped: bool = False
    """Whether it reads what the one before it prints."""


def simple_commands(text: str) -> tuple[list[SimpleCommand], bool]:
    """The simple commands of the text as far as the subset reaches, and whether that is all of it.

    Where a quote opens that nothing closes, no shell runs any of the line that it stands in, which is then left out.
    """
    commands = [SimpleCommand(words=[])]
    last = ";"
    whole = 0
    for item in _tokens(text):
        match item:
            case "left", rest:
                found = commands[:whole] if rest[:1] in QUOTES and rest[0] not in rest[1:] else commands
                return [command for command in found if command.words], False
            case "join", joint:
                # An empty command is an error in every shell but before a newline; `;` may end the text.
                if not commands[-1].words and joint != "\n":
                    return [command for command in commands if command.words], False
                commands.append(SimpleCommand(words=[], piped=joint == "|" or (joint == "\n" and last == "|")))
                last = joint
                whole = len(commands) - 1 if joint == "\n" else whole
            case kind, word:
                if kind == "glob":
                    commands[-1].globs.add(len(commands[-1].words))
                commands[-1].words.append(word)
    found = [command for command in commands if command.words]
    return found, bool(found) and (bool(commands[-1].words) or last in {";", "\n"})


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Tokens in order; `left` with the rest where the text leaves the subset, and nothing after it."""
    position, first_of_command, globs = 0, True, 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            yield "left", text[position:]
            return
        position = match.end()
        kind, token = match.lastgroup, match.group()
        if kind == "join":
            first_of_command = True
            yield "join", token
        elif kind == "quiet":
            # `a2>&1` is a word `a2`, so a redirection has to stand apart; and one that stands alone runs nothing.
            if first_of_command or text[match.start() - 1] not in " \t":
                yield "left", text[position:]
                return
        elif kind == "glob":
            globs += 1
            if first_of_command or globs > MAX_GLOBS or not is_glob(token):
                yield "left", text[match.start() :]
                return
            yield "glob", token
        elif kind == "word":
            word = _unquoted(token)
            if first_of_command and (_is_shell_word(word) or ASSIGNMENT.match(token)):
                yield "left", text[position:]
                return
            if (
                FOUND_BY_NAME.match(token)
                or LINE_SO_FAR.search(token)
                or (position < len(text) and text[position] not in " \t\n;|&")
            ):
                yield "left", text[position:]
                return
            first_of_command = False
            yield "word", word


def is_read_alike(word: str) -> bool:
    """Whether every account's shell reads this word the same, if it is quoted by `shell.quote`."""
    return "\n" not in word and LINE_SO_FAR.search(word) is None


def _unquoted(token: str) -> str:
    return re.sub(r"'([^']*)'|\"([^\"]*)\"", lambda match: match.group(1) or match.group(2) or "", token)


def _is_shell_word(word: str) -> bool:
    """Whether a shell reads this first word as something other than a program to look up."""
    return word in KEYWORDS or word == ""
