"""What pydantic found wrong in a TOML file, in words: file, line, column, key, what was expected and what was got.

A value is shown only where its key takes one of few words or a number: people paste credentials into the wrong
key, and an error text ends up in logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mcp_gateway.config_values import toml_type
from mcp_gateway.errors import Problem
from mcp_gateway.toml_places import KeyPath, Place, place_of

Path: TypeAlias = tuple[str | int, ...]
"""Keys and numbers of entries, from the top of a file."""

BRANCHES = frozenset({"postgres", "ssh", "http"})
"""What pydantic puts into a path without its being a key: the kind of a target. What it or a model puts there for another
reason stands in brackets, as `[key]` for a key that is wrong itself."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_WHEN = "a date and time with its offset, such as 2026-01-05T12:00:00Z"
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "int_parsing_size": "an integer",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "datetime_type": _WHEN,
    "datetime_parsing": _WHEN,
    "datetime_from_date_parsing": _WHEN,
    "datetime_object_invalid": _WHEN,
    "timezone_aware": _WHEN,
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "an array",
    "list_type": "an array",
    "frozen_set_type": "an array",
}


def report(
    error: ValidationError,
    *,
    model: type[BaseModel],
    raw: Mapping[str, Any],
    file: str,
    places: Mapping[KeyPath, Place],
    above: Path = (),
    named: Callable[[Path], str] | None = None,
) -> list[Problem]:
    """All problems of one file, in the order of their places.

    Args:
        error: what `model` said of the table of `raw` that stands at `above`.
        model: what was expected.
        raw: the whole file.
        file: its name.
        places: where in it everything stands.
        above: where in `raw` the table is.
        named: how a path is written; left out, as TOML writes it.
    """
    details = error.errors(include_url=False, include_input=False)
    meant = {
        (*found["loc"][:-1], close)
        for found in details
        if found["type"] == "extra_forbidden"
        and (close := _closest(str(found["loc"][-1]), _known_keys(found["loc"], model)))
    }
    problems = [
        Problem(
            message=_message(found, path, raw, model=model),
            file=file,
            line=place.line,
            column=place.column,
            path=(named or dotted)(path),
        )
        for found in details
        if found["type"] != "default_factory_not_called"  # the field that it depends on is reported
        if not (found["type"] == "missing" and found["loc"] in meant)  # it is there, misspelt
        for path in [_path(found, raw, above)]
        for place in [place_of(path, places)]
    ]
    return in_order(dict.fromkeys(problems))


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """By where they stand."""
    return sorted(problems, key=lambda problem: (problem.line, problem.column))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something known is close to a name, else nothing."""
    close = _closest(name, known)
    return f"; did you mean {close!r}?" if close else ""


def _closest(name: str, known: Iterable[str]) -> str:
    return next(iter(get_close_matches(name.lower(), sorted(known), n=1)), "")


def _path(found: ErrorDetails, raw: object, above: Path) -> Path:
    """The path inside the file: pydantic's own without the names of its branches."""
    path = list(above)
    here = _value_at(above, raw)
    for part in found["loc"]:
        inside = _value_at((part,), here)
        if inside is None and _is_branch(part):
            continue
        path.append(part)
        here = inside
    if found["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        path.append("kind")
    return tuple(path)


def _is_branch(part: str | int) -> bool:
    return isinstance(part, str) and (part in BRANCHES or part.startswith("["))


def _message(found: ErrorDetails, path: Path, raw: object, *, model: type[BaseModel]) -> str:
    context: Mapping[str, Any] = found.get("ctx", {})
    value = _value_at(path, raw)
    match found["type"]:
        case "missing" | "union_tag_not_found":
            return "is required"
        case "extra_forbidden":
            known = _known_keys(found["loc"], model)
            name = str(found["loc"][-1])
            return f"unknown key{did_you_mean(name, known) or '; known here: ' + ', '.join(sorted(known))}"
        case "union_tag_invalid":
            return f"expected one of {context['expected_tags']}, got {_shown(value)}"
        case "literal_error":
            return f"expected {context['expected']}, got {_shown(value)}{_hint(path, value)}"
        case "greater_than_equal":
            return f"expected at least {context['ge']}, got {_shown(value)}"
        case "less_than_equal":
            return f"expected at most {context['le']}, got {_shown(value)}"
        case "too_short":
            return "expected at least one entry"
        case "string_too_short":
            return "expected a text, got none"
        case "config":
            return str(context["message"])
        case "value_error":
            return f"{context['error']}{_hint(path, value)}"
        case kind if kind in _EXPECTED:
            return f"expected {_EXPECTED[kind]}, got {toml_type(value)}{_hint(path, value)}"
        case _:
            return found["msg"].lower()


def _hint(path: Path, value: object) -> str:
    """TOML reads `pii.email = "hash"` as a table `pii`."""
    named = len(path) > 1 and path[-2] in {"styles", "classify"}
    return "; a name with dots needs quotes" if named and isinstance(value, dict) else ""


def _shown(value: object) -> str:
    if isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str) and len(value) <= 20:
        return repr(value)
    return toml_type(value)


def _value_at(path: Path, raw: object) -> object:
    here: Any = raw
    for part in path:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            return None
    return here


def dotted(path: Path) -> str:
    """A path as TOML writes it, entries of arrays by their numbers."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else json.dumps(part))
    return text


def _known_keys(location: Sequence[str | int], model: type[BaseModel]) -> set[str]:
    """What may stand beside an unknown key."""
    here: list[Any] = [model]
    for part in location[:-1]:
        if not (isinstance(part, str) and part.startswith("[")):
            here = [below for annotation in here for below in _below(annotation, part)]
    return {field.alias or name for found in here if _is_model(found) for name, field in found.model_fields.items()}


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
