"""How `facts.worker` and its process speak: frames with a length in front, and answers as JSON.

Requests are pickles, because they carry catalogs and come from the gateway itself. Answers are never unpickled: the
process that gives them has parsed a stranger's text in C code, and a pickle from it could run anything here. They
are JSON that `facts.worker` reads into our own frozen values, strictly by their types.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_type_hints

import orjson

from mcp_gateway.calls import SQLFacts
from mcp_gateway.facts.absent import Absent
from mcp_gateway.facts.examination import SQLExamination
from mcp_gateway.masking.lineage import Lineage, OutputColumns

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 1 << 30


class FrameError(ValueError):
    """What came is not what was agreed on."""


def framed(content: bytes) -> bytes:
    """One frame."""
    if len(content) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(content):,} bytes is too long")
    return LENGTH.pack(len(content)) + content


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a text would do and, with a catalog, which columns its result derives from; or why it was not found out."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}
    """For the side that reads it: the one that writes needs nothing of that library."""

    examination: SQLExamination | None = None
    lineage: Lineage | None = None
    syntax: str | None = None
    """What the parser said of a text that is no SQL."""
    position: int = 0
    """Where it said so; 0 where that is not known."""
    free: tuple[int, ...] = ()
    """Values of the text of which nothing of this depends, if that was asked; see `facts.templates`."""
    failed: str | None = None
    """The type of the error that the examination ended with."""


def shape_of(*kinds: type[Any]) -> str:
    """A fingerprint of the fields of these classes and of their types."""
    hints = [
        [kind.__name__, {field.name: str(get_type_hints(kind)[field.name]) for field in fields(kind)}] for kind in kinds
    ]
    return hashlib.sha256(orjson.dumps(hints)).hexdigest()


SHAPE = shape_of(Answer, SQLExamination, Absent, SQLFacts, Lineage, OutputColumns)
"""Of an answer. Both sides must have the same: a process that was started after an upgrade might leave out a field."""


def encoded(answer: Any) -> bytes:
    """An answer as JSON: frozen values become objects, sets sorted arrays."""
    return orjson.dumps(answer, default=_sorted)


def _sorted(value: object) -> list[Any]:
    if isinstance(value, frozenset):
        return sorted(value) if value else []
    raise TypeError(f"{type(value).__name__} has no form in a frame")
