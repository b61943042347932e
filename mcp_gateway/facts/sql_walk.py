"""The walk over expressions and queries of a parse tree, gathering facts as it goes.

The list of node types is closed (`facts.sql_nodes`): a node that is not on it makes the statement unproved, so that a
new grammar brings nothing unseen. `facts.sql` adds what whole statements do; `facts.judging` says what functions,
operators, types and relations may do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.absent import Absent, AbsentKind, absent_of
from mcp_gateway.facts.judging import Judge, Trust
from mcp_gateway.facts.reach import Named
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
from mcp_gateway.facts.sql_nodes import (
    BARE,
    IMPLIED_OPERATORS,
    KEYWORD_FUNCTIONS,
    LEAVES,
    PLAIN,
    SAMPLING_METHODS,
    SESSION_FUNCTIONS,
)
from mcp_gateway.facts.traits import LOCKS
from mcp_gateway.facts.tree import is_wrapped, opened, strings, use_of, written

Handler: TypeAlias = Callable[[Any, JSONObject, Scope], None]
"""Takes one kind of node in: the walk, what is in the node, and what names mean there."""
DATA_CHANGES = frozenset({"DeleteStmt", "InsertStmt", "MergeStmt", "UpdateStmt"})
BECOMING = ("whereClause", "havingClause", "limitOffset", "limitCount")
"""Clauses of a query whose value becomes a boolean or a number."""


class Walk:
    """Facts gathered so far, and the methods that gather them. One instance for one text."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.trust = Trust.KNOWN
        self.effects = False
        """Something that runs changes more than its own result."""
        self.running = True
        """False inside an EXPLAIN that does not run its statement."""
        self.computes = False
        """There is an expression, here or in what is reached from here, to which a cast could be applied unseen."""
        self.spelt = False
        """There is a text, or a parameter, without a type: it becomes one of whatever stands beside it."""
        self.of_own_type = False
        """There may be a value of which it becomes one of the very type: a whole row, an array, what a function of any type gives."""
        self.filling = (Trust.KNOWN, Trust.KNOWN)
        """What then runs by the relations that are read, `Judge.filling` of them all."""
        self.session_function = False
        self.kinds: set[str] = set()
        self.columns: set[str] = set()
        self.functions: set[str] = set()
        self.named = Named()
        self.called: set[str] = set()
        """Bare names, in their own case, of what may be a function."""
        self.unheard: set[str] = set()
        """Relations and functions that the catalog does not know."""
        self.absent: set[Absent] = set()
        """Names that the catalog has nothing for, unless the statement brings them itself."""

    def doubt(self, trust: Trust) -> None:
        """Something of this trust takes part."""
        self.trust = max(self.trust, trust)

    def lacks(self, kind: AbsentKind, parts: tuple[str, ...]) -> None:
        """The catalog has nothing of this name."""
        absent = absent_of(kind, parts)
        if absent is not None:
            self.absent.add(absent)

    def effect(self) -> None:
        """Something would change, if it runs here."""
        self.effects = self.effects or self.running

    def data_change(self, kind: str, body: JSONObject, scope: Scope) -> None:
        """An INSERT, UPDATE, DELETE or MERGE inside a query. `facts.sql` knows what they do."""
        raise NotImplementedError

    # Any node

    def each(self, values: Iterable[Any], scope: Scope) -> None:
        """Walk the nodes of a list."""
        node = self.node
        for value in values:
            if value:
                node(value, scope)

    def node(self, value: Any, scope: Scope, *, bare: str = "") -> None:
        """Walk one node, a list of them, or nothing. `bare` is the type of a node that stands without it."""
        if isinstance(value, list):
            self.each(value, scope)
        elif value:
            kind, body = opened(value)
            handler = _HANDLERS.get(kind)
            if handler is not None:
                handler(self, body, scope)
            elif kind not in LEAVES:
                if kind not in PLAIN and not is_wrapped(value):
                    kind, body = bare, value
                self._other(kind, body, scope)

    def _other(self, kind: str, body: JSONObject, scope: Scope) -> None:
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, body, scope)
        elif kind not in LEAVES:
            keyword = KEYWORD_FUNCTIONS.get(body.get("op", kind) if kind == "JsonFuncExpr" else kind)
            if keyword is not None:
                self._keyword(keyword)
            if kind not in PLAIN:
                self.unknown(kind, body)
            self.computes = True
            self.fields(body, scope)

    def _keyword(self, name: str) -> None:
        self.called.add(name)
        found = self.judge.keyword(name)
        if found != Trust.KNOWN:
            self.named.functions.add((name,))
            self.doubt(found)

    def fields(self, body: JSONObject, scope: Scope, *, without: Sequence[str] = ()) -> None:
        """Walk what is in a node."""
        for name, value in body.items():
            if name not in without:
                if isinstance(value, list):
                    self.each(value, scope)
                elif isinstance(value, dict):
                    self.node(value, scope, bare=BARE.get(name, ""))

    def unknown(self, kind: str, body: JSONObject) -> None:  # noqa: ARG002 - statements look at it
        """A node that the closed list does not name."""
        self.doubt(Trust.UNPROVED)

    # Expressions

    def _constant(self, body: JSONObject, scope: Scope) -> None:  # noqa: ARG002 - as the others
        self._fill(spelt="sval" in body)

    def _parameter(self, body: JSONObject, scope: Scope) -> None:  # noqa: ARG002 - as the others
        self._fill(spelt=True)

    def _fill(self, *, spelt: bool = False, of_own_type: bool = False) -> None:
        """There is a text without a type, or what it may become one of the very type of."""
        self.spelt, self.of_own_type = self.spelt or spelt, self.of_own_type or of_own_type
        if self.spelt:
            self.doubt(self.filling[self.of_own_type])

    def _call(self, body: JSONObject, scope: Scope) -> None:
        parts = strings(body["funcname"])
        name = written(parts)
        self.computes = True
        self.functions.add(name.lower())
        self.called.add(parts[-1])
        self.named.functions.add(parts)
        self.doubt(self.judge.function(parts))
        if not self.judge.knows_function(parts):
            self.unheard.add(name)
            self._lacks_function(parts, arguments=len(body.get("args", ())))
        if self.judge.takes_any_type(parts):
            self._fill(of_own_type=True)
        if parts in SESSION_FUNCTIONS:
            self.session_function = True
        self.fields(body, scope, without=("funcname",))

    def _lacks_function(self, parts: tuple[str, ...], *, arguments: int) -> None:
        """With one argument a name may be a field of that, or a type."""
        if arguments != 1:
            self.lacks("function", parts)
        elif len(parts) > 1 or not self.judge.knows_column(parts[0]):
            self.lacks("applied", parts)

    def _operation(self, body: JSONObject, scope: Scope) -> None:
        """An operator. Chains lean to the left and may be long, so they are not walked by recursion."""
        self.computes = True
        while True:
            for parts in IMPLIED_OPERATORS.get(body["kind"]) or (strings(body["name"]),):
                self._operator(parts)
            self.node(body.get("rexpr"), scope)
            left = body.get("lexpr")
            if not left or "A_Expr" not in left:
                break
            body = left["A_Expr"]
        self.node(left, scope)

    def _operator(self, parts: tuple[str, ...]) -> None:
        self.named.operators.add(parts)
        self.doubt(self.judge.operator(parts))

    def _case(self, body: JSONObject, scope: Scope) -> None:
        if "arg" in body:
            self._operator(("=",))
        self.computes = True
        self.each([body.get("arg"), *body.get("args", ()), body.get("defresult")], scope)

    def _sort(self, body: JSONObject, scope: Scope) -> None:
        if "useOp" in body:
            self.computes = True
            self._operator(strings(body["useOp"]))
        self.node(body.get("node"), scope)

    def _array(self, body: JSONObject, scope: Scope) -> None:
        self.computes = True
        self._fill(of_own_type=True)
        self.fields(body, scope)

    def _sublink(self, body: JSONObject, scope: Scope) -> None:
        if body.get("subLinkType") == "ARRAY_SUBLINK":
            self._fill(of_own_type=True)
        if "testexpr" in body:
            self.computes = True
            self._operator(strings(body.get("operName", ())) or ("=",))
            self.node(body["testexpr"], scope)
        self.node(body["subselect"], scope)

    def _cast(self, body: JSONObject, scope: Scope) -> None:
        self.computes = True
        if "A_Const" not in body["arg"] and "ParamRef" not in body["arg"]:
            self.node(body["arg"], scope)
        constant = body["arg"].get("A_Const", {})
        if "sval" in constant or constant.get("isnull"):
            self._type(body["typeName"], scope, judge=self.judge.literal)
        else:
            self._type(body["typeName"], scope)

    def _type(self, body: JSONObject, scope: Scope, *, judge: Callable[[tuple[str, ...]], Trust] | None = None) -> None:
        self.computes = True
        judge = judge or self.judge.type
        names = strings(body.get("names", ()))
        self.named.types.add(names)
        self.doubt(Trust.UNPROVED if body.get("pct_type") else judge(names))
        self.each(body.get("typmods", ()), scope)

    def _indirection(self, body: JSONObject, scope: Scope) -> None:
        """`(x).name` is a field, or a function applied to x: which of them, the types decide."""
        self.node(body["arg"], scope)
        for number, step in enumerate(body["indirection"]):
            kind, inner = opened(step)
            if kind == "String":
                name = inner.get("sval", "")
                row = None if number else _row(body["arg"], scope)
                self._attribute(name, applied=row is not None and name not in row.columns)
            else:
                self.node(step, scope)

    def _attribute(self, name: str, *, applied: bool = False) -> None:
        """A field, or a function applied to a row; `applied` where it looks like the latter, if no catalog tells."""
        self.called.add(name)
        found = self.judge.attribute(name)
        if applied and self.judge.catalog is None:
            found = max(found, self.judge.function((name,)))
        if found != Trust.KNOWN:
            self.computes = True
            self.functions.add(name.lower())
            self.named.functions.add((name,))
            self.named.types.add((name,))
            self.doubt(found)

    def _column(self, body: JSONObject, scope: Scope) -> None:
        nodes = body["fields"]
        *qualifier, name = strings(nodes)
        if "A_Star" in nodes[-1]:
            self._fill(of_own_type=bool(qualifier))
            self._star(qualifier, scope)
            return
        if not qualifier and scope.qualified((name,)) is not None:
            self._fill(of_own_type=True)
        if not self.judge.knows_column(name):
            self.lacks("column", (name,))
        if not qualifier:
            self.columns.update(scope.unqualified(name))
        else:
            entry = scope.qualified(qualifier)
            if entry is None or name not in entry.columns:
                self._attribute(name, applied=entry is not None and entry.complete)
            if entry is not None:
                self.columns.update(stored(entry, name))

    def _star(self, qualifier: Sequence[str], scope: Scope) -> None:
        entry = scope.qualified(qualifier) if qualifier else None
        entries = scope.entries if not qualifier else [entry] if entry else []
        self.columns.update(column for one in entries for column in all_stored(one))

    def _target(self, body: JSONObject, scope: Scope) -> None:
        """What is selected or returned. There a star stands for columns, elsewhere for a row."""
        star = body.get("val", {}).get("ColumnRef", {}).get("fields")
        if star and "A_Star" in star[-1]:
            self._star(strings(star[:-1]), scope)
        else:
            self.fields(body, scope)

    # Queries

    def query(self, body: JSONObject, scope: Scope) -> None:
        """A SELECT, VALUES or TABLE, or a set operation of them."""
        if "lockingClause" in body:
            self.named.traits.add(LOCKS)
            self.effect()
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


def _row(value: JSONObject, scope: Scope) -> Entry | None:
    """The item of FROM whose whole row a value is. Columns are written without the parentheses that this takes."""
    kind, body = opened(value)
    if kind != "ColumnRef":
        return None
    parts = strings(body["fields"][:-1] if "A_Star" in body["fields"][-1] else body["fields"])
    return scope.qualified(parts) if parts else None


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


def _changing(kind: str) -> Handler:
    return lambda found, body, scope: found.data_change(kind, body, scope)


# ruff: noqa: SLF001 - the table names methods of a class above it
_HANDLERS: dict[str, Handler] = {
    "A_ArrayExpr": Walk._array,
    "A_Const": Walk._constant,
    "A_Expr": Walk._operation,
    "A_Indirection": Walk._indirection,
    "CaseExpr": Walk._case,
    "ColumnRef": Walk._column,
    "FuncCall": Walk._call,
    "ParamRef": Walk._parameter,
    "ResTarget": Walk._target,
    "SelectStmt": Walk.query,
    "SortBy": Walk._sort,
    "SubLink": Walk._sublink,
    "TypeCast": Walk._cast,
    "TypeName": Walk._type,
    **{kind: _changing(kind) for kind in DATA_CHANGES},
}
"""By the type of a node. Nodes without one are told apart in `Walk.node`."""
