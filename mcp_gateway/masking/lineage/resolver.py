"""One statement to its verdict, and what views and functions stand for on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.catalog import EVENTS, Function, Relation
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.uses import NOT_FOLLOWED, Uses
from mcp_gateway.inference import KINDS
from mcp_gateway.masking.lineage.changes import Changes
from mcp_gateway.masking.lineage.classified import BUILTIN_PATH, ClassifiedCatalog, Expansion, Known
from mcp_gateway.masking.lineage.nodes import opened
from mcp_gateway.masking.lineage.queries import Row
from mcp_gateway.masking.lineage.scopes import Entry, Item, Scope
from mcp_gateway.masking.lineage.statements import (
    NOT_UNDER_MASKING,
    UNDER_MASKING,
    WRITERS,
    asks,
    not_under_masking,
    one_select,
    query_in,
    statement_name,
)
from mcp_gateway.masking.lineage.system import SYSTEM_SCHEMAS, is_held_back
from mcp_gateway.masking.lineage.uses import NO_USES, uses_found
from mcp_gateway.masking.lineage.values import (
    ANY_COLUMN,
    NONE,
    Classes,
    Column,
    Columns,
    Found,
    Unsure,
    Value,
    classes_of,
    limited,
    tainted,
)
from mcp_gateway.masking.lineage.verdict import Lineage, OutputColumns

ONE_STATEMENT = "a call runs one statement, this text has {count}"
REFUSED_UNFOLLOWED = "it writes, or calls code of its own, and cannot be followed: split it into simpler statements"
PLAN = "QUERY PLAN"
UNCOUNTED = frozenset({"null_test", "test"})
"""Kinds that change no number in a plan: what was computed for the result is not printed."""
NOT_FOLLOWABLE = (Unsure, LookupError, TypeError, ValueError, AttributeError, RecursionError)
NOTHING_ELSE: frozenset[str] = frozenset()
NOTHING_MORE: Mapping[str, Classes] = {}


class Followed(NamedTuple):
    """What following a statement has found."""

    lineage: Lineage
    uses: Uses | None
    """The stored columns that it uses; None where there is no query in it."""


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
        known = self._by_kind(relation)
        for policy in relation.policies:
            evaluated = self._evaluated(relation, policy, purpose="policy")
            used = ANY_COLUMN if evaluated is None else evaluated.columns.classes.union(*evaluated.found.facts.values())
            known.found.fact("where", used - self.data)
        return known

    def _by_kind(self, relation: Relation) -> Known:
        found = Found()
        if relation.schema in SYSTEM_SCHEMAS:
            held_back = {
                column.name: self.data
                for column in relation.columns
                if is_held_back(relation.schema, relation.name, column.name)
            }
            moves = NONE if relation.kind == "r" else ANY_COLUMN
            return Known(relation, self._stored_columns(relation, held_back), found, watched=False, moves=moves)
        found.relations.add(relation.qualified)
        if relation.schema == "pg_toast" or relation.schema.startswith("pg_temp"):
            everything = dict.fromkeys((column.name for column in relation.columns), self.top)
            found.touch = self.top
            return Known(relation, self._stored_columns(relation, everything), found, watched=True)
        if relation.kind in ("v", "m"):
            return self._view(relation, found)
        if relation.kind == "f":
            declared = self.prepared.stored.get(relation.qualified, {})
            everything = {column.name: declared.get(column.name, self.data) for column in relation.columns}
            found.touch = self.top
            found.opaque = True
            return Known(relation, self._stored_columns(relation, everything), found, watched=True)
        found.touch = self.prepared.held(relation.qualified)
        found.opaque = any(self._runs_unseen(relation, policy) for policy in relation.policies)
        watched, moves = self._written(relation)
        reshaped = self._reshaped(relation) if watched else NOTHING_ELSE
        columns, families = self._stored_columns(relation), self.prepared.families
        columns.placed = self._places(relation.qualified, *families.descendants(relation.qualified))
        found.spoken |= columns.placed  # a plan says what is found in which partition
        # To read one partition is to choose rows by what partitions them.
        found.fact("where", self._places(*families.ancestors(relation.qualified)))
        return Known(relation, columns, found, watched=watched, reshaped=reshaped, moves=moves)

    def _places(self, *names: str) -> Classes:
        """The data classes of what decides in which partition of these relations a row is."""
        of = [self.prepared.catalog.relations[name] for name in names if name in self.prepared.catalog.relations]
        return NONE.union(*(self.computed(one, key) for one in of for key in one.partitioned_by)) & self.data

    def _written(self, relation: Relation) -> tuple[bool, Classes]:
        """Whether writing to a table runs code that nobody sees, and the stored columns that its defaults write."""
        moves = NONE
        for name in self.prepared.families.written_along(relation.qualified):
            of = self.prepared.catalog.relations.get(name)
            if of is None:
                continue
            if of.has_triggers or of.kind == "f":
                return True, NONE
            if any(self._runs_unseen(of, expression) for expression in (*of.policies, *of.checks, *of.defaults)):
                return True, NONE
            moves = moves.union(*(self.computed(of, default) for default in of.defaults))
        return not moves.isdisjoint(self.data), ANY_COLUMN if moves else NONE

    def _reshaped(self, relation: Relation) -> frozenset[str]:
        """On what events a table that is written shows in RETURNING what code made that nobody sees.

        A trigger that is AFTER cannot: the server fires it when all rows that are returned have been computed.
        """
        families, relations = self.prepared.families, self.prepared.catalog.relations
        own = {relation.qualified, *families.descendants(relation.qualified), *families.ancestors(relation.qualified)}
        events: set[str] = set()
        for of in filter(None, map(relations.get, own.union(families.written_along(relation.qualified)))):
            code = (*of.policies, *of.checks, *of.defaults)
            if of.rules or of.kind == "f" or any(self._runs_unseen(of, one) for one in code):
                return EVENTS
            if not self.data.isdisjoint(NONE.union(*(self.computed(of, default) for default in of.defaults))):
                return EVENTS
            if of.has_triggers:
                events |= of.reshaped_on if of.qualified in own else {"update", "delete"}
        return frozenset(events)

    def _stored_columns(self, relation: Relation, classes: Mapping[str, Classes] = NOTHING_MORE) -> Columns:
        own, data = self.prepared.columns.of(relation.qualified), self.prepared.stored.get(relation.qualified, {})
        return Columns(
            Column(
                column.name,
                Value(
                    own[column.name] | data.get(column.name, NONE) | classes.get(column.name, NONE),
                    base=column.generated is None,
                    type=column.type,
                ),
            )
            for column in relation.columns
        )

    def _view(self, relation: Relation, found: Found) -> Known:
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
        if relation.kind == "m":
            # Its columns are copies: those that they were made of decide nothing any more.
            found.facts = {kind: classes & self.data for kind, classes in found.facts.items()}
            values = [limited(value, self.data) for value in values]
        columns = Columns(
            Column(own.name, (given := tainted(value, own.value.classes)).of_type(own.value.type, given.row))
            for own, value in zip(self._stored_columns(relation).all, values, strict=True)
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

    def defaults(self, function: Function) -> Expansion | None:
        """What a call passes for arguments that it leaves out, or None where that cannot be seen through."""
        if function.defaults is None:
            return None
        passed = self._expanded_text(
            f"{function.schema}.{function.name}/{function.oid}/defaults", f"SELECT {function.defaults}"
        )
        return None if passed is None or passed.found.effects else passed

    def _expanded_text(self, name: str, text: str) -> Expansion | None:
        return type(self)(self.prepared, path=BUILTIN_PATH).resolved_text(name, text)

    def resolved_text(self, name: str, text: str) -> Expansion | None:
        """Resolve a stored query; None where it is not one SELECT that can be followed."""
        if name in self.prepared.running:
            return None
        self.prepared.running.add(name)
        try:
            columns = self.query(one_select(parse_tree(text)), None)
        except NOT_FOLLOWABLE:
            return None
        finally:
            self.prepared.running.discard(name)
        if self.found.refusal is not None:
            return None
        return Expansion(Columns(columns), self.found)

    def computed(self, relation: Relation, expression: str) -> Classes:
        """The classes of what a table computes for a column: a generation expression, a default."""
        evaluated = self._evaluated(relation, expression, purpose="computed")
        return self.top if evaluated is None else evaluated.columns.classes

    def _runs_unseen(self, relation: Relation, expression: str) -> bool:
        """Whether what a table evaluates by itself cannot be seen through."""
        evaluated = self._evaluated(relation, expression, purpose="run")
        if evaluated is None:
            return True
        found = evaluated.found
        return found.opaque or found.effects or found.refusal is not None

    def _evaluated(self, relation: Relation, expression: str, *, purpose: str) -> Expansion | None:
        """An expression over a relation's own columns resolved; None where it cannot be followed."""
        columns = self._stored_columns(relation)  # which may ask for this expression itself
        name = f"{relation.qualified}!{purpose}!{expression}"
        if name in self.prepared.running:
            return None
        self.prepared.running.add(name)
        inner = type(self)(self.prepared, path=BUILTIN_PATH)
        try:
            select = one_select(parse_tree(f"SELECT ({expression})"))["SelectStmt"]
            scope = Scope()
            scope.add(Item([Entry(relation.name, columns, stored=True)], [columns], stored=True))
            return Expansion(Columns(inner.targets(select["targetList"], scope)), inner.found)
        except NOT_FOLLOWABLE:
            return None
        finally:
            self.prepared.running.discard(name)

    # Statements

    def followed(self, node: JSONObject) -> Followed:
        """Resolve one statement."""
        tag, body = opened(node)
        if tag == "VariableShowStmt":
            return Followed(self._lineage(_shown(body)), NO_USES)
        columns = self.query(query_in(node), None)
        uses = uses_found(columns, self.found, self.prepared, unseen=self.unwritten().opaque)
        return Followed(self._explained(body) if tag == "ExplainStmt" else self._lineage(columns), uses)

    def _lineage(self, columns: Row) -> Lineage:
        found, data = self.found, self.data
        if found.refusal is not None:
            return refused(found.refusal, data)
        unwritten = self.unwritten()
        found.functions |= unwritten.functions
        if unwritten.opaque:
            # Where one of them is applied, only types tell, and those are not followed.
            found.opaque = True
            columns = tuple(_unless_stored(column, self.top) for column in columns)
        inference = {kind: told for kind, of in found.facts.items() if (told := of & data)}
        touched = found.touch.union(classes_of(columns), *[of for kind, of in inference.items() if kind != "null_test"])
        return Lineage(
            columns=OutputColumns.gathered(
                [of.name for of in columns], [(of.value.classes & data, of.value.base) for of in columns]
            ),
            touch=touched & data,
            opaque=found.opaque,
            inference=inference,
            relations=frozenset(found.relations),
            functions=frozenset(found.functions),
        )

    def _explained(self, body: JSONObject) -> Lineage:
        """A plan prints what the planner has evaluated, user functions among it, and ANALYZE what it counted."""
        found = self.found
        classes = self.top if found.opaque else found.spoken
        if any(option["DefElem"]["defname"] == "analyze" for option in body.get("options", ())):
            found.fact("rows", found.spoken)  # a line more for what was left out somewhere
            classes = classes.union(found.cached, *(of for kind, of in found.facts.items() if kind not in UNCOUNTED))
        return self._lineage((Column(PLAN, Value(classes)),))


def follow(statements: list[JSONObject], prepared: ClassifiedCatalog) -> Followed:
    """What one call would return and use; never raises.

    On a target without classified columns there is nothing to prove: the verdict is empty and refuses nothing.
    """
    if not prepared.data:
        return Followed(Lineage(columns=None), _followed(statements, prepared).uses)
    return _followed(statements, prepared)


def _followed(statements: list[JSONObject], prepared: ClassifiedCatalog) -> Followed:
    if len(statements) != 1:
        return Followed(refused(ONE_STATEMENT.format(count=len(statements)), prepared.data), None)
    reason: str | None = None
    uses: Uses | None = NOT_FOLLOWED
    try:
        node = statements[0]["stmt"]
        uses = NOT_FOLLOWED if asks(node) else None
        reason = not_under_masking(node)
        found = Resolver(prepared, path=prepared.path).followed(node)
    except Exception:  # noqa: BLE001 - whatever went wrong, the statement is not understood: everything is masked
        found = Followed(unsure(statements[0], prepared), uses)
    return found if reason is None else found._replace(lineage=refused(reason, prepared.data))


def refused(reason: str, top: Classes) -> Lineage:
    """A verdict that lets nothing run."""
    return Lineage(columns=None, touch=top, opaque=True, refusal=reason)


def unsure(statement: JSONObject, prepared: ClassifiedCatalog) -> Lineage:
    """All columns masked, everything inferable; refused where masking the result is not enough.

    What writes may move data, and what calls user code may hand it over; neither was checked.
    """
    data = prepared.data
    for tag, name in _tags_and_names(statement):
        if tag in WRITERS or (name is not None and _is_effectful(name, prepared)):
            return refused(REFUSED_UNFOLLOWED, data)
        if tag.endswith("Stmt") and tag not in UNDER_MASKING:
            return refused(NOT_UNDER_MASKING.format(statement=statement_name(tag, {})), data)
    return Lineage(columns=None, touch=data, opaque=True, inference=dict.fromkeys(KINDS, data) if data else {})


def _shown(body: JSONObject) -> Row:
    if body["name"] == "all":
        return tuple(Column(name, Value()) for name in ("name", "setting", "description"))
    return (Column(None, Value()),)


def _unless_stored(column: Column, top: Classes) -> Column:
    """A column as it is if no cast can have been applied to it; else with all classes."""
    return column if column.value.is_untouched else Column(column.name, Value(top, plain=False))


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
