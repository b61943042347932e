"""Which stored columns a result is made of, and which only decide over it. Pure.

What an output column may derive from is returned, and what a fact is about (`inference`) is in a condition. So a column
of which both may hold is in both, and one in neither cannot change the result.

Not masking's business: a value that a statement writes elsewhere counts as returned, since it can be read from there. A
materialized view keeps copies of its own. Rows that row-level security hides are decided by its conditions.
"""

from __future__ import annotations

from mcp_gateway.facts.uses import Uses
from mcp_gateway.masking.lineage.classified import ClassifiedCatalog
from mcp_gateway.masking.lineage.values import ANY_COLUMN, COLUMN, MOVED, NONE, Classes, Column, Found, classes_of

NO_USES = Uses(frozenset(), frozenset(), {})
NOT_DECIDING = frozenset({MOVED, "may_fail"})


def uses_found(columns: tuple[Column, ...], found: Found, prepared: ClassifiedCatalog, *, unseen: bool) -> Uses:
    """The columns that a query uses, apart where that can be told, after the walk that found all this.

    `unseen` is whether something that cannot be seen through may be applied to what is no stored column.
    """
    data, facts = prepared.data, found.facts
    returned = (classes_of(columns) | facts.get(MOVED, NONE)) - data
    conditions = NONE.union(*[of for kind, of in facts.items() if kind not in NOT_DECIDING]) - data
    conditions |= facts.get("may_fail", NONE) - returned - data
    unseen = unseen and not all(column.value.is_untouched for column in columns)
    apart = not unseen and ANY_COLUMN.isdisjoint(returned | conditions)
    named = Uses(_names(returned - ANY_COLUMN), _names(conditions - ANY_COLUMN), {}, apart=apart)
    return named._replace(parts=prepared.columns.parts_of(named.returned | named.conditions))


def _names(columns: Classes) -> frozenset[str]:
    return frozenset([column.removeprefix(COLUMN) for column in columns])
