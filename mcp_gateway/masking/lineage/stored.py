"""The stored columns of a catalog as classes: each is one of its own, beside the data classes that it has.

Nothing is prepared; each relation is looked at when it is first met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from mcp_gateway.facts.catalog import Relation
from mcp_gateway.facts.meant import MAX_PARTS
from mcp_gateway.facts.scopes import table_of
from mcp_gateway.masking.lineage.classified import BUILTIN_PATH, MAX_NAMES, ClassifiedCatalog
from mcp_gateway.masking.lineage.resolver import Resolver
from mcp_gateway.masking.lineage.values import COLUMN, Classes


class StoredColumns:
    """By relation, then column: itself, the same of what it is a part of, and what it is generated from."""

    def __init__(self, prepared: ClassifiedCatalog) -> None:
        self._prepared = prepared
        self._relations = prepared.catalog.relations
        self._known: dict[str, dict[str, Classes]] = {}
        self._origins: dict[str, tuple[str, str]] = {}
        """By what facts call them, the relation and the name of all columns that were met."""
        self._parts = lru_cache(MAX_NAMES)(self._parts_of_relation)

    def of(self, qualified: str) -> Mapping[str, Classes]:
        """The columns of one relation."""
        found = self._known.get(qualified)
        if found is None:
            found = self._known[qualified] = self._named(self._relations[qualified])
            try:
                self._add_sources(found, qualified)
            except BaseException:
                del self._known[qualified]  # it would pass for whole from now on
                raise
        return found

    def _add_sources(self, found: dict[str, Classes], qualified: str) -> None:
        """What columns are generated from. A query of the whole reads its parts, where that may be something else."""
        before = {**found}
        for name in (qualified, *self._prepared.families.descendants(qualified)):
            for column, sources in self._generated(name).items():
                if column in found:
                    found[column] |= sources
        if found != before:
            self._prepared.forget()  # what a function's body reads may have been met without these

    def parts_of(self, columns: frozenset[str]) -> dict[str, Sequence[tuple[str, str]]]:
        """Columns of relations with parts to the same in these: the part and its column. None of too many parts."""
        found = {}
        for column in columns:
            relation, name = self._origins.get(column, ("", ""))
            if parts := self._parts(relation).get(name):
                found[column] = parts
        return found

    def _named(self, relation: Relation) -> dict[str, Classes]:
        above = self._prepared.families.ancestors(relation.qualified)
        tables = [table_of(of) for name in above if (of := self._relations.get(name)) is not None]
        own = table_of(relation)
        for table in (own, *tables):
            self._origins |= {str(called): (table.relation.qualified, name) for name, called in table.columns.items()}
        return {
            name: frozenset(f"{COLUMN}{table.columns[name]}" for table in (own, *tables) if name in table.columns)
            for name in own.columns
        }

    def _generated(self, qualified: str) -> Mapping[str, Classes]:
        """What the generated columns of one relation are made of: others of it, none of which is generated itself."""
        relation = self._relations.get(qualified)
        generated = () if relation is None else [one for one in relation.columns if one.generated is not None]
        if relation is None or not generated:
            return {}
        walk = Resolver(self._prepared, path=BUILTIN_PATH)
        data = self._prepared.data
        return {one.name: walk.computed(relation, str(one.generated)) - data for one in generated}

    def _parts_of_relation(self, qualified: str) -> Mapping[str, Sequence[tuple[str, str]]]:
        names = self._prepared.families.descendants(qualified)
        found: dict[str, list[tuple[str, str]]] = {}
        for name in names if len(names) <= MAX_PARTS else ():
            if (relation := self._relations.get(name)) is not None:
                table = table_of(relation)
                for column, called in table.columns.items():
                    found.setdefault(column, []).append((table.name, str(called)))
        return found
