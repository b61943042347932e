"""Where a policy does not fit the schema: Cedar's validator says what is wrong, and not where. This finds the place.

An expression brings a mistake if the validator finds it in a policy of that expression alone, under what stands before
it and bears on it: `a` of `a && b`, since it may be `principal has email`. The place is the smallest expression that
does, or the operand of it that, replaced by one of another type, takes the mistake away. Whatever the validator finds
in the whole policy is reported, also where no place is found, and nothing that it does not.

This runs only for policies that are refused, and asks the validator no more than so often.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cedarpy

from mcp_gateway.calls import JSONObject
from mcp_gateway.policy.expressions import children_of
from mcp_gateway.policy.parsing import Expressions, Scopes, read_expressions, read_scope
from mcp_gateway.policy.split import Place, Span, Statement
from mcp_gateway.policy.wording import UNEXPECTED, UNLIKE, Located, Mistake, Wording

POSITIONAL = re.compile(r"^for policy `policy0`[,:] ")
MAX_QUESTIONS = 5000
"""To the validator, for places in all policies; it takes a fifth of a millisecond for a short one."""
MAX_QUESTIONS_OF_ONE = 400
OF_EACH_TYPE = (
    "context.call.token_age",
    "context.call.door",
    "(context.call.token_age > 0)",
    "context.call.scopes",
    "context.call.time",
    "resource",
    "context.usage.touched_1h",
    'duration("1h")',
    'decimal("1.0")',
    'ip("127.0.0.1")',
)
"""One expression of each type, of what every action has."""
AT_ITSELF = re.compile(
    r"not found$|^unable to guarantee|^unrecognized|enumerated entity type|^error during|^wrong number"
)
"""Mistakes that no operand is to blame for."""

Found = Counter[str]
"""Messages of the validator, and in how many places."""


@dataclass(slots=True)
class Validator:
    """Cedar's validator over one schema, and how often it may be asked for places."""

    schema: cedarpy.Schema
    wording: Wording
    left: int = MAX_QUESTIONS

    def mistakes(self, statement: Statement, form: JSONObject) -> list[Mistake]:
        """All in one policy that does not fit the schema, in the order of their places. `form` is Cedar's of the policy."""
        result = cedarpy.validate_policies(statement.text, self.schema)
        messages = _messages(result)
        if messages:
            search = _Search(statement, form, self, messages, left=min(MAX_QUESTIONS_OF_ONE, self.left))
            return self.wording.worded(search.places())
        if not result.validation_passed:
            return [Mistake(place=statement.place, message="the policy does not fit the schema")]
        return []

    def ask(self, text: str) -> Found:
        """What is wrong with a policy text."""
        self.left -= 1
        return _messages(cedarpy.validate_policies(text, self.schema))


def _messages(result: Any) -> Found:
    return Counter(POSITIONAL.sub("", error.error) for error in result.errors)


@dataclass(slots=True)
class _Search:
    """For the places of what is known to be wrong with one policy."""

    statement: Statement
    form: JSONObject
    validator: Validator
    messages: Found
    """Of the whole policy."""
    left: int
    asked: dict[str, Found] = field(default_factory=dict)

    def places(self) -> Iterator[Located]:
        """Every message of the whole policy, at each place that was found for it, or else at its name or the beginning."""
        unplaced = set(self.messages)
        for found in (*self._in_scope(), *self._in_conditions()):
            if found.message in self.messages:
                unplaced.discard(found.message)
                yield found
        for message in sorted(unplaced):
            yield Located(place=self.statement.find_named(message) or self.statement.place, message=message)

    def _ask(self, text: str) -> Found:
        """What the validator says of one policy; nothing once it was asked too often."""
        if text not in self.asked:
            if self.left <= 0:
                return Counter()
            self.left -= 1
            self.asked[text] = self.validator.ask(text)
        return self.asked[text]

    # The scope.

    def _in_scope(self) -> Iterator[Located]:
        scope = read_scope(self.statement)
        if scope is None:
            return
        for message in sorted(self._ask(f"{self._head(scope)};")):
            span = self._part_to_blame(scope, message)
            named = self.statement.find_named(message, within=range(span.first, span.last + 1))
            begins = self.statement.at(self.statement.tokens[span.first])
            yield Located(place=named or begins, message=message, text=self.statement.text_of(span))

    def _head(self, scope: Scopes) -> str:
        return self.statement.text_of(Span(scope.effect, scope.whole.last))

    def _part_to_blame(self, scope: Scopes, message: str) -> Span:
        """The one part of the scope without which the mistake is not there; all of it where that is no single one."""
        texts = {name: self.statement.text_of(span) for name, span in scope.parts.items()}
        blamed = [
            name
            for name, text in texts.items()
            if text != name and message not in self._ask(f"forbid({', '.join((texts | {name: name}).values())});")
        ]
        # An action is rarely the mistake where another part fits none of it.
        chosen = [name for name in blamed if name != "action"] or blamed
        return scope.parts[chosen[0]] if chosen else scope.whole

    # The conditions.

    def _in_conditions(self) -> Iterator[Located]:
        expressions = read_expressions(self.statement, self.form)
        if expressions is None:
            return
        around = _Around(before=f"{self._head(expressions.scope)} when {{ ", behind=" };")
        for condition in expressions.conditions:
            body, text = condition.body, expressions.text(condition.body)
            brought = self._brought_by(text, around)
            if brought:
                yield from self._within(expressions, body, around, brought)
            whole = self._ask(around.hold(f"({text}) && true")) - self._ask(around.hold("false")) - brought
            for message in whole:  # it is no Bool
                yield _located(expressions, body, message)
            around = around.within(f"({text}) && (" if condition.kind == "when" else f"!({text}) && (", ")")

    def _brought_by(self, text: str, around: _Around) -> Found:
        """What an expression brings by itself, whatever its type."""
        return self._ask(around.hold(f"[{text}].isEmpty()")) - self._ask(around.hold("false"))

    def _within(self, expressions: Expressions, node: JSONObject, around: _Around, brought: Found) -> Iterator[Located]:
        own = Counter(brought)
        for child, where in _inside(expressions, node, around):
            if _is_plain(child) or not +own:
                continue
            of_child = self._brought_by(expressions.text(child), where) & own
            if of_child:
                own -= of_child
                yield from self._within(expressions, child, where, of_child)
        for message, count in own.items():
            yield from self._own(expressions, node, around, message, count)

    def _own(
        self, expressions: Expressions, node: JSONObject, around: _Around, message: str, count: int
    ) -> Iterator[Located]:
        """What no operand brings alone: the operands to blame, or all of it."""
        if AT_ITSELF.search(message):
            yield _located(expressions, node, message, place=expressions.mark(node))
            return
        for operand in self._to_blame(expressions, node, around, message, count) or [node]:
            yield _located(expressions, operand, message, of=node)

    def _to_blame(
        self, expressions: Expressions, node: JSONObject, around: _Around, message: str, count: int
    ) -> list[JSONObject]:
        operands = [operand for operand, _ in _inside(expressions, node, around)]
        constants = [operand for operand in operands if "Value" in operand]
        if len(operands) == 1:
            return operands if UNEXPECTED.match(message) and len(operands) == count else []
        if UNLIKE.match(message) and len(constants) == 1:  # either could be meant; a constant says less of what it is
            return constants
        blamed = self._blamed(expressions, node, around, message)
        return blamed if len(blamed) == count else []

    def _blamed(self, expressions: Expressions, node: JSONObject, around: _Around, message: str) -> list[JSONObject]:
        before = self._brought_by(expressions.text(node), around)
        found = []
        for child, _ in _inside(expressions, node, around):
            for other in OF_EACH_TYPE:
                after = self._brought_by(_replaced(expressions, node, child, other), around)
                if self.left > 0 and after[message] < before[message] and after.keys() <= before.keys():
                    found.append(child)
                    break
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Around:
    """Policy text around an expression that is asked about."""

    before: str
    behind: str

    def hold(self, text: str) -> str:
        return self.before + text + self.behind

    def within(self, before: str, behind: str) -> _Around:
        return _Around(before=self.before + before, behind=behind + self.behind)


def _inside(expressions: Expressions, node: JSONObject, around: _Around) -> Iterator[tuple[JSONObject, _Around]]:
    """The operands of an expression, each with what bears on it."""
    match node:
        case {"&&": {"left": left, "right": right}}:
            yield left, around
            yield right, around.within(f"({expressions.text(left)}) && (", ")")
        case {"||": {"left": left, "right": right}}:
            yield left, around
            yield right, around.within(f"({expressions.text(left)}) || (", ")")
        case {"if-then-else": {"if": test, "then": yes, "else": no}}:
            yield test, around
            yield yes, around.within(f"if ({expressions.text(test)}) then (", ") else false")
            yield no, around.within(f"if ({expressions.text(test)}) then false else (", ")")
        case _:
            for child in children_of(node):
                if id(child) in expressions.spans:
                    yield child, around


def _is_plain(node: JSONObject) -> bool:
    """Whether an expression is a constant or a variable, which is never wrong by itself."""
    match node:
        case {"Value": dict()}:
            return False
        case {"Value": _} | {"Var": _}:
            return True
        case _:
            return False


def _replaced(expressions: Expressions, node: JSONObject, child: JSONObject, other: str) -> str:
    tokens, source = expressions.statement.tokens, expressions.statement.source.text
    whole, part = expressions.spans[id(node)], expressions.spans[id(child)]
    before = source[tokens[whole.first].start : tokens[part.first].start]
    return before + other + source[tokens[part.last].end : tokens[whole.last].end]


def _located(
    expressions: Expressions,
    node: JSONObject,
    message: str,
    *,
    of: JSONObject | None = None,
    place: Place | None = None,
) -> Located:
    text, whole = expressions.text(node), expressions.text(of or node)
    return Located(place=place or expressions.place(node), message=message, text=text, whole=whole)
