"""The walk over the nodes of a parse tree, gathering facts as it goes: what expressions do.

The list of node types is closed (`facts.sql_nodes`): a node that is not on it makes the statement unproved, so that a
new grammar brings nothing unseen. `facts.sql_queries` adds queries, `facts.sql_changes` what changes rows and `facts.sql` what
whole statements do; `facts.judging` says what functions, operators, types and relations may do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.absent import Absent, AbsentKind, absent_of
from mcp_gateway.facts.judging import Judge
from mcp_gateway.facts.reach import Named
from mcp_gateway.facts.scopes import Entry, Scope, all_stored, stored
from mcp_gateway.facts.sql_nodes import (
    BARE,
    IMPLIED_OPERATORS,
    KEYWORD_FUNCTIONS,
    LEAVES,
    PLAIN,
    SESSION_FUNCTIONS,
)
from mcp_gateway.facts.tree import NOTHING, is_wrapped, opened, strings, written
from mcp_gateway.facts.trust import Trust

Handler: TypeAlias = Callable[[Any, JSONObject, Scope], None]
"""Takes one kind of node in: the walk, what is in the node, and what names mean there."""
DATA_CHANGES: Final = frozenset({"DeleteStmt", "InsertStmt", "MergeStmt", "UpdateStmt"})


class Walk(ABC):
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
        self.compares = False
        """Values are sorted, grouped or told apart, be it by no operator that is written."""
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
        self._applied: dict[tuple[str, ...], bool] = {}
        """The functions that are called, to whether the catalog knows them."""
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

    @abstractmethod
    def query(self, body: JSONObject, scope: Scope) -> None:
        """A SELECT, VALUES or TABLE, or a set operation of them. `facts.sql_queries` walks it."""

    @abstractmethod
    def data_change(self, kind: str, body: JSONObject, scope: Scope) -> None:
        """An INSERT, UPDATE, DELETE or MERGE inside a query. `facts.sql_changes` knows what they do."""

    # Any node

    def each(self, values: Iterable[Any], scope: Scope) -> None:
        """Walk the nodes of a list."""
        for value in values:
            if value:
                self.node(value, scope)

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
            self._plain(body, scope)

    def _plain(self, body: JSONObject, scope: Scope) -> None:
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
            if isinstance(value, list):
                if name not in without:
                    self.each(value, scope)
            elif isinstance(value, dict) and name not in without:
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
        self.computes = True
        known = self._applied.get(parts)
        if known is None:
            known = self._applied[parts] = self._function(parts)
        if not known:
            self._lacks_function(parts, arguments=len(body.get("args", ())))
        self.fields(body, scope, without=("funcname",))

    def _function(self, parts: tuple[str, ...]) -> bool:
        """Take in that a function is called, and whether the catalog knows it."""
        name = written(parts)
        self.functions.add(name.lower())
        self.called.add(parts[-1])
        self.named.functions.add(parts)
        self.doubt(self.judge.function(parts))
        if self.judge.takes_any_type(parts):
            self._fill(of_own_type=True)
        if parts in SESSION_FUNCTIONS:
            self.session_function = True
        known = self.judge.knows_function(parts)
        if not known:
            self.unheard.add(name)
        return known

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
        if parts not in self.named.operators:
            self.named.operators.add(parts)
            self.doubt(self.judge.operator(parts))

    def _case(self, body: JSONObject, scope: Scope) -> None:
        if "arg" in body:
            self._operator(("=",))
        self.computes = True
        self.node(body.get("arg"), scope)
        self.each(body.get("args", ()), scope)
        self.node(body.get("defresult"), scope)

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
        nodes: list[JSONObject] = body["fields"]
        parts = strings(nodes)
        qualifier, name = parts[:-1], parts[-1]
        if "A_Star" in nodes[-1]:
            self._fill(of_own_type=bool(qualifier))
            self._star(qualifier, scope)
            return
        if not self.judge.knows_column(name):
            self.lacks("column", (name,))
        if not qualifier:
            if scope.qualified(parts) is not None:
                self._fill(of_own_type=True)
            self.columns.update(scope.unqualified(name))
        else:
            entry = scope.qualified(qualifier)
            if entry is None or name not in entry.columns:
                self._attribute(name, applied=entry is not None and entry.complete)
            if entry is not None:
                self.columns.update(stored(entry, name))

    def _star(self, qualifier: tuple[str, ...], scope: Scope) -> None:
        entry = scope.qualified(qualifier) if qualifier else None
        entries = scope.entries if not qualifier else [entry] if entry else []
        self.columns.update(column for one in entries for column in all_stored(one))

    def _target(self, body: JSONObject, scope: Scope) -> None:
        """What is selected or returned. There a star stands for columns, elsewhere for a row."""
        value: JSONObject = body.get("val", NOTHING)
        fields = value["ColumnRef"]["fields"] if "ColumnRef" in value else None
        if fields is not None and "A_Star" in fields[-1]:
            self._star(strings(fields[:-1]), scope)
        else:
            self.fields(body, scope)


def _row(value: JSONObject, scope: Scope) -> Entry | None:
    """The item of FROM whose whole row a value is. Columns are written without the parentheses that this takes."""
    kind, body = opened(value)
    if kind != "ColumnRef":
        return None
    parts = strings(body["fields"][:-1] if "A_Star" in body["fields"][-1] else body["fields"])
    return scope.qualified(parts) if parts else None


def _query(walk: Walk, body: JSONObject, scope: Scope) -> None:
    walk.query(body, scope)


def _changing(kind: str) -> Handler:
    return lambda walk, body, scope: walk.data_change(kind, body, scope)


# ruff: noqa: SLF001 - the table names methods of a class above it
_HANDLERS: Final[dict[str, Handler]] = {
    **dict.fromkeys(PLAIN.difference(KEYWORD_FUNCTIONS, {"JsonFuncExpr"}), Walk._plain),
    "A_ArrayExpr": Walk._array,
    "A_Const": Walk._constant,
    "A_Expr": Walk._operation,
    "A_Indirection": Walk._indirection,
    "CaseExpr": Walk._case,
    "ColumnRef": Walk._column,
    "FuncCall": Walk._call,
    "ParamRef": Walk._parameter,
    "ResTarget": Walk._target,
    "SelectStmt": _query,
    "SortBy": Walk._sort,
    "SubLink": Walk._sublink,
    "TypeCast": Walk._cast,
    "TypeName": Walk._type,
    **{kind: _changing(kind) for kind in DATA_CHANGES},
}
"""By the type of a node. Nodes without one are told apart in `Walk.node`."""
