"""What a relation's name means beside that relation: what a view is made of, what a table is a part of, and its parts. Pure.

A policy on these is about the rows of that name, too. `facts.reach` asks here for every name that it comes upon.

Parts are partitions and tables that inherit, at any depth. There may be thousands, so they are told apart from the rest
and named only up to a number. That is a number of one table, which its schema decides: were those of a statement counted,
an agent could name another table beside the one that it is after, so that the parts of neither are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from mcp_gateway.facts.families import Effect, Families
from mcp_gateway.facts.scopes import Table, table_of

if TYPE_CHECKING:
    from mcp_gateway.facts.catalog import Relation
    from mcp_gateway.facts.judging import Judge
    from mcp_gateway.facts.reach import Named

MAX_NAMES = 4096
"""How many names are remembered: agents choose them."""
MAX_PARTS = 100
"""Of a table with more of them none is named. Each name is recorded, masked and shown with every call."""
MAX_PART_COLUMNS = 500
"""Of a table whose parts have more columns together none of these is named."""


class Meant(NamedTuple):
    """What a relation's name means beside itself, as facts call it."""

    relations: frozenset[str]
    columns: Mapping[str, frozenset[str]]
    """What each of its columns means beside itself."""
    parts: frozenset[str] = frozenset()
    leaves: frozenset[str] = frozenset()
    """The parts that have no parts themselves."""
    part_columns: Mapping[str, frozenset[str]] = MappingProxyType({})
    """What each of its columns means in its parts."""
    has_unnamed: bool = False
    """There are parts that are too many to be named."""
    beyond: frozenset[str] = frozenset()
    """Those of its columns that mean some in parts which are too many to be named."""


NOTHING_ELSE = Meant(frozenset(), {})
FIRST_TO_MOVE_ROWS = 150000
"""The server version from which an update that moves a row to another partition is one update to foreign keys."""


class Along(NamedTuple):
    """What happens along with a change of a relation's rows."""

    tables: Mapping[str, Meant]
    """Tables that foreign keys change, as facts call them, to what these mean beside themselves."""
    columns: frozenset[str]
    """Columns that they assign there."""
    fires: bool
    """Whether any of all these tables has a trigger or a rule."""
    rules: tuple[str, ...] = ()
    """Definitions of the rules that apply: of the relation and what it is made of those for this effect, of others all."""


NOTHING_ALONG = Along({}, frozenset(), fires=False)


class Meanings:
    """For the relations of one judge's catalog; keeps what it found out."""

    def __init__(self, judge: Judge, families: Families) -> None:
        self._judge = judge
        self._families = families
        self.of = lru_cache(MAX_NAMES)(self._of)
        self.along = lru_cache(MAX_NAMES)(self._along)
        self.made_of = lru_cache(MAX_NAMES)(self._made_of)

    def _of(self, qualified: str, *, whole: bool) -> Meant:
        """Of the relation `schema.name`, at any depth; `whole` if its parts are meant, too.

        A column of a view means every column that its query uses. A view that cannot be read means nothing else; it is
        not proved harmless either.
        """
        table = self._table(qualified)
        if table is None or self._judge.is_system(table.relation.oid):
            return NOTHING_ELSE
        found = self._found(table, whole=whole or table.relation.kind == "v")
        if found.names == {table.name} and not found.parts and not found.has_unnamed:
            return NOTHING_ELSE
        return Meant(
            relations=frozenset(found.names) - {table.name},
            columns=found.upward(table),
            parts=frozenset(found.parts),
            leaves=frozenset(name for name, is_leaf in found.parts.items() if is_leaf) - found.names,
            part_columns=found.downward(table),
            has_unnamed=found.has_unnamed,
            beyond=found.out_of_reach(table),
        )

    def _made_of(self, qualified: str) -> tuple[str, ...]:
        """The relation `schema.name` and, if it is a view, all that it is made of: a row put into it is put into that."""
        table = self._table(qualified)
        found = [] if table is None else self._found(table, whole=False).looked_through
        return tuple(dict.fromkeys((qualified, *(name for name, _ in found))))

    def _along(self, qualified: str, *, whole: bool, effect: Effect) -> Along:
        """With `effect` on the relation `schema.name`: foreign keys change other tables, triggers may change any."""
        table = self._table(qualified)
        if table is None or self._judge.is_system(table.relation.oid):
            return NOTHING_ALONG
        is_view = table.relation.kind == "v"
        looked_through = self._found(table, whole=whole or is_view).looked_through
        changed = {
            name
            for of, is_whole in looked_through
            for name in (of, *(self._families.descendants(of) if is_whole else ()))
        }
        effects = [Effect(effect.how) if is_view else effect]
        if effect.how == "update" and self._deletes_to_move():
            effects.append(Effect("delete"))
        keys: dict[str, frozenset[str]] = {}
        for happens in effects:
            for name, columns in self._families.changed_along(sorted(changed), happens).items():
                keys[name] = keys.get(name, frozenset()) | columns
        along = {name for key in keys for name in self._families.with_rows_of(key)}
        changed |= along
        tables = {name: other for name in keys if (other := self._table(name)) is not None}
        return Along(
            tables={
                other.name: self.of(name, whole=self._families.is_partitioned(name)) for name, other in tables.items()
            },
            columns=frozenset(
                str(other.columns[column])
                for name, other in tables.items()
                for column in keys[name] & other.columns.keys()
            ),
            fires=any(other.relation.has_triggers for other in self._tables(changed)),
            rules=tuple(
                rule.definition
                for other in self._tables(sorted(changed))
                for rule in other.relation.rules
                if rule.on in {happens.how for happens in effects} or other.relation.qualified in along
            ),
        )

    def _deletes_to_move(self) -> bool:
        """Whether a row that an update moves to another partition is deleted, to the foreign keys to where it was."""
        catalog = self._judge.catalog
        return catalog is not None and catalog.server_version < FIRST_TO_MOVE_ROWS

    def _found(self, table: Table, *, whole: bool) -> _Found:
        found = _Found()
        seen: set[tuple[str, bool]] = set()
        waiting = [(table, whole)]
        while waiting:
            one, whole = waiting.pop()
            if (one.name, whole) in seen or self._judge.is_system(one.relation.oid):
                continue
            seen.add((one.name, whole))
            found.looked_through.append((one.relation.qualified, whole))
            found.take_above(one, self._tables(self._families.ancestors(one.relation.qualified)))
            if whole:
                self._take_parts(found, one)
            if (named := self._query_of(one.relation)) is not None:
                found.used |= named.columns
                tables = ((self._judge.definitions().table(use.parts), use.whole) for use in sorted(named.reads))
                waiting += [(inner, whole) for inner, whole in tables if inner is not None]
        return found

    def _take_parts(self, found: _Found, table: Table) -> None:
        names = self._families.descendants(table.relation.qualified)
        if len(names) * len(table.columns) > MAX_PART_COLUMNS or len(names) > MAX_PARTS:
            found.beyond |= frozenset(_columns(table))
        if len(names) > MAX_PARTS:
            found.has_unnamed = True
        elif names:
            parts = self._tables(names)
            is_leaf = {part.name: not self._families.descendants(part.relation.qualified) for part in parts}
            found.take_parts(table, parts, is_leaf)

    def _tables(self, names: Iterable[str]) -> list[Table]:
        return [table for table in map(self._table, names) if table is not None]

    def _table(self, qualified: str) -> Table | None:
        catalog = self._judge.catalog
        relation = None if catalog is None else catalog.relations.get(qualified)
        return None if relation is None else table_of(relation)

    def _query_of(self, relation: Relation) -> Named | None:
        """What the query of a view names; None where there is none that can be read."""
        is_read = relation.kind == "v" and relation.definition is not None
        return self._judge.definitions().named_in(str(relation.definition)) if is_read else None


class _Found:
    """What one name means, as it is gathered."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.looked_through: list[tuple[str, bool]] = []
        """`schema.name` of the relation and of what views are made of, and whether with its parts."""
        self.used: set[str] = set()
        """Columns that queries of views use."""
        self.parts: dict[str, bool] = {}
        """To whether it has no parts itself."""
        self.has_unnamed = False
        self.beyond: frozenset[str] = frozenset()
        """Columns whose like in parts are too many."""
        self._inherited: dict[str, frozenset[str]] = {}
        self._handed_on: dict[str, frozenset[str]] = {}

    def take_above(self, table: Table, above: Sequence[Table]) -> None:
        self.names |= {table.name, *(other.name for other in above)}
        self._inherited |= _of_same_name(table, above)

    def take_parts(self, table: Table, parts: Sequence[Table], is_leaf: Mapping[str, bool]) -> None:
        self.parts |= is_leaf
        if self.beyond.isdisjoint(_columns(table)):
            self._handed_on |= _of_same_name(table, parts)

    def upward(self, table: Table) -> dict[str, frozenset[str]]:
        if table.relation.kind != "v":
            return {column: self._inherited[column] for column in _columns(table)}
        used = frozenset(self.used).union(*(self._inherited.get(column, ()) for column in self.used))
        return dict.fromkeys(_columns(table), used)

    def downward(self, table: Table) -> dict[str, frozenset[str]]:
        if table.relation.kind != "v":
            return {column: self._handed_on[column] for column in _columns(table) if column in self._handed_on}
        used = frozenset[str]().union(*(self._handed_on.get(column, ()) for column in self.used))
        return dict.fromkeys(_columns(table), used) if used else {}

    def out_of_reach(self, table: Table) -> frozenset[str]:
        if table.relation.kind != "v":
            return self.beyond.intersection(_columns(table))
        return frozenset() if self.beyond.isdisjoint(self.used) else frozenset(_columns(table))


def _of_same_name(table: Table, others: Sequence[Table]) -> dict[str, frozenset[str]]:
    """Each column of a table to those of its name in others."""
    return {
        str(column): frozenset(str(other.columns[name]) for other in others if name in other.columns)
        for name, column in table.columns.items()
    }


def _columns(table: Table) -> list[str]:
    return [str(column) for column in table.columns.values()]
