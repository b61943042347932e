"""One statement to Cedar's JSON form of it, or to what is wrong with its text, where that stands.

Cedar's parser says what is wrong, and not where. What it does not expect is found by the shortest text that it refuses
for another reason than ending too early; what it expects but does not take, by the words of its own message.
"""

from __future__ import annotations

import re

import cedarpy
import orjson

from mcp_gateway.calls import JSONObject
from mcp_gateway.errors import Problem
from mcp_gateway.policy.parsing import Scopes, read_scope
from mcp_gateway.policy.split import Place, Statement
from mcp_gateway.policy.statement import handle_of

ENDED_EARLY = "unexpected end of input"
TOO_DEEP = "the conditions nest or chain too deeply; use a set, or several policies"
CALLED = re.compile(r"^`(?P<name>\w+)` is (not a valid|a method, not|a function, not)|^call to `(?P<of>\w+)`")
WORD = re.compile(r"^(?:invalid variable|invalid policy condition|invalid policy effect): (?P<word>\w+)$")
MARK = re.compile(r"^'(?P<mark>.+)' is not a valid operator")
OPERATORS = {"division": "/", "remainder": "%"}
ESCAPE = re.compile(r"^the input `(?P<text>.*)` is not a valid escape")
ANNOTATION = re.compile(r"^duplicate annotation: @(?P<name>\w+)$")
SLOT = re.compile(r"^found template slot (?P<slot>\?\w+)")
NEGATIONS = re.compile(r"^too many occurrences of `(?P<mark>.)`")


OF_OTHER_LANGUAGES = {
    "=": "write == to compare",
    "and": "write &&",
    "or": "write ||",
    "matches": 'write `like "pattern*"`',
    "'": "texts stand in double quotes",
    "True": "write true",
    "False": "write false",
    "now": "the time is context.call.time",
    "where": "write when",
    "if": "write when",
}
"""What is not Cedar, and what is written in its place."""
OF_OTHER_LANGUAGES_BEFORE = {"not": "write !(...)"}
"""The same of what stands before what cannot be parsed."""


class Refused(Exception):
    """A statement that gives no policy."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def parse(statement: Statement) -> JSONObject:
    """Cedar's JSON form of the one policy that a statement is; raises `Refused`."""
    try:
        whole = orjson.loads(cedarpy.policies_to_json_str(statement.text))
    except orjson.JSONDecodeError:
        raise Refused(statement.place.problem(TOO_DEEP, policy=statement.id)) from None
    except ValueError as error:
        place = _place_of(statement, str(error))
        message = f"the policy cannot be parsed: {error}{_advice(statement, place)}"
        raise Refused(place.problem(message, policy=statement.id)) from None
    if whole["templates"]:
        message = "the policy is a template (?principal, ?resource); nothing links it"
        place = next((statement.at(token) for token in statement.tokens if token.kind == "slot"), statement.place)
        raise Refused(place.problem(message, policy=statement.id))
    if len(whole["staticPolicies"]) != 1:
        raise Refused(statement.place.problem("one policy was expected up to the next ';'"))
    form: JSONObject = whole["staticPolicies"]["policy0"]
    try:
        handle_of({"policy0": form})
    except (ValueError, TypeError):  # Cedar's limit, and orjson's
        raise Refused(statement.place.problem(TOO_DEEP, policy=statement.id)) from None
    return form


def _advice(statement: Statement, place: Place) -> str:
    """How what stands here is written in Cedar, where it is known from other languages."""
    at = next((at for at, token in enumerate(statement.tokens) if statement.at(token) == place), None)
    if at is None:
        return ""
    around = [token.text for token in statement.tokens[max(0, at - 1) : at + 2]]
    before, here = (around[0] if at else ""), around[1 if at else 0]
    if here == "=" and before in ("==", "!="):
        return f"; write {before}"
    written = OF_OTHER_LANGUAGES.get(here[:1] if here.startswith("'") else here) or OF_OTHER_LANGUAGES_BEFORE.get(
        before
    )
    return f"; {written}" if written else ""


def _place_of(statement: Statement, message: str) -> Place:
    """Where it stands that Cedar's parser says this of."""
    index = _named_by(statement, message)
    if index is not None:
        return statement.at(statement.tokens[index])
    broken = _broken_at(statement)
    if broken is not None:
        return broken
    scope = read_scope(statement)
    if "in the scope" in message and scope is not None:
        return statement.at(statement.tokens[scope.effect])
    named = statement.find_named(message, within=_behind_annotations(statement))
    return named or _condition_of(statement, message) or _part_of(statement, scope, message) or statement.place


def _part_of(statement: Statement, scope: Scopes | None, message: str) -> Place | None:
    """Where the part of the scope begins that this is said of."""
    for name, span in scope.parts.items() if scope is not None else ():
        first, last = statement.tokens[span.first], statement.tokens[span.last]
        before, behind = statement.upto(first)[: -len(first.text)], statement.text[len(statement.upto(last)) :]
        if _error_of(before + name + behind) != message:
            return statement.at(first)
    return None


def _condition_of(statement: Statement, message: str) -> Place | None:
    """Where the condition begins that this is said of."""
    tokens, starts, depth = statement.tokens, list[int](), 0
    for index, token in enumerate(tokens):
        depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
        if depth == 0 and token.text in ("when", "unless"):
            starts.append(index)
    for start, end in zip(starts, [*starts[1:], len(tokens) - 1], strict=False):
        text = statement.source.text[tokens[start].start : tokens[end - 1].end]
        if _error_of(f"forbid (principal, action, resource) {text};") == message:
            return statement.at(tokens[min(start + 2, end - 1)])
    return None


def _named_by(statement: Statement, message: str) -> int | None:
    """The token that a message is about, where it is a kind of message that names one by its text."""
    texts = [token.text for token in statement.tokens]
    behind = _behind_annotations(statement)
    if match := CALLED.match(message):
        name = match["name"] or match["of"]
        return next((at for at in behind[:-1] if texts[at : at + 2] == [name, "("]), None)
    if match := ANNOTATION.match(message):
        found = [at for at in range(len(texts) - 1) if texts[at : at + 2] == ["@", match["name"]]]
        return found[1] if len(found) > 1 else None
    if match := ESCAPE.match(message):
        return next((at for at, text in enumerate(texts) if text.startswith('"') and match["text"] in text), None)
    if match := WORD.match(message):
        return next((at for at in behind if texts[at] == match["word"] and texts[at - 1 : at] != ["."]), None)
    if match := NEGATIONS.match(message):
        run = [match["mark"]] * 5
        return next((at for at in behind if texts[at : at + len(run)] == run), None)
    if match := SLOT.match(message):
        return next((at for at in behind if texts[at] == match["slot"]), None)
    word = message.partition(" is not supported")[0]
    match = MARK.match(message)
    mark = match["mark"] if match else OPERATORS.get(word, "")
    return next((at for at in behind if texts[at] == mark), None)


def _behind_annotations(statement: Statement) -> range:
    """The indices of the tokens from `permit` or `forbid` on, or what stands there instead."""
    texts, at = [token.text for token in statement.tokens], 0
    while at + 1 < len(texts) and texts[at] == "@":
        at += 2
        if texts[at : at + 1] == ["("]:
            at += 3
    return range(min(at, len(texts)), len(texts))


def _broken_at(statement: Statement) -> Place | None:
    """Where the text stops being the beginning of a policy: the shortest text that is refused for another reason
    than ending too early ends there.
    """
    low, high = 0, len(statement.tokens) - 1
    while low < high:
        middle = (low + high) // 2
        if _error_of(statement.upto(statement.tokens[middle])) == ENDED_EARLY:
            low = middle + 1
        else:
            high = middle
    found = statement.tokens[low]
    at_token = _error_of(statement.upto(found)).startswith(("unexpected token", "invalid token"))
    return statement.at(found) if at_token else None


def _error_of(text: str) -> str:
    try:
        cedarpy.policies_to_json_str(text)
    except ValueError as error:
        return str(error)
    return ""
