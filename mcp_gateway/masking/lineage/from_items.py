"""What stands in FROM: relations, subqueries, functions, joins. Each becomes an `Item`.

A subquery sees its siblings only when LATERAL; functions always do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from mcp_gateway.calls import JSONObject
from mcp_gateway.masking.lineage.expressions import Expressions
from mcp_gateway.masking.lineage.nodes import column_name, opened, strings, type_name
from mcp_gateway.masking.lineage.scopes import Entry, Item, Scope
from mcp_gateway.masking.lineage.values import (
    CLEAR,
    NONE,
    Classes,
    Column,
    Columns,
    Found,
    Unsure,
    Value,
    merged,
)


class FromItems(Expressions):
    """Items of FROM."""

    def from_clause(self, nodes: Sequence[JSONObject], scope: Scope) -> None:
        """Resolve FROM items from left to right into `scope`."""
        for node in nodes:
            scope.add(self.from_item(node, scope))

    def from_item(self, node: JSONObject, lateral: Scope) -> Item:
        """One item; `lateral` is what it sees if it is lateral."""
        self.visit()
        tag, body = opened(node)
        match tag:
            case "RangeVar":
                return self._relation(body, lateral)
            case "RangeSubselect":
                seen = lateral if body.get("lateral") else lateral.without_items()
                return self._cached(self._subquery, body, seen)
            case "JoinExpr":
                return self._join(body, lateral)
            case "RangeFunction":
                return self._cached(self._function, body, lateral)
            case "RangeTableSample":
                item = self.from_item(body["relation"], lateral)
                asked = [*body.get("args", ()), *([body["repeatable"]] if "repeatable" in body else [])]
                self.found.fact("rows", self.classes(asked, lateral))
                if self.judge(strings(body["method"])) is None:
                    raise Unsure("a sampling method that the catalog does not have")
                return item
            case "RangeTableFunc":
                return self._cached(self._xml_table, body, lateral)
            case _:
                raise Unsure(f"a {tag} in FROM")

    def _cached(self, resolve: Callable[[JSONObject, Scope], Item], body: JSONObject, seen: Scope) -> Item:
        """An item that may refer to others: the server may keep its rows by what it refers to."""
        around, self.found = self.found, Found()
        item = resolve(body, seen)
        inside, self.found = self.found, around
        around.merge(inside)
        if seen.has_entries():
            around.cached |= NONE.union(*(columns.classes for columns in item.flats), *inside.facts.values())
        return item

    # Relations and subqueries

    def _relation(self, body: JSONObject, lateral: Scope) -> Item:
        alias = body.get("alias", {})
        name, schema = body["relname"], body.get("schemaname")
        cte = lateral.cte(name) if schema is None else None
        if cte is not None:
            return _single(alias.get("aliasname", name), self.cte_columns(cte), alias)
        relation = self.prepared.relation(schema, name, path=self.path)
        if relation is None:
            raise Unsure("a relation that the catalog does not have")
        known = self.known(relation)
        self.found.merge(known.found)
        return _single(
            alias.get("aliasname", name),
            known.columns,
            alias,
            qualified=None if alias else relation.qualified,
            stored=relation.kind not in ("v", "c"),
        )

    def _subquery(self, body: JSONObject, seen: Scope) -> Item:
        columns = self.query(body["subquery"], seen)
        alias = body.get("alias", {})
        # Without an alias (PostgreSQL 16) nothing can qualify its columns.
        return _single(alias.get("aliasname", ""), Columns(columns), alias)

    # Joins

    def _join(self, body: JSONObject, lateral: Scope) -> Item:
        left = self.from_item(body["larg"], lateral)
        seen = lateral if "RangeVar" in body["rarg"] else lateral.with_item(left)  # a relation's name sees no items
        right = self.from_item(body["rarg"], seen)
        both = Item([*left.entries, *right.entries], [*left.flats, *right.flats], stored=left.stored or right.stored)
        names = strings(body.get("usingClause"))
        if body.get("isNatural"):
            names = _common_names(left.flats, right.flats)
        if names:
            both = self._merged_columns(both, left.flats, right.flats, names, body.get("join_using_alias", {}))
        if "quals" in body:
            inside = lateral.with_item(both)
            self.found.fact("join", self.value(body["quals"], inside).classes)
        alias = body.get("alias")
        if alias is None:
            return both
        return _single(alias["aliasname"], _concatenated(both.flats), alias)

    def _merged_columns(
        self, both: Item, left: list[Columns], right: list[Columns], names: list[str], alias: JSONObject
    ) -> Item:
        """USING: one column for each name, first in the list and the only one that a bare name means."""
        shared = [Column(name, merged(_named(left, name), _named(right, name))) for name in names]
        classes = NONE.union(*(column.value.classes for column in shared))
        self.found.fact("join", classes)
        if self.prepared.has_opaque_operator("="):
            self.given_away(classes, "the operator '='")
        rest = [
            Columns((c for c in columns.all if c.name not in names), open_classes=columns.open)
            for columns in (*left, *right)
        ]
        first = Columns(shared)
        entries = [*both.entries, Entry(alias["aliasname"], first)] if alias else both.entries
        return Item(entries, [first, *rest], stored=both.stored)

    # Functions

    def _function(self, body: JSONObject, lateral: Scope) -> Item:
        alias = body.get("alias", {})
        calls = [call["List"]["items"] for call in body["functions"]]
        parts: list[Columns] = []
        for function, definition in calls:
            definitions = body.get("coldeflist", []) or definition.get("List", {}).get("items", [])
            single = len(calls) == 1
            parts.extend(
                self._call_columns(
                    function, definitions, lateral, alias, single=single, plain=not body.get("is_rowsfrom")
                )
            )
        columns = [column for part in parts for column in part.all]
        opens = [part.open for part in parts if part.open is not None]
        if opens and len(parts) > 1:
            # Which columns come after the unknown ones cannot be told.
            columns, opens = [], [NONE.union(*opens, *(part.classes for part in parts))]
        if body.get("ordinality"):
            columns.append(Column("ordinality", CLEAR))
        open_classes = NONE.union(*opens) if opens else None
        if open_classes is not None:
            columns = [Column(of.name, of.value.derived_from(open_classes)) for of in columns]
        item = Columns(columns, open_classes=open_classes)
        return _single(alias.get("aliasname", _function_name(calls[0][0])), item, alias)

    def _call_columns(
        self,
        node: JSONObject,
        definitions: list[JSONObject],
        scope: Scope,
        alias: JSONObject,
        *,
        single: bool,
        plain: bool,
    ) -> list[Columns]:
        tag, body = opened(node)
        if tag != "FuncCall":
            value = self.value(node, scope)
            name = alias.get("aliasname") if single else None
            scalar = Value(value.classes, plain=value.plain, type=value.type)
            return [Columns([Column(name or column_name({"val": node}), scalar)])]
        names = strings(body["funcname"])
        if names == ["unnest"] and plain and len(body.get("args", ())) > 1 and not definitions:
            return [self._unnested({**body, "args": [argument]}, scope, "unnest") for argument in body["args"]]
        if names[-1] == "unnest" and not definitions:
            return [self._unnested(body, scope, alias.get("aliasname", "unnest") if single else "unnest")]
        self.visit()
        value, arguments = self.call(body, scope)
        if definitions:
            return [Columns(self._defined(definition, value) for definition in definitions)]
        judged = self.judge(names)
        if judged is None:
            return [Columns((), open_classes=value.classes)]
        name = alias.get("aliasname", names[-1]) if single else names[-1]
        return [self.result_columns(judged, value, arguments, scalar_name=name)]

    def _defined(self, definition: JSONObject, value: Value) -> Column:
        body = definition["ColumnDef"]
        schema, name, is_array = type_name(body["typeName"])
        to = self.prepared.type_named(schema, name, path=self.path)
        if self.prepared.is_checked(to):
            self.opaque()
        return Column(body["colname"], Value(value.classes, plain=False, type=None if is_array else to))

    def _unnested(self, body: JSONObject, scope: Scope, name: str) -> Columns:
        """One argument of unnest: a column of scalars, the fields of composites, or of a tsvector."""
        self.visit()
        value, arguments = self.call(body, scope)
        judged = self.judge(strings(body["funcname"]))
        of = arguments[0].type if arguments else None
        if judged is None or not judged.builtin or of is None or not of.endswith("[]"):
            return Columns((), open_classes=value.classes)
        if self.prepared.is_simple(of):
            return Columns([Column(name, Value(value.classes, plain=False, type=of.removesuffix("[]")))])
        row = self.row_of_type(of.removesuffix("[]"), value)
        return Columns((), open_classes=value.classes) if row is None else Columns(row)

    def _xml_table(self, body: JSONObject, lateral: Scope) -> Item:
        classes = self.classes([body["docexpr"], body["rowexpr"]], lateral)
        classes |= self.classes((n["ResTarget"]["val"] for n in body.get("namespaces", ())), lateral)
        self.found.fact("rows", classes)
        columns = []
        for node in body["columns"]:
            column = node["RangeTableFuncCol"]
            if column.get("for_ordinality"):
                columns.append(Column(column["colname"], CLEAR))
                continue
            own = self.classes((column[key] for key in ("colexpr", "coldefexpr") if key in column), lateral)
            self.found.fact("may_fail", classes | own)
            columns.append(Column(column["colname"], Value(classes | own, plain=False)))
        alias = body.get("alias", {})
        return _single(alias.get("aliasname", "xmltable"), Columns(columns), alias)


def _single(
    alias: str, columns: Columns, names: JSONObject, *, qualified: str | None = None, stored: bool = False
) -> Item:
    """An item of one entry, its columns renamed by the alias's column list."""
    seen = columns.renamed(strings(names["colnames"])) if "colnames" in names else columns
    return Item([Entry(alias, seen, qualified=qualified, stored=stored)], [seen], stored=stored)


def _concatenated(flats: Sequence[Columns]) -> Columns:
    """The one list of an aliased join."""
    opens: list[Classes] = [columns.open for columns in flats if columns.open is not None]
    everything = (column for columns in flats for column in columns.all)
    if not opens:
        return Columns(everything)
    classes = NONE.union(*(columns.classes for columns in flats))
    return Columns((), open_classes=classes)


def _named(flats: Sequence[Columns], name: str) -> Value:
    found = [columns.names[name] for columns in flats if name in columns.names]
    if not found or any(columns.loose is not None for columns in flats):
        raise Unsure("USING a column that is not certain")
    return functools.reduce(merged, found)


def _common_names(left: Sequence[Columns], right: Sequence[Columns]) -> list[str]:
    """What NATURAL joins by, in the order of the left side."""
    if any(columns.loose is not None for columns in (*left, *right)):
        raise Unsure("NATURAL over columns that are not certain")
    there = {name for columns in right for name in columns.names}
    names = [column.name for columns in left for column in columns.all if column.name is not None]
    return [name for name in dict.fromkeys(names) if name in there]


def _function_name(node: JSONObject) -> str:
    """The alias of a function in FROM that was given none."""
    return column_name({"val": node}) or ""
