"""The conditions of a policy as expressions that know where they stand.

Cedar's JSON form has no places, and its validator names none. So conditions are read here once more, from the tokens
of `split`, into that same form. This need not be a parser to rely on: what it makes is compared with what Cedar made
of the same text, and where they differ there are no places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from mcp_gateway.calls import JSONObject
from mcp_gateway.policy.split import Place, Span, Statement, Token

VARIABLES = frozenset({"principal", "action", "resource", "context"})
COMPARED = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
OF_ONE = frozenset({"isEmpty"})
OF_TWO = frozenset({"contains", "containsAll", "containsAny", "hasTag", "getTag"})
ESCAPE = re.compile(r"\\(u\{([0-9a-fA-F]{1,6})\}|x([0-7][0-9a-fA-F])|.)", re.DOTALL)
ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\", "'": "'", '"': '"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One `when` or `unless`."""

    kind: str
    body: JSONObject
    """In Cedar's JSON form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scopes:
    """Where the scope stands, and each part of it."""

    effect: int
    """The token `permit` or `forbid`."""
    whole: Span
    """With its brackets."""
    parts: Mapping[str, Span]
    """Of `principal`, `action` and `resource`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expressions:
    """The conditions of one statement, and where every expression in them stands. Expressions are told by identity."""

    statement: Statement
    scope: Scopes
    conditions: tuple[Condition, ...]
    spans: Mapping[int, Span]
    marks: Mapping[int, int]
    """The token that shows best what an expression is about, where that is not its first: the name of an attribute."""

    def place(self, node: JSONObject) -> Place:
        """Where an expression begins."""
        return self._at(self.spans[id(node)].first)

    def mark(self, node: JSONObject) -> Place:
        """Where that stands which an expression is about: the attribute, the method, the type; else where it begins."""
        return self._at(self.marks.get(id(node), self.spans[id(node)].first))

    def _at(self, index: int) -> Place:
        return self.statement.at(self.statement.tokens[index])

    def text(self, node: JSONObject) -> str:
        """An expression as it is written."""
        return self.statement.text_of(self.spans[id(node)])


def read_expressions(statement: Statement, form: JSONObject) -> Expressions | None:
    """The conditions of a statement that has this form to Cedar; None where the same is not found here."""
    try:
        found = _Reader(statement).read()
    except (_Unread, RecursionError):
        return None
    ours = [{"kind": condition.kind, "body": condition.body} for condition in found.conditions]
    return found if ours == form["conditions"] else None


def read_scope(statement: Statement) -> Scopes | None:
    """Where the scope of a statement stands; None where that is not clear."""
    try:
        return _Reader(statement).scope()
    except _Unread:
        return None


class _Unread(Exception):
    """The text is not what is known here."""


class _Reader:
    """Reads by recursive descent, one method for each level of Cedar's grammar."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.tokens = statement.tokens
        self.at = 0
        self.spans: dict[int, Span] = {}
        self.marks: dict[int, int] = {}
        self.kept: list[JSONObject] = []

    def read(self) -> Expressions:
        scope = self.scope()
        conditions = []
        while not self.takes(";"):
            kind = self.next.text
            if kind not in ("when", "unless"):
                self.refuse()
            self.at += 1
            self.expect("{")
            conditions.append(Condition(kind=kind, body=self.expression()))
            self.expect("}")
        return Expressions(
            statement=self.statement,
            scope=scope,
            conditions=tuple(conditions),
            spans=self.spans,
            marks=self.marks,
        )

    def scope(self) -> Scopes:
        while self.takes("@"):
            self.at += 1
            if self.takes("("):
                self.at += 1
                self.expect(")")
        effect = self.at
        self.at += 1
        first = self.at
        self.expect("(")
        starts, depth = [self.at], 1
        while depth:
            text = self.next.text
            depth += (text in ("(", "[")) - (text in (")", "]"))
            self.at += 1
            if text == "," and depth == 1:
                starts.append(self.at)
        ends = [*(start - 2 for start in starts[1:]), self.at - 2]
        parts = [Span(start, end) for start, end in zip(starts, ends, strict=True) if start <= end]
        named = {self.tokens[part.first].text: part for part in parts}
        return Scopes(effect=effect, whole=Span(first, self.at - 1), parts=named)

    # Tokens.

    @property
    def next(self) -> Token:
        if self.at >= len(self.tokens):
            self.refuse()
        return self.tokens[self.at]

    def takes(self, *texts: str) -> str:
        """Take the next token if it is one of these."""
        text = self.next.text
        if text not in texts:
            return ""
        self.at += 1
        return text

    def expect(self, text: str) -> None:
        if not self.takes(text):
            self.refuse()

    def refuse(self) -> NoReturn:
        raise _Unread

    def name(self) -> str:
        token = self.next
        if token.kind != "name":
            self.refuse()
        self.at += 1
        return token.text

    def string(self) -> str:
        token = self.next
        if token.kind != "string":
            self.refuse()
        self.at += 1
        return ESCAPE.sub(_unescaped, token.text[1:-1])

    def made(self, node: JSONObject, first: int, *, mark: int | None = None, behind: int | None = None) -> JSONObject:
        """A node that began at this token and ends before the next, or before `behind`."""
        self.spans[id(node)] = Span(first, (self.at if behind is None else behind) - 1)
        if mark is not None:
            self.marks[id(node)] = mark
        self.kept.append(node)  # no other may get its identity
        return node

    # Expressions, from what binds least to what binds most.

    def expression(self) -> JSONObject:
        first = self.at
        if not self.takes("if"):
            return self.either()
        test = self.expression()
        self.expect("then")
        yes = self.expression()
        self.expect("else")
        return self.made({"if-then-else": {"if": test, "then": yes, "else": self.expression()}}, first)

    def either(self) -> JSONObject:
        return self.joined(self.both, "||")

    def both(self) -> JSONObject:
        return self.joined(self.relation, "&&")

    def sum(self) -> JSONObject:
        return self.joined(self.product, "+", "-")

    def product(self) -> JSONObject:
        return self.joined(self.unary, "*")

    def joined(self, part: Callable[[], JSONObject], *operators: str) -> JSONObject:
        first = self.at
        node = part()
        while operator := self.takes(*operators):
            node = self.made({operator: {"left": node, "right": part()}}, first)
        return node

    def relation(self) -> JSONObject:
        first = self.at
        left = self.sum()
        if operator := self.takes(*COMPARED):
            return self.made({operator: {"left": left, "right": self.sum()}}, first)
        if self.takes("has"):
            return self.has(left, first)
        if self.takes("like"):
            return self.made({"like": {"left": left, "pattern": self.pattern()}}, first)
        if self.takes("is"):
            mark = self.at
            node: JSONObject = {"left": left, "entity_type": self.path()}
            if self.takes("in"):
                node["in"] = self.sum()
            return self.made({"is": node}, first, mark=mark)
        return left

    def has(self, left: JSONObject, first: int) -> JSONObject:
        mark = self.at
        if self.next.kind == "string":
            return self.made({"has": {"left": left, "attr": self.string()}}, first, mark=mark)
        attribute = self.name()
        node = self.made({"has": {"left": left, "attr": attribute}}, first, mark=mark)
        while self.takes("."):
            left = self.made({".": {"left": left, "attr": attribute}}, first, mark=mark, behind=self.at - 1)
            mark = self.at
            attribute = self.name()
            further = self.made({"has": {"left": left, "attr": attribute}}, first, mark=mark)
            node = self.made({"&&": {"left": node, "right": further}}, first)
        return node

    def unary(self) -> JSONObject:
        first = self.at
        if self.takes("!"):
            return self.made({"!": {"arg": self.unary()}}, first)
        if not self.takes("-"):
            return self.member()
        if self.next.kind == "number":
            self.at += 1
            return self.made({"Value": -int(self.tokens[self.at - 1].text)}, first)
        return self.made({"neg": {"arg": self.unary()}}, first)

    def member(self) -> JSONObject:
        first = self.at
        node = self.primary()
        while True:
            if self.takes("["):
                mark = self.at
                attribute = self.string()
                self.expect("]")
                node = self.made({".": {"left": node, "attr": attribute}}, first, mark=mark)
            elif self.takes("."):
                mark = self.at
                name = self.name()
                if self.takes("("):
                    node = self.made(_called(name, node, self.listed(")")), first, mark=mark)
                else:
                    node = self.made({".": {"left": node, "attr": name}}, first, mark=mark)
            else:
                return node

    def primary(self) -> JSONObject:
        first, token = self.at, self.next
        if self.takes("("):
            node = self.expression()
            self.expect(")")
            return node
        if self.takes("["):
            return self.made({"Set": self.listed("]")}, first)
        if self.takes("{"):
            return self.made({"Record": self.record()}, first)
        if token.kind == "string":
            return self.made({"Value": self.string()}, first)
        self.at += 1
        if token.kind == "number":
            return self.made({"Value": int(token.text)}, first)
        if token.text in ("true", "false"):
            return self.made({"Value": token.text == "true"}, first)
        if token.kind != "name":
            self.refuse()
        if token.text in VARIABLES and self.next.text != "::":
            return self.made({"Var": token.text}, first)
        if self.takes("("):
            return self.made({token.text: self.listed(")")}, first)
        self.at = first
        return self.entity(first)

    def entity(self, first: int) -> JSONObject:
        names = [self.name()]
        while self.takes("::"):
            if self.next.kind == "string":
                named = {"type": "::".join(names), "id": self.string()}
                return self.made({"Value": {"__entity": named}}, first)
            names.append(self.name())
        raise _Unread

    def path(self) -> str:
        names = [self.name()]
        while self.takes("::"):
            names.append(self.name())
        return "::".join(names)

    def listed(self, end: str) -> list[JSONObject]:
        found: list[JSONObject] = []
        while not self.takes(end):
            found.append(self.expression())
            if not self.takes(","):
                self.expect(end)
                break
        return found

    def record(self) -> JSONObject:
        found: JSONObject = {}
        while not self.takes("}"):
            key = self.string() if self.next.kind == "string" else self.name()
            self.expect(":")
            found[key] = self.expression()
            if not self.takes(","):
                self.expect("}")
                break
        return found

    def pattern(self) -> list[Any]:
        token = self.next
        if token.kind != "string":
            self.refuse()
        self.at += 1
        found: list[Any] = []
        text = token.text[1:-1]
        at = 0
        while at < len(text):
            if text[at] == "*":
                found.append("Wildcard")
                at += 1
            elif text.startswith("\\*", at):
                found.append({"Literal": "*"})
                at += 2
            elif (escape := ESCAPE.match(text, at)) is not None:
                found.append({"Literal": _unescaped(escape)})
                at = escape.end()
            else:
                found.append({"Literal": text[at]})
                at += 1
        return found


def _called(name: str, of: JSONObject, given: list[JSONObject]) -> JSONObject:
    """A call of a method."""
    if name in OF_ONE and not given:
        return {name: {"arg": of}}
    if name in OF_TWO and len(given) == 1:
        return {name: {"left": of, "right": given[0]}}
    return {name: [of, *given]}


def _unescaped(match: re.Match[str]) -> str:
    if match[2] or match[3]:
        return chr(int(match[2] or match[3], 16))
    if match[1] not in ESCAPED:
        raise _Unread
    return ESCAPED[match[1]]
