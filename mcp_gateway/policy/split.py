"""Policy text to statements with their places, before Cedar sees any of it.

Cedar's errors name no line and its parser overflows the stack on deep text, so a file is first cut into tokens
here: statements end at `;`, and what would nest too deeply is refused. The cut need not be a parser: `compiling`
gives each statement to Cedar alone and then checks that Cedar finds as many policies in the whole file, so a
disagreement on where a string or comment ends is an error and never a policy that is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mcp_gateway.errors import Problem

BEGINNINGS = frozenset({"permit", "forbid", "@"})
MAX_FILE_CHARACTERS = 1024 * 1024
MAX_POLICY_CHARACTERS = 16 * 1024
MAX_NESTING = 40
"""Brackets within brackets. Cedar's parser segfaults from about 1,000 on, its JSON form ends at about 50."""
MAX_CHAIN = 30
"""Names in one `a.b.c`: `has` with a chain of thousands eats all memory."""
MAX_IFS = 40
"""`if` in one policy: each may nest without a bracket."""

TOKEN = re.compile(
    r"""
    (?P<space>\s+ | //[^\n\r]*)
  | (?P<string>"(?:[^"\\]|\\.)*")
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>[0-9]+)
  | (?P<slot>\?[a-z]+)
  | (?P<mark>==|!=|<=|>=|&&|\|\||::|.)
    """,
    re.VERBOSE | re.DOTALL,
)
# Text that shows in another order than it is read in (CVE-2021-42574) has no place in a policy.
REORDERING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The text of one policy file."""

    file: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A piece of policy text that is not space."""

    kind: str
    text: str
    start: int
    """Offset in the file, in characters."""

    @property
    def end(self) -> int:
        """Offset behind it."""
        return self.start + len(self.text)


class Span(NamedTuple):
    """The first and the last token of something, by their indices in the statement."""

    first: int
    last: int


BACKQUOTED = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands, counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def problem(self, message: str, *, policy: str = "") -> Problem:
        """Say what is wrong here."""
        return Problem(message=message, file=self.file, line=self.line, column=self.column, path=policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One policy's text, from its first token to its `;`."""

    source: Source
    tokens: tuple[Token, ...]

    @property
    def text(self) -> str:
        """What Cedar parses."""
        return self.upto(self.tokens[-1])

    @property
    def place(self) -> Place:
        """Where it begins."""
        return self.at(self.tokens[0])

    @property
    def id(self) -> str:
        """What its `@id` seems to be, to name it in problems before it is parsed."""
        texts = [token.text for token in self.tokens]
        for index in range(len(texts) - 3):
            if texts[index : index + 3] == ["@", "id", "("]:
                return texts[index + 3].strip('"')
        return ""

    def upto(self, token: Token) -> str:
        """The text from the beginning to the end of `token`."""
        return self.source.text[self.tokens[0].start : token.end]

    def text_of(self, span: Span) -> str:
        """The text from one token to another."""
        return self.source.text[self.tokens[span.first].start : self.tokens[span.last].end]

    def at(self, token: Token) -> Place:
        """Where `token` stands."""
        return place_of(self.source, token.start)

    def find(self, *texts: str) -> Place:
        """Where these tokens first stand in a row; the beginning when they do not."""
        for index, token in enumerate(self.tokens):
            if tuple(item.text for item in self.tokens[index : index + len(texts)]) == texts:
                return self.at(token)
        return self.place

    def find_named(self, message: str, *, within: range | None = None) -> Place | None:
        """Where the first thing stands that a message of Cedar's has in backquotes; None when it does not.

        `within` are the indices of the tokens that it may begin with.
        """
        for named in BACKQUOTED.findall(message):
            for index in within or range(len(self.tokens)):
                run = ""
                for further in self.tokens[index:]:
                    run += further.text
                    if run == named:
                        return self.at(self.tokens[index])
                    if not named.startswith(run):
                        break
        return None


def split(source: Source) -> tuple[list[Statement], list[Problem]]:
    """Cut a file at each `;` and refuse what Cedar must not be given."""
    if len(source.text) > MAX_FILE_CHARACTERS:
        too_long = f"the file has {len(source.text):,} characters, more than {MAX_FILE_CHARACTERS:,}"
        return [], [Problem(message=too_long, file=source.file)]
    if found := REORDERING.search(source.text):
        place = place_of(source, found.start())
        return [], [place.problem(f"the text contains U+{ord(found.group()):04X}, which changes the order it shows in")]
    statements: list[Statement] = []
    problems: list[Problem] = []
    for tokens in _runs(source):
        statement = Statement(source=source, tokens=tuple(tokens))
        problem = _refusal(statement)
        if problem is None:
            statements.append(statement)
        else:
            problems.append(problem)
    return statements, problems


def place_of(source: Source, offset: int) -> Place:
    """Line and column of an offset."""
    line = source.text.count("\n", 0, offset) + 1
    return Place(file=source.file, line=line, column=offset - source.text.rfind("\n", 0, offset))


def _runs(source: Source) -> Iterator[list[Token]]:
    run: list[Token] = []
    for match in TOKEN.finditer(source.text):
        kind = match.lastgroup or ""
        if kind == "space":
            continue
        run.append(Token(kind=kind, text=match.group(), start=match.start()))
        if match.group() == '"':
            break  # not closed, so what follows cannot be cut
        if match.group() == ";":
            yield run
            run = []
    if run:
        yield run


def _refusal(statement: Statement) -> Problem | None:
    tokens = statement.tokens
    if open_quote := next((token for token in tokens if token.text == '"'), None):
        return statement.at(open_quote).problem("the string that begins here is not closed", policy=statement.id)
    if tokens[-1].text != ";":
        return _unended(statement)
    if len(statement.text) > MAX_POLICY_CHARACTERS:
        return statement.place.problem(
            f"the policy has {len(statement.text):,} characters, more than {MAX_POLICY_CHARACTERS:,}",
            policy=statement.id,
        )
    return _too_deep(statement, tokens)


def _unended(statement: Statement) -> Problem:
    """The last of a file, without its `;`: told where that is missing, or where no policy begins at all."""
    first, last = statement.tokens[0], statement.tokens[-1]
    if first.text not in BEGINNINGS:
        return statement.place.problem(f"expected a policy, which begins with permit, forbid or @, got {first.text!r}")
    end = place_of(statement.source, last.start + len(last.text))
    return end.problem("the policy does not end in ';'", policy=statement.id)


def _too_deep(statement: Statement, tokens: Sequence[Token]) -> Problem | None:
    depth = chain = ifs = 0
    for index, token in enumerate(tokens):
        depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
        if depth > MAX_NESTING:
            return statement.at(token).problem(f"brackets nest more than {MAX_NESTING} deep", policy=statement.id)
        in_chain = token.text == "." or (token.kind == "name" and index > 0 and tokens[index - 1].text == ".")
        chain = chain + (token.text == ".") if in_chain else 0
        if chain >= MAX_CHAIN:
            return statement.at(token).problem(f"a chain of names has more than {MAX_CHAIN} parts", policy=statement.id)
        ifs += token.text == "if"
        if ifs > MAX_IFS:
            return statement.at(token).problem(f"the policy has more than {MAX_IFS} `if`", policy=statement.id)
    return None
