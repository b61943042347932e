"""Reading the parser's JSON tree: tags, names, types, and the names that columns get.

The column names follow FigureColname in PostgreSQL's parse_target.c. They matter for more than display: a derived
table's columns are found by them, so a name that is not certain is None.
"""

from __future__ import annotations

from typing import Any, Final

from mcp_gateway.calls import JSONObject
from mcp_gateway.masking.lineage.values import Unsure

UNNAMED: Final = "?column?"

SIMPLE_TYPES: Final = frozenset(
    """
    bit bool box bpchar bytea char cid cidr circle date float4 float8 inet int2 int4 int8 interval json jsonb jsonpath
    line lseg macaddr macaddr8 money name numeric oid path pg_lsn point polygon regclass regcollation regconfig
    regdictionary regnamespace regoper regoperator regproc regprocedure regrole regtype text tid time timestamp
    timestamptz timetz tsquery tsvector uuid varbit varchar xid xid8 xml
    int4range int8range numrange tsrange tstzrange daterange
    int4multirange int8multirange nummultirange tsmultirange tstzmultirange datemultirange
    """.split()
)
"""Built-in types that are neither composite nor pseudo-types."""

_FIXED_NAMES: Final = {
    "A_ArrayExpr": "array",
    "CoalesceExpr": "coalesce",
    "GroupingFunc": "grouping",
    "JsonArrayAgg": "json_arrayagg",
    "JsonArrayConstructor": "json_array",
    "JsonArrayQueryConstructor": "json_array",
    "JsonObjectAgg": "json_objectagg",
    "JsonObjectConstructor": "json_object",
    "JsonParseExpr": "json",
    "JsonScalarExpr": "json_scalar",
    "JsonSerializeExpr": "json_serialize",
    "MergeSupportFunc": "merge_action",
    "RowExpr": "row",
    "XmlSerialize": "xmlserialize",
}
_BY_OPERATION: Final = {
    "IS_GREATEST": "greatest",
    "IS_LEAST": "least",
    "IS_XMLCONCAT": "xmlconcat",
    "IS_XMLELEMENT": "xmlelement",
    "IS_XMLFOREST": "xmlforest",
    "IS_XMLPARSE": "xmlparse",
    "IS_XMLPI": "xmlpi",
    "IS_XMLROOT": "xmlroot",
    "JSON_EXISTS_OP": "json_exists",
    "JSON_QUERY_OP": "json_query",
    "JSON_VALUE_OP": "json_value",
    "SVFOP_CURRENT_CATALOG": "current_catalog",
    "SVFOP_CURRENT_DATE": "current_date",
    "SVFOP_CURRENT_ROLE": "current_role",
    "SVFOP_CURRENT_SCHEMA": "current_schema",
    "SVFOP_CURRENT_TIME": "current_time",
    "SVFOP_CURRENT_TIME_N": "current_time",
    "SVFOP_CURRENT_TIMESTAMP": "current_timestamp",
    "SVFOP_CURRENT_TIMESTAMP_N": "current_timestamp",
    "SVFOP_CURRENT_USER": "current_user",
    "SVFOP_LOCALTIME": "localtime",
    "SVFOP_LOCALTIMESTAMP": "localtimestamp",
    "SVFOP_LOCALTIMESTAMP_N": "localtimestamp",
    "SVFOP_LOCALTIME_N": "localtime",
    "SVFOP_SESSION_USER": "session_user",
    "SVFOP_USER": "user",
}


def opened(node: JSONObject) -> tuple[str, JSONObject]:
    """`{"Tag": {...}}` as tag and body."""
    if len(node) == 1:
        for tag, body in node.items():
            return tag, body
    raise Unsure("a node without one tag")


def strings(nodes: list[JSONObject] | None) -> list[str]:
    """The texts of a list of String nodes."""
    return [] if nodes is None else [node["String"]["sval"] for node in nodes]


def type_name(body: JSONObject) -> tuple[str | None, str, bool]:
    """Schema, name and whether it is an array, of a TypeName."""
    names = strings(body.get("names"))
    if not names or body.get("pct_type"):
        raise Unsure("a type without a name of its own")
    return (names[-2] if len(names) > 1 else None), names[-1], bool(body.get("arrayBounds"))


def is_constant(node: JSONObject) -> bool:
    """A literal, with or without a cast."""
    while "TypeCast" in node:
        node = node["TypeCast"]["arg"]
    return "A_Const" in node


def constant(node: JSONObject) -> Any:
    """The value of an integer or string literal, else None."""
    while "TypeCast" in node:
        node = node["TypeCast"]["arg"]
    body = node.get("A_Const", {})
    if "ival" in body:
        return body["ival"].get("ival", 0)
    return body["sval"].get("sval", "") if "sval" in body else None


def is_star(node: JSONObject) -> bool:
    """`*`, `t.*` or `(expression).*`."""
    if "ColumnRef" in node:
        path = node["ColumnRef"]["fields"]
    elif "A_Indirection" in node:
        path = node["A_Indirection"]["indirection"]
    else:
        return False
    return "A_Star" in path[-1]


def column_name(target: JSONObject) -> str | None:
    """The name that the server gives to a ResTarget of a SELECT list; None where it is not certain."""
    name: str | None = target.get("name")
    return name if name is not None else _figured(target["val"])[0]


def _figured(node: JSONObject) -> tuple[str | None, int]:
    """Name and how strongly it holds against a cast or CASE around it (0 to 2), as the server counts it."""
    tag, body = opened(node)
    if tag in _FIXED_NAMES:
        return _FIXED_NAMES[tag], 2
    match tag:
        case "ColumnRef":
            return body["fields"][-1]["String"]["sval"], 2
        case "FuncCall":
            return body["funcname"][-1]["String"]["sval"], 2
        case "A_Indirection":
            named = [step["String"]["sval"] for step in body["indirection"] if "String" in step]
            return (named[-1], 2) if named else _figured(body["arg"])
        case "CollateClause":
            return _figured(body["arg"])
        case "TypeCast":
            name, strength = _figured(body["arg"])
            return (name, strength) if strength > 1 else (type_name(body["typeName"])[1], 1)
        case "CaseExpr":
            name, strength = _figured(body["defresult"]) if "defresult" in body else (None, 0)
            return (name, strength) if strength > 1 else ("case", 1)
        case "A_Expr" if body["kind"] == "AEXPR_NULLIF":
            return "nullif", 2
        case "MinMaxExpr" | "SQLValueFunction" | "XmlExpr" | "JsonFuncExpr":
            name = _BY_OPERATION.get(body.get("op", ""))
            return (name, 2) if name is not None or body.get("op") != "IS_DOCUMENT" else (UNNAMED, 0)
        case "SubLink":
            return _figured_sublink(body)
        case "A_Const" | "A_Expr" | "BoolExpr" | "NullTest" | "BooleanTest" | "ParamRef" | "JsonIsPredicate":
            return UNNAMED, 0
        case _:
            return None, 0


def _figured_sublink(body: JSONObject) -> tuple[str | None, int]:
    match body["subLinkType"]:
        case "EXISTS_SUBLINK":
            return "exists", 2
        case "ARRAY_SUBLINK":
            return "array", 2
        case "EXPR_SUBLINK":
            select = body["subselect"].get("SelectStmt", {})
            targets = select.get("targetList")
            if not targets or is_star(targets[0]["ResTarget"].get("val", {})):
                return None, 2
            return column_name(targets[0]["ResTarget"]), 2
        case _:
            return UNNAMED, 0
