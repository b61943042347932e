"""A catalog made of nothing but what a text names, for where there is none: `inspect`, `policy test`, `policy explain`. Pure.

Every table has every column that is named anywhere, and one that stands for those which `*` would bring, so that a bare
name counts for each table that it may be of. Where a text leaves open more than that, there is no such catalog.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.catalog import Catalog, Column, Function, Relation
from mcp_gateway.facts.harmless import HARMLESS_FUNCTIONS
from mcp_gateway.facts.tree import strings
from mcp_gateway.masking.lineage.scopes import SYSTEM_COLUMNS
from mcp_gateway.masking.lineage.values import Unsure

OTHERS = "*"
"""The column that stands for those that no name in the text is of."""
NEWEST = 180_000
SETS = frozenset(
    "generate_series generate_subscripts unnest regexp_matches regexp_split_to_table string_to_table".split()
)
"""Functions that make rows also outside of FROM. Of others that do it counts as no condition."""
ASSIGNING = frozenset({"cols", "targetList"})


def catalog_of_text(statement: JSONObject) -> Catalog:
    """A catalog for one statement. Raises `Unsure` where its text alone does not say enough."""
    found = _Names()
    found.take(statement)
    columns = tuple(
        Column(name=name, type="", number=number)
        for number, name in enumerate([*sorted(found.columns - found.qualifiers - SYSTEM_COLUMNS), OTHERS], start=1)
    )
    relations = [
        Relation(oid=1, schema=schema, name=name, kind="r", columns=columns) for schema, name in sorted(found.relations)
    ]
    return Catalog(
        server_version=NEWEST,
        search_path=("",),
        relations={relation.qualified: relation for relation in relations},
        functions={name: (_function(name, in_from=name in found.in_from),) for name in found.functions},
    )


def _function(name: str, *, in_from: bool) -> Function:
    return Function(
        oid=1,
        schema="pg_catalog",
        name=name,
        kind="a" if name == "count" else "f",
        language="internal",
        volatility="i",
        returns_set=in_from or name in SETS,
        result_type="pg_catalog.text" if not in_from else "pg_catalog.record",
    )


class _Names:
    """What a tree names, by what it may be."""

    def __init__(self) -> None:
        self.relations: set[tuple[str, str]] = set()
        self.qualifiers: set[str] = set()
        self.columns: set[str] = set()
        self.functions: set[str] = set()
        self.in_from: set[str] = set()

    def take(self, statement: JSONObject) -> None:
        for tag, body in _nodes(statement):
            match tag:
                case "ColumnRef" | "A_Indirection":
                    self.columns.update(strings(body.get("fields") or body.get("indirection") or ()))
                case "FuncCall":
                    self._call(body)
                case "RangeFunction":
                    self.in_from.update(
                        strings(one["funcname"])[-1] for kind, one in _nodes(body) if kind == "FuncCall"
                    )
                case "SubLink":
                    if any(kind == "ColumnRef" and _is_bare(one) for kind, one in _nodes(body["subselect"])):
                        raise Unsure("a bare name that may be of the tables around a subquery")
                case "IndexElem":
                    self.columns.add(body.get("name", ""))
                case _:
                    self._relation(body)
                    self.columns.update(strings(body.get("usingClause", ())) if tag == "JoinExpr" else ())
                    if tag in {"InsertStmt", "UpdateStmt", "MergeWhenClause", "onConflictClause"}:
                        assigned = [one["ResTarget"] for key in ASSIGNING for one in body.get(key, ())]
                        self.columns.update(one.get("name", "") for one in assigned)
        self.columns.discard("")

    def _relation(self, body: JSONObject) -> None:
        alias = body.get("alias", {})
        if "relname" in body:
            if "catalogname" in body or "colnames" in alias:
                raise Unsure("a list of aliases for columns that are not known, or another database")
            self.relations.add((body.get("schemaname", ""), body["relname"]))
            self.qualifiers.add(body["relname"])
        if body.get("lateral") or body.get("isNatural"):
            raise Unsure("names that may be of several tables")
        self.qualifiers.add(alias.get("aliasname", ""))

    def _call(self, body: JSONObject) -> None:
        *schema, name = strings(body["funcname"])
        if name not in HARMLESS_FUNCTIONS or schema not in ([], ["pg_catalog"]):
            raise Unsure("a function that is not known to only compute")
        self.functions.add(name)


def _is_bare(reference: JSONObject) -> bool:
    return len(reference["fields"]) == 1 and "String" in reference["fields"][0]


def _nodes(tree: Any) -> Iterator[tuple[str, JSONObject]]:
    """Every object in a tree under the name that it stands under."""
    waiting: list[Any] = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            for tag, body in value.items():
                if isinstance(body, dict):
                    yield tag, body
                waiting.append(body)
