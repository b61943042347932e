"""Bodies of views and SQL functions, as the catalog gives them, made into statements. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.tree import opened

BODY_AS_STATEMENT = "CREATE FUNCTION f() RETURNS int LANGUAGE sql "
"""What makes a statement of a body in the form `BEGIN ATOMIC ... END` or `RETURN ...`."""


def is_stored_parsed(body: str) -> bool:
    """Whether a function's body is in the form that the server keeps parsed, and so gives qualified."""
    return body.lstrip().upper().startswith(("BEGIN ATOMIC", "RETURN"))


def body_statements(text: str) -> Sequence[JSONObject]:
    """The statements of a view's or function's body, in any of its forms. Raises `SQLSyntaxError`."""
    if not is_stored_parsed(text):
        return [raw["stmt"] for raw in parse_tree(text)]
    (raw,) = parse_tree(BODY_AS_STATEMENT + text)
    kind, body = opened(raw["stmt"]["CreateFunctionStmt"]["sql_body"])
    if kind != "List":
        return [{kind: body}]
    return [statement for item in body["items"] for statement in item.get("List", {}).get("items", ())]
