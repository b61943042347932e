"""The closed list of node types that expressions and queries may consist of, as data for `facts.sql_walk`.

To add a type to `LEAVES` or `PLAIN` is to vouch that nothing acts in it but what stands in its fields.
"""

from __future__ import annotations

from typing import Final

LEAVES: Final = frozenset(
    {
        "A_Const",
        "A_Star",
        "Alias",
        "CurrentOfExpr",
        "Integer",
        "JsonFormat",
        "ParamRef",
        "SQLValueFunction",
        "SetToDefault",
        "String",
    }
)
"""Nodes without anything in them that could act."""

PLAIN: Final = frozenset({
    "A_ArrayExpr", "A_Indices", "BoolExpr", "BooleanTest", "CTECycleClause", "CTESearchClause", "CaseWhen", "CoalesceExpr",
    "CollateClause", "ColumnDef", "GroupingFunc", "GroupingSet", "IndexElem", "InferClause", "JsonAggConstructor", "JsonArgument",
    "JsonArrayAgg", "JsonArrayConstructor", "JsonArrayQueryConstructor", "JsonBehavior", "JsonFuncExpr",
    "JsonIsPredicate", "JsonKeyValue", "JsonObjectAgg", "JsonObjectConstructor", "JsonOutput", "JsonParseExpr",
    "JsonReturning", "JsonScalarExpr", "JsonSerializeExpr", "JsonTableColumn", "JsonTablePathSpec", "JsonValueExpr",
    "List", "MergeSupportFunc", "MinMaxExpr", "MultiAssignRef", "NamedArgExpr", "NullTest", "RangeTableFuncCol", "ResTarget", "RowExpr",
    "WindowDef", "XmlExpr", "XmlSerialize",
})  # fmt: skip
"""Nodes that do no more than what is in them."""

BARE: Final = {
    "arg": "JsonKeyValue",
    "constructor": "JsonAggConstructor",
    "context_item": "JsonValueExpr",
    "expr": "JsonValueExpr",
    "format": "JsonFormat",
    "funccall": "FuncCall",
    "on_empty": "JsonBehavior",
    "on_error": "JsonBehavior",
    "output": "JsonOutput",
    "over": "WindowDef",
    "pathspec": "JsonTablePathSpec",
    "returning": "JsonReturning",
    "typeName": "TypeName",
    "val": "JsonValueExpr",
    "value": "JsonValueExpr",
}
"""The type of a node that stands bare in a field of this name, inside an expression."""

IMPLIED_OPERATORS: Final = {
    "AEXPR_BETWEEN": (("<=",), (">=",)),
    "AEXPR_BETWEEN_SYM": (("<=",), (">=",)),
    "AEXPR_NOT_BETWEEN": (("<",), (">",)),
    "AEXPR_NOT_BETWEEN_SYM": (("<",), (">",)),
}
"""What kinds of A_Expr use whose name is a keyword."""

KEYWORD_FUNCTIONS: Final = {
    "JSON_EXISTS_OP": "json_exists",
    "JSON_QUERY_OP": "json_query",
    "JSON_VALUE_OP": "json_value",
    "JsonArrayAgg": "json_arrayagg",
    "JsonArrayConstructor": "json_array",
    "JsonArrayQueryConstructor": "json_array",
    "JsonObjectAgg": "json_objectagg",
    "JsonObjectConstructor": "json_object",
    "JsonParseExpr": "json",
    "JsonScalarExpr": "json_scalar",
    "JsonSerializeExpr": "json_serialize",
    "JsonTable": "json_table",
    "MergeSupportFunc": "merge_action",
}
"""Syntax of PostgreSQL 16 and 17. To an older server the same text calls a function of this name."""

SAMPLING_METHODS: Final = frozenset(
    {("bernoulli",), ("system",), ("pg_catalog", "bernoulli"), ("pg_catalog", "system")}
)
SESSION_FUNCTIONS: Final = frozenset({("set_config",), ("pg_catalog", "set_config")})
