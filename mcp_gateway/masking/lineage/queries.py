"""SELECT, VALUES, set operations and WITH: a query to its columns."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from mcp_gateway.calls import JSONObject
from mcp_gateway.masking.lineage.nodes import column_name, constant, is_star, opened, strings
from mcp_gateway.masking.lineage.predicates import Predicates
from mcp_gateway.masking.lineage.scopes import CTE, Scope
from mcp_gateway.masking.lineage.values import (
    NONE,
    Classes,
    Column,
    Columns,
    Found,
    Unsure,
    Value,
    chosen,
    classes_of,
    merged,
)

NO_SELECT_INTO = "SELECT INTO copies classified columns into a table that has none: use SELECT alone"

Row = tuple[Column, ...]


class Queries(Predicates):
    """Queries that only read."""

    def query(self, node: JSONObject, scope: Scope | None) -> Row:
        """Resolve a query with its tag."""
        tag, body = opened(node)
        if tag != "SelectStmt":
            return self.change(tag, body, scope)
        return self.select(body, scope)

    def select(self, body: JSONObject, around: Scope | None) -> Row:
        """Resolve the body of a SelectStmt."""
        self.visit()
        scope = Scope(around)
        self.with_clause(body, scope)
        if "intoClause" in body:
            self.found.refuse(NO_SELECT_INTO)
        if body["op"] != "SETOP_NONE":
            columns = self._set_operation(body, scope)
            self._limits(body, scope, Columns(columns))
            return columns
        if "valuesLists" in body:
            columns = self._values(body["valuesLists"], scope)
            self._limits(body, scope, Columns(columns))
            return columns
        return self._simple(body, scope)

    def _simple(self, body: JSONObject, scope: Scope) -> Row:
        self.from_clause(body.get("fromClause", ()), scope)
        for window in body.get("windowClause", ()):
            definition = dict(window["WindowDef"])
            name = definition.pop("name")
            scope.windows[name] = self.window_classes(definition, scope)
        self.where(body, scope)
        columns = self.targets(body.get("targetList", ()), scope)
        output = Columns(columns)
        if "groupClause" in body:
            self.found.fact("group", self._by(body["groupClause"], scope, output))
        if "havingClause" in body:
            self.found.fact("having", self.value(body["havingClause"], scope).classes)
        if "distinctClause" in body:
            named = [node for node in body["distinctClause"] if node]
            self.found.fact("distinct", self._by(named, scope, output) if named else output.classes)
        self._limits(body, scope, output)
        return columns

    def targets(self, nodes: Sequence[JSONObject], scope: Scope) -> Row:
        """A SELECT or RETURNING list."""
        columns: list[Column] = []
        around, self.tested = self.tested, NONE
        for node in nodes:
            target: JSONObject = node["ResTarget"]
            value: JSONObject = target["val"]
            if is_star(value):
                columns.extend(self.expanded(value, scope))
            else:
                columns.append(Column(column_name(target), self.value(value, scope)))
        self.found.fact("test", self.tested)
        self.tested |= around
        return tuple(columns)

    def _limits(self, body: JSONObject, scope: Scope, output: Columns) -> None:
        """ORDER BY, LIMIT and OFFSET."""
        for sort in body.get("sortClause", ()):
            classes = self._by([sort["SortBy"]["node"]], scope, output)
            self.found.fact("order", classes)
            self.check_sort_operator(sort, classes)
        counts = [body[key] for key in ("limitCount", "limitOffset") if key in body]
        self.found.fact("limit", self.classes(counts, scope))

    def _by(self, nodes: Sequence[JSONObject], scope: Scope, output: Columns) -> Classes:
        """GROUP BY, ORDER BY, DISTINCT ON: an output column by number or name, or any expression.

        Where a name may be an output column or an input column, both count.
        """
        classes = NONE
        for node in nodes:
            tag, body = opened(node)
            if tag == "GroupingSet":
                classes |= self._by(body.get("content", ()), scope, output)
            elif tag == "A_Const":
                number = constant(node)
                if isinstance(number, int):
                    if not 1 <= number <= len(output.all):
                        raise Unsure("an output column that is not there")
                    classes |= output.all[number - 1].value.classes
            elif tag == "ColumnRef" and len(body["fields"]) == 1 and "String" in body["fields"][0]:
                name = body["fields"][0]["String"]["sval"]
                if name in output.names:
                    classes |= output.names[name].classes
                    value, loose = scope.column(name)
                    classes |= (NONE if value is None else value.classes) | (loose or NONE)
                else:
                    classes |= self.value(node, scope).classes
            elif tag == "RowExpr":
                classes |= self._by(body.get("args", ()), scope, output)
            else:
                classes |= self.value(node, scope).classes
        return classes

    def _values(self, lists: Sequence[JSONObject], scope: Scope) -> Row:
        rows: list[list[Value]] = []
        for node in lists:
            values: list[Value] = []
            for item in node["List"]["items"]:
                values.extend(column.value for column in self.expanded(item, scope))
            rows.append(values)
        if len({len(row) for row in rows}) != 1:
            raise Unsure("VALUES of different lengths")
        columns = []
        for number, alternatives in enumerate(zip(*rows, strict=True), start=1):
            columns.append(Column(f"column{number}", chosen(functools.reduce(merged, alternatives))))
        return tuple(columns)

    # Set operations

    def _set_operation(self, body: JSONObject, scope: Scope) -> Row:
        # Long UNIONs lean to the left; walking them down is a loop, so that one is no deep recursion.
        links: list[JSONObject] = []
        while body["op"] != "SETOP_NONE" and (not links or _is_bare(body)):
            links.append(body)
            body = body["larg"]
        columns = self.select(body, scope)
        for link in reversed(links):
            columns = self._united(columns, self.select(link["rarg"], scope), link)
        return columns

    def _united(self, left: Row, right: Row, link: JSONObject) -> Row:
        if len(left) != len(right):
            raise Unsure("a set operation over different numbers of columns")
        columns = tuple(
            Column(one.name, merged(one.value, other.value)) for one, other in zip(left, right, strict=True)
        )
        if not link.get("all") or link["op"] != "SETOP_UNION":
            self.found.fact("distinct", classes_of(columns))
        return columns

    # WITH

    def with_clause(self, body: JSONObject, scope: Scope) -> None:
        """Make the WITH entries of a statement visible in `scope`.

        An entry sees the earlier ones and not itself, so `WITH users AS (SELECT .. FROM users)` reads the table.
        Under RECURSIVE it sees all of them and itself, and they are resolved when first met.
        """
        clause = body.get("withClause")
        if clause is None:
            return
        if clause.get("recursive"):
            scope.ctes = {
                node["CommonTableExpr"]["ctename"]: CTE(node["CommonTableExpr"], scope) for node in clause["ctes"]
            }
            for cte in list(scope.ctes.values()):
                self.cte_columns(cte)
            return
        for node in clause["ctes"]:
            cte = CTE(node["CommonTableExpr"], scope)
            self.cte_columns(cte)
            scope.ctes = {**scope.ctes, node["CommonTableExpr"]["ctename"]: cte}

    def cte_columns(self, cte: CTE) -> Columns:
        """The columns of a WITH entry. What its query raises is raised again wherever it is read."""
        if cte.columns is None:
            if cte.running:
                raise Unsure("a WITH entry that reads itself where it may not")
            cte.running = True
            around, self.found = self.found, Found()
            self._resolve(cte)
            cte.found, self.found = self.found, around
            cte.running = False
        if not cte.running:
            self.found.merge(cte.found)
        if cte.columns is None:
            raise Unsure("a WITH entry that was not resolved")
        return cte.columns

    def _resolve(self, cte: CTE) -> None:
        scope = cte.scope.without_items()
        tag, body = opened(cte.body["ctequery"])
        names = strings(cte.body.get("aliascolnames"))
        if tag == "SelectStmt" and body["op"] == "SETOP_UNION":
            columns = self._iterate(cte, body, scope, names)
        else:
            columns = Columns(self.query(cte.body["ctequery"], scope)).renamed(names)
        cte.columns = self._with_search(cte.body, columns)

    def _iterate(self, cte: CTE, body: JSONObject, around: Scope, names: list[str]) -> Columns:
        """A UNION that may read itself: to a fixpoint, since columns may change places from round to round."""
        scope = Scope(around)
        self.with_clause(body, scope)
        rest = {key: value for key, value in body.items() if key != "withClause"}
        columns = self.select(rest["larg"], scope)
        while True:
            cte.columns = self._with_search(cte.body, Columns(columns).renamed(names))
            united = self._united(columns, self.select(rest["rarg"], scope), rest)
            cte.columns = None
            if united == columns:
                break
            columns = united
        self._limits(rest, scope, Columns(columns))
        return Columns(columns).renamed(names)

    def _with_search(self, body: JSONObject, columns: Columns) -> Columns:
        """SEARCH and CYCLE add columns made of others."""
        added: list[Column] = []
        if "search_clause" in body:
            clause = body["search_clause"]
            added.append(Column(clause["search_seq_column"], self._made_of(columns, clause["search_col_list"])))
        if "cycle_clause" in body:
            clause = body["cycle_clause"]
            path = self._made_of(columns, clause["cycle_col_list"])
            marks = (clause[key] for key in ("cycle_mark_value", "cycle_mark_default") if key in clause)
            mark = path.classes | self.classes(marks, Scope())
            added.append(Column(clause["cycle_mark_column"], Value(mark)))
            added.append(Column(clause["cycle_path_column"], path))
            self.found.fact("rows", path.classes)
        return Columns((*columns.all, *added), open_classes=columns.open) if added else columns

    def _made_of(self, columns: Columns, names: Sequence[JSONObject]) -> Value:
        wanted = strings(list(names))
        if not set(wanted) <= columns.names.keys():
            raise Unsure("SEARCH or CYCLE by a column that is not there")
        return Value(NONE.union(*(columns.names[name].classes for name in wanted)), plain=False)


def _is_bare(body: JSONObject) -> bool:
    """Whether an arm has no clauses of its own beside its set operation."""
    return not ({"withClause", "sortClause", "limitCount", "limitOffset", "intoClause", "lockingClause"} & body.keys())
