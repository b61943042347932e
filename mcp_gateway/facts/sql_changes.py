"""The walk over INSERT, UPDATE, DELETE and MERGE: the columns they assign, what happens to rows, and whether all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.conditions import is_unbounded
from mcp_gateway.facts.families import Effect, How
from mcp_gateway.facts.judging import Judge
from mcp_gateway.facts.scopes import Entry, Scope, stored
from mcp_gateway.facts.sql_queries import Queries
from mcp_gateway.facts.sql_statements import ANY_MERGE_ACTION, MERGE_ACTIONS, kind_of
from mcp_gateway.facts.sql_walk import DATA_CHANGES
from mcp_gateway.facts.tree import column_names, relation_parts, use_of

HOW: Mapping[str, How] = {"INSERT": "insert", "UPDATE": "update", "DELETE": "delete"}
"""What an action of MERGE does to rows."""


class Changes(Queries):
    """The walk, with statements that change rows."""

    def __init__(self, judge: Judge) -> None:
        super().__init__(judge)
        self.merge_actions: set[str] = set()
        self.unbounded = False

    def data_change(self, kind: str, body: JSONObject, scope: Scope) -> None:
        """One that stands alone, in a CTE, or inside another statement."""
        self.effect()
        if kind not in DATA_CHANGES:
            self.unknown(kind, body)
            self.fields(body, scope)
            return
        self.kinds.add(kind_of(kind, body))
        self.computes = True  # what is assigned is cast to the column's type
        relation = self.taking_rows(body["relation"]) if kind == "InsertStmt" else body["relation"]
        self.write(relation)
        level = self.with_clause(body, scope)
        is_read = self._reads_target(kind, body)
        target = self.relation(relation, level, only_stored=True, is_read=is_read)
        self.named.written.add(relation_parts(body["relation"]))
        self.doubt(self.judge.writing(relation_parts(body["relation"]), running=self.running))
        match kind:
            case "InsertStmt":
                self.happens(relation, "insert")
                self._insert(body, level, target)
            case "MergeStmt":
                self._merge(body, level, target)
            case _:
                self._update_or_delete(kind, body, level, target)

    def _insert(self, body: JSONObject, level: Scope, target: Entry) -> None:
        self._targets(body.get("cols", ()), target)
        if "selectStmt" in body:
            self.query(body["selectStmt"]["SelectStmt"], level)
        excluded = Entry(qualifier="excluded", columns=dict.fromkeys(target.columns), complete=target.complete)
        conflict = body.get("onConflictClause", {})
        if conflict.get("action") == "ONCONFLICT_UPDATE":
            self.happens(self.taking_rows(body["relation"]), "update", conflict["targetList"])
        self._targets(conflict.get("targetList", ()), target)
        for element in conflict.get("infer", {}).get("indexElems", ()):
            self.columns.update(stored(target, element["IndexElem"].get("name", "")))
        self.node(conflict.get("infer"), Scope(parent=level, entries=[target]), bare="InferClause")
        both = Scope(parent=level, entries=[target, excluded])
        self.each([*conflict.get("targetList", ()), conflict.get("whereClause")], both)
        self._returning(body, level, [target])

    def _update_or_delete(self, kind: str, body: JSONObject, level: Scope, target: Entry) -> None:
        inner = Scope(parent=level, entries=[target])
        for item in (*body.get("fromClause", ()), *body.get("usingClause", ())):
            inner.entries += self.from_item(item, inner, level)
        self.happens(body["relation"], "update" if kind == "UpdateStmt" else "delete", body.get("targetList", ()))
        if kind == "UpdateStmt":
            self._targets(body["targetList"], target)
        self.each([*body.get("targetList", ()), body.get("whereClause")], inner)
        self._bound(body.get("whereClause"), body, target)
        self._returning(body, level, inner.entries)

    def _merge(self, body: JSONObject, level: Scope, target: Entry) -> None:
        inner = Scope(parent=level, entries=[target])
        inner.entries += self.from_item(body["sourceRelation"], inner, level)
        self.node(body["joinCondition"], inner)
        for node in body.get("mergeWhenClauses", ()):
            clause = node["MergeWhenClause"]
            actions = MERGE_ACTIONS.get(clause["commandType"], ANY_MERGE_ACTION)
            self.merge_actions |= actions
            for action in actions:
                self.happens(body["relation"], HOW[action], clause.get("targetList", ()))
            if clause["commandType"] in {"CMD_INSERT", "CMD_UPDATE"}:
                self._targets(clause.get("targetList", ()), target)
            self.each([clause.get("condition"), *clause.get("targetList", ()), *clause.get("values", ())], inner)
            if clause["commandType"] in {"CMD_UPDATE", "CMD_DELETE"}:
                joined = clause["matchKind"] == "MERGE_WHEN_MATCHED"
                conditions = [clause.get("condition"), body["joinCondition"] if joined else None]
                given = [condition for condition in conditions if condition is not None]
                both = {"BoolExpr": {"boolop": "AND_EXPR", "args": given}} if given else None
                self._bound(both, body, target)
        self._returning(body, level, inner.entries)

    def _targets(self, targets: Sequence[JSONObject], entry: Entry) -> None:
        """Columns that are assigned to."""
        for target in targets:
            name = target["ResTarget"].get("name", "")
            self.columns.update(stored(entry, name))
            if not self.judge.knows_column(name):
                self.lacks("target", (name,))

    def _returning(self, body: JSONObject, level: Scope, entries: Sequence[Entry]) -> None:
        clause = body.get("returningClause", {})
        options = [option["ReturningOption"] for option in clause.get("options", ())]
        target = entries[0]
        names = [option["value"] for option in options] + ["old", "new"]
        rows = [
            Entry(qualifier=name, base=target.base, columns=target.columns, complete=target.complete) for name in names
        ]
        self.each(clause.get("exprs", ()), Scope(parent=level, entries=list(entries), only_qualified=rows))

    def _bound(self, condition: JSONObject | None, body: JSONObject, target: Entry) -> None:
        """Note an UPDATE or DELETE that no condition binds."""
        relation = self.judge.find(relation_parts(body["relation"]))
        not_null = {column.name for column in relation.columns if column.not_null} if relation else set()
        if self.running and is_unbounded(condition, names={target.qualifier or ""}, not_null=not_null):
            self.unbounded = True

    def _reads_target(self, kind: str, body: JSONObject) -> bool:
        """Whether rows of the target are looked at: then SELECT on it is needed, as in PostgreSQL's own rights."""
        if kind == "MergeStmt" or "returningClause" in body:
            return True
        if not self.running and kind != "InsertStmt":  # a plan tells how many rows there may be, by what they hold
            return True
        if kind == "InsertStmt":
            return "onConflictClause" in body and body["onConflictClause"].get("action") == "ONCONFLICT_UPDATE"
        return "whereClause" in body or any(column_names(body.get("targetList", ())))

    # What happens to the target

    def write(self, relation: JSONObject) -> None:
        """Record a relation as written, unless nothing runs."""
        if self.running:
            self.named.changed.add(use_of(relation))

    def happens(self, relation: JSONObject, how: How, targets: Sequence[JSONObject] = ()) -> None:
        """Record what happens to rows of a relation, unless nothing runs; `targets` are what an update assigns."""
        if self.running:
            use, columns = use_of(relation), None
            table = self.judge.table(use.parts)
            if how == "update" and table is not None:
                # What is no column is left out: what an update may do to a table is remembered, and agents choose names.
                columns = table.columns.keys() & {target["ResTarget"].get("name", "") for target in targets}
            self.named.effects.add((use, Effect(how, None if columns is None else frozenset(columns))))

    def taking_rows(self, relation: JSONObject) -> JSONObject:
        """The target of new rows: only a partitioned table hands them on to its parts."""
        found = self.judge.find(relation_parts(relation))
        return relation if found is None or found.kind == "p" else {**relation, "inh": False}
