"""Path templates of OpenAPI and the one that a request's path is of. Pure.

A parameter stands for one segment or a part of one, never for a slash and never for nothing. Where the specification
leaves open which of two templates is meant, none is: an operation is known or it is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import re2

from mcp_gateway.facts.http import RequestRefusedError, check_characters, normal_path

PARAMETER = re.compile(r"\{([^{}/]+)\}")
AS_WRITTEN = "%-._~!$&'()*+,;=:@"


class TemplateError(ValueError):
    """A path that is no template, or that no request can have."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What stands between two slashes."""

    literal: str
    """What it has to be, in the form in which it is sent, if it has no parameter."""
    names: tuple[str, ...] = ()
    pattern: str = ""
    expression: Any = field(default=None, compare=False, repr=False)
    """The pattern, compiled for RE2: what it is matched with is the agent's."""

    @property
    def rank(self) -> int:
        """The less, the more concrete."""
        return 0 if not self.names else (2 if self.pattern == "(.+)" else 1)


@dataclass(frozen=True, slots=True)
class Template:
    """A path with parameters."""

    text: str
    segments: tuple[Segment, ...]

    @property
    def shape(self) -> tuple[str, ...]:
        """The same for templates that differ in the names of their parameters alone."""
        return tuple(segment.pattern or segment.literal for segment in self.segments)

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """The parameters of a path of as many segments, percent-decoded; None if it is not of this template."""
        found: dict[str, str] = {}
        for own, given in zip(self.segments, segments, strict=True):
            if not own.names:
                if own.literal != given:
                    return None
                continue
            matched = own.expression.fullmatch(given)
            if matched is None:
                return None
            found.update(zip(own.names, map(unquote, matched.groups()), strict=True))
        return found


def read_template(text: str) -> Template:
    """Raises `TemplateError`."""
    if not text.startswith("/"):
        raise TemplateError("expected a path that begins with a slash")
    if re.search("[?#]", text) or re.search("[{}]", PARAMETER.sub("", text)):
        raise TemplateError("expected a path with parameters such as {id}, and no query or fragment")
    names = PARAMETER.findall(text)
    if len(set(names)) != len(names):
        raise TemplateError("a parameter stands in it twice")
    return Template(text, tuple(_segment(part) for part in text.split("/")))


def _segment(text: str) -> Segment:
    parts = PARAMETER.split(text)
    try:
        literals = [_literal(part) for part in parts[::2]]
    except RequestRefusedError as error:
        raise TemplateError(str(error)) from None
    if len(parts) == 1:
        return Segment(literals[0])
    pattern = "(.+)".join(re2.escape(literal) for literal in literals)
    return Segment("", tuple(parts[1::2]), pattern, re2.compile(pattern))


def _literal(text: str) -> str:
    """As it is sent; what is not percent-encoded and has to be is."""
    written = quote(text, safe=AS_WRITTEN)
    check_characters(written)
    return normal_path(written)


class Templates:
    """All templates of a document."""

    def __init__(self, templates: Iterable[Template]) -> None:
        self._found: dict[tuple[int, str], list[Template]] = {}
        """By the number of their segments and the first of them, empty where that has a parameter."""
        for template in templates:
            key = (len(template.segments), template.segments[1].literal)
            self._found.setdefault(key, []).append(template)

    def find(self, path: str) -> tuple[Template, Mapping[str, str]] | None:
        """The one that a path is of; None if there is none, or more than one of which none is the most concrete."""
        segments = path.split("/")
        found = [
            (template, values)
            for first in dict.fromkeys((*segments[1:2], ""))
            for template in self._found.get((len(segments), first), [])
            if (values := template.match(segments)) is not None
        ]
        for template, values in found:
            if all(_as_concrete(template, other) for other, _ in found):
                return template, values
        return None


def _as_concrete(one: Template, other: Template) -> bool:
    if one is other:
        return True
    ranks = [(mine.rank, theirs.rank) for mine, theirs in zip(one.segments, other.segments, strict=True)]
    return all(mine <= theirs for mine, theirs in ranks) and any(mine < theirs for mine, theirs in ranks)
