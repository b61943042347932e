"""PostgreSQL values as JSON that keeps their meaning, and JSON values as parameters. Pure.

Every value crosses the wire as the text that the server writes, with `DateStyle = ISO` and
`IntervalStyle = iso_8601`; the type decides what JSON it becomes:

| type | JSON |
|---|---|
| boolean | true, false |
| smallint, integer, oid | number |
| bigint | number; in a column that holds one beyond ±(2^53-1) all of them are strings |
| real, double precision | number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
| numeric, money | string, every digit |
| json, jsonb | what it is; a number in it that a double cannot hold exactly is a string |
| date, time, timestamp, interval | string, ISO 8601; `"infinity"`, `"-infinity"` |
| bytea | string, base64 of the bytes, in which what detectors find is masked |
| arrays | array, nested as they are; lower bounds are dropped |
| composite types, whole rows | object by field name; a row without a declared type is an array of strings |
| domains, enums | as their base, as a string |
| all else (uuid, inet, ranges, geometry, hstore, ...) | string, as the server writes it |

A JSON number is used only where a double holds it exactly (RFC 8259 section 6): a client that rounds an id would
change another row than it means. What does not read as its type is given as its text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from typing import Any, TypeAlias

import orjson

from mcp_gateway.masking.encoded import EncodedBytes
from mcp_gateway.targets.postgres_literals import array_literal, parse_array, parse_record, record_literal

Form: TypeAlias = Callable[[str], Any]

MAX_EXACT = 2**53 - 1
MAX_JSON_DEPTH = 100
"""Deeper documents are given as text: encoders and clients stop somewhere above 200 levels."""

BOOL, BYTEA, INT8, INT2, INT4, OID, JSON, FLOAT4, FLOAT8 = 16, 17, 20, 21, 23, 26, 114, 700, 701
DATE, TIMESTAMP, TIMESTAMPTZ, TIMETZ, RECORD, VOID, JSONB = 1082, 1114, 1184, 1266, 2249, 2278, 3802
INT2VECTOR, OIDVECTOR, INT2_ARRAY, INT4_ARRAY = 22, 30, 1005, 1007
JSON_TYPES = frozenset({JSON, JSONB})

_INEXACT = re.compile(r"[0-9][0-9.]{15}|[0-9][eE]")
_PLAIN_ARRAYS = re.compile(r"[0-9,{}NUL-]*")
_BRACES = str.maketrans("{}", "[]")
_OFFSET = re.compile(r"[+-][0-9]{2}\Z")
_behind_year, _offset = itemgetter(4), itemgetter(slice(-3, None))


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeInfo:
    """One row of pg_type, as far as it matters here."""

    oid: int
    name: str
    """As SQL calls it: `integer`, `timestamp with time zone`, `public.mood[]`."""
    kind: str
    """`pg_type.typtype`: b, c, d, e, p, r, m."""
    element: int = 0
    """Of a true array."""
    delimiter: str = ","
    base: int = 0
    """Of a domain."""
    fields: tuple[tuple[str, int], ...] = ()
    """Of a composite type, in order."""


class _Wide(Exception):
    """A bigint that a double cannot hold was met."""


class Types:
    """The types of one server, as far as they have been met; forms are built once for each."""

    def __init__(self, infos: Iterable[TypeInfo] = ()) -> None:
        self._infos: dict[int, TypeInfo] = {}
        self._forms: dict[tuple[int, bool], Form | None] = {}
        self.add(infos)

    def add(self, infos: Iterable[TypeInfo]) -> None:
        """Learn types; what was known of them before is replaced."""
        self._infos |= {info.oid: info for info in infos}
        self._forms.clear()

    def missing(self, oids: Collection[int]) -> frozenset[int]:
        """Those that are not known yet."""
        return frozenset(oids) - self._infos.keys()

    def name(self, oid: int) -> str:
        """The type's name in SQL, `unknown` if nobody knows it."""
        info = self._infos.get(oid)
        return info.name if info else "unknown"

    def column(self, oid: int, values: Sequence[str | None]) -> list[Any]:
        """One result column of this type as JSON values."""
        form = self._forms.get((oid, False)) or self._form(oid, wide=False)
        if form is None or not values:
            return list(values)
        if None in values:
            whole = iter(self._whole(oid, form, [value for value in values if value is not None]))
            return [None if value is None else next(whole) for value in values]
        return self._whole(oid, form, values)  # type: ignore[arg-type]

    def _whole(self, oid: int, form: Form, texts: Sequence[str]) -> list[Any]:
        """A column without NULL: all at once where that is quicker, one by one where something does not read."""
        try:
            return COLUMNS[oid](texts) if oid in COLUMNS else [form(text) for text in texts]
        except _Wide:
            return _each(self._form(oid, wide=True), texts)
        except (ValueError, LookupError, RecursionError):
            return _each(form, texts)

    def parameter(self, oid: int, value: Any) -> str | None:
        """A JSON value as the text that the server reads as this type. A string is that text already."""
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return repr(value)
        info = self._infos.get(oid)
        if oid in JSON_TYPES or info is None:
            return orjson.dumps(value).decode()
        match value:
            case list() if info.element:
                return array_literal([self._element(info.element, item) for item in value], self._delimiter(info))
            case list() if info.fields and len(value) == len(info.fields):
                return record_literal(
                    [self.parameter(field, item) for (_, field), item in zip(info.fields, value, strict=True)]
                )
            case dict() if info.fields and value.keys() <= {name for name, _ in info.fields}:
                return record_literal([self.parameter(field, value.get(name)) for name, field in info.fields])
            case _ if info.base:
                return self.parameter(info.base, value)
            case _:
                return orjson.dumps(value).decode()

    def _element(self, oid: int, item: Any) -> Any:
        info = self._infos.get(oid)
        nested = isinstance(item, list) and oid not in JSON_TYPES and not (info and info.fields)
        return [self._element(oid, inner) for inner in item] if nested else self.parameter(oid, item)

    def _delimiter(self, info: TypeInfo) -> str:
        element = self._infos.get(info.element)
        return element.delimiter if element else ","

    def _form(self, oid: int, *, wide: bool) -> Form | None:
        """How a text of this type becomes JSON; None = it stays the text that it is."""
        key = (oid, wide)
        if key not in self._forms:
            self._forms[key] = None  # a type cannot contain itself, but a server may say so
            self._forms[key] = self._built(oid, wide=wide)
        return self._forms[key]

    def _built(self, oid: int, *, wide: bool) -> Form | None:
        if oid == INT8:
            return None if wide else _exact
        if oid in SCALARS:
            return SCALARS[oid]
        info = self._infos.get(oid)
        if info is None:
            return None
        if info.base:
            return self._form(info.base, wide=wide)
        if info.element:
            return _array(self._form(info.element, wide=wide), self._delimiter(info))
        if info.fields:
            return _composite([(name, self._form(field, wide=wide)) for name, field in info.fields])
        return None


def _each(form: Form | None, texts: Sequence[str]) -> list[Any]:
    """Value by value: one that does not read as its type stays text and costs the others nothing."""

    def one(text: str) -> Any:
        try:
            return text if form is None else form(text)
        except (ValueError, LookupError, RecursionError, _Wide):
            return text

    return [one(text) for text in texts]


def _array(element: Form | None, delimiter: str) -> Form:
    def nested(items: list[Any]) -> list[Any]:
        return [
            nested(item) if isinstance(item, list) else item if item is None or element is None else element(item)
            for item in items
        ]

    return lambda text: nested(parse_array(text, delimiter))


def _composite(fields: Sequence[tuple[str, Form | None]]) -> Form:
    def built(text: str) -> dict[str, Any]:
        return {
            name: value if value is None or form is None else form(value)
            for (name, form), value in zip(fields, parse_record(text), strict=True)
        }

    return built


def _exact(text: str) -> int:
    number = int(text)
    if -MAX_EXACT <= number <= MAX_EXACT:
        return number
    raise _Wide


def _float(text: str) -> float | str:
    return text if text[-1] in "yN" else float(text)  # Infinity, NaN


def _bytes(text: str) -> EncodedBytes:
    if not text.startswith("\\x"):
        raise ValueError("bytea in another form than hexadecimal")
    return EncodedBytes.of(bytes.fromhex(text[2:]))


def _json(text: str) -> Any:
    if text.count("[") + text.count("{") > MAX_JSON_DEPTH and _depth(text) > MAX_JSON_DEPTH:
        return text
    if _INEXACT.search(text) is None:
        return orjson.loads(text)
    return json.loads(text, parse_int=_json_integer, parse_float=_json_number)


def _json_integer(digits: str) -> int | str:
    return int(digits) if len(digits) < 20 and -MAX_EXACT <= int(digits) <= MAX_EXACT else digits


def _json_number(digits: str) -> float | str:
    number = float(digits)
    exact = repr(number)
    return number if exact not in {"inf", "-inf"} and Decimal(exact) == Decimal(digits) else digits


def _depth(text: str) -> int:
    """How deep a valid JSON text nests."""
    depth = deepest = 0
    for mark in re.findall(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text):
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def _timestamp(text: str) -> str:
    """`2026-01-02 03:04:05+00` in ISO 8601; years before 1 and after 9999 in its expanded form."""
    if text.endswith(" BC"):
        year, _, rest = text[:-3].partition("-")
        before = int(year) - 1  # ISO 8601 has a year 0, which is 1 BC
        text = f"{'-' if before else ''}{before:04}-{rest}"
    elif text[4:5].isdigit():
        text = f"+{text}"
    text = text.replace(" ", "T", 1)
    return f"{text}:00" if "T" in text and _OFFSET.search(text) else text


def _time_with_zone(text: str) -> str:
    return f"{text}:00" if _OFFSET.search(text) else text


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split()]


# Whole columns at once. A column that is not of the plain kind raises, and is then read value by value.


def _integers(texts: Sequence[str]) -> list[Any]:
    numbers = list(map(int, texts))
    if max(numbers) > MAX_EXACT or min(numbers) < -MAX_EXACT:
        raise _Wide
    return numbers


def _floats(texts: Sequence[str]) -> list[Any]:
    numbers = list(map(float, texts))
    if not all(map(math.isfinite, numbers)):
        raise ValueError("not all are numbers")
    return numbers


def _documents(texts: Sequence[str]) -> list[Any]:
    joined = ",".join(texts)
    if _INEXACT.search(joined) or max(text.count("[") + text.count("{") for text in texts) > MAX_JSON_DEPTH:
        raise ValueError("not all are plain")
    return _as_many(orjson.loads(f"[{joined}]"), texts)


def _times(texts: Sequence[str]) -> list[Any]:
    return _as_many(_joined(texts).split("\n"), texts)


def _times_with_zone(texts: Sequence[str]) -> list[Any]:
    offsets = set(map(_offset, texts))
    if not all(map(_OFFSET.fullmatch, offsets)):
        raise ValueError("not all are plain")
    joined = _joined(texts)
    if joined.count("T") != len(texts):
        raise ValueError("not all have a time")
    joined += "\n"
    for offset in offsets:
        joined = joined.replace(f"{offset}\n", f"{offset}:00\n")
    return _as_many(joined[:-1].split("\n"), texts)


def _joined(texts: Sequence[str]) -> str:
    """Times in ISO 8601 but for their offsets, one in a line."""
    joined = "\n".join(texts)
    if "BC" in joined or set(map(_behind_year, texts)) != {"-"}:
        raise ValueError("not all are plain")
    return joined.replace(" ", "T")


def _integer_arrays(texts: Sequence[str]) -> list[Any]:
    joined = ",".join(texts)
    if _PLAIN_ARRAYS.fullmatch(joined) is None:
        raise ValueError("not all are plain")
    found = _as_many(orjson.loads(f"[{joined.translate(_BRACES).replace('NULL', 'null')}]"), texts)
    if not all(type(item) is list for item in found):
        raise ValueError("not all are arrays")
    return found


def _as_many(found: list[Any], texts: Sequence[str]) -> list[Any]:
    if len(found) != len(texts):
        raise ValueError("a text that holds several values")
    return found


SCALARS: Mapping[int, Form] = {
    BOOL: {"t": True, "f": False}.__getitem__,
    INT2: int,
    INT4: int,
    OID: int,
    FLOAT4: _float,
    FLOAT8: _float,
    BYTEA: _bytes,
    JSON: _json,
    JSONB: _json,
    DATE: _timestamp,
    TIMESTAMP: _timestamp,
    TIMESTAMPTZ: _timestamp,
    TIMETZ: _time_with_zone,
    INT2VECTOR: _numbers,
    OIDVECTOR: _numbers,
    RECORD: parse_record,
    VOID: lambda _: None,
}
COLUMNS: Mapping[int, Callable[[Sequence[str]], list[Any]]] = {
    INT8: _integers,
    FLOAT4: _floats,
    FLOAT8: _floats,
    JSON: _documents,
    JSONB: _documents,
    DATE: _times,
    TIMESTAMP: _times,
    TIMESTAMPTZ: _times_with_zone,
    INT2_ARRAY: _integer_arrays,
    INT4_ARRAY: _integer_arrays,
}
