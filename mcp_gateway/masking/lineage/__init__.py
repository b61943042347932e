"""Which output columns of a statement can derive from classified columns. Pure.

An output column is clear only if it is proved not to derive from a classified column; where the proof is missing it
has every class of the target. What masking columns cannot hide (predicates, order, rows, failing or not) is left to
policy, as `Lineage.inference`. `prepare` once for a catalog and a classification, `resolve` each statement. The same
walk tells columns that are returned from those that only decide over it (`uses_of`).
"""

from __future__ import annotations

from collections.abc import Mapping

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.masking.lineage.classified import ClassifiedCatalog
from mcp_gateway.masking.lineage.derived import prepare, unknown_paths
from mcp_gateway.masking.lineage.resolver import resolve_statement
from mcp_gateway.masking.lineage.uses import ColumnCatalog, uses_of
from mcp_gateway.masking.lineage.verdict import Lineage, OutputColumn

__all__ = [
    "ClassifiedCatalog",
    "ColumnCatalog",
    "Lineage",
    "OutputColumn",
    "prepare",
    "resolve",
    "unknown_paths",
    "uses_of",
]


def resolve(
    statements: list[JSONObject], *, catalog: Catalog | ClassifiedCatalog, classify: Mapping[str, str]
) -> Lineage:
    """The verdict on the raw statements of one call, as `facts.parser.parse_tree` gives them; never raises.

    `catalog` may be what `prepare` made of it with the same `classify`, which saves doing it again. On a target
    without classified columns there is nothing to prove: the verdict is empty and refuses nothing.
    """
    if not classify:
        return Lineage(columns=None)
    prepared = catalog if isinstance(catalog, ClassifiedCatalog) else prepare(catalog, classify)
    return resolve_statement(statements, prepared)
