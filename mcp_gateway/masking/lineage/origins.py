"""The classes of a result column by what the server says of its origin: a second wall behind the resolver.

PostgreSQL describes a column that is a stored one passed through unchanged by table and number. That needs no parsing
and knows nothing of what the resolver made of the statement, so that the two can be compared: where the server names
a classified column and the resolver has proved the column clear, the resolver is wrong. It is a wall with gaps, since
an expression has no origin and a view's column is the view's own, and never a reason to mask less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.families import Families
from mcp_gateway.masking.lineage.derived import declared_classes
from mcp_gateway.masking.lineage.system import SYSTEM_SCHEMAS, is_held_back
from mcp_gateway.masking.lineage.values import NONE, Classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Classes by a relation's oid and a column's number, for one catalog and one classification."""

    top: Classes
    relations: frozenset[int]
    """Every relation of the catalog."""
    columns: Mapping[tuple[int, int], Classes] = field(default_factory=dict)
    """Of those columns that have any."""

    def classes(self, relation: int, number: int) -> Classes:
        """What a column of this origin may hold; all of it where the catalog does not know the relation."""
        if relation == 0 or number < 0:  # an expression, or a system column such as ctid
            return NONE
        if relation not in self.relations or number == 0:
            return self.top
        return self.columns.get((relation, number), NONE)


def origins_of(catalog: Catalog, classify: Mapping[str, str]) -> Origins:
    """Read a classification against a catalog. Costs time in proportion to the catalog: keep the result."""
    top: Classes = frozenset(classify.values())
    if not top:
        return Origins(top=top, relations=frozenset(relation.oid for relation in catalog.relations.values()))
    heads = Families(catalog.relations).heads()
    by_family: dict[tuple[str, str], Classes] = {}
    for relation_name, columns in declared_classes(catalog, classify).items():
        for column_name, classes in columns.items():
            key = (heads[relation_name], column_name)
            by_family[key] = by_family.get(key, NONE) | classes
    found: dict[tuple[int, int], Classes] = {}
    for relation in catalog.relations.values():
        system = relation.schema in SYSTEM_SCHEMAS
        whole = relation.kind == "f" or relation.schema == "pg_toast"
        for column in relation.columns:
            held_back = system and is_held_back(relation.schema, relation.name, column.name)
            own = by_family.get((heads[relation.qualified], column.name), NONE)
            if classes := top if held_back or (whole and not own) else own:
                found[relation.oid, column.number] = classes
    return Origins(top=top, relations=frozenset(relation.oid for relation in catalog.relations.values()), columns=found)
