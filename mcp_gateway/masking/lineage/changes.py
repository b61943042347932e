"""INSERT, UPDATE, DELETE and MERGE: what they return, and what they would move.

A value with a class that the column it is written to does not have would lose it there: such a statement is refused.
That also makes RETURNING sound, since a written column then has all the classes of what was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.catalog import EVENTS
from mcp_gateway.masking.lineage.classified import Known
from mcp_gateway.masking.lineage.nodes import opened
from mcp_gateway.masking.lineage.queries import Queries, Row
from mcp_gateway.masking.lineage.scopes import Entry, Item, Scope
from mcp_gateway.masking.lineage.values import MOVED, NONE, Classes, Column, Unsure, Value, tainted

WOULD_LOSE = "it would write {classes} into {column}, which does not have that class"
OLD_AND_NEW_SINCE = 180000
INSERTED, UPDATED, DELETED = frozenset({"insert"}), frozenset({"update"}), frozenset({"delete"})


@dataclass(slots=True, kw_only=True)
class Written:
    """The relation that a statement writes to."""

    known: Known
    alias: str
    aliased: bool

    def entry(self, alias: str | None = None) -> Entry:
        """It as a range-table entry."""
        relation = self.known.relation
        qualified = None if self.aliased or alias else relation.qualified
        return Entry(alias or self.alias, self.known.columns, qualified=qualified, stored=relation.kind != "v")


class Changes(Queries):
    """Queries that write."""

    def change(self, tag: str, body: JSONObject, scope: Scope | None) -> Row:
        """Resolve a query that writes: the columns of its RETURNING."""
        self.visit()
        self.found.effects = True
        inner = Scope(scope)
        self.with_clause(body, inner)
        match tag:
            case "InsertStmt":
                return self._insert(body, inner)
            case "UpdateStmt":
                return self._update(body, inner)
            case "DeleteStmt":
                return self._delete(body, inner)
            case "MergeStmt":
                return self._merge(body, inner)
            case _:
                raise Unsure(f"a {tag} where a query belongs")

    def _insert(self, body: JSONObject, scope: Scope) -> Row:
        written, events = self._target(body["relation"]), INSERTED
        named = [target["ResTarget"]["name"] for target in body.get("cols", ())]
        if "selectStmt" in body:
            source = self.query(body["selectStmt"], scope)
            self._write_row(written, named, [column.value.classes for column in source])
        conflict = body.get("onConflictClause")
        entry = written.entry()
        scope.add(Item([entry], [entry.columns], stored=entry.stored))
        if conflict is not None:
            inside = scope.with_item(Item([written.entry("excluded")], []))
            asked = conflict.get("infer", {})
            elements = [_element(e["IndexElem"]) for e in asked.get("indexElems", ())]
            conditions = [node["whereClause"] for node in (asked, conflict) if "whereClause" in node]
            self.found.fact("where", self.classes([*elements, *conditions], inside))
            if not elements:
                # Which rows are taken is decided by any unique index, over whichever columns.
                self.found.fact("where", written.known.columns.classes - self.data)
            if conflict["action"] == "ONCONFLICT_UPDATE":
                self.found.touch |= self.top
                self._assign(written, conflict["targetList"], inside)
                events = INSERTED | UPDATED
        return self._returning(body, written, scope, events=events)

    def _update(self, body: JSONObject, scope: Scope) -> Row:
        written = self._target(body["relation"])
        self.found.touch |= self.top
        entry = written.entry()
        scope.add(Item([entry], [entry.columns], stored=entry.stored))
        self.from_clause(body.get("fromClause", ()), scope)
        self.where(body, scope)
        self._assign(written, body["targetList"], scope)
        # A row that goes to another partition is deleted in one and inserted into the other.
        events = EVENTS if written.known.relation.kind == "p" else UPDATED
        return self._returning(body, written, scope, events=events)

    def _delete(self, body: JSONObject, scope: Scope) -> Row:
        written = self._target(body["relation"])
        self.found.touch |= self.top
        entry = written.entry()
        scope.add(Item([entry], [entry.columns], stored=entry.stored))
        self.from_clause(body.get("usingClause", ()), scope)
        self.where(body, scope)
        return self._returning(body, written, scope, events=DELETED)

    def _merge(self, body: JSONObject, scope: Scope) -> Row:
        written = self._target(body["relation"])
        self.found.touch |= self.top
        entry = written.entry()
        self.from_clause([body["sourceRelation"]], scope)
        scope.add(Item([entry], [entry.columns], stored=entry.stored))
        self.found.fact("join", self.value(body["joinCondition"], scope).classes)
        for clause in body.get("mergeWhenClauses", ()):
            when = clause["MergeWhenClause"]
            if "condition" in when:
                self.found.fact("condition", self.value(when["condition"], scope).classes)
            match when["commandType"]:
                case "CMD_INSERT":
                    named = [target["ResTarget"]["name"] for target in when.get("targetList", ())]
                    values = [self.value(node, scope).classes for node in when.get("values", ())]
                    self._write_row(written, named, values)
                case "CMD_UPDATE":
                    self._assign(written, when["targetList"], scope)
                case "CMD_DELETE" | "CMD_NOTHING":
                    pass
                case command:
                    raise Unsure(f"{command} in MERGE")
        columns = self._returning(body, written, scope, events=EVENTS)
        # Which side a column comes from depends on the server's version.
        everything = NONE.union(*(flat.classes for flat in scope.flats))
        return tuple(Column(of.name, tainted(of.value, everything)) for of in columns)

    # Parts

    def _target(self, body: JSONObject) -> Written:
        relation = self.prepared.relation(body.get("schemaname"), body["relname"], path=self.path)
        if relation is None:
            raise Unsure("a relation that the catalog does not have")
        known = self.known(relation)
        self.found.merge(known.found)
        if known.watched:
            # A trigger may raise, or leave rows out, by whatever it reads.
            self.opaque()
            self.found.fact("rows", self.top)
        self.found.fact(MOVED, known.moves)
        alias = body.get("alias", {})
        if "colnames" in alias:
            raise Unsure("a column alias list on what is written to")
        return Written(known=known, alias=alias.get("aliasname", relation.name), aliased=bool(alias))

    def _write_row(self, written: Written, named: Sequence[str], values: Sequence[Classes]) -> None:
        """Values by position, to the named columns or else to all of them in order."""
        names = named or [column.name for column in written.known.relation.columns]
        if len(values) > len(names):
            raise Unsure("more values than columns")
        for name, classes in zip(names, values, strict=False):
            self._write(written, name, classes)
        self._check(written, names[: len(values)], new=True)

    def _assign(self, written: Written, targets: Sequence[JSONObject], scope: Scope) -> None:
        """The list of SET."""
        sources: Row = ()
        for node in targets:
            target = node["ResTarget"]
            subscripts = [
                step["A_Indices"][key]
                for step in target.get("indirection", ())
                if "A_Indices" in step
                for key in ("lidx", "uidx")
                if key in step["A_Indices"]
            ]
            classes = self.classes(subscripts, scope)
            tag, body = opened(target["val"])
            if tag == "MultiAssignRef":
                # Every assignment of `(a, b) = source` repeats the source; it is resolved for the first.
                if body["colno"] == 1:
                    sources = self._assigned_row(body["source"], scope)
                if len(sources) != body["ncolumns"]:
                    raise Unsure("a row of another length than the columns it is assigned to")
                classes |= sources[body["colno"] - 1].value.classes
            else:
                classes |= self.value(target["val"], scope).classes
            self._write(written, target["name"], classes)
        self._check(written, [node["ResTarget"]["name"] for node in targets])

    def _check(self, written: Written, assigned: Sequence[str], *, new: bool = False) -> None:
        """A CHECK, or what has to be unique, over what is assigned and over what is not: failing or not tells of that.

        To the CHECKs of a new row all of it is new.
        """
        name, prepared = written.known.relation.qualified, self.prepared
        own = prepared.columns.of(name)
        changed = NONE.union(*(own.get(column, NONE) for column in assigned))
        for relation in filter(None, map(prepared.catalog.relations.get, (name, *prepared.families.descendants(name)))):
            for rule in (*relation.unique_by, *(() if new else relation.checks)):
                used = self.computed(relation, rule)
                self.found.fact("may_fail", NONE if changed.isdisjoint(used) else used & self.data)

    def _assigned_row(self, node: JSONObject, scope: Scope) -> Row:
        tag, body = opened(node)
        if tag == "RowExpr":
            return tuple(column for item in body.get("args", ()) for column in self.expanded(item, scope))
        if tag != "SubLink":
            raise Unsure("a row from something that is neither ROW nor a subquery")
        value = self.value(node, scope)
        return value.row if value.row is not None else (Column(None, value),)

    def _write(self, written: Written, name: str | None, classes: Classes) -> None:
        held = written.known.columns.names.get(name or "")
        if held is None:
            raise Unsure("a column that the catalog does not have")
        # What is written may break a rule that only other values know of: a unique index, a CHECK, a length.
        self.found.fact("may_fail", held.classes & self.data)
        self.found.fact(MOVED, classes - self.data)
        if lost := (classes & self.data) - held.classes:
            column = f"{written.known.relation.qualified}.{name}"
            self.found.refuse(WOULD_LOSE.format(classes=", ".join(sorted(lost)), column=column))

    def _returning(self, body: JSONObject, written: Written, scope: Scope, *, events: frozenset[str]) -> Row:
        clause = body.get("returningClause")
        if clause is None:
            return ()
        names = {"old": "old", "new": "new"} if self.prepared.catalog.server_version >= OLD_AND_NEW_SINCE else {}
        for option in clause.get("options", ()):
            names[option["ReturningOption"]["option"]] = option["ReturningOption"]["value"]
        inside = scope.with_item(Item([written.entry(alias) for alias in names.values()], []))
        columns = self.targets(clause["exprs"], inside)
        if not written.known.watched or written.known.reshaped.isdisjoint(events):
            return columns
        return tuple(Column(of.name, Value(self.top | of.value.classes, plain=False)) for of in columns)


def _element(body: JSONObject) -> JSONObject:
    """What ON CONFLICT infers an index by: an expression, or a column by its name."""
    expression: JSONObject = body["expr"] if "expr" in body else _reference(body["name"])
    return expression


def _reference(name: str) -> JSONObject:
    return {"ColumnRef": {"fields": [{"String": {"sval": name}}]}}
