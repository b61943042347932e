"""What pydantic found wrong, in the operator's words: file, line, key, what was expected and what was got.

A value is shown only where its key takes one of few words or a number: people paste credentials into the wrong
key, and an error text ends up in logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mcp_gateway.config_models import Settings, did_you_mean
from mcp_gateway.config_values import toml_type
from mcp_gateway.errors import Problem
from mcp_gateway.toml_lines import KeyPath, line_of

Place = tuple[str | int, ...]

BRANCHES = frozenset({"postgres", "ssh", "http", "[key]"})
"""What pydantic puts into a path without its being a key: the kind of a target, and that a key itself is wrong."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "bool_type": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "tuple_type": "an array",
    "model_attributes_type": "a table",
}


def report(error: ValidationError, *, raw: Mapping[str, Any], file: str, lines: Mapping[KeyPath, int]) -> list[Problem]:
    """All problems of one file, in the order of their lines."""
    problems = [
        Problem(message=_message(found, place, raw), file=file, line=line_of(place, lines), path=_dotted(place))
        for found in error.errors(include_url=False, include_input=False)
        if found["type"] != "default_factory_not_called"  # the field that it depends on is reported
        for place in [_place(found, raw)]
    ]
    return sorted(dict.fromkeys(problems), key=lambda problem: problem.line)


def _place(found: ErrorDetails, raw: object) -> Place:
    """The key path inside the file: pydantic's own without the names of its branches."""
    place: list[str | int] = []
    here = raw
    for part in found["loc"]:
        inside = _value_at((part,), here)
        if inside is None and part in BRANCHES:
            continue
        place.append(part)
        here = inside
    if found["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        place.append("kind")
    return tuple(place)


def _message(found: ErrorDetails, place: Place, raw: object) -> str:
    context: Mapping[str, Any] = found.get("ctx", {})
    value = _value_at(place, raw)
    match found["type"]:
        case "missing" | "union_tag_not_found":
            return "is required"
        case "extra_forbidden":
            known = _known_keys(found["loc"])
            name = str(found["loc"][-1])
            return f"unknown key{did_you_mean(name, known) or '; known here: ' + ', '.join(sorted(known))}"
        case "union_tag_invalid":
            return f"expected one of {context['expected_tags']}, got {_shown(value)}"
        case "literal_error":
            return f"expected {context['expected']}, got {_shown(value)}{_hint(place, value)}"
        case "greater_than_equal":
            return f"expected at least {context['ge']}, got {_shown(value)}"
        case "less_than_equal":
            return f"expected at most {context['le']}, got {_shown(value)}"
        case "too_short":
            return "expected at least one entry"
        case "config":
            return str(context["message"])
        case "value_error":
            return f"{context['error']}{_hint(place, value)}"
        case kind if kind in _EXPECTED:
            return f"expected {_EXPECTED[kind]}, got {toml_type(value)}{_hint(place, value)}"
        case _:
            return found["msg"].lower()


def _hint(place: Place, value: object) -> str:
    """TOML reads `pii.email = "hash"` as a table `pii`."""
    named = len(place) > 1 and place[-2] in {"styles", "classify"}
    return "; a name with dots needs quotes" if named and isinstance(value, dict) else ""


def _shown(value: object) -> str:
    if isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str) and len(value) <= 20:
        return repr(value)
    return toml_type(value)


def _value_at(place: Place, raw: object) -> object:
    here: Any = raw
    for part in place:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            return None
    return here


def _dotted(place: Place) -> str:
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else json.dumps(part))
    return text


def _known_keys(location: Sequence[str | int]) -> set[str]:
    """What may stand beside an unknown key."""
    here: list[Any] = [Settings]
    for part in location[:-1]:
        here = [below for annotation in here for below in _below(annotation, part)]
    return {name for model in here for name in model.model_fields}


def _below(annotation: Any, part: str | int) -> list[Any]:
    """The types of what may stand under a key, an index or the name of a branch."""
    if _is_model(annotation):
        fields = annotation.model_fields
        if part in fields:
            return _flat(fields[part].annotation)
        return [annotation] if "kind" in fields and part in get_args(fields["kind"].annotation) else []
    arguments = get_args(annotation)
    return _flat(arguments[1 if get_origin(annotation) is dict else 0]) if arguments else []


def _flat(annotation: Any) -> list[Any]:
    """The members of a union, without what is only said about them."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _flat(arguments[0])
    if origin in {Union, UnionType}:
        return [flat for member in arguments if member is not NoneType for flat in _flat(member)]
    return [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
