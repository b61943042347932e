"""Which statements may run where columns are classified, and which query a statement is about."""

from __future__ import annotations

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.sql_statements import kind_of
from mcp_gateway.masking.lineage.nodes import opened
from mcp_gateway.masking.lineage.values import Unsure

NOT_UNDER_MASKING = "{statement} is not available on a target with classified columns"
COPY_UNDER_MASKING = "COPY is not available on a target with classified columns: use SELECT"
READERS = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
WRITERS = READERS - {"SelectStmt"}
UNDER_MASKING = READERS | {"ExplainStmt", "VariableShowStmt"}
WRAPPERS = frozenset({"CreateTableAsStmt", "DeclareCursorStmt", "ExplainStmt", "PrepareStmt"})
"""Statements around one query, whose result is what they return, keep or plan."""


def not_under_masking(node: JSONObject) -> str | None:
    """Why a statement of this kind may not run where columns are classified; None where it may."""
    for tag, body in node.items():
        if tag == "CopyStmt":
            return COPY_UNDER_MASKING
        if tag not in UNDER_MASKING:
            return NOT_UNDER_MASKING.format(statement=statement_name(tag, body))
        if tag == "ExplainStmt" and (explained := opened(body["query"]))[0] not in READERS:
            return NOT_UNDER_MASKING.format(statement=f"EXPLAIN {statement_name(*explained)}")
    return None


def asks(node: JSONObject) -> bool:
    """Whether a statement is a query, or has one within it."""
    return any(tag in READERS | WRAPPERS or (tag == "CopyStmt" and "query" in body) for tag, body in node.items())


def query_in(node: JSONObject) -> JSONObject:
    """The query whose columns count: the statement itself or what it wraps. Raises `Unsure` where there is none."""
    tag, body = opened(node)
    if tag in READERS:
        return node
    if tag in WRAPPERS or (tag == "CopyStmt" and "query" in body):
        return query_in(body["query"])
    raise Unsure(f"a {tag}")


def statement_name(tag: str, body: JSONObject) -> str:
    """A statement as people call it: `CREATE TABLE AS` of CreateTableAsStmt, `SECURITY LABEL` of SecLabelStmt."""
    return "CREATE TABLE AS" if tag == "CreateTableAsStmt" else kind_of(tag, body).replace("_", " ")


def one_select(statements: list[JSONObject]) -> JSONObject:
    """The one SELECT that a view or the body of a function is. Raises `Unsure` for any other body."""
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
