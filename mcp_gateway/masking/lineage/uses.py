"""Which stored columns a result is made of, and which only decide over it. Pure.

The lineage of masking, walked a second time with every column as a class of its own: what an output column may derive
from is returned, and what a fact is about (`inference`) is in a condition. So a column of which both may hold is in
both, and one in neither cannot change the result.

Not masking's business: a value that a statement writes elsewhere is not refused here but counts as returned, since it
can be read from there. A materialized view keeps copies of its own. Rows that row-level security hides are decided by
its conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.catalog import Catalog, Relation
from mcp_gateway.facts.meant import MAX_PARTS
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.scopes import table_of
from mcp_gateway.facts.uses import Uses
from mcp_gateway.masking.lineage.changes import Written
from mcp_gateway.masking.lineage.classified import BUILTIN_PATH, MAX_NAMES, ClassifiedCatalog, Known
from mcp_gateway.masking.lineage.nodes import opened
from mcp_gateway.masking.lineage.queries import Row
from mcp_gateway.masking.lineage.resolver import READERS, Resolver
from mcp_gateway.masking.lineage.scopes import Entry, Item, Scope
from mcp_gateway.masking.lineage.system import SYSTEM_SCHEMAS
from mcp_gateway.masking.lineage.text_catalog import catalog_of_text
from mcp_gateway.masking.lineage.values import NONE, Classes, Found, Unsure, Value

EVERYTHING: Classes = frozenset({""})
"""Of what cannot be followed. No column is called so."""
MOVED = "moved"
"""Beside the kinds of inference: what is written somewhere."""
NOT_DECIDING = frozenset({MOVED, "may_fail"})
WRAPPERS = frozenset({"CreateTableAsStmt", "DeclareCursorStmt", "ExplainStmt", "PrepareStmt"})
"""Statements around one query, whose result is what they return, keep or plan."""
NOT_FOLLOWED = (Unsure, LookupError, TypeError, ValueError, AttributeError, RecursionError)


class ColumnCatalog(ClassifiedCatalog):
    """A catalog in which every stored column is a class of its own: nothing is prepared, each when it is met."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog, top=EVERYTHING, declared={})
        self._columns = _Columns(self)
        self._parts = lru_cache(MAX_NAMES)(self._parts_of_relation)
        self.stored = self._columns

    def parts_of(self, columns: Classes) -> dict[str, Sequence[tuple[str, str]]]:
        """Columns of relations with parts to the same in these: the part and its column. None of too many parts."""
        found = {}
        for column in columns:
            relation, name = self._columns.origins.get(column, ("", ""))
            if parts := self._parts(relation).get(name):
                found[column] = parts
        return found

    def _parts_of_relation(self, qualified: str) -> Mapping[str, Sequence[tuple[str, str]]]:
        names = self.families.descendants(qualified)
        found: dict[str, list[tuple[str, str]]] = {}
        for name in names if len(names) <= MAX_PARTS else ():
            if (relation := self.catalog.relations.get(name)) is not None:
                table = table_of(relation)
                for column, called in table.columns.items():
                    found.setdefault(column, []).append((table.name, str(called)))
        return found


class _Columns(Mapping[str, Mapping[str, Classes]]):
    """By relation, then column: itself, the same of what it is a part of, and what it is generated from."""

    def __init__(self, prepared: ColumnCatalog) -> None:
        self._prepared = prepared
        self._known: dict[str, dict[str, Classes]] = {}
        self.origins: dict[str, tuple[str, str]] = {}
        """By what facts call them, the relation and the name of all columns that were met."""

    def __getitem__(self, qualified: str) -> Mapping[str, Classes]:
        found = self._known.get(qualified)
        if found is None:
            found = self._known[qualified] = self._named(self._prepared.catalog.relations[qualified])
            # A query of the whole reads its parts, where a column may be generated in another way.
            for name in (qualified, *self._prepared.families.descendants(qualified)):
                for column, sources in self._generated(name).items():
                    if column in found:
                        found[column] |= sources
        return found

    def _named(self, relation: Relation) -> dict[str, Classes]:
        relations = self._prepared.catalog.relations
        above = self._prepared.families.ancestors(relation.qualified)
        tables = [table_of(of) for name in above if (of := relations.get(name)) is not None]
        for table in (table_of(relation), *tables):
            self.origins |= {str(called): (table.relation.qualified, name) for name, called in table.columns.items()}
        return {
            name: frozenset([str(called), *(str(table.columns[name]) for table in tables if name in table.columns)])
            for name, called in table_of(relation).columns.items()
        }

    def _generated(self, qualified: str) -> Mapping[str, Classes]:
        """What the generated columns of one relation are made of: others of it, none of which is generated itself."""
        relation = self._prepared.catalog.relations.get(qualified)
        generated = () if relation is None else [one for one in relation.columns if one.generated is not None]
        if relation is None or not generated:
            return {}
        _ = self[qualified]  # what the walk will ask for must not be asked for in the middle of it
        walk = Uncovering(self._prepared, path=BUILTIN_PATH)
        return {one.name: walk.generated(relation, str(one.generated)) for one in generated}

    def __iter__(self) -> Iterator[str]:
        return iter(self._prepared.catalog.relations)

    def __len__(self) -> int:
        return len(self._prepared.catalog.relations)


class Uncovering(Resolver):
    """The walk, where nothing is refused for being moved or copied."""

    def select(self, body: JSONObject, around: Scope | None) -> Row:
        """A SELECT, also one whose result a table keeps."""
        if "intoClause" in body:
            body = {name: value for name, value in body.items() if name != "intoClause"}
        return super().select(body, around)

    def sort_classes(self, sorts: Any, scope: Scope) -> Classes:
        """What decides over the order within an aggregate or a window."""
        classes = super().sort_classes(sorts, scope)
        self.found.fact("order", classes)
        return classes

    def _tested_for_null(self, body: JSONObject, scope: Scope) -> Value:
        """A NULL test, which chooses values like any other test: of a CASE, or its own answer."""
        value = self.value(body["arg"], scope)
        self.found.fact("null_test", value.classes)
        return Value(value.classes, plain=value.plain, type="pg_catalog.bool")

    def _form(self, body: JSONObject, scope: Scope) -> str:  # noqa: ARG002 - the form that it overrides
        """All conditions are alike here: telling them apart would look at every value of a list."""
        return "where"

    def _classified(self, relation: Relation) -> Known:
        if relation.schema in SYSTEM_SCHEMAS or relation.kind == "m":
            return Known(relation, self._stored_columns(relation, {}), Found(), watched=relation.kind != "r")
        known = super()._classified(relation)
        if relation.kind == "f":  # what it reaches is elsewhere; the columns of it are all there are
            known = known._replace(columns=self._stored_columns(relation, {}))
        for policy in relation.policies:
            known.found.fact("where", self._of_policy(relation, policy))
        return known

    def _of_policy(self, relation: Relation, expression: str) -> Classes:
        name = f"{relation.qualified}!{expression}"
        if name in self.prepared.running:
            return EVERYTHING
        self.prepared.running.add(name)
        inner = Uncovering(self.prepared, path=BUILTIN_PATH)
        try:
            [statement] = parse_tree(f"SELECT {expression}")
            columns = self._stored_columns(relation, {})
            scope = Scope()
            scope.add(Item([Entry(relation.name, columns)], [columns], stored=True))
            value = inner.classes(
                [one["ResTarget"]["val"] for one in statement["stmt"]["SelectStmt"]["targetList"]], scope
            )
            return value.union(*inner.found.facts.values())
        except NOT_FOLLOWED:
            return EVERYTHING
        finally:
            self.prepared.running.discard(name)

    def _insert(self, body: JSONObject, scope: Scope) -> Row:
        columns = super()._insert(body, scope)
        conflict = body.get("onConflictClause")
        if conflict is not None and not conflict.get("infer", {}).get("indexElems"):
            # Which rows are taken is decided by any unique index, over whichever columns.
            self.found.fact("where", self._target(body["relation"]).known.columns.classes)
        return columns

    def _write(self, written: Written, name: str | None, classes: Classes) -> None:
        if (name or "") not in written.known.columns.names:
            raise Unsure("a column that the catalog does not have")
        self.found.fact(MOVED, classes)

    _HANDLERS: ClassVar[dict[str, Any]] = {**Resolver._HANDLERS, "NullTest": _tested_for_null}  # noqa: SLF001 - of the class above


def uses_of(statements: list[JSONObject], *, catalog: ColumnCatalog | None) -> Uses | None:
    """The columns that one statement uses, apart; None where that cannot be told. Never raises.

    Without a catalog it is told by the text, as far as that goes.
    """
    if len(statements) != 1:
        return None
    try:
        catalog = catalog or ColumnCatalog(catalog_of_text(statements[0]["stmt"]))
        walk = Uncovering(catalog, path=catalog.path)
        node = _query_in(statements[0]["stmt"])
        columns = () if node is None else walk.query(node, None)
    except NOT_FOLLOWED:
        return None
    facts = walk.found.facts
    returned = facts.get(MOVED, NONE).union(*(column.value.classes for column in columns))
    conditions = NONE.union(*(of for kind, of in facts.items() if kind not in NOT_DECIDING))
    conditions |= facts.get("may_fail", NONE) - returned
    unseen = catalog.has_opaque_unwritten_cast and not all(column.value.base for column in columns)
    if walk.found.refusal is not None or unseen or not EVERYTHING.isdisjoint(returned | conditions):
        return None
    return Uses(returned, conditions, catalog.parts_of(returned | conditions))


def _query_in(node: JSONObject) -> JSONObject | None:
    """The query whose columns count: the statement itself or what it wraps. Raises `Unsure` where there is none."""
    tag, body = opened(node)
    if tag in READERS:
        return node
    if tag in WRAPPERS or (tag == "CopyStmt" and "query" in body):
        return _query_in(body["query"])
    if tag == "VariableShowStmt":
        return None
    raise Unsure(f"a {tag}")
