"""With which literals a call cannot fail, nor make much of little.

A function that cannot fail on what a column holds can still fail on what stands beside it: `split_part(name, '-', 0)`
fails wherever it is evaluated, so that `flag AND split_part(name, '-', 0) = ''` answers what `flag` is by failing or not.
A literal counts as harmless only where it is known to be; one that is not costs precision and never safety.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from mcp_gateway.calls import JSONObject
from mcp_gateway.masking.lineage.nodes import strings

MAX_LENGTH: Final = 10_000
"""What a statement may have a text padded to."""
MAX_PATTERN: Final = 200
MAX_TIMES: Final = 255
"""Of a bound in a pattern (`RE_DUP_MAX`)."""

_TOKEN: Final = re.compile(
    r"""
    (?P<atom> [^\\()\[\]{}*+?|^$] | \\[dwsDWS] | \\[^\w\s]
      | \[ \^? (?: \[:(?:alpha|digit|alnum|upper|lower|space|punct):\] | 0-9 | a-z | A-Z | [\w .@%+~\#!,;:/'"=<>&*?(){}$|] )+ -? \] )
    | (?P<group> \( (?:\?:)? ) | (?P<end> \) ) | (?P<other> [|^$] | \\[mMyYAZ] )
    | (?P<times> (?: [*+?] | \{ (?P<least>[0-9]{1,3}) (?: ,(?P<most>[0-9]{0,3}) )? \} ) \?? )
    """,
    re.VERBOSE,
)
_DATES: Final = frozenset("year month day quarter week dow isodow doy isoyear decade century millennium epoch".split())
_TIMES: Final = frozenset("hour minute second milliseconds microseconds epoch".split())
_SPANS: Final = (_DATES | _TIMES) - {"week", "dow", "isodow", "doy", "isoyear"}
_UNITS: Final = {
    "date": _DATES,
    "time": _TIMES,
    "timetz": _TIMES,
    "interval": _SPANS,
    "timestamp": _DATES | _TIMES,
    "timestamptz": _DATES | _TIMES,
}
"""What can be taken out of a value, by its type."""
_TRUNCATED: Final = _SPANS - {"epoch"}
_ZONES: Final = frozenset(
    """
    utc gmt africa/cairo africa/johannesburg africa/lagos africa/nairobi america/bogota america/chicago america/denver
    america/los_angeles america/mexico_city america/new_york america/sao_paulo america/toronto asia/bangkok asia/dubai
    asia/hong_kong asia/jakarta asia/kolkata asia/shanghai asia/singapore asia/tokyo australia/melbourne
    australia/sydney europe/amsterdam europe/berlin europe/brussels europe/istanbul europe/lisbon europe/london
    europe/madrid europe/oslo europe/paris europe/prague europe/rome europe/stockholm europe/vienna europe/warsaw
    europe/zurich pacific/auckland
    """.split()
)
"""Those that every server knows, as far as anybody needs them."""
_NUMBER_FORMAT: Final = re.compile(r"(FM)?L?[09,G]{0,40}([.D][09]{0,20})?")
_ANY_FORMAT: Final = re.compile(r"[-YQM/ _]{0,40}")
"""No error of any of the types that have a format."""
_SAFE_REPLACEMENT: Final = re.compile(r"[^\\]*(\\[1-9&][^\\]*)?")

Literals = Sequence[Any]
"""The values of the arguments, None for one that is no literal."""


def literal(node: JSONObject) -> Any:
    """The value of a number, text or truth value, with no more around it than a type without a modifier; else None."""
    if "TypeCast" in node:
        cast = node["TypeCast"]
        if cast["typeName"].get("typmods"):
            return None
        node = cast["arg"]
    body = node.get("A_Const", {})
    if "ival" in body:
        return body["ival"].get("ival", 0)
    if "fval" in body:
        return float(body["fval"]["fval"])
    return body["sval"].get("sval", "") if "sval" in body else None


def is_valid_pattern(pattern: Any) -> bool:
    """Whether every server takes a text for a regular expression, and a short one without back references."""
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        return False
    place, depth, before = 0, 0, "other"
    while place < len(pattern):
        token = _TOKEN.match(pattern, place)
        if token is None:
            return False
        kind = str(token.lastgroup)
        least, most = token["least"], token["most"]
        depth += (kind == "group") - (kind == "end")
        if depth < 0 or (kind == "end" and before in {"group", "other"}):
            return False
        if kind == "times" and not (before == "atom" or (before == "end" and least is None)):
            return False
        if least is not None and not int(least) <= int(most or least) <= MAX_TIMES:
            return False
        place, before = token.end(), kind
    return depth == 0


def _is_between(least: float, most: float = MAX_LENGTH) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (int, float)) and least <= value <= most


_is_length = _is_between(0)
_is_place = _is_between(1)


def _has_flags(*allowed: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and set(value) <= set(allowed)


def _are(*checks: Callable[[Any], bool]) -> Callable[[Literals], bool]:
    """A check for each argument behind the first, as far as there are any."""
    return lambda values: (
        len(values) <= len(checks) + 1 and all(check(value) for check, value in zip(checks, values[1:], strict=False))
    )


def _anything(_value: Any) -> bool:
    return True


def _replaces(values: Literals) -> bool:
    """`replace(text, from, to)`: what replaces is no longer, so that many of them in each other stay small."""
    return len(values) == 3 and all(isinstance(of, str) for of in values[1:]) and len(values[2]) <= len(values[1])


def _replaces_pattern(values: Literals) -> bool:
    pattern, replacement, *flags = values[1:] if len(values) > 2 else (None, None)
    if not (is_valid_pattern(pattern) and isinstance(replacement, str) and all(map(_has_flags("g", "i"), flags))):
        return False
    everywhere = any("g" in of for of in flags)
    return not replacement if everywhere else _SAFE_REPLACEMENT.fullmatch(replacement) is not None


def _takes_part(values: Literals) -> bool:
    if len(values) == 2 and isinstance(values[1], str):
        return is_valid_pattern(values[1])
    return all(isinstance(of, int) for of in values[1:]) and all(map(_is_length, values[2:]))


_WITH_PATTERN: Final = _are(is_valid_pattern, _has_flags("i"))
_CHECKS: Final[dict[str, Callable[[Literals], bool]]] = {
    "encode": _are(lambda value: value in {"hex", "base64"}),
    "json_build_object": lambda values: all(isinstance(of, str) for of in values[::2]),
    "jsonb_build_object": lambda values: all(isinstance(of, str) for of in values[::2]),
    "length": lambda values: len(values) == 1,
    "like_escape": _are(lambda value: isinstance(value, str) and len(value) <= 1),
    "lpad": _are(_is_length, _anything),
    "nth_value": _are(_is_place),
    "ntile": lambda values: all(map(_is_place, values)),
    "overlay": _are(_anything, _is_place, _is_length),
    "percentile_disc": lambda values: all(map(_is_between(0, 1), values)),
    "regexp_count": _are(is_valid_pattern, _is_place, _has_flags("i")),
    "regexp_like": _WITH_PATTERN,
    "regexp_match": _WITH_PATTERN,
    "regexp_matches": _are(is_valid_pattern, _has_flags("g", "i")),
    "regexp_replace": _replaces_pattern,
    "regexp_split_to_array": _WITH_PATTERN,
    "regexp_split_to_table": _WITH_PATTERN,
    "regexp_substr": _are(is_valid_pattern, _is_place, _is_place, _has_flags("i"), _is_length),
    "replace": _replaces,
    "rpad": _are(_is_length, _anything),
    "split_part": _are(_anything, _is_place),
    "substr": _takes_part,
    "substring": _takes_part,
}
_BY_LITERALS: Final = frozenset({"date_part", "date_trunc", "extract", "timezone", "to_char"})
_DATE_TYPES: Final = frozenset({"date", "timestamp", "timestamptz"})


def are_harmless(name: str, nodes: Sequence[JSONObject], types: Sequence[str | None]) -> bool:
    """Whether the literals among the arguments of a built-in function let it fail on nothing."""
    if name not in _BY_LITERALS and name not in _CHECKS:
        return True
    if not nodes:
        return False
    values = [literal(node) for node in nodes]
    subject = _bare_type(nodes[-1], types[-1])
    match name:
        case "date_part" | "extract":
            return values[0] in _UNITS.get(subject, ())
        case "date_trunc":
            return len(values) == 2 and values[0] in (_TRUNCATED | {"week"} if subject in _DATE_TYPES else _TRUNCATED)
        case "timezone":
            return isinstance(values[0], str) and values[0].lower() in _ZONES
        case "to_char":
            return len(values) == 2 and _is_format(values[1], _bare_type(nodes[0], types[0]))
        case _:
            return _CHECKS[name](values)


def _is_format(value: Any, of: str) -> bool:
    if not isinstance(value, str) or len(value) > MAX_PATTERN:
        return False
    return of in _DATE_TYPES or any(known.fullmatch(value) for known in (_NUMBER_FORMAT, _ANY_FORMAT))


def _bare_type(node: JSONObject, of: str | None) -> str:
    if "FuncCall" in node and strings(node["FuncCall"]["funcname"])[-1] == "age" and of is None:
        return "interval"  # or it is the age of a transaction, of which nothing is taken out
    return (of or "").removeprefix("pg_catalog.")
