"""What a relation's name means beside that relation: what a view is made of, and what a table is a part of. Pure.

A policy on these is about the rows of that name, too. `facts.reach` asks here for every name that it comes upon.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from mcp_gateway.facts.families import Families
from mcp_gateway.facts.scopes import Table, table_of

if TYPE_CHECKING:
    from mcp_gateway.facts.catalog import Relation
    from mcp_gateway.facts.judging import Judge
    from mcp_gateway.facts.reach import Named

MAX_NAMES = 4096
"""How many names are remembered: agents choose them."""


class Meant(NamedTuple):
    """What a relation's name means beside itself, as facts call it."""

    relations: frozenset[str]
    columns: Mapping[str, frozenset[str]]
    """What each of its columns means beside itself."""


NOTHING_ELSE = Meant(frozenset(), {})


class Meanings:
    """For the relations of one judge's catalog; keeps what it found out."""

    def __init__(self, judge: Judge, families: Families) -> None:
        self._judge = judge
        self._families = families
        self.of = lru_cache(MAX_NAMES)(self._of)

    def _of(self, qualified: str) -> Meant:
        """Of the relation `schema.name`, at any depth.

        A column of a view means every column that its query uses. A view that cannot be read means nothing else; it is
        not proved harmless either.
        """
        table = self._table(qualified)
        if table is None or self._judge.is_system(table.relation.oid):
            return NOTHING_ELSE
        names: set[str] = set()
        inherited: dict[str, frozenset[str]] = {}
        used: set[str] = set()
        seen: set[str] = set()
        waiting = [table]
        while waiting:
            one = waiting.pop()
            if one.name in seen or self._judge.is_system(one.relation.oid):
                continue
            seen.add(one.name)
            above = self._above(one.relation)
            names |= {one.name, *(other.name for other in above)}
            for name, column in one.columns.items():
                inherited[str(column)] = frozenset(str(other.columns[name]) for other in above if name in other.columns)
            if (named := self._query_of(one.relation)) is not None:
                used |= named.columns
                inner = map(self._judge.definitions.table, sorted(named.relations))
                waiting += [other for other in inner if other is not None]
        if names == {table.name}:
            return NOTHING_ELSE
        columns = {str(column): inherited[str(column)] for column in table.columns.values()}
        if table.relation.kind == "v":
            further = frozenset(used).union(*(inherited.get(column, ()) for column in used))
            columns = dict.fromkeys(columns, further)
        return Meant(frozenset(names) - {table.name}, columns)

    def _above(self, relation: Relation) -> list[Table]:
        """What a table is a part of."""
        found = map(self._table, self._families.ancestors(relation.qualified))
        return [table for table in found if table is not None]

    def _table(self, qualified: str) -> Table | None:
        catalog = self._judge.catalog
        relation = None if catalog is None else catalog.relations.get(qualified)
        return None if relation is None else table_of(relation)

    def _query_of(self, relation: Relation) -> Named | None:
        """What the query of a view names; None where there is none that can be read."""
        is_read = relation.kind == "v" and relation.definition is not None
        return self._judge.definitions.named_in(str(relation.definition)) if is_read else None
