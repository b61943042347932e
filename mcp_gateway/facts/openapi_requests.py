"""A request against an OpenAPI document: which operation it is, and whether it is as the document says. Pure.

It matches as far as that is proved: path and path parameters, query parameters (all that are required, none that is
unknown), content type and body. Headers and cookies are not looked at. A text stands for itself, and for the number or
truth value that it reads as; one of them has to fit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, unquote_plus

from mcp_gateway.facts.http import Resolved
from mcp_gateway.facts.http_fields import BROKEN_ESCAPE, UnreadableError, is_json, media_type, query_fields, read_json
from mcp_gateway.facts.openapi import Document, Operation, Parameter

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,3})?\Z")
MAX_VALUES = 500
"""Of one parameter."""


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
    matches = matcher.path(values) and matcher.query(request.query) and matcher.body(request, body)
    return Matched(operation.name, operation.tags, matches)


@dataclass(frozen=True, slots=True)
class _Matcher:
    document: Document
    operation: Operation

    def path(self, values: Any) -> bool:
        for name, parameter in self.operation.path.items():
            if name in values and not self._fits(parameter, [values[name]]):
                return False
        return True

    def query(self, query: str) -> bool:
        if not query_fields(query).known:
            return False
        given: dict[str, list[str]] = {}
        for part in filter(None, query.split("&")):
            name, _, value = part.partition("=")
            given.setdefault(unquote(name), []).append(value)
        described = self.operation.query
        if not described.keys() >= given.keys():
            return False
        if any(parameter.required and name not in given for name, parameter in described.items()):
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
        if parameter.is_list:
            if len(values) != 1:
                return False
            values = values[0].split(",")
        if parameter.schema is None:
            return True
        if parameter.is_array:
            return self._any_fits([list(values), [_typed(value) for value in values]], parameter.schema)
        return len(values) == 1 and self._any_fits([values[0], _typed(values[0])], parameter.schema)

    def _any_fits(self, candidates: Sequence[Any], pointer: str) -> bool:
        return any(self.document.schemas.fits(candidate, pointer) for candidate in candidates)

    def body(self, request: Resolved, body: bytes | None) -> bool:
        bodies = self.operation.bodies
        if not body:
            return not (bodies is not None and self.operation.body_required)
        kind = media_type(request.content_type)
        ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*")
        key = next((found for found in ranges if bodies is not None and found in bodies), None)
        if bodies is None or key is None or not kind:
            return False
        try:
            value = self._value(body, kind, bodies[key])
        except (UnreadableError, UnicodeDecodeError):
            return False
        pointer = bodies[key]
        return pointer is None or self.document.schemas.fits(value, pointer)

    def _value(self, body: bytes, kind: str, pointer: str | None) -> Any:
        if is_json(kind):
            return read_json(body)
        text = body.decode()
        if kind == "application/x-www-form-urlencoded":
            return self._form(text, pointer)
        if kind.startswith("multipart/") and pointer is not None:
            raise UnreadableError("parts are not looked at")
        return text

    def _form(self, text: str, pointer: str | None) -> dict[str, Any]:
        """A form as the object that its schema describes; each field once."""
        found: dict[str, Any] = {}
        schema, own = (None, "") if pointer is None else self.document.resolved(pointer)
        properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
        if not query_fields(text).known:
            raise UnreadableError("it can be read in more than one way")
        for part in filter(None, text.split("&")):
            name, _, written = part.partition("=")
            name, value = unquote(name), unquote_plus(written)
            if name in found:
                raise UnreadableError("a field stands in it twice")
            if "\ufffd" in value or BROKEN_ESCAPE.search(written):
                raise UnreadableError("a value can be read in more than one way")
            fits = name in properties and self.document.schemas.fits(value, f"{own}/properties/{_escaped(name)}")
            found[name] = value if fits else _typed(value)
        return found


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _typed(text: str) -> Any:
    """The number or truth value that a text reads as, else the text."""
    if text in {"true", "false"}:
        return text == "true"
    try:
        return read_json(text) if NUMBER.match(text) else text
    except UnreadableError:
        return text  # larger than some readers know
