"""What a function, operator or cast lets through.

A name stands for every function of that name on the path, since argument types are not known: the call is pure only
if all of them are. LANGUAGE sql functions with one SELECT are expanded like views. All else is opaque: it may return
anything, and classified data may not be handed to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.catalog import Function
from mcp_gateway.masking.lineage.builtins import (
    GROWING,
    SINKS,
    STEADY_TYPES,
    TOTAL_BY_TYPE,
    TOTAL_FUNCTIONS,
    TOTAL_IN_ARGUMENT,
    TOTAL_ON_SINGLE,
    TOTAL_ON_STEADY,
    TOTAL_WITH_LITERALS_IN,
    UNBOUNDED_RESULTS,
)
from mcp_gateway.masking.lineage.classified import ClassifiedCatalog, Expansion, Judged, Shape, Unwritten
from mcp_gateway.masking.lineage.literals import are_harmless
from mcp_gateway.masking.lineage.nodes import is_constant
from mcp_gateway.masking.lineage.purity import is_builtin, is_pure
from mcp_gateway.masking.lineage.values import NONE, Classes, Column, Columns, Unsure, Value, joined, tainted, union
from mcp_gateway.masking.lineage.walker import Walker

_ARRAYS: Final = frozenset({"pg_catalog.anyarray", "pg_catalog.anycompatiblearray"})
_ELEMENTS: Final = frozenset(
    {"pg_catalog.anyelement", "pg_catalog.anycompatible", "pg_catalog.anynonarray", "pg_catalog.anycompatiblenonarray"}
)
_POLYMORPHIC: Final = _ARRAYS | _ELEMENTS


class Calls(Walker):
    """Functions by name, applied to values."""

    def judge(self, names: Sequence[str]) -> Judged | None:
        """Judge what a possibly qualified function name stands for; None where there is no such function."""
        schema, name = (names[-2] if len(names) > 1 else None), names[-1]
        key, known = (schema, name, self.path), self.prepared.judged
        judged = known.get(key)
        if judged is None and key not in known:
            candidates = self.prepared.functions(schema, name, path=self.path)
            judged = known[key] = self._judged(candidates) if candidates else None
        return judged

    def _judged(self, candidates: tuple[Function, ...]) -> Judged:
        opaque = sink = False
        expansions: list[Expansion] = []
        for function in candidates:
            if is_builtin(function) and function.name in SINKS:
                sink = True
                continue
            run = [] if is_pure(function, self.prepared.functions_named) else [self.expansion(function)]
            if not (is_builtin(function) or function.defaults == ""):
                passed = self.defaults(function)
                run += [] if passed is not None and passed.is_constant else [passed]
            opaque = opaque or any(part is None or part.found.opaque for part in run)
            expansions += [part for part in run if part is not None]
        names = {f.name for f in candidates}
        shapes = {_shape(f, self.prepared) for f in candidates}
        types = {f.result_type for f in candidates}
        builtin = all(is_builtin(f) for f in candidates)
        return Judged(
            names=frozenset(f"{f.schema}.{f.name}" for f in candidates if not is_builtin(f)),
            builtin=builtin,
            kinds=frozenset(f.kind for f in candidates),
            opaque=opaque,
            sink=sink,
            returns_set=any(f.returns_set for f in candidates),
            total=builtin and names <= TOTAL_FUNCTIONS.union(TOTAL_IN_ARGUMENT, TOTAL_WITH_LITERALS_IN),
            expansions=tuple(expansions),
            shape=shapes.pop() if len(shapes) == 1 else Shape("open"),
            result_type=types.pop() if len(types) == 1 else None,
        )

    def unwritten(self) -> Unwritten:
        """What is known of the casts and comparisons that are applied without being written."""
        found = self.prepared.unwritten
        if found is None:
            self.prepared.unwritten = Unwritten(opaque=True, functions=frozenset())  # what its own body finds
            catalog = self.prepared.catalog
            names = sorted({*catalog.comparing, *(catalog.unwritten_casts or ())})
            read = [name for name in names if not self.prepared.is_pure(name)]
            opaque = not all(map(self._is_pure_by_its_body, read))
            found = self.prepared.unwritten = Unwritten(opaque=opaque, functions=frozenset(read))
        return found

    def _is_pure_by_its_body(self, qualified: str) -> bool:
        functions = self.prepared.functions_named(qualified)
        judged = self._judged(functions) if functions else None
        if judged is None or judged.opaque or judged.sink:
            return False
        return not any(body.columns.classes or body.found.relations or body.found.facts for body in judged.expansions)

    def applied(
        self,
        judged: Judged,
        name: str,
        arguments: Sequence[Value],
        *,
        nodes: Sequence[JSONObject] = (),
        extra: Classes = NONE,
    ) -> Value:
        """The value of a call: its arguments' classes, what its body adds, everything if it is opaque.

        `nodes` are what the arguments were made of; `extra` are classes that decide over the result beside the
        arguments.
        """
        together = union(arguments)
        given = joined(together.classes, extra)
        if judged.opaque or judged.sink:
            self.hand_over(given, name)
        self.found.effects = self.found.effects or judged.sink
        plain = together.plain and self._is_total(judged, name, arguments, nodes=nodes)
        if given and not plain:
            self.found.fact("may_fail", given)
        if judged.names:
            self.found.functions |= judged.names
        for expansion in judged.expansions:
            self.found.merge(expansion.found)
        if judged.opaque:
            value = self.opaque()
            if judged.returns_set:
                self.found.fact("rows", self.top)
            return value.of_type(self._result_type(judged, arguments), self._row(judged, value, arguments))
        classes = given
        if judged.expansions:
            classes = given.union(*(e.columns.classes | e.found.flow() for e in judged.expansions))
            self.found.spoken |= classes
        if judged.returns_set:
            self.found.fact("rows", given)
        bounded = plain and not judged.returns_set and name not in UNBOUNDED_RESULTS
        value = Value(classes, plain=bounded, type=self._result_type(judged, arguments))
        if judged.shape.kind != "scalar" and (row := self._row(judged, value, arguments)) is not None:
            return value.of_type(value.type, row)
        return value

    def field(self, value: Value, name: str) -> Value:
        """`(value).name`: a column of it, else the function of that name applied to it."""
        row = value.row or self.row_of_type(value.type, value)
        if row is not None:
            columns = Columns(row)
            if name in columns.names:
                return tainted(columns.names[name], columns.loose or NONE)
            loose = columns.loose
        else:
            loose = value.classes
        judged = self.judge([name])
        if judged is None:
            if loose is None:
                raise Unsure("no such field")
            return Value(loose, plain=value.plain)
        # It has all classes of the row, so those of a column that it might be instead are among them.
        return self.applied(judged, name, [value])

    def row_of_type(self, name: str | None, value: Value) -> tuple[Column, ...] | None:
        """The columns of a composite type, each with the classes of the value."""
        relation = self.prepared.row_type(name)
        if relation is None:
            return None
        of = Value(value.classes, plain=value.plain)
        return tuple(Column(column.name, of.of_type(column.type, of.row)) for column in relation.columns)

    def result_columns(
        self, judged: Judged, value: Value, arguments: Sequence[Value], *, scalar_name: str | None
    ) -> Columns:
        """The columns of a call in FROM; `scalar_name` names the one of a plain result."""
        kind, names = judged.shape
        if kind == "scalar" or (kind == "argument" and self.prepared.is_simple(value.type)):
            return Columns([Column(names[0] if names else scalar_name, value.of_type(value.type))])
        if kind in ("open", "record") or value.row is None:
            return Columns((), open_classes=value.classes)
        return Columns(self._expanded(judged, value, arguments) or value.row)

    def _expanded(self, judged: Judged, value: Value, arguments: Sequence[Value]) -> tuple[Column, ...] | None:
        """Column by column, where the call is one LANGUAGE sql function and nothing else."""
        if judged.opaque or len(judged.expansions) != 1 or value.row is None:
            return None
        [expansion] = judged.expansions
        body = expansion.columns.all
        if len(body) == 1 and len(value.row) != 1 and body[0].value.row is not None:
            body = body[0].value.row
        if len(body) != len(value.row):
            return None
        given = NONE.union(*(a.classes for a in arguments), expansion.found.flow())
        return tuple(
            Column(named.name, Value(of.value.classes | given, plain=False, type=named.value.type))
            for named, of in zip(value.row, body, strict=True)
        )

    def _row(self, judged: Judged, value: Value, arguments: Sequence[Value]) -> tuple[Column, ...] | None:
        kind, names = judged.shape
        if kind == "argument":
            first = arguments[0] if arguments else value
            row = first.row or self.row_of_type(first.type, first)
            return None if row is None else tuple(Column(of.name, Value(value.classes, plain=False)) for of in row)
        if kind != "row":
            return None
        of = Value(value.classes, plain=False)
        columns = self.row_of_type(judged.result_type, of)
        return columns if columns is not None else tuple(Column(name or None, of) for name in names)

    def _result_type(self, judged: Judged, arguments: Sequence[Value]) -> str | None:
        result = judged.result_type
        if result not in _POLYMORPHIC:
            return result
        types = [argument.type for argument in arguments]
        if not types or not all(self.prepared.is_simple(name) for name in types):
            return None
        first = next(name for name in types if name is not None)
        if result in _ARRAYS:
            return f"{first.removesuffix('[]')}[]"
        return None if any(name is not None and name.endswith("[]") for name in types) else first

    def _is_total(self, judged: Judged, name: str, arguments: Sequence[Value], *, nodes: Sequence[JSONObject]) -> bool:
        """Whether a call cannot fail on arguments that are plain."""
        if not judged.total:
            return False
        if name in TOTAL_ON_STEADY and not all(is_steady(argument) for argument in arguments):
            return False
        if name in TOTAL_ON_SINGLE and not all(of.base or self.is_single(of.type) for of in arguments):
            return False
        if name in TOTAL_BY_TYPE and not all(argument.type in TOTAL_BY_TYPE[name] for argument in arguments):
            return False
        if name in GROWING and self.grows():
            return False
        return _is_total_with(name, nodes) and are_harmless(name, nodes, [of.type for of in arguments])

    def is_row(self, value: Value) -> bool:
        """Whether it is a row: comparing one may fail, by columns that are unlike or cannot be compared."""
        if value.type is None or value.row is not None:
            return value.row is not None
        return value.type == "pg_catalog.record" or self.prepared.row_type(value.type) is not None

    def is_single(self, name: str | None) -> bool:
        """Whether a value of this type is certainly no array, and of no unknown type that could be one."""
        return self.prepared.is_simple(name) and name is not None and not name.endswith("[]")


def _shape(function: Function, prepared: ClassifiedCatalog) -> Shape:
    result = function.result_type
    if len(function.outputs) > 1:
        return Shape("row", function.outputs)
    if result in prepared.catalog.domains:
        return Shape("open")
    if prepared.row_type(result) is not None:
        return Shape("row", (result,))
    if result in _ELEMENTS:
        return Shape("argument")
    if result == "pg_catalog.record":
        return Shape("record")
    return Shape("scalar", tuple(name for name in function.outputs if name))


def is_steady(value: Value) -> bool:
    """Whether a value is in the database as it is, or of a type all of whose values are alike."""
    return value.base or value.type in STEADY_TYPES


def _is_total_with(name: str, nodes: Sequence[JSONObject]) -> bool:
    if name in TOTAL_FUNCTIONS:
        return True
    subject = TOTAL_IN_ARGUMENT.get(name, 0)
    if name in TOTAL_WITH_LITERALS_IN:
        return all(map(is_constant, nodes[:: TOTAL_WITH_LITERALS_IN[name]]))
    return all(is_constant(node) for position, node in enumerate(nodes) if position != subject)
