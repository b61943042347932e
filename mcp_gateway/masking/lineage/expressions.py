"""The classes of an expression: the union over all it is made of, with the exceptions below.

The list of nodes is closed; one that is not on it is not followed. A condition counts as an input. What is clear
although its input is not: a NULL test on a stored column, and what counts rows or non-NULLs of a stored column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from mcp_gateway.calls import JSONObject
from mcp_gateway.masking.lineage.nodes import opened, strings
from mcp_gateway.masking.lineage.operators import Operators
from mcp_gateway.masking.lineage.scopes import Scope
from mcp_gateway.masking.lineage.sql_json import SQLJSON
from mcp_gateway.masking.lineage.values import (
    CLEAR,
    NONE,
    Classes,
    Column,
    Found,
    Unsure,
    Value,
    chosen,
    classes_of,
    merged,
    tainted,
    union,
)

_CONSTANTS: Final = {
    "ival": Value(type="pg_catalog.int4"),
    "fval": Value(type="pg_catalog.numeric"),
    "boolval": Value(type="pg_catalog.bool"),
    "sval": Value(type="pg_catalog.text"),
    "bsval": Value(type="pg_catalog.bit"),
}
"""By the field that a literal stands in; NULL stands in none of them."""
_BOOL: Final = "pg_catalog.bool"


class Expressions(SQLJSON):
    """Expression nodes."""

    def value(self, node: JSONObject, scope: Scope) -> Value:
        """Resolve an expression."""
        self.visit()
        tag, body = opened(node)
        resolve = _HANDLERS.get(tag)
        if resolve is None:
            raise Unsure(f"a {tag} node")
        return resolve(self, body, scope)

    # Names

    def _column_reference(self, body: JSONObject, scope: Scope) -> Value:
        fields: list[JSONObject] = body["fields"]
        if "A_Star" in fields[-1]:
            return self._starred_row(strings(fields[:-1]), scope)
        qualifier = strings(fields)
        name = qualifier.pop()
        return self._qualified_name(qualifier, name, scope) if qualifier else self._bare_name(name, scope)

    def _bare_name(self, name: str, scope: Scope) -> Value:
        value, loose = scope.column(name)
        if value is not None:
            return value if loose is None else merged(value, Value(loose, plain=False))
        rows = [entry.columns.row() for entry in scope.qualified([name])]
        if rows:
            row = _either(rows)
            return row if loose is None else tainted(row, loose)
        if loose is not None:
            return Value(loose, plain=False)
        if name in self.parameters:
            return Value(plain=False)
        raise Unsure("a name that nothing has")

    def _qualified_name(self, qualifier: list[str], name: str, scope: Scope) -> Value:
        entries = scope.qualified(qualifier)
        if not entries:
            return self._parameter(qualifier, name)
        if len(entries) == 1 and (value := entries[0].column(name)) is not None:
            return value
        found = []
        for entry in entries:
            value = entry.column(name)
            found.append(self.field(entry.columns.row(), name) if value is None else value)
        return _either(found)

    def _starred_row(self, qualifier: list[str], scope: Scope) -> Value:
        """`f(t.*)`: where one value belongs, the star is the whole row."""
        entries = scope.qualified(qualifier) if qualifier else []
        if not entries:
            raise Unsure("* where one value belongs")
        return _either([entry.columns.row() for entry in entries])

    def _parameter(self, qualifier: list[str], name: str) -> Value:
        if len(qualifier) == 1 and qualifier[0] == self.own_name and name in self.parameters:
            return Value(plain=False)
        if len(qualifier) == 1 and qualifier[0] in self.parameters:
            return self.field(Value(plain=False), name)
        raise Unsure("a qualifier that nothing has")

    def _parameter_number(self, _body: JSONObject, _scope: Scope) -> Value:
        return Value(plain=not self.own_name)

    def _constant(self, body: JSONObject, _scope: Scope) -> Value:
        for key in body:
            if key in _CONSTANTS:
                return _CONSTANTS[key]
        return CLEAR

    def _clear(self, _body: JSONObject, _scope: Scope) -> Value:
        return CLEAR

    def _indirection(self, body: JSONObject, scope: Scope) -> Value:
        value = self.value(body["arg"], scope)
        for step in body["indirection"]:
            tag, inner = opened(step)
            if tag == "String":
                value = self.field(value, inner["sval"])
            elif tag == "A_Indices":
                bounds = self.classes((inner[key] for key in ("lidx", "uidx") if key in inner), scope)
                of = value.type.removesuffix("[]") if self.prepared.is_simple(value.type) and value.type else None
                value = Value(value.classes | bounds, plain=value.plain, type=None if inner.get("is_slice") else of)
            else:
                raise Unsure("an indirection that is neither a field nor an index")
        return value

    # Unions over children

    def _all_of(self, nodes: Sequence[JSONObject], scope: Scope) -> list[Value]:
        return [self.value(node, scope) for node in nodes]

    def _list(self, body: JSONObject, scope: Scope) -> Value:
        # Constants add nothing, and there may be thousands of them.
        return union(self._all_of([node for node in body.get("items", ()) if "A_Const" not in node], scope))

    def _boolean(self, body: JSONObject, scope: Scope) -> Value:
        chosen = self.choice(self._all_of(body["args"], scope))
        return Value(chosen.classes, plain=chosen.plain, type=_BOOL)

    def _coalesce(self, body: JSONObject, scope: Scope) -> Value:
        values = self._all_of(body["args"], scope)
        self.choice(values)
        return _alternatives(values)

    def _minmax(self, body: JSONObject, scope: Scope) -> Value:
        values = self._all_of(body["args"], scope)
        greatest = _alternatives(values)
        return self.partial(greatest) if any(self.is_row(value) for value in values) else greatest

    def _array(self, body: JSONObject, scope: Scope) -> Value:
        values = self._all_of(body.get("elements", ()), scope)
        types = {value.type for value in values}
        of = types.pop() if len(types) == 1 else None
        simple = of is not None and self.prepared.is_simple(of)
        whole = union(values).of_type(f"{of.removesuffix('[]')}[]" if of is not None and simple else None)
        if all(self.is_single(value.type) for value in values):
            return whole
        # Arrays in an array have to agree in their lengths.
        return self.partial(whole).of_type(whole.type)

    def _row_constructor(self, body: JSONObject, scope: Scope) -> Value:
        values: list[Value] = []
        for node in body.get("args", ()):
            values.extend(column.value for column in self.expanded(node, scope))
        row = tuple(Column(f"f{number}", value) for number, value in enumerate(values, start=1))
        return union(values).of_type("pg_catalog.record", row)

    def _collation(self, body: JSONObject, scope: Scope) -> Value:
        # Where two collations meet, comparing fails: the server asks for one that says which.
        value = self.value(body["arg"], scope)
        return Value(value.classes, plain=False, type=value.type, row=value.row)

    def _boolean_test(self, body: JSONObject, scope: Scope) -> Value:
        value = self.value(body["arg"], scope)
        self.tests(value.classes)
        return Value(value.classes, plain=value.plain, type=_BOOL)

    def _null_test(self, body: JSONObject, scope: Scope) -> Value:
        value = self.value(body["arg"], scope)
        columns = value.classes - self.data
        if value.base:
            self.found.fact("null_test", value.classes)
            return Value(columns, plain=value.plain, type=_BOOL)
        # On anything but a stored column the test is an oracle: nullif(ssn, 'guess') IS NULL.
        self.found.fact("null_test", columns)
        self.tests(value.classes)
        return Value(value.classes, plain=value.plain, type=_BOOL)

    def _case(self, body: JSONObject, scope: Scope) -> Value:
        tests = [self.value(body["arg"], scope)] if "arg" in body else []
        results = [self.value(body["defresult"], scope)] if "defresult" in body else []
        for node in body["args"]:
            when: JSONObject = node["CaseWhen"]
            tests.append(self.value(when["expr"], scope))
            results.append(self.value(when["result"], scope))
        self.choice(tests + results)
        chosen_by = union(tests).classes
        self.tests(chosen_by)
        return tainted(_alternatives(results), chosen_by)

    def choice(self, values: Sequence[Value]) -> Value:
        """All of several values together, of which some choose whether others are evaluated.

        That tells of them where one fails or takes its time.
        """
        whole = union(values)
        if len(values) > 1 and not whole.plain:
            self.found.fact("condition", whole.classes)
        return whole

    def _xml(self, body: JSONObject, scope: Scope) -> Value:
        named = [target["ResTarget"]["val"] for target in body.get("named_args", ())]
        value = union(self._all_of([*body.get("args", ()), *named], scope))
        return self.partial(value)

    def _inner(self, body: JSONObject, scope: Scope) -> Value:
        return self.partial(self.value(body["expr"], scope))

    # Subqueries

    def _sublink(self, body: JSONObject, scope: Scope) -> Value:
        around, self.found = self.found, Found()
        columns = self.query(body["subselect"], scope)
        inside, self.found = self.found, around
        around.merge(inside)
        flow = inside.flow()
        kind = body["subLinkType"]
        if kind == "EXISTS_SUBLINK":
            return Value(flow, plain=False, type=_BOOL)
        classes = classes_of(columns) | flow
        if kind == "ARRAY_SUBLINK":
            of = columns[0].value.type if columns else None
            simple = of is not None and self.prepared.is_simple(of) and not of.endswith("[]")
            return Value(classes, plain=False, type=f"{of}[]" if simple else None)
        if kind in ("ANY_SUBLINK", "ALL_SUBLINK"):
            if any(self.is_opaque_operator(name) for name in strings(body.get("operName")) or ["="]):
                return self.given_away(classes, "an operator")
            classes |= self.value(body["testexpr"], scope).classes
            self.tests(classes)
            return Value(classes, plain=False, type=_BOOL)
        if kind != "EXPR_SUBLINK":
            raise Unsure("a subquery of an unknown kind")
        if len(columns) == 1:
            one = chosen(columns[0].value)
            return tainted(Value(one.classes, base=one.base, plain=False, type=one.type, row=one.row), flow)
        row = tuple(Column(of.name, tainted(chosen(of.value), flow)) for of in columns)
        return Value(classes, plain=False, type="pg_catalog.record", row=row)

    # Calls

    def _call(self, body: JSONObject, scope: Scope) -> Value:
        return self.call(body, scope)[0]

    def call(self, body: JSONObject, scope: Scope) -> tuple[Value, list[Value]]:
        """A function call: its value and its arguments'."""
        names = strings(body["funcname"])
        nodes: Sequence[JSONObject] = body.get("args", ())
        arguments = [self.value(node, scope) for node in nodes]
        judged = self.judge(names)
        extra = NONE
        if "agg_filter" in body:
            chosen = self.value(body["agg_filter"], scope)
            self.choice([chosen, *arguments])
            self.tests(chosen.classes)
            extra |= chosen.classes
        if "agg_order" in body:
            extra |= self.sort_classes(body["agg_order"], scope)
        if "over" in body:
            extra |= self.window_classes(body["over"], scope)
        if judged is None:
            return self._functional_cast(names, arguments), arguments
        if judged.builtin and names[-1] == "count" and judged.kinds <= {"a"}:
            return self._count(body, arguments, extra), arguments
        value = self.applied(judged, names[-1], arguments, nodes=nodes, extra=extra)
        if value.type == _BOOL:
            self.tests(value.classes)
        return value, arguments

    def _count(self, body: JSONObject, arguments: Sequence[Value], extra: Classes) -> Value:
        of = "pg_catalog.int8"
        given = union(arguments).classes
        if all(argument.base for argument in arguments):
            self.found.fact("count_distinct" if body.get("agg_distinct") else "null_test", given)
            return Value(extra, type=of)
        return Value(extra | given, type=of)

    def _functional_cast(self, names: list[str], arguments: Sequence[Value]) -> Value:
        """`type(value)`: what a call means when there is no such function."""
        schema = names[-2] if len(names) > 1 else None
        to = self.prepared.type_named(schema, names[-1], path=self.path)
        if len(arguments) != 1 or not self.prepared.is_simple(to):
            raise Unsure("a function that the catalog does not have")
        return self.partial(arguments[0]).of_type(to)

    # For the layer above

    def expanded(self, node: JSONObject, scope: Scope) -> tuple[Column, ...]:
        """The columns that an element of a SELECT list or ROW stands for; several for a star."""
        if "ColumnRef" in node and "A_Star" in node["ColumnRef"]["fields"][-1]:
            self.visit()
            return self._star(strings(node["ColumnRef"]["fields"][:-1]), scope)
        if "A_Indirection" in node and "A_Star" in node["A_Indirection"]["indirection"][-1]:
            inner = node["A_Indirection"]
            steps = inner["indirection"][:-1]
            value = self._indirection({"arg": inner["arg"], "indirection": steps}, scope)
            row = value.row or self.row_of_type(value.type, value)
            if row is None:
                raise Unsure("* over an unknown number of fields")
            return row
        return (Column(None, self.value(node, scope)),)

    def _star(self, qualifier: list[str], scope: Scope) -> tuple[Column, ...]:
        if not qualifier:
            return tuple(column for columns in scope.flats for column in columns.expanded())
        entries = scope.qualified(qualifier)
        if len(entries) != 1:
            raise Unsure("a star over no entry or several")
        return entries[0].columns.expanded()

    def _named_argument(self, body: JSONObject, scope: Scope) -> Value:
        return self.value(body["arg"], scope)


def _either(values: Sequence[Value]) -> Value:
    value = values[0]
    for other in values[1:]:
        value = merged(value, other)
    return value


def _alternatives(values: Sequence[Value]) -> Value:
    return chosen(_either(values)) if values else CLEAR


# ruff: noqa: SLF001 - the table names methods of a class above it
_HANDLERS: Final[dict[str, Callable[[Expressions, JSONObject, Scope], Value]]] = {
    "A_ArrayExpr": Expressions._array,
    "A_Const": Expressions._constant,
    "A_Expr": Operators.operation,
    "A_Indirection": Expressions._indirection,
    "BoolExpr": Expressions._boolean,
    "BooleanTest": Expressions._boolean_test,
    "CaseExpr": Expressions._case,
    "CoalesceExpr": Expressions._coalesce,
    "CollateClause": Expressions._collation,
    "ColumnRef": Expressions._column_reference,
    "FuncCall": Expressions._call,
    "GroupingFunc": Expressions._clear,
    "JsonArrayAgg": SQLJSON.json,
    "JsonArrayConstructor": SQLJSON.json,
    "JsonArrayQueryConstructor": SQLJSON.json,
    "JsonFuncExpr": SQLJSON.json_query,
    "JsonIsPredicate": SQLJSON.json,
    "JsonObjectAgg": SQLJSON.json,
    "JsonObjectConstructor": SQLJSON.json,
    "JsonParseExpr": SQLJSON.json_query,
    "JsonScalarExpr": SQLJSON.json_query,
    "JsonSerializeExpr": SQLJSON.json_query,
    "List": Expressions._list,
    "MergeSupportFunc": Expressions._clear,
    "MinMaxExpr": Expressions._minmax,
    "NamedArgExpr": Expressions._named_argument,
    "NullTest": Expressions._null_test,
    "ParamRef": Expressions._parameter_number,
    "RowExpr": Expressions._row_constructor,
    "SQLValueFunction": Expressions._clear,
    "SetToDefault": Expressions._clear,
    "SubLink": Expressions._sublink,
    "TypeCast": Operators.cast,
    "XmlExpr": Expressions._xml,
    "XmlSerialize": Expressions._inner,
}
