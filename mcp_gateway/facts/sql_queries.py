"""The walk over queries: their clauses, WITH, and what stands in FROM, which says what names mean in the rest."""

from __future__ import annotations

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.scopes import (
    Entry,
    Scope,
    all_stored,
    cte_names,
    derived_entry,
    joined_entry,
    output_names,
    relation_entry,
    stored,
)
from mcp_gateway.facts.sql_nodes import SAMPLING_METHODS
from mcp_gateway.facts.sql_walk import Walk
from mcp_gateway.facts.traits import LOCKS
from mcp_gateway.facts.tree import opened, strings, use_of, written
from mcp_gateway.facts.trust import Trust

BECOMING = ("whereClause", "havingClause", "limitOffset", "limitCount")
"""Clauses of a query whose value becomes a boolean or a number."""
COMPARING = frozenset({"distinctClause", "groupClause", "sortClause", "windowClause"})
"""Clauses of a query that compare values."""


class Queries(Walk):
    """The walk, with queries."""

    def query(self, body: JSONObject, scope: Scope) -> None:
        """A SELECT, VALUES or TABLE, or a set operation of them."""
        if "lockingClause" in body:
            self.named.traits.add(LOCKS)
            self.effect()
        self.compares = self.compares or not COMPARING.isdisjoint(body)
        level = self.with_clause(body, scope)
        if "larg" in body:
            self._set_operation(body, level)
            return
        inner = Scope(parent=level)
        for item in body.get("fromClause", ()):
            inner.entries += self.from_item(item, inner, level)
        for key in (
            "targetList",
            "valuesLists",
            "whereClause",
            "havingClause",
            "windowClause",
            "limitOffset",
            "limitCount",
        ):
            if key in body:
                self.node(body[key], inner)
        self._becoming(*map(body.get, BECOMING))
        self.each(body.get("distinctClause", ()), inner)
        if "groupClause" in body or "sortClause" in body:
            names = {target.get("ResTarget", {}).get("name") for target in body.get("targetList", ())}
            # In GROUP BY, unlike in ORDER BY, a column of FROM goes before an output column of its name.
            known = {name for entry in inner.entries for name in entry.columns} if "groupClause" in body else ()
            for item in body.get("groupClause", ()):
                name = _bare_name(item)
                if name not in names or name in known:
                    self.node(item, inner)
            for item in body.get("sortClause", ()):
                if _bare_name(item) not in names:
                    self.node(item, inner)
        if "intoClause" in body:
            self.into(body["intoClause"], inner)
            self.kinds.add("SELECT_INTO")

    def _becoming(self, *values: JSONObject | None) -> None:
        """What becomes a boolean or a number without a cast, however plain it is: a column or a subquery alone, too."""
        self.computes = self.computes or any(value and "A_Const" not in value for value in values)

    def _set_operation(self, body: JSONObject, scope: Scope) -> None:
        """Arms of UNION, INTERSECT and EXCEPT. They lean to the left as well."""
        self.computes = True
        arms = [body]
        while "larg" in arms[-1] and (arms[-1] is body or not _has_own_clauses(arms[-1])):
            whole = arms.pop()
            arms += [whole["rarg"], whole["larg"]]
        for arm in reversed(arms):
            self.query(arm, scope)
        plain = Scope(parent=scope)
        for key in ("sortClause", "limitOffset", "limitCount"):
            self.node(body.get(key), plain)
        if "intoClause" in body:
            self.into(body["intoClause"], plain)
            self.kinds.add("SELECT_INTO")

    def into(self, body: JSONObject, scope: Scope) -> None:
        """The table that SELECT INTO or CREATE TABLE AS makes. `facts.sql` records it."""
        raise NotImplementedError

    def with_clause(self, body: JSONObject, scope: Scope) -> Scope:
        """A scope with the CTEs of a statement. One sees those before it, and itself only WITH RECURSIVE."""
        clause = body.get("withClause")
        if clause is None:
            return scope
        level = Scope(parent=scope)
        ctes = [node["CommonTableExpr"] for node in clause.get("ctes", ())]
        if clause.get("recursive"):
            level.ctes = {cte["ctename"]: cte_names(cte) for cte in ctes}
        for cte in ctes:
            kind, inner = opened(cte["ctequery"])
            if kind == "SelectStmt":
                self.query(inner, level)
            else:
                self.data_change(kind, inner, level)
            self.fields(cte, level, without=("ctequery", "search_clause", "cycle_clause", "aliascolnames"))
            self.node(cte.get("cycle_clause"), level, bare="CTECycleClause")
            level.ctes[cte["ctename"]] = cte_names(cte)
        return level

    # FROM

    def from_item(self, node: JSONObject, scope: Scope, outer: Scope) -> list[Entry]:
        """What an item of FROM brings. `scope` has the items before it, which only LATERAL sees; `outer` has not."""
        kind, body = opened(node)
        alias = body.get("alias", {})
        match kind:
            case "RangeVar":
                return [self.relation(body, scope)]
            case "RangeSubselect":
                self.node(body["subquery"], scope if body.get("lateral") else outer)
                return [derived_entry(alias, names=output_names(body["subquery"]))]
            case "JoinExpr":
                return self._join(body, scope, outer)
            case "RangeFunction":
                return [self._range_function(body, scope)]
            case "RangeTableSample":
                if strings(body["method"]) not in SAMPLING_METHODS:
                    self.doubt(Trust.UNPROVED)
                entries = self.from_item(body["relation"], scope, outer)
                self._becoming(*body.get("args", ()), body.get("repeatable"))
                self.fields(body, scope, without=("relation", "method"))
                return entries
            case "RangeTableFunc" | "JsonTable":
                self.computes = True
                if kind == "JsonTable":
                    self._keyword("json_table")
                self.fields(body, scope, without=("alias",))
                columns = [opened(column)[1] for column in body.get("columns", ())]
                return [derived_entry(alias, also=[one.get("colname") or one.get("name", "") for one in columns])]
            case _:
                self.doubt(Trust.UNPROVED)
                self.fields(body, scope)
                return [Entry(qualifier=None)]

    def relation(self, body: JSONObject, scope: Scope, *, only_stored: bool = False, is_read: bool = True) -> Entry:
        """A relation that is named. A name without schema may mean a CTE, but never as the target of a change."""
        use = use_of(body)
        parts = use.parts
        if len(parts) == 1 and not only_stored:
            is_cte, names = scope.find_cte(parts[0])
            if is_cte:
                return derived_entry({"aliasname": parts[0]} | body.get("alias", {}), names=names)
        table = self.judge.table(parts)
        name = written(parts) if table is None else table.name
        if table is not None:
            self.computes = self.computes or table.relation.kind == "v" or bool(table.relation.policies)
            self.compares = self.compares or table.relation.kind == "p"  # the bounds of its parts are put in order
        elif self.judge.catalog is not None:
            self.unheard.add(name)
            self.lacks("relation", parts)
        self.named.relations.add(parts)
        if is_read:
            self.named.reads.add(use)
        self.doubt(self.judge.reading(parts))
        usual, worst = self.judge.filling(parts)
        self.filling = max(self.filling[0], usual), max(self.filling[1], worst)
        self._fill()
        return relation_entry(name, table=table, body=body)

    def _range_function(self, body: JSONObject, scope: Scope) -> Entry:
        alias = body.get("alias", {})
        definitions = list(body.get("coldeflist", ()))
        for function in body.get("functions", ()):
            call, defined = (*function["List"]["items"], {}, {})[:2]
            self.node(call, scope)
            definitions += defined.get("List", {}).get("items", ())
        self.each(definitions, scope)
        return derived_entry(alias, also=[node["ColumnDef"]["colname"] for node in definitions])

    def _join(self, body: JSONObject, scope: Scope, outer: Scope) -> list[Entry]:
        left = self.from_item(body["larg"], scope, outer)
        inner = Scope(parent=scope.parent, entries=[*scope.entries, *left])
        right = self.from_item(body["rarg"], inner, outer)
        entries = left + right
        if "quals" in body:
            self._becoming(body["quals"])
            self.node(body["quals"], Scope(parent=scope.parent, entries=entries))
        if "usingClause" in body or body.get("isNatural"):
            self.computes = True
            self._operator(("=",))
        shared = strings(body.get("usingClause", ()))
        if body.get("isNatural"):
            shared = tuple(
                {name for entry in left for name in entry.columns} & {name for entry in right for name in entry.columns}
            )
        for name in shared:
            self.columns.update(column for entry in entries for column in stored(entry, name))
        if "join_using_alias" in body:
            entries.append(derived_entry(body["join_using_alias"], names=strings(body["usingClause"])))
        if "alias" in body:
            if "colnames" in body["alias"] and self.judge.catalog is not None:
                # Whose column it shows by which of these names is not followed: any.
                self.columns.update(column for entry in entries for column in all_stored(entry))
            entries.append(joined_entry(body["alias"], entries))
        return entries


def _bare_name(item: JSONObject) -> str:
    """The single name that an item of GROUP BY or ORDER BY is; these may name an output column."""
    kind, body = opened(item)
    if kind == "SortBy" and "useOp" not in body:
        kind, body = opened(body.get("node", {}))
    return strings(body["fields"])[0] if kind == "ColumnRef" and len(body["fields"]) == 1 else ""


def _has_own_clauses(body: JSONObject) -> bool:
    return any(
        key in body for key in ("withClause", "sortClause", "limitOffset", "limitCount", "lockingClause", "intoClause")
    )
