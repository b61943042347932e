"""What the resolver knows of an expression, of a list of columns and of a statement so far.

`Value` and `Column` are plain classes and no frozen dataclasses: a statement makes one for every node, and they are several
times cheaper to build. Invariant: the classes of a composite value contain those of all its columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

Classes: TypeAlias = frozenset[str]
"""What a value may derive from, or a fact may tell of: data classes, and stored columns, each a class of its own."""
NONE: Final[Classes] = frozenset()
COLUMN = "#"
"""Stands before a stored column as facts call it, `#public.users.ssn`; no data class begins so."""
ANY_COLUMN: Final[Classes] = frozenset({COLUMN})
"""Of what cannot be followed."""

MOVED = "moved"
"""Beside the kinds of inference: the stored columns that are written somewhere."""

SILENT = frozenset({"count_distinct", "may_fail", "null_test", "test"})
"""Kinds that do not change which rows there are, so they do not flow out of a subquery."""


class Unsure(Exception):
    """The statement cannot be followed here; everything is masked. Never leaves the package."""


class Value:
    """One expression. Never changed."""

    __slots__ = ("base", "classes", "plain", "row", "type")

    def __init__(
        self,
        classes: Classes = NONE,
        *,
        base: bool = False,
        plain: bool = True,
        type: str | None = None,  # noqa: A002 - what it is called everywhere
        row: tuple[Column, ...] | None = None,
    ) -> None:
        self.classes = classes
        self.base = base
        """A stored column passed through unchanged: whether it is NULL tells nothing else."""
        self.plain = plain
        """Cheap, of bounded size and sure not to fail, whatever its input."""
        self.type = type
        """`schema.type` where it is known; arrays end in `[]`."""
        self.row = row
        """The columns of a composite value, where they are known."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[Classes, bool, bool, str | None, tuple[Column, ...] | None]:
        return self.classes, self.base, self.plain, self.type, self.row

    def of_type(self, name: str | None, row: tuple[Column, ...] | None = None) -> Value:
        """The same as a value of another type."""
        return Value(self.classes, base=self.base, plain=self.plain, type=name, row=row)

    def derived_from(self, classes: Classes) -> Value:
        """The same with further classes, whatever its columns have."""
        return Value(self.classes | classes, base=self.base, plain=self.plain, type=self.type, row=self.row)

    @property
    def is_untouched(self) -> bool:
        """Whether it is a stored column of one type, so that no cast was applied to it unseen."""
        return self.base and self.type is not None


class Column:
    """One named column. The name is None where only the server knows it. Never changed."""

    __slots__ = ("name", "value")

    def __init__(self, name: str | None, value: Value) -> None:
        self.name = name
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Column) and self.name == other.name and self.value == other.value

    def __hash__(self) -> int:
        return hash((self.name, self.value))


CLEAR: Final = Value()


def joined(first: Classes, second: Classes) -> Classes:
    """The union of two. Mostly one has nothing or both are the same, and no third is made."""
    if not second or first is second:
        return first
    return first | second if first else second


def union(values: Sequence[Value]) -> Value:
    """All of several values together, as an operator has them."""
    classes, plain = NONE, True
    for value in values:
        classes = joined(classes, value.classes)
        plain = plain and value.plain
    return Value(classes, plain=plain)


def merged(first: Value, second: Value) -> Value:
    """Either of two values: of set operations, of USING, of a name with several matches."""
    row = None
    if first.row is not None and second.row is not None and len(first.row) == len(second.row):
        row = tuple(
            Column(left.name if left.name == right.name else None, merged(left.value, right.value))
            for left, right in zip(first.row, second.row, strict=True)
        )
    return Value(
        joined(first.classes, second.classes),
        # Among values of its own choice a statement can recognise a fingerprint.
        base=first.base and second.base and _have_same_data(first.classes, second.classes),
        plain=first.plain and second.plain,
        type=first.type if first.type == second.type else None,
        row=row,
    )


def _have_same_data(first: Classes, second: Classes) -> bool:
    return all(one.startswith(COLUMN) for one in first ^ second)


def tainted(value: Value, classes: Classes) -> Value:
    """`value` with further classes, those of its columns included."""
    if classes <= value.classes and (value.row is None or all(classes <= c.value.classes for c in value.row)):
        return value
    row = None if value.row is None else tuple(Column(of.name, tainted(of.value, classes)) for of in value.row)
    return Value(value.classes | classes, base=value.base, plain=value.plain, type=value.type, row=row)


def chosen(value: Value) -> Value:
    """`value` where a statement decides whether there is one: neither it nor its columns are NULL by what is stored."""
    row = None if value.row is None else tuple(Column(of.name, chosen(of.value)) for of in value.row)
    return Value(value.classes, plain=value.plain, type=value.type, row=row)


def limited(value: Value, classes: Classes) -> Value:
    """`value` with none but these classes, those of its columns included."""
    row = None if value.row is None else tuple(Column(of.name, limited(of.value, classes)) for of in value.row)
    return Value(value.classes & classes, base=value.base, plain=value.plain, type=value.type, row=row)


def classes_of(columns: Iterable[Column]) -> Classes:
    """The union over columns."""
    return NONE.union(*[column.value.classes for column in columns])


class Columns:
    """A list of columns, found by name. `open` holds the classes of further columns that nobody can name."""

    __slots__ = ("all", "loose", "names", "open", "own_names", "placed")

    def __init__(self, columns: Iterable[Column], *, open_classes: Classes | None = None) -> None:
        self.all = tuple(columns)
        self.open = open_classes
        self.own_names = True
        """False after a column alias list: a row keeps the names of its type, whatever the list says."""
        self.placed: Classes = NONE
        """What decides in which partition a row is: `tableoid` and `ctid` tell."""
        self.loose = open_classes
        """Classes that a name found nowhere else may have; None when every name is known."""
        self.names: dict[str, Value] = {}
        for column in self.all:
            name, value = column.name, column.value
            if name is None:
                self.loose = value.classes | (self.loose or NONE)
            elif name in self.names:
                self.names[name] = merged(self.names[name], value)
            else:
                self.names[name] = value

    @property
    def classes(self) -> Classes:
        """The union over all columns, unnamed ones included."""
        return classes_of(self.all) | (self.open or NONE)

    def expanded(self) -> tuple[Column, ...]:
        """The columns as `*` gives them."""
        if self.open is not None:
            raise Unsure("* over an unknown number of columns")
        return self.all

    def renamed(self, names: list[str]) -> Columns:
        """With a column alias list, which may be shorter than the list."""
        if not names:
            return self
        if len(names) > len(self.all) and self.open is None:
            raise Unsure("more column aliases than columns")
        rest = Value(self.open or NONE, plain=False)
        padded = self.all + tuple(Column(None, rest) for _ in names[len(self.all) :])
        columns = [Column(name, column.value) for name, column in zip(names, padded, strict=False)]
        renamed = Columns((*columns, *padded[len(names) :]), open_classes=self.open)
        renamed.own_names = False
        renamed.placed = self.placed
        return renamed

    def row(self) -> Value:
        """The whole row as one value."""
        if self.open is not None:
            return Value(self.classes, plain=False)
        base, plain = all(c.value.base for c in self.all), all(c.value.plain for c in self.all)
        row = self.all if self.own_names else tuple(Column(None, column.value) for column in self.all)
        return Value(self.classes, base=base, plain=plain, type="pg_catalog.record", row=row)


class Found:
    """What has been found out beside the columns: facts, relations, opaque things, a reason to refuse."""

    __slots__ = ("cached", "effects", "facts", "functions", "opaque", "refusal", "relations", "spoken", "touch")

    def __init__(self) -> None:
        self.facts: dict[str, Classes] = {}
        self.touch: Classes = NONE
        self.opaque = False
        self.effects = False
        """It writes, or gives arguments to what shows them elsewhere."""
        self.refusal: str | None = None
        self.relations: set[str] = set()
        self.functions: set[str] = set()
        self.cached: Classes = NONE
        """Classes by which rows may be kept for when the same values come again: EXPLAIN ANALYZE counts how often."""
        self.spoken: Classes = NONE
        """Classes of what user functions return: the planner may run them and EXPLAIN then prints the result."""

    def fact(self, kind: str, classes: Classes) -> None:
        """Record that `classes` can be inferred by way of `kind`."""
        if classes:
            self.facts[kind] = joined(self.facts.get(kind, NONE), classes)

    def refuse(self, reason: str) -> None:
        """Keep the first reason."""
        if self.refusal is None:
            self.refusal = reason

    def merge(self, other: Found) -> None:
        """Take over all that `other` has found."""
        for kind, classes in other.facts.items():
            self.fact(kind, classes)
        self.touch |= other.touch
        self.opaque = self.opaque or other.opaque
        self.effects = self.effects or other.effects
        self.relations |= other.relations
        self.functions |= other.functions
        self.cached |= other.cached
        self.spoken |= other.spoken
        if other.refusal is not None:
            self.refuse(other.refusal)

    def flow(self) -> Classes:
        """What decides which rows there are: it flows into the value of a subquery used as an expression."""
        return NONE.union(*(classes for kind, classes in self.facts.items() if kind not in SILENT))
