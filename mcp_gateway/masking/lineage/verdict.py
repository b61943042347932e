"""What the lineage of a statement says: which output columns may carry classified data.

Values only. `resolve` builds a `Lineage`, `masking.masker` masks by it, the policy sees its `inference`. Whatever
could not be proved stands here as "unsure", which the masker reads as every class of the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class OutputColumn:
    """One column of a result, in the order the server sends them. Never changed, and not frozen: a statement may have hundreds,
    which would take three times as long to make.
    """

    name: str | None
    """As the statement names it, or None where only the server knows."""
    classes: frozenset[str]
    """The data classes it may derive from; empty means proved clear."""
    stored: bool = False
    """A stored column passed through unchanged. Of anything else a statement chooses what is shown: pieces of a value,
    or one that it knows beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The verdict on one statement."""

    columns: tuple[OutputColumn, ...] | None
    """None = unsure: every column of the result has all classes of the target."""
    touch: frozenset[str] = frozenset()
    """The classes of all relations involved, for the error rule."""
    opaque: bool = False
    """Something in it cannot be seen through (user code, a trigger): errors and notices tell nothing."""
    refusal: str | None = None
    """Why the statement may not run under masking at all."""
    inference: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By kind (`inference`) the classes that the statement tells something about."""
    relations: frozenset[str] = frozenset()
    """`schema.name` of the relations it resolved, for the check that the snapshot still holds."""
    functions: frozenset[str] = frozenset()
    """`schema.name` of the functions beside the built-in ones whose definition it relied on."""

    def returned(self, *, otherwise: frozenset[str]) -> frozenset[str]:
        """The classes that the result may carry; `otherwise` where that is not proved."""
        if self.columns is None:
            return otherwise
        return frozenset[str]().union(*[column.classes for column in self.columns])
