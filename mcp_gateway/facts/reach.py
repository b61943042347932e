"""What a statement reaches: functions, and so their traits, and tables and columns. Those it names, and those behind. Pure.

Behind a name may lie an operator's function, a cast's, the CHECK of a domain, an aggregate's own functions, the default
of an argument or a column, a row's policy, and the body of a view or SQL function with all that is in it. What lies
behind what the server brings is not looked at. What cannot be read is `unknown`; what cannot be read or takes a query or
a table's name as a text may reach tables that nothing here names, and has the trait `unnamed_tables`.

A user-defined cast is applied where types ask for it, and types are not known here. It is taken to be applied, written
or not, unless values of its source type cannot occur: no relation, function or type that is reached has or gives any.

`facts.sql_walk` says what a text names, `facts.judging` looks it up, `facts.meant` says what a relation's name means
beside that relation, `facts.traits` what is known of a function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mcp_gateway.facts.families import Effect
from mcp_gateway.facts.harmless import SERVER_FILE_RELATIONS
from mcp_gateway.facts.meant import NOTHING_ELSE, Meant
from mcp_gateway.facts.traits import FILES, TRIGGERS, UNKNOWN, UNNAMED_COLUMNS, UNNAMED_PARTS, UNNAMED_TABLES
from mcp_gateway.facts.tree import Use, written

if TYPE_CHECKING:
    from mcp_gateway.facts.catalog import Function, Relation
    from mcp_gateway.facts.judging import Judge

Parts: TypeAlias = tuple[str, ...]
"""A name as the text has it, with or without schema."""
_Effects: TypeAlias = frozenset[tuple[Use, Effect]]
_OF_ANY_TYPE = frozenset({"pg_catalog.anyarray", "pg_catalog.record"})
MAX_STATEMENTS = 1024
"""Whose traits are remembered: agents choose them."""


@dataclass(slots=True)
class Named:
    """What a text names."""

    functions: set[Parts] = field(default_factory=set)
    operators: set[Parts] = field(default_factory=set)
    types: set[Parts] = field(default_factory=set)
    """That something is cast to, or becomes without a cast."""
    relations: set[Parts] = field(default_factory=set)
    written: set[Parts] = field(default_factory=set)
    """Of the relations, those whose defaults, checks and the like are evaluated, too."""
    reads: set[Use] = field(default_factory=set)
    """Of the relations, those whose rows are looked at."""
    changed: set[Use] = field(default_factory=set)
    """Relations whose rows or definition it changes."""
    effects: set[tuple[Use, Effect]] = field(default_factory=set)
    """What happens to rows of relations."""
    columns: set[str] = field(default_factory=set)
    """Stored columns, as facts call them."""
    traits: set[str] = field(default_factory=set)
    """Of what it does itself, by no function."""
    computes: bool = False
    """Whether there is anything to which a cast could be applied unseen."""
    compares: bool = False
    """Whether values may be compared by no operator that is named."""


class Reached(NamedTuple):
    """What a text reaches, as facts call it."""

    traits: frozenset[str]
    """Of all functions."""
    reads: frozenset[str]
    writes: frozenset[str]
    columns: frozenset[str]
    """What the code behind it uses of stored columns."""
    assigned: frozenset[str]
    """Columns of foreign keys that are given other values along with it."""
    meant: Mapping[str, frozenset[str]]
    """What columns of the relations that it names mean beside themselves."""
    part_columns: Mapping[str, frozenset[str]]
    """What those mean in parts of these relations."""
    beyond: frozenset[str]
    """Those of them that mean some in parts which are too many to be named."""
    functions: frozenset[str]
    """Bare names of the functions behind it: what is reached rests on these, too."""
    leaves: frozenset[str]
    """Of what it reads and writes, parts without parts that only their whole stands for, which tells when they change."""
    compared: frozenset[str]
    """`schema.function` of what may compare or hash values there by no operator that is named."""

    def used(self, columns: Set[str]) -> tuple[frozenset[str], frozenset[str]]:
        """All columns that a text uses which names these, and all traits."""
        named = self.columns.union(self.assigned, columns, *[self.meant.get(column, ()) for column in columns])
        if self.part_columns:
            named = named.union(*[self.part_columns.get(column, ()) for column in columns])
        return named, self.traits if self.beyond.isdisjoint(columns) else self.traits | {UNNAMED_COLUMNS}


class Reach:
    """For one catalog and the path of one judge; keeps what it found out."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._known: dict[
            tuple[frozenset[Parts] | frozenset[Use] | _Effects | frozenset[str] | bool, ...], Reached
        ] = {}

    def of(self, named: Named) -> Reached:
        """All that is behind what a text names."""
        key = (
            frozenset(named.functions),
            frozenset(named.operators),
            frozenset(named.types),
            frozenset(named.relations),
            frozenset(named.written),
            frozenset(named.reads),
            frozenset(named.changed),
            frozenset(named.effects),
            frozenset(named.traits),
            named.computes,
            named.compares,
        )
        known = self._known.get(key)
        if known is None:
            known = _Search(self._judge).reached(named)
            if len(self._known) >= MAX_STATEMENTS:
                self._known.clear()
            self._known[key] = known
        return known


class _Columns(NamedTuple):
    """What columns of the relations in a text mean beside themselves, as in `Meant`."""

    columns: dict[str, frozenset[str]]
    part_columns: dict[str, frozenset[str]]
    beyond: frozenset[str]

    def with_those_of(self, meant: Meant) -> _Columns:
        if meant is NOTHING_ELSE:
            return self
        return _Columns(
            self.columns | {**meant.columns}, self.part_columns | {**meant.part_columns}, self.beyond | meant.beyond
        )


class _Search:
    """One search, from what a text names to the last thing behind it. Each thing is looked at once."""

    def __init__(self, judge: Judge) -> None:
        self._root = judge
        self._catalog = judge.catalog
        self._found: set[str] = set()
        self._reads: set[str] = set()
        self._writes: set[str] = set()
        self._columns: set[str] = set()
        self._assigned: set[str] = set()
        self._leaves: set[str] = set()
        self._by_itself: set[str] = set()
        """Of what is read and written, what does not count as a part alone."""
        self._called: set[str] = set()
        self._seen: set[object] = set()
        self._types: set[str] = set()
        """`schema.type` of those that are not the server's, and of which there may be values."""
        self._any_type = False
        """There may be values of any type."""
        self._casts: set[str] = set()
        """Functions of casts that would be applied to values of their source type."""
        self._comparing = False
        """Values are compared somewhere."""
        self._compared: set[str] = set()
        """Functions that would compare or hash them by no operator that is named."""
        self._waiting: list[tuple[Named, Judge]] = []

    def reached(self, named: Named) -> Reached:
        meant = self._take(named, self._root)
        self._waiting.append((named, self._root))
        while self._waiting:
            self._look(*self._waiting.pop())
            if not self._waiting and self._catalog is not None:
                # Last, because everything that is found may bring values of further types.
                for cast in sorted(self._casts):
                    if self._may_occur(self._catalog.cast_sources.get(cast, ())):
                        self._qualified(cast)
                for name, types in sorted(self._catalog.comparing.items()) if self._comparing else ():
                    if self._may_occur(types):
                        self._compared.add(name)
                        if not self._root.is_in_c(name):
                            self._qualified(name)
        return Reached(
            traits=frozenset(self._found),
            reads=frozenset(self._reads),
            writes=frozenset(self._writes),
            columns=frozenset(self._columns),
            assigned=frozenset(self._assigned),
            meant=meant.columns,
            part_columns=meant.part_columns,
            beyond=meant.beyond,
            functions=frozenset(self._called),
            leaves=frozenset(self._leaves - self._by_itself),
            compared=frozenset(self._compared),
        )

    def _take(self, named: Named, judge: Judge) -> _Columns:
        """Take in what a text reads and writes. Gives what columns of its relations mean beside themselves."""
        columns = _Columns({}, {}, frozenset())
        uses = named.reads | named.changed
        others = {Use(parts) for parts in named.relations - {use.parts for use in uses}}
        for use in sorted(uses | others, key=lambda use: use.whole):  # what is meant as a whole means more
            table = judge.table(use.parts)
            meant = NOTHING_ELSE if table is None else judge.meanings.of(table.relation.qualified, whole=use.whole)
            name = written(use.parts) if table is None else table.name
            if use in named.reads:
                self._take_names(name, meant, self._reads)
            if use in named.changed:
                self._take_names(name, meant, self._writes)
            columns = columns.with_those_of(meant)
        for use, effect in named.effects:
            self._take_along(use, effect, judge)
        return columns

    def _take_along(self, use: Use, effect: Effect, judge: Judge) -> None:
        """Take in what foreign keys and triggers do along with a change."""
        table = judge.table(use.parts)
        if table is not None:
            along = judge.meanings.along(table.relation.qualified, whole=use.whole, effect=effect)
            for name, meant in along.tables.items():
                self._take_names(name, meant, self._writes)
            self._assigned |= along.columns
            if along.fires:
                self._found.add(TRIGGERS)
            for definition in along.rules:
                self._text(definition, self._root.definitions())

    def _take_names(self, name: str, meant: Meant, names: set[str]) -> None:
        self._by_itself.update((name, *meant.relations))
        names.update((name, *meant.relations, *meant.parts))
        self._leaves |= meant.leaves
        if meant.has_unnamed:
            self._found.add(UNNAMED_PARTS)

    def _look(self, named: Named, judge: Judge) -> None:
        self._found |= named.traits
        for parts in named.functions:
            self._found |= judge.traits(parts)
            self._functions(judge.candidates(*_schema_and_name(parts)))
        for parts in named.operators:
            for qualified in judge.own_operators(parts):
                self._qualified(qualified)
        for parts in named.types:
            for key in judge.type_keys(*_schema_and_name(parts)):
                self._type(key, is_written=True)
        for parts in named.relations | named.written:
            self._relation(parts, judge, is_written=parts in named.written)
        if named.computes and self._catalog is not None:
            self._casts |= self._catalog.applied_unseen
        if named.compares and self._catalog is not None:
            self._comparing = True

    def _unseen(self) -> None:
        """There is something that cannot be read."""
        self._found |= {UNKNOWN, UNNAMED_TABLES}

    def _text(self, text: str, judge: Judge, *, runs: bool = True) -> None:
        """The body of a function, an expression, or the query of a view, which whoever names the view looks through."""
        if self._is_new(("text", text, judge is self._root, runs)):
            named = judge.named_in(text)
            if named is None:
                self._unseen()
                return
            if runs:
                self._use(named, judge)
            if judge is self._root:  # what its names mean may change without it
                self._called.update(parts[-1] for parts in named.functions)
            self._waiting.append((named, judge))

    def _use(self, named: Named, judge: Judge) -> None:
        """Take in all that code reads, writes and uses of columns."""
        meant = self._take(named, judge)
        self._columns.update(named.columns)
        for column in named.columns:
            self._columns.update(meant.columns.get(column, ()), meant.part_columns.get(column, ()))
        if not meant.beyond.isdisjoint(named.columns):
            self._found.add(UNNAMED_COLUMNS)

    def _expressions(self, texts: Iterable[str]) -> None:
        for text in texts:
            self._text(f"SELECT {text}", self._root.definitions())

    # Functions

    def _qualified(self, name: str) -> None:
        """A function given as `schema.function`; of no operator or cast that has none."""
        if name and self._is_new(("name", name)):
            schema, _, bare = name.rpartition(".")
            self._found |= self._root.traits((schema, bare))
            self._functions(self._root.candidates(schema, bare))

    def _functions(self, functions: Sequence[Function]) -> None:
        for function in functions:
            if not self._root.is_system(function.oid) and self._is_new(("function", function.oid)):
                self._function(function)

    def _function(self, function: Function) -> None:
        self._called.add(function.name)
        for name in (function.result_type, *(function.types or ())):
            self._type(name)
        for transition in function.transitions:
            self._qualified(transition)
        self._expressions([function.defaults] if function.defaults else ())
        if function.language == "sql" and function.kind in {"f", "p", "w"}:
            if function.body is None:
                self._unseen()
            else:
                self._text(function.body, self._root.reads_body(function.body))
        elif not self._root.reaches_no_table(function):
            self._found.add(UNNAMED_TABLES)

    # Types

    def _type(self, name: str, *, is_written: bool = False) -> None:
        """A type that something is cast to or has: its CHECKs, its fields, and of which there are values now."""
        key = name.removesuffix("[]")
        if self._catalog is None or not self._is_new(("type", key, is_written)):
            return
        if is_written:
            self._casts |= set(self._catalog.casts.get(key, ()))
        row = self._catalog.relations.get(key)
        for column in row.columns if row is not None and not self._root.is_system(row.oid) else ():
            self._type(column.type, is_written=is_written)
        if key.startswith(("pg_catalog.", "information_schema.")):
            return
        self._types.add(key)
        if key in self._catalog.domains:
            self._any_type = True  # what it is based on is not known
            self._expressions(self._catalog.domain_checks.get(key, ()))
        if key in self._catalog.held:
            self._type(self._catalog.held[key])
        for function in self._catalog.range_functions.get(key, ()):
            self._qualified(function)
        schema, _, bare = key.rpartition(".")
        # A range type's constructor tells of which type its bounds are.
        self._functions([one for one in self._root.candidates(schema, bare) if one.makes_its_type])

    def _may_occur(self, types: Sequence[str]) -> bool:
        """Whether there may be values of any of these types; of none, that is not known."""
        return (
            self._any_type
            or not types
            or any(name.removesuffix("[]") in self._types or name.startswith("pg_catalog.") for name in types)
        )

    # Relations

    def _relation(self, parts: Parts, judge: Judge, *, is_written: bool) -> None:
        schema, name = _schema_and_name(parts)
        if schema in {"", "pg_catalog"} and name in SERVER_FILE_RELATIONS:
            self._found.add(FILES)
        relation = judge.find(parts)
        if relation is None:
            self._any_type = self._any_type or self._catalog is not None
        elif self._root.is_system(relation.oid):  # samples of columns are of these columns' types
            self._any_type = self._any_type or any(one.type in _OF_ANY_TYPE for one in relation.columns)
        else:
            self._read(relation)
            for reached in self._root.written_along(relation) if is_written else ():
                self._write(reached)

    def _read(self, relation: Relation) -> None:
        if not self._is_new(("read", relation.qualified)):
            return
        self._type(relation.qualified)
        if any("(" in key for key in relation.partitioned_by):  # of which type that is, is not known
            self._any_type = True
        self._expressions(relation.policies)
        if relation.kind == "v":
            self._query_of(relation, runs=False)

    def _query_of(self, view: Relation, *, runs: bool) -> None:
        if view.definition is None:
            self._unseen()
        else:
            self._text(view.definition, self._root.definitions(), runs=runs)

    def _write(self, relation: Relation) -> None:
        if self._is_new(("write", relation.qualified)):
            if relation.has_triggers:  # what these are tells no whole
                self._by_itself.add(written((relation.schema, relation.name)))
            self._read(relation)
            if relation.kind == "m":
                self._query_of(relation, runs=True)
            generated = [column.generated for column in relation.columns if column.generated is not None]
            self._expressions([*relation.defaults, *relation.checks, *generated])

    def _is_new(self, thing: object) -> bool:
        if thing in self._seen:
            return False
        self._seen.add(thing)
        return True


def _schema_and_name(parts: Parts) -> tuple[str, str]:
    return (parts[-2] if len(parts) > 1 else "", parts[-1])
