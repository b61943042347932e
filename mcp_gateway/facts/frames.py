"""How `facts.worker` and its process speak: frames with a length in front, and answers as JSON.

Requests are pickles, because they carry catalogs and come from the gateway itself. Answers are never unpickled: the
process that gives them has parsed a stranger's text in C code, and a pickle from it could run anything here. They
are JSON that is read into our own frozen values, field by field.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 1 << 30
PRIMITIVES = (str, bool, int)

T = TypeVar("T")


class FrameError(ValueError):
    """What came is not what was agreed on."""


def framed(content: bytes) -> bytes:
    """One frame."""
    if len(content) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(content):,} bytes is too long")
    return LENGTH.pack(len(content)) + content


def encoded(answer: Any) -> bytes:
    """An answer as JSON: frozen values become objects, sets sorted arrays."""
    return orjson.dumps(answer, default=_sorted)


def _sorted(value: object) -> list[Any]:
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no form in a frame")


def restore(kind: type[T], value: Any) -> T:
    """The frozen value of this class that `encoded` was given. Raises `FrameError` for anything else."""
    read: Callable[[Any], T] = _reader(kind)
    return read(value)


_readers: dict[Any, Callable[[Any], Any]] = {}


def _reader(kind: Any) -> Callable[[Any], Any]:
    """How a value of this type is read; worked out once."""
    read = _readers.get(kind)
    if read is None:
        read = _readers[kind] = _new_reader(kind)
    return read


def _new_reader(kind: Any) -> Callable[[Any], Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _value_reader(kind)
    if origin in {Union, UnionType}:
        (rest,) = (one for one in inner if one is not NoneType)
        read = _reader(rest)
        return lambda value: None if value is None else read(value)
    if origin in {frozenset, tuple} and inner[0] in PRIMITIVES:
        return lambda value: origin(_all(inner[0], value))
    if origin in {frozenset, tuple}:
        item = _reader(inner[0])
        return lambda value: origin(item(one) for one in _checked(list, value))
    if origin is not None and issubclass(origin, Mapping):
        entry = _reader(inner[1])
        return lambda value: {key: entry(one) for key, one in _checked(dict, value).items()}
    if kind in PRIMITIVES:
        return lambda value: _checked(kind, value)
    raise TypeError(f"{kind!r} has no form in a frame")


def _value_reader(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}

    def read(value: Any) -> Any:
        given = _checked(dict, value)
        if given.keys() != readers.keys():
            raise FrameError(f"got the fields {sorted(given)!r} of {kind.__name__}, expected {sorted(readers)!r}")
        return kind(**{name: reader(given[name]) for name, reader in readers.items()})

    return read


def _all(kind: type[T], value: Any) -> list[T]:
    """A list of nothing but this type."""
    for wrong in set(map(type, _checked(list, value))) - {kind}:
        raise FrameError(f"got {wrong.__name__}, expected {kind.__name__}")
    found: list[T] = value
    return found


def _checked(kind: type[T], value: Any) -> T:
    if type(value) is not kind:
        raise FrameError(f"got {type(value).__name__}, expected {kind.__name__}")
    return value
