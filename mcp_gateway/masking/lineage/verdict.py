"""What the lineage of a statement says: which output columns may carry classified data.

Values only. `resolve` builds a `Lineage`, `masking.masker` masks by it, the policy sees its `inference`. Whatever
could not be proved stands here as "unsure", which the masker reads as every class of the target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, overload


class OutputColumn(NamedTuple):
    """One column of a result."""

    name: str | None
    """As the statement names it, or None where only the server knows."""
    classes: frozenset[str]
    """The data classes it may derive from; empty means proved clear."""
    stored: bool = False
    """A stored column passed through unchanged. Of anything else a statement chooses what is shown: pieces of a value,
    or one that it knows beside it."""


@dataclass(frozen=True, slots=True)
class OutputColumns(Sequence[OutputColumn]):
    """The columns of a result, in the order the server sends them.

    Kept by their kinds: a statement may have hundreds, and what is said of them crosses a process boundary.
    Raises `ValueError` where its parts do not belong together.
    """

    names: tuple[str | None, ...]
    kinds: tuple[tuple[frozenset[str], bool], ...]
    """What `OutputColumn` says beside the name, each once."""
    of: tuple[int, ...]
    """Which of these each column is."""

    def __post_init__(self) -> None:
        known = set(range(len(self.kinds)))
        if len(self.names) != len(self.of) or not known.issuperset(self.of):
            raise ValueError("names and kinds of columns do not belong together")

    @classmethod
    def gathered(cls, names: Sequence[str | None], said: Sequence[tuple[frozenset[str], bool]]) -> OutputColumns:
        """From the names of all columns, and what `OutputColumn` says beside the name of each."""
        kinds = {kind: number for number, kind in enumerate(dict.fromkeys(said))}
        return cls(tuple(names), tuple(kinds), tuple([kinds[kind] for kind in said]))

    def __len__(self) -> int:
        return len(self.of)

    def __iter__(self) -> Iterator[OutputColumn]:
        return iter([OutputColumn(name, *self.kinds[number]) for name, number in zip(self.names, self.of, strict=True)])

    @overload
    def __getitem__(self, which: int) -> OutputColumn: ...

    @overload
    def __getitem__(self, which: slice) -> Sequence[OutputColumn]: ...

    def __getitem__(self, which: int | slice) -> OutputColumn | Sequence[OutputColumn]:
        return tuple(self)[which]

    def classes(self) -> frozenset[str]:
        """The classes that any of them may derive from."""
        return frozenset[str]().union(*[classes for classes, _ in self.kinds])


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The verdict on one statement."""

    columns: OutputColumns | None
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
        return otherwise if self.columns is None else self.columns.classes()
