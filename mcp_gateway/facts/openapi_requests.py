"""A request against an OpenAPI document: which operation it is, and whether it is as the document says. Pure.

It matches as far as that is proved: path and path parameters, query parameters (all that are required, none that is
unknown), content type and body. Headers and cookies are not looked at. A text stands for itself, and for the number or
truth value that it reads as; one of them has to fit, and the other may miss by its type alone: what an expression says
of a text holds for digits, too, and a bound for whatever reads as a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, unquote_plus

from mcp_gateway.facts.http import Resolved
from mcp_gateway.facts.http_bodies import FORM
from mcp_gateway.facts.http_fields import BROKEN_ESCAPE, UnreadableError, is_json, media_type, query_fields, read_json
from mcp_gateway.facts.openapi import Document, Operation, Parameter
from mcp_gateway.facts.openapi_schemas import NOT_PROVED

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,3})?\Z")
MAX_DEPTH = 5
"""Of what a schema is composed of."""
MAX_VALUES = 500
"""Of one parameter."""
MEMBER = re.compile(r"\[[^\[\]]+\]\Z")
MAX_PAIRS = 2_000
"""Of one query."""
MAX_FIELDS = 100
"""Of a form or an object in a query: each is judged by itself."""
NEITHER = object()
KINDS = frozenset({"type", "enum", "const"})
"""Keywords by which a text does not fit because it is meant as something else."""
BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
"""Keywords that look at numbers alone."""


@dataclass(frozen=True, slots=True)
class Matched:
    """What a document says of a request."""

    operation: str = ""
    """Empty for one that it does not know."""
    tags: frozenset[str] = frozenset()
    matches: bool = False


UNKNOWN = Matched()


def match_request(request: Resolved, body: bytes | None, document: Document) -> Matched:
    """The operation that a request is, and whether it fits."""
    below = request.path.removeprefix(request.base_path)
    found = document.templates.find(below)
    if found is None:
        return UNKNOWN
    template, values = found
    operation = document.operations.get((template.text, request.method))
    if operation is None:
        return UNKNOWN
    matcher = _Matcher(document, operation)
    matches = (
        matcher.path(values, names=template.names) and matcher.query(request.query) and matcher.body(request, body)
    )
    return Matched(operation.name, operation.tags, matches)


@dataclass(frozen=True, slots=True)
class _Matcher:
    document: Document
    operation: Operation

    def path(self, values: Mapping[str, str], *, names: Set[str]) -> bool:
        """`values` are those of the template's `names` that can be told."""
        return all(
            name in values and self._fits(parameter, [values[name]])
            for name, parameter in self.operation.path.items()
            if name in names
        )

    def query(self, query: str) -> bool:
        if query.count("&") > MAX_PAIRS or not query_fields(query).known:
            return False
        given: dict[str, list[str]] = {}
        for part in filter(None, query.split("&")):
            name, _, value = part.partition("=")
            given.setdefault(unquote(name), []).append(value)
        described = self.operation.query
        deep = {name: _members(given, name, described) for name, parameter in described.items() if parameter.is_deep}
        if not described.keys() >= given.keys():
            return False
        if not all(self._deep_fits(described[name], members) for name, members in deep.items()):
            return False
        if any(
            parameter.required and not parameter.is_deep and name not in given for name, parameter in described.items()
        ):
            return False
        if any(described[name].is_list and "%2c" in "".join(values).lower() for name, values in given.items()):
            return False  # a comma between two items, or in one
        return all(
            self._fits(described[name], [read(value) for value in values])
            for name, values in given.items()
            for read in ((unquote, unquote_plus) if "+" in "".join(values) else (unquote,))
        )

    def _fits(self, parameter: Parameter, values: Sequence[str]) -> bool:
        if not parameter.readable or len(values) > MAX_VALUES or any("\ufffd" in value for value in values):
            return False
        if parameter.allows_empty and list(values) == [""]:
            return True
        if parameter.is_list:
            if len(values) != 1:
                return False
            values = values[0].split(",")
        if parameter.schema is None:
            return True
        if parameter.is_array:
            return self._one_fits(list(values), [_typed(value) for value in values], parameter.schema)
        return len(values) == 1 and self._one_fits(values[0], _typed(values[0]), parameter.schema)

    def _deep_fits(self, parameter: Parameter, members: Mapping[str, Sequence[str]]) -> bool:
        if len(members) > MAX_FIELDS:
            return False
        if not members or parameter.schema is None or any(len(values) != 1 for values in members.values()):
            return not members and not parameter.required
        for read in (unquote, unquote_plus):  # what a plus stands for is not said
            texts = {name: read(values[0]) for name, values in members.items()}
            typed = {name: _typed(value) for name, value in texts.items()}
            if any("\ufffd" in value for value in texts.values()) or not self._form_fits(
                texts, typed, parameter.schema
            ):
                return False
        return True

    def _one_fits(self, text: Any, typed: Any, pointer: str) -> bool:
        """Whether texts, or what they read as, fit."""
        return self._meant(text, typed, pointer) is not NEITHER

    def _meant(self, text: Any, typed: Any, pointer: str) -> Any:
        """Texts or what they read as, as a schema has it, or `NEITHER`."""
        schemas = self.document.schemas
        if typed == text:
            return text if schemas.fits(text, pointer) else NEITHER
        of_text = schemas.failures(text, pointer, until=KINDS)
        if not of_text:
            unsure = BOUNDS | NOT_PROVED
            return text if schemas.failures(typed, pointer, until=unsure).isdisjoint(unsure) else NEITHER
        return typed if not of_text.isdisjoint(KINDS) and schemas.fits(typed, pointer) else NEITHER

    def body(self, request: Resolved, body: bytes | None) -> bool:
        """Whether it is as described for its type; parts (`multipart/...`) are not looked at."""
        bodies = self.operation.bodies
        if not body:
            return not (bodies is not None and self.operation.body_required)
        kind = media_type(request.content_type)
        ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*")
        key = next((found for found in ranges if bodies is not None and found in bodies), None)
        if bodies is None or key is None or not kind:
            return False
        if kind.startswith("multipart/") and any(bodies[key]):
            return False
        try:
            text, typed = self._readings(body, kind)
        except (UnreadableError, UnicodeDecodeError):
            return False
        fits = self._form_fits if kind == FORM else self._one_fits
        return all(pointer is None or fits(text, typed, pointer) for pointer in bodies[key])

    def _readings(self, body: bytes, kind: str) -> tuple[Any, Any]:
        """A body, and in place of the texts in a form what they read as."""
        if is_json(kind):
            value = read_json(body)
            return value, value
        text = body.decode()
        if kind != FORM:
            return text, text
        if not query_fields(text).known:
            raise UnreadableError("its names can be read in more than one way")
        found: dict[str, str] = {}
        for part in filter(None, text.split("&")):
            name, _, written = part.partition("=")
            name, value = unquote(name), unquote_plus(written)
            if name in found or "\ufffd" in value or BROKEN_ESCAPE.search(written):
                raise UnreadableError(
                    "a field stands in it twice, or has a value that can be read in more than one way"
                )
            found[name] = value
        return found, {name: _typed(value) for name, value in found.items()}

    def _form_fits(self, texts: Mapping[str, str], typed: Mapping[str, Any], pointer: str) -> bool:
        """Whether a form is the object that its schema describes: each field by itself, and all together."""
        if len(texts) > MAX_FIELDS:
            return False
        meant, others = dict[str, Any](texts), dict(typed)
        for name in texts:
            readings = [self._meant(texts[name], typed[name], own) for own in self._described(pointer, name)]
            if any(found is NEITHER for found in readings):
                return False
            if readings:
                is_text = all(found == texts[name] for found in readings)
                meant[name] = others[name] = texts[name] if is_text else typed[name]
        return self._one_fits(meant, others, pointer)

    def _described(self, pointer: str, name: str, *, depth: int = 0) -> Iterator[str]:
        """Pointers to what an object's schema says of one member, alternatives left aside."""
        schema, own = self.document.resolved(pointer)
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return
        properties, additional, parts = (schema.get(key) for key in ("properties", "additionalProperties", "allOf"))
        if isinstance(properties, dict) and name in properties:
            yield f"{own}/properties/{_escaped(name)}"
        elif isinstance(additional, dict):
            yield f"{own}/additionalProperties"
        for number in range(len(parts) if isinstance(parts, list) else 0):
            yield from self._described(f"{own}/allOf/{number}", name, depth=depth + 1)


def _members(given: dict[str, list[str]], name: str, described: Mapping[str, Parameter]) -> dict[str, list[str]]:
    """Takes the members of an object out of the fields of a query: `name[member]`, unless that is a parameter's own name."""
    fields = [field for field in given if field not in described and field.startswith(f"{name}[")]
    inner = {field: field.removeprefix(name) for field in fields}
    return {own[1:-1]: given.pop(field) for field, own in inner.items() if MEMBER.match(own)}


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _typed(text: str) -> Any:
    """The number or truth value that a text reads as, else the text. What is not written as an integer is none, though it be one."""
    if text in {"true", "false"}:
        return text == "true"
    try:
        found = read_json(text) if NUMBER.match(text) else text
    except UnreadableError:
        return text  # larger than some readers know
    return Decimal(text) if isinstance(found, float) and found.is_integer() else found
