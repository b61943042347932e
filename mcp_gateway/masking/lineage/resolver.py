"""One statement to its verdict, and what views and functions stand for on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.catalog import Function, Relation
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.inference import KINDS
from mcp_gateway.masking.lineage.changes import Changes
from mcp_gateway.masking.lineage.classified import BUILTIN_PATH, ClassifiedCatalog, Expansion, Known
from mcp_gateway.masking.lineage.nodes import opened
from mcp_gateway.masking.lineage.queries import Row
from mcp_gateway.masking.lineage.scopes import Entry, Item, Scope
from mcp_gateway.masking.lineage.system import SYSTEM_SCHEMAS, is_held_back
from mcp_gateway.masking.lineage.values import (
    NONE,
    Classes,
    Column,
    Columns,
    Found,
    Unsure,
    Value,
    classes_of,
    tainted,
)
from mcp_gateway.masking.lineage.verdict import Lineage, OutputColumn

ONE_STATEMENT = "a call runs one statement, this text has {count}"
NOT_UNDER_MASKING = "{statement} is not available on a target with classified columns"
COPY_UNDER_MASKING = "COPY is not available on a target with classified columns: use SELECT"
NOT_FOLLOWED = "it writes, or calls code of its own, and cannot be followed: split it into simpler statements"
READERS = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
WRITERS = READERS - {"SelectStmt"}
PLAN = "QUERY PLAN"
UNCOUNTED = frozenset({"null_test", "test"})
"""Kinds that change no number in a plan: what was computed for the result is not printed."""


class Resolver(Changes):
    """The walk with all its layers."""

    # Relations

    def known(self, relation: Relation) -> Known:
        """The relation's columns with their classes, a view expanded."""
        qualified = relation.qualified
        known = self.prepared.known.get(qualified)
        if known is None:
            known = self.prepared.known[qualified] = self._classified(relation)
        return known

    def _classified(self, relation: Relation) -> Known:
        found = Found()
        if relation.schema in SYSTEM_SCHEMAS:
            held_back = {
                column.name: self.top
                for column in relation.columns
                if is_held_back(relation.schema, relation.name, column.name)
            }
            return Known(relation, self._stored_columns(relation, held_back), found, watched=False)
        found.relations.add(relation.qualified)
        if relation.schema == "pg_toast" or relation.schema.startswith("pg_temp"):
            everything = dict.fromkeys((column.name for column in relation.columns), self.top)
            found.touch = self.top
            return Known(relation, self._stored_columns(relation, everything), found, watched=True)
        if relation.kind in ("v", "m"):
            return self._view(relation, found)
        declared = self.prepared.stored.get(relation.qualified, {})
        if relation.kind == "f":
            everything = {column.name: declared.get(column.name, self.top) for column in relation.columns}
            found.touch = self.top
            found.opaque = True
            return Known(relation, self._stored_columns(relation, everything), found, watched=True)
        found.touch = self.prepared.held(relation.qualified)
        found.opaque = self._runs_unseen(relation, relation.policies)
        watched = any(
            of.has_triggers
            or of.kind == "f"
            or self._runs_unseen(of, (*of.policies, *of.checks))
            or self._runs_unseen(of, of.defaults, of_use=True)
            for name in self.prepared.families.written_along(relation.qualified)
            if (of := self.prepared.catalog.relations.get(name)) is not None
        )
        return Known(relation, self._stored_columns(relation, declared), found, watched=watched)

    def _stored_columns(self, relation: Relation, classes: Mapping[str, Classes]) -> Columns:
        own = self.prepared.stored.get(relation.qualified, {})
        return Columns(
            Column(
                column.name,
                Value(
                    classes.get(column.name, NONE) | own.get(column.name, NONE),
                    base=column.generated is None,
                    type=column.type,
                ),
            )
            for column in relation.columns
        )

    def _view(self, relation: Relation, found: Found) -> Known:
        declared = self.prepared.stored.get(relation.qualified, {})
        body = None if relation.definition is None else self._expanded_text(relation.qualified, relation.definition)
        if body is None or len(body.columns.all) != len(relation.columns):
            found.touch, found.opaque = self.top, True
            found.fact("rows", self.top)
            values = [Value(self.top, plain=False)] * len(relation.columns)
        else:
            found.merge(body.found)
            # What a view tests is masked where it is read, and was chosen by whoever made the view.
            found.facts.pop("test", None)
            values = [column.value for column in body.columns.all]
        columns = Columns(
            Column(column.name, tainted(value, declared.get(column.name, NONE))._replace(type=column.type))
            for column, value in zip(relation.columns, values, strict=True)
        )
        found.touch |= columns.classes
        return Known(relation, columns, found, watched=True)

    # What is stored as text

    def expansion(self, function: Function) -> Expansion | None:
        """The body of a LANGUAGE sql function resolved, or None where it cannot be seen through."""
        if function.language != "sql" or function.kind != "f" or not function.body:
            return None
        text = function.body.strip()
        atomic = text.upper().startswith(("BEGIN ATOMIC", "RETURN "))
        if atomic:
            text = f"CREATE FUNCTION f() RETURNS void {text}"
        inner = type(self)(
            self.prepared,
            path=BUILTIN_PATH if atomic else self.prepared.path,
            parameters=frozenset(name for name in function.arguments if name),
            own_name=function.name,
        )
        body = inner.resolved_text(f"{function.schema}.{function.name}/{function.oid}", text)
        # Its parameters were taken for clear, so where it puts them must not matter.
        return None if body is None or body.found.effects else body

    def _expanded_text(self, name: str, text: str) -> Expansion | None:
        return type(self)(self.prepared, path=BUILTIN_PATH).resolved_text(name, text)

    def resolved_text(self, name: str, text: str) -> Expansion | None:
        """Resolve a stored query; None where it is not one SELECT that can be followed."""
        if name in self.prepared.running:
            return None
        self.prepared.running.add(name)
        try:
            columns = self.query(_one_select(parse_tree(text)), None)
        except (Unsure, LookupError, TypeError, ValueError, AttributeError, RecursionError):
            return None
        finally:
            self.prepared.running.discard(name)
        if self.found.refusal is not None:
            return None
        return Expansion(Columns(columns), self.found)

    def generated(self, relation: Relation, expression: str) -> Classes:
        """The classes of a generation expression over the relation's own columns."""
        name = f"{relation.qualified}={expression}"
        if name in self.prepared.running:
            return self.top
        self.prepared.running.add(name)
        try:
            select = _one_select(parse_tree(f"SELECT ({expression})"))["SelectStmt"]
            columns = self._stored_columns(relation, {})
            scope = Scope()
            scope.add(Item([Entry(relation.name, columns)], [columns]))
            return classes_of(self.targets(select["targetList"], scope))
        except (Unsure, LookupError, TypeError, ValueError, AttributeError, RecursionError):
            return self.top
        finally:
            self.prepared.running.discard(name)

    def _runs_unseen(self, relation: Relation, expressions: Sequence[str], *, of_use: bool = False) -> bool:
        """Whether what a table evaluates by itself cannot be seen through, or, where its value is of use, is classified."""
        return any(self._is_unseen(relation, expression, of_use=of_use) for expression in expressions)

    def _is_unseen(self, relation: Relation, expression: str, *, of_use: bool) -> bool:
        name = f"{relation.qualified}?{expression}"
        if name in self.prepared.running:
            return True
        self.prepared.running.add(name)
        inner = type(self)(self.prepared, path=BUILTIN_PATH)
        try:
            select = _one_select(parse_tree(f"SELECT {expression}"))["SelectStmt"]
            columns = self._stored_columns(relation, {})
            scope = Scope()
            scope.add(Item([Entry(relation.name, columns)], [columns]))
            classes = classes_of(inner.targets(select["targetList"], scope))
        except (Unsure, LookupError, TypeError, ValueError, AttributeError, RecursionError):
            return True
        finally:
            self.prepared.running.discard(name)
        found = inner.found
        return found.opaque or found.effects or found.refusal is not None or (of_use and bool(classes))

    # Statements

    def verdict(self, node: JSONObject) -> Lineage:
        """Resolve one statement."""
        tag, body = opened(node)
        if tag in READERS:
            columns: Row = self.query(node, None)
            return self._lineage(columns)
        if tag == "ExplainStmt":
            return self._explained(body)
        if tag == "VariableShowStmt":
            return self._shown(body)
        if tag == "CopyStmt":
            return refused(COPY_UNDER_MASKING, self.top)
        return refused(NOT_UNDER_MASKING.format(statement=statement_name(tag, body)), self.top)

    def _lineage(self, columns: Row) -> Lineage:
        found = self.found
        if found.refusal is not None:
            return refused(found.refusal, self.top)
        if self.prepared.has_opaque_unwritten_cast:
            # Where one of them is applied, only types tell, and those are not followed.
            found.opaque = True
            columns = tuple(_unless_stored(column, self.top) for column in columns)
        return Lineage(
            columns=tuple([OutputColumn(name=name, classes=of.classes, stored=of.base) for name, of in columns]),
            touch=found.touch.union(
                classes_of(columns), *[of for kind, of in found.facts.items() if kind != "null_test"]
            ),
            opaque=found.opaque,
            inference=dict(found.facts),
            relations=frozenset(found.relations),
            functions=frozenset(found.functions),
        )

    def _explained(self, body: JSONObject) -> Lineage:
        """A plan prints what the planner has evaluated, user functions among it, and ANALYZE what it counted."""
        tag, _ = opened(body["query"])
        if tag not in READERS:
            return refused(NOT_UNDER_MASKING.format(statement=f"EXPLAIN {statement_name(tag, {})}"), self.top)
        self.query(body["query"], None)
        found = self.found
        classes = self.top if found.opaque else found.spoken
        if any(option["DefElem"]["defname"] == "analyze" for option in body.get("options", ())):
            classes = classes.union(*(of for kind, of in found.facts.items() if kind not in UNCOUNTED))
        return self._lineage((Column(PLAN, Value(classes)),))

    def _shown(self, body: JSONObject) -> Lineage:
        if body["name"] == "all":
            return self._lineage(tuple(Column(name, Value()) for name in ("name", "setting", "description")))
        return self._lineage((Column(None, Value()),))


def resolve_statement(statements: list[JSONObject], prepared: ClassifiedCatalog) -> Lineage:
    """The verdict on what one call would run; never raises."""
    if len(statements) != 1:
        return refused(ONE_STATEMENT.format(count=len(statements)), prepared.top)
    try:
        return Resolver(prepared, path=prepared.path).verdict(statements[0]["stmt"])
    except Exception:  # noqa: BLE001 - whatever went wrong, the statement is not understood: everything is masked
        return unsure(statements[0], prepared)


def refused(reason: str, top: Classes) -> Lineage:
    """A verdict that lets nothing run."""
    return Lineage(columns=None, touch=top, opaque=True, refusal=reason)


def unsure(statement: JSONObject, prepared: ClassifiedCatalog) -> Lineage:
    """All columns masked, everything inferable; refused where masking the result is not enough.

    What writes may move data, and what calls user code may hand it over; neither was checked.
    """
    top = prepared.top
    for tag, name in _tags_and_names(statement):
        if tag in WRITERS or (name is not None and _is_effectful(name, prepared)):
            return refused(NOT_FOLLOWED, top)
        if tag.endswith("Stmt") and tag not in READERS | {"ExplainStmt", "VariableShowStmt"}:
            return refused(NOT_UNDER_MASKING.format(statement=statement_name(tag, {})), top)
    return Lineage(columns=None, touch=top, opaque=True, inference=dict.fromkeys(KINDS, top) if top else {})


def statement_name(tag: str, body: JSONObject) -> str:
    """A statement as people call it: `CREATE TABLE AS` of CreateTableAsStmt."""
    if tag == "TransactionStmt":
        return str(body.get("kind", "")).removeprefix("TRANS_STMT_").replace("_", " ") or "transaction control"
    words = "".join(f" {letter}" if letter.isupper() else letter for letter in tag.removesuffix("Stmt"))
    return words.strip().upper()


def _unless_stored(column: Column, top: Classes) -> Column:
    """A column as it is if it is a stored one of one type, so that no cast was applied to it; else with all classes."""
    if column.value.base and column.value.type is not None:
        return column
    return Column(column.name, Value(top, plain=False))


def _one_select(statements: list[JSONObject]) -> JSONObject:
    if len(statements) != 1:
        raise Unsure("a body of several statements")
    node: JSONObject = statements[0]["stmt"]
    if "CreateFunctionStmt" in node:
        node = _atomic_body(node["CreateFunctionStmt"]["sql_body"])
    if "SelectStmt" not in node:
        raise Unsure("a body that is not a SELECT")
    return node


def _atomic_body(body: JSONObject) -> JSONObject:
    tag, inner = opened(body)
    if tag == "ReturnStmt":
        target = {"ResTarget": {"val": inner["returnval"]}}
        return {"SelectStmt": {"targetList": [target], "op": "SETOP_NONE"}}
    items = inner["items"]
    if tag == "List" and len(items) == 1 and "List" in items[0]:
        items = items[0]["List"]["items"]
    if len(items) != 1:
        raise Unsure("a body of several statements")
    found: JSONObject = items[0]
    return _atomic_body(found) if "ReturnStmt" in found else found


def _tags_and_names(statement: JSONObject) -> Iterator[tuple[str, str | None]]:
    """Every key of a tree with the text of each String node, without recursion."""
    waiting: list[Any] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            for tag, child in node.items():
                yield tag, child.get("sval") if tag == "String" and isinstance(child, dict) else None
                waiting.append(child)


def _is_effectful(name: str, prepared: ClassifiedCatalog) -> bool:
    if prepared.has_opaque_operator(name) or prepared.has_opaque_cast(name):
        return True
    judged = Resolver(prepared, path=prepared.path).judge([name])
    if judged is None:
        # It may be qualified by a schema that is not on the path.
        return bool(prepared.catalog.functions.get(name))
    return judged.opaque or judged.sink
