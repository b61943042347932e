"""Path templates of OpenAPI and the one that a request's path is of. Pure.

A parameter stands for one segment or a part of one, never for a slash and never for nothing. Where the specification
leaves open which of two templates is meant, none is: an operation is known or it is not. Neither is it where a server
that does not read paths letter by letter may take another, more concrete template for meant: to Express `/users/ME` is
`/users/me`, to Rails `/users/me.json` is, and not `/users/{id}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from unicodedata import normalize
from urllib.parse import quote, unquote

import re2

from mcp_gateway.facts.http import RequestRefusedError, check_characters, normal_path

T = TypeVar("T")
BEHIND = ". "
"""What Windows leaves out at the end of a name."""

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
    shortest: Any = field(default=None, compare=False, repr=False)
    """The pattern with the earlier parameters as short as can be: where it finds others, there is more than one way."""
    lax: Any = field(default=None, compare=False, repr=False)
    """The literal, or an expression, for texts that are read loosely."""

    @property
    def rank(self) -> int:
        """The less, the more concrete."""
        return 0 if not self.names else (2 if self.pattern == "(.+)" else 1)

    def may_be(self, text: str) -> bool:
        """Whether a server that is not strict may take a text for this; it is read as `_loosely` does."""
        return self.lax.fullmatch(text) is not None if self.names else self.lax == text


@dataclass(frozen=True, slots=True)
class Template:
    """A path with parameters."""

    text: str
    segments: tuple[Segment, ...]

    @property
    def shape(self) -> tuple[str, ...]:
        """The same for templates that differ in the names of their parameters alone."""
        return tuple(segment.pattern or segment.literal for segment in self.segments)

    @property
    def names(self) -> frozenset[str]:
        """Of its parameters."""
        return frozenset(name for segment in self.segments for name in segment.names)

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """The parameters of a path of as many segments, percent-decoded; None if it is not of this template.

        Those of a segment that can be divided in more than one way are left out: nobody says which one is meant.
        """
        found: dict[str, str] = {}
        for own, given in zip(self.segments, segments, strict=True):
            if not own.names:
                if own.literal != given:
                    return None
                continue
            matched = own.expression.fullmatch(given)
            if matched is None:
                return None
            if len(own.names) == 1 or own.shortest.fullmatch(given).groups() == matched.groups():
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
        return Segment(literals[0], lax=_loosely(literals[0]).rstrip(BEHIND))
    pattern = "(.+)".join(re2.escape(literal) for literal in literals)
    lax = "(.+)".join(re2.escape(_loosely(literal)) for literal in literals)
    shortest = re2.compile(pattern.replace("(.+)", "(.+?)"))
    return Segment("", tuple(parts[1::2]), pattern, re2.compile(pattern), shortest, re2.compile(lax))


def _literal(text: str) -> str:
    """As it is sent; what is not percent-encoded and has to be is."""
    written = quote(text, safe=AS_WRITTEN)
    check_characters(written)
    return normal_path(written)


def _loosely(text: str) -> str:
    """A part of a path without regard to case and to compatible forms of letters."""
    return normalize("NFKC", unquote(text)).upper().casefold()


def _without_last_slash(segments: Sequence[T]) -> Sequence[T]:
    return segments[:-1] if segments[-1] in {"", Segment("")} else segments


def _loose_readings(segments: Sequence[str]) -> Iterable[Sequence[str]]:
    """What a server that is not strict may take a path for: also without what looks like the extension of a file."""
    *before, last = (_loosely(segment).rstrip(BEHIND) for segment in _without_last_slash(segments))
    stems = (last, last.rpartition(".")[0], last.partition(".")[0] if "." in last else "")
    return [[*before, stem] for stem in dict.fromkeys(stems) if stem]


class Templates:
    """All templates of a document."""

    def __init__(self, templates: Iterable[Template]) -> None:
        self._found: dict[tuple[int, str], list[Template]] = {}
        """By the number of their segments and the first of them, empty where that has a parameter."""
        self._lax: dict[tuple[int, str], list[Sequence[Segment]]] = {}
        """The same of their segments, read loosely."""
        for template in templates:
            first = template.segments[1]
            self._found.setdefault((len(template.segments), first.literal), []).append(template)
            lax = _without_last_slash(template.segments)
            self._lax.setdefault((len(lax), "" if first.names else first.lax), []).append(lax)

    def find(self, path: str) -> tuple[Template, Mapping[str, str]] | None:
        """The one that a path is of; None if there is none, or more than one that a server may take it for."""
        segments = path.split("/")
        found = [
            (template, values)
            for first in dict.fromkeys((*segments[1:2], ""))
            for template in self._found.get((len(segments), first), [])
            if (values := template.match(segments)) is not None
        ]
        for template, values in found:
            if all(_as_concrete(template, other) for other, _ in found):
                return None if self._may_be_another(template, segments) else (template, values)
        return None

    def _may_be_another(self, found: Template, segments: Sequence[str]) -> bool:
        """Whether a server that is not strict may take a path for one that is more concrete somewhere."""
        own = _without_last_slash(found.segments)
        if not any(segment.names for segment in own):
            return False
        return any(
            any(theirs.rank < mine.rank for theirs, mine in zip(other, own, strict=True))
            and all(segment.may_be(text) for segment, text in zip(other, reading, strict=True))
            for reading in _loose_readings(segments)
            for first in dict.fromkeys((reading[1], ""))
            for other in self._lax.get((len(reading), first), ())
        )


def _as_concrete(one: Template, other: Template) -> bool:
    if one is other:
        return True
    ranks = [(mine.rank, theirs.rank) for mine, theirs in zip(one.segments, other.segments, strict=True)]
    return all(mine <= theirs for mine, theirs in ranks) and any(mine < theirs for mine, theirs in ranks)
