"""Which output columns of a statement can derive from classified columns, and which columns it uses. Pure.

An output column is clear only if it is proved not to derive from a classified column; where the proof is missing it
has every class of the target. What masking columns cannot hide (predicates, order, rows, failing or not) is left to
policy, as `Lineage.inference`. `prepare` once for a catalog and a classification, `follow` each statement. In one walk
with that go the stored columns, those that are returned apart from those that only decide over it.
"""

from __future__ import annotations

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.uses import Uses
from mcp_gateway.masking.lineage.classified import ClassifiedCatalog
from mcp_gateway.masking.lineage.derived import prepare, unknown_paths
from mcp_gateway.masking.lineage.resolver import Followed, follow
from mcp_gateway.masking.lineage.text_catalog import catalog_of_text
from mcp_gateway.masking.lineage.values import Unsure
from mcp_gateway.masking.lineage.verdict import Lineage, OutputColumn, OutputColumns

__all__ = [
    "ClassifiedCatalog",
    "Followed",
    "Lineage",
    "OutputColumn",
    "OutputColumns",
    "follow",
    "prepare",
    "unknown_paths",
    "uses_by_text",
]


def uses_by_text(statements: list[JSONObject]) -> Uses | None:
    """The columns that one statement uses, as far as its text alone tells; None where it does not. Never raises."""
    if len(statements) != 1:
        return None
    try:
        catalog = catalog_of_text(statements[0]["stmt"])
    except (Unsure, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    uses = follow(statements, prepare(catalog, {})).uses
    return uses if uses is not None and uses.apart else None
