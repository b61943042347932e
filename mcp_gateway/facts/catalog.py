"""A snapshot of what a PostgreSQL target's catalog says, as plain values.

Pure: `targets.postgres_catalog` reads it from the server, `facts.sql` judges functions by it and
`masking.lineage` resolves names and views with it. It crosses a process boundary, so it pickles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CHANGING = frozenset({"c", "n", "d"})
"""What a foreign key can do at a DELETE or UPDATE that changes rows of the table that has it."""
EVENTS = frozenset({"insert", "update", "delete"})
"""What sets off triggers and rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a relation, in order of its number."""

    name: str
    type: str
    """`schema.type` of its type, `pg_catalog` included; arrays end in `[]`."""
    not_null: bool = False
    generated: str | None = None
    """The generation expression, fully qualified."""
    number: int = 0
    """`pg_attribute.attnum`: with the relation's oid, what the wire calls a result column's origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """A foreign key to a relation."""

    relation: str
    """`schema.name` of the table that has the key."""
    columns: tuple[str, ...] = ()
    """Columns of that table."""
    referenced: tuple[str, ...] = ()
    """Columns of the relation that it refers to."""
    on_delete: str = "a"
    """`pg_constraint.confdeltype`: a (nothing), r (refuses), c (cascades), n (sets NULL), d (sets the default)."""
    on_update: str = "a"
    """`pg_constraint.confupdtype`, likewise."""

    @property
    def changes_along(self) -> bool:
        """Whether that table is changed along with the relation."""
        return bool({self.on_delete, self.on_update} & CHANGING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of a table or view: what runs beside a change of its rows, or in place of it."""

    on: str
    """`insert`, `update` or `delete`."""
    definition: str
    """`CREATE RULE ...`, read with an empty search_path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, view, materialized view, foreign table, sequence or composite type."""

    oid: int
    schema: str
    name: str
    kind: str
    """`pg_class.relkind`: r, p, v, m, f, S, c, t."""
    columns: tuple[Column, ...]
    definition: str | None = None
    """The query of a view or materialized view, read with an empty search_path."""
    parents: tuple[str, ...] = ()
    """`schema.name` of the tables it inherits from or is a partition of."""
    has_triggers: bool = False
    """User triggers or rules other than a view's own."""
    reshaped_on: frozenset[str] = EVENTS
    """On what a trigger of it fires that is not AFTER: such a one may decide what the row is, and so what RETURNING gives."""
    rules: tuple[Rule, ...] = ()
    """Rules other than a view's own, in the order of their names."""
    policies: tuple[str, ...] = ()
    """Expressions of its row-level security where that is switched on: what reading and writing it evaluates."""
    defaults: tuple[str, ...] = ()
    """Expressions of its columns' and their domains' defaults, but for the next number of a sequence."""
    checks: tuple[str, ...] = ()
    """Expressions of CHECK constraints, indexes and the partition key: what writing it evaluates."""
    measured: tuple[str, ...] = ()
    """Expressions of its extended statistics, which planning a statement over it looks at."""
    unique_by: tuple[str, ...] = ()
    """Of each unique or exclusion index over more than one column: its columns, expressions and condition, comma-separated."""
    partitioned_by: tuple[str, ...] = ()
    """Columns and expressions that decide in which of its partitions a row is."""
    dependents: tuple[Dependent, ...] = ()
    """Foreign keys to it."""
    version: str = ""
    """Changes when the relation, its columns or its rules change (their xmin)."""

    @property
    def qualified(self) -> str:
        """`schema.name`, unquoted."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function, procedure, aggregate or window function."""

    oid: int
    schema: str
    name: str
    kind: str
    """`pg_proc.prokind`: f, p, a, w."""
    language: str
    volatility: str
    """`pg_proc.provolatile`: i, s, v."""
    returns_set: bool = False
    security_definer: bool = False
    extension: str | None = None
    result_type: str = ""
    arguments: tuple[str, ...] = ()
    """Names of the input arguments; empty strings where there is none."""
    outputs: tuple[str, ...] = ()
    """Names of OUT and TABLE columns."""
    types: tuple[str, ...] | None = None
    """Types of all arguments, in and out; None where they are not known."""
    body: str | None = None
    """The body of a LANGUAGE sql function. None where its names do not mean what they mean in a session: a body in
    quotes with a SET clause, which may be for search_path."""
    defaults: str | None = None
    """Expressions of the arguments' defaults, comma-separated, fully qualified; empty where there are none, None where
    they are not known."""
    transitions: tuple[str, ...] = ()
    """`schema.name` of an aggregate's own functions."""
    version: str = ""

    @property
    def makes_its_type(self) -> bool:
        """Whether it is a constructor that CREATE TYPE ... AS RANGE made. Only a superuser makes internal functions."""
        named_alike = self.result_type == f"{self.schema}.{self.name}" and self.types is not None
        return named_alike and self.language == "internal" and self.volatility == "i"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All of it, for one target and role. Built-in functions (oid < 16384) are included."""

    server_version: int
    """`server_version_num`, such as 150018."""
    search_path: tuple[str, ...]
    """The session's fixed path, pg_catalog implied first."""
    relations: Mapping[str, Relation] = field(default_factory=dict)
    """By `schema.name`."""
    functions: Mapping[str, tuple[Function, ...]] = field(default_factory=dict)
    """All functions of a name, by bare name; each knows its schema."""
    operators: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Operators that are not built in: name to `schema.function` of each, and of its negator and commutator."""
    casts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """User-defined casts: target `schema.type` to `schema.function` of each."""
    unwritten_casts: frozenset[str] | None = None
    """`schema.function` of those that are applied without being written: implicitly, on assignment, or, to json, by all
    that builds JSON; None where it is not known which of them are."""
    cast_sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """`schema.function` of each of them to the `schema.type` that it is applied to; of what is missing it is not known."""
    domains: Mapping[str, bool] = field(default_factory=dict)
    """`schema.type` of each domain to whether it, or a domain it is based on, has a CHECK."""
    domain_checks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """`schema.type` of each domain to the expressions over VALUE of the CHECKs on it and on what it is based on."""
    held: Mapping[str, str] = field(default_factory=dict)
    """`schema.type` of each domain, range and multirange to the type of the values in it: what it is based on, its bounds',
    its range's."""
    comparing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """`schema.function` of what operator classes that are not built in compare and hash values by, to the `schema.type` of
    these: applied without being written wherever such values are sorted, grouped or told apart."""
    range_functions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """`schema.type` of each range that is not built in to `schema.function` of its own functions, which make its values and
    measure them where a statement is planned."""
    version: str = ""
    """SHA-256 over all of it: two snapshots with the same version are equal."""

    @property
    def applied_unseen(self) -> frozenset[str]:
        """`schema.function` of the casts that may be applied without being written; all where that is not known."""
        if self.unwritten_casts is not None:
            return self.unwritten_casts
        return frozenset(name for names in self.casts.values() for name in names)
