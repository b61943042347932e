"""What the fields of a query and of a body are called, and whether that is proved to be all. Pure.

Servers read more than the standards say: `;` between fields, forms without a type, JSON with comments. So a name is
found wherever one can be seen, and `known` is true only where every reader finds just those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import isinf
from typing import Any
from urllib.parse import unquote_to_bytes

from mcp_gateway.facts.http_bodies import PART_NAMES

MAX_NAME_CHARACTERS = 200
"""Longer names are cut, and then not known: facts are shown to people and recorded."""
UNSURE = re.compile(r"[\s\ufffd\"{}<>]|\A[?!]|\A_charset_\Z", re.IGNORECASE)
"""In a name: Rack and PHP cut blanks off its beginning, and PHP makes others underlines. JSON or XML that is called a form is
still that to who reads it without a look at its type. JavaScript's `URLSearchParams` leaves out a first question mark,
Spring takes `!a` for `a` where there is none, and `_charset_` gives names another encoding."""
WITH_BRACKETS = re.compile(r"(?:[^\[\]]+(?:\[[^\[\]]*\](?:\.[^\[\]]+)?)*)?\Z")
"""A name as all have it that read `a[b]` or `a[0].b`. `[a]`, `]a` and `a[` are `a` to some: qs, Rack, PHP."""
BROKEN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
"""ASP.NET takes `%u0061` for a letter; some leave such a field out."""

MAX_JSON_BYTES = 256 * 1024
"""About 80 ms at the worst; what is longer is not looked into."""


class UnreadableError(ValueError):
    """JSON that readers may take for different values: broken, with one name twice, or with what is no JSON; or too long."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Names, and whether they are all."""

    names: frozenset[str]
    known: bool

    @classmethod
    def of(cls, names: Iterable[str], *, known: bool) -> Fields:
        """Names as they can be shown and compared."""
        found = set(names)
        fit = {name[:MAX_NAME_CHARACTERS].encode(errors="replace").decode() for name in found}
        return cls(frozenset(fit), known and fit == found and not any("\0" in name for name in found))


NONE = Fields(frozenset(), known=True)


def query_fields(query: str) -> Fields:
    """Of a query or a form: the names before `=`, decoded once, between `&` and, as some servers have it, `;`."""
    names: list[str] = []
    known = ";" not in query
    for part in re.split("[&;]", query):
        if part:
            written = part.partition("=")[0]
            name = unquote_to_bytes(written.replace("+", " ")).decode(errors="replace")
            known &= name.isprintable() and not UNSURE.search(name) and not BROKEN_ESCAPE.search(written)
            known &= WITH_BRACKETS.match(name) is not None
            names.append(name)
    return Fields.of(names, known=known)


def body_fields(body: bytes | None, *, content_type: str) -> Fields:
    """Of a form or a JSON object; of anything else only that they are not known."""
    if not body:
        return NONE
    kind = media_type(content_type)
    if is_json(kind):
        try:
            value = read_json(body)
        except UnreadableError:
            return Fields(frozenset(), known=False)
        if isinstance(value, dict):
            return Fields.of(value, known=True)
        items = value if isinstance(value, list) else []
        return Fields.of((name for item in items if isinstance(item, dict) for name in item), known=False)
    text = body.decode(errors="replace")
    match kind:
        case "application/x-www-form-urlencoded":
            return query_fields(text)
        case "":
            return Fields(query_fields(text).names, known=False)
        case _ if kind.startswith("multipart/"):
            return Fields.of((name for found in PART_NAMES for name in found.findall(text)), known=False)
        case _:
            return Fields(frozenset(), known=False)


def media_type(content_type: str) -> str:
    """Type and subtype in lower case, without parameters."""
    return content_type.split(";", 1)[0].strip().lower()


def is_json(kind: str) -> bool:
    """Whether a media type is JSON (RFC 6839 section 3.1)."""
    return kind == "application/json" or kind.endswith("+json")


def read_json(text: str | bytes) -> Any:
    """A value that every reader of JSON takes for the same.

    Raises:
        UnreadableError: there is none. Two members of one name are, to some readers, one or the other (RFC 8259 section 4).
    """
    if len(text) > MAX_JSON_BYTES:
        raise UnreadableError(f"it is longer than {MAX_JSON_BYTES:,} bytes")
    try:
        if isinstance(text, bytes):
            text = text.decode()
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)
    except UnreadableError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableError(str(error)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnreadableError("an object has two members of one name")
    return found


def _finite(digits: str) -> float:
    found = float(digits)
    if isinf(found):
        raise UnreadableError("a number is larger than some readers know")
    return found


def _refuse(constant: str) -> Any:
    raise UnreadableError(f"{constant} is not JSON")
