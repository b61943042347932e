"""Whether a WHERE condition binds the rows of an UPDATE or DELETE, or is none in disguise.

A condition binds if its truth depends on the target's own columns. `WHERE true`, `1 = 1`, `users.id = id`, `id IN (id)`,
`x IS NULL OR x IS NOT NULL`, `x = 1 OR x <> 1`, `now() > '2000-01-01'` and `EXISTS (SELECT 1)` do not: they take every
row or none, and which of the two is not worth a guess. This is for the approver's eye and for policy; it proves no row
count.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Any

import orjson

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.scopes import SYSTEM_COLUMNS
from mcp_gateway.facts.tree import column_names, opened, strings

ALWAYS_TRUE_ON_SELF = frozenset({"=", "<=", ">="})
NEVER_TRUE_ON_SELF = frozenset({"<>", "<", ">"})
NULL: JSONObject = {"A_Const": {"isnull": True}}
FALSE_TEXTS = ("false", "no", "off", "0")
"""What a boolean's text input takes for false, down to one letter."""
NEGATED = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
ANY_TEXT = frozenset({"AEXPR_LIKE", "AEXPR_ILIKE"})
ANY_EXPRESSION = frozenset({"", "^", "$", ".*", "^.*", ".*$", "^.*$"})
"""Regular expressions that every text matches."""
MATCHES = {"~": True, "~*": True, "!~": False, "!~*": False}


PLACES = frozenset({"location", "list_start", "list_end", "rexpr_list_start", "rexpr_list_end"})


class Rows(Enum):
    """Which rows of the target a condition takes."""

    ALL = "all"
    NONE = "none"
    SOME = "some"
    """It depends on the row."""
    ALL_OR_NONE = "all or none"
    """It does not depend on the row."""


def is_unbounded(condition: JSONObject | None, *, names: Collection[str], not_null: Collection[str] = ()) -> bool:
    """Whether `condition` may take every row of the target.

    `names` are those that qualify the target's columns, `not_null` its columns known to hold no NULL.
    """
    if condition is None:
        return True
    return rows_taken(condition, names=names, not_null=not_null) in {Rows.ALL, Rows.ALL_OR_NONE}


def rows_taken(node: JSONObject, *, names: Collection[str], not_null: Collection[str]) -> Rows:
    """Which rows of the target a condition takes."""
    kind, body = opened(node)
    match kind:
        case "CurrentOfExpr":
            return Rows.SOME
        case "A_Const":
            return _constant(body)
        case "BoolExpr":
            parts = [rows_taken(part, names=names, not_null=not_null) for part in body["args"]]
            match body["boolop"]:
                case "AND_EXPR":
                    return _both(parts)
                case "OR_EXPR":
                    return Rows.ALL if _complementary(body["args"], names=names) else _either(parts)
                case _:
                    return _opposite(parts[0])
        case "NullTest":
            return _null_test(body, names=names, not_null=not_null)
        case "A_Expr":
            found = _comparison(body, names=names)
            if found is not None:
                return found
        case "CaseExpr":
            results = [*(opened(case)[1]["result"] for case in body["args"]), body.get("defresult", NULL)]
            whichever = {rows_taken(result, names=names, not_null=not_null) for result in results}
            if whichever in ({Rows.ALL}, {Rows.NONE}):
                return whichever.pop()
        case "TypeCast":
            return rows_taken(body["arg"], names=names, not_null=not_null)
        case "BooleanTest" if body["booltesttype"] in {"IS_TRUE", "IS_NOT_FALSE"}:
            return rows_taken(body["arg"], names=names, not_null=not_null)
    return Rows.SOME if _depends(node, names=names) else Rows.ALL_OR_NONE


def _constant(body: JSONObject) -> Rows:
    if "boolval" in body:
        return Rows.ALL if body["boolval"].get("boolval") else Rows.NONE
    if "sval" in body:
        word = body["sval"].get("sval", "").strip().lower()
        return Rows.NONE if any(word and name.startswith(word) for name in FALSE_TEXTS) else Rows.ALL
    return Rows.NONE if body.get("isnull") else Rows.ALL_OR_NONE


def _both(parts: list[Rows]) -> Rows:
    if Rows.NONE in parts:
        return Rows.NONE
    if Rows.SOME in parts:
        return Rows.SOME
    return Rows.ALL_OR_NONE if Rows.ALL_OR_NONE in parts else Rows.ALL


def _either(parts: list[Rows]) -> Rows:
    for found in (Rows.ALL, Rows.ALL_OR_NONE, Rows.SOME):
        if found in parts:
            return found
    return Rows.NONE


def _opposite(found: Rows) -> Rows:
    return {Rows.ALL: Rows.NONE, Rows.NONE: Rows.ALL}.get(found, found)


def _complementary(parts: list[JSONObject], *, names: Collection[str]) -> bool:
    """`x IS NULL OR x IS NOT NULL`, `p OR NOT p`, `x < 5 OR x >= 5`."""
    forms = {_form(part) for part in parts}
    wanted = [other for part in parts if (other := _negated(part)) is not None and _form(other) in forms]
    if not wanted:
        return False
    texts = {orjson.dumps(_plain(part, names=names)) for part in parts}
    return any(orjson.dumps(_plain(other, names=names)) in texts for other in wanted)


def _form(part: JSONObject) -> tuple[str, str]:
    """What two equal tests have in common at a glance."""
    kind, body = opened(part)
    return kind, strings(body["name"])[-1] if kind == "A_Expr" else body.get("nulltesttype", "")


def _negated(part: JSONObject) -> JSONObject | None:
    """The opposite of a test, where it is plain; rows for which neither is known are left aside."""
    kind, body = opened(part)
    if kind == "NullTest":
        return {"NullTest": body | {"nulltesttype": "IS_NOT_NULL" if body["nulltesttype"] == "IS_NULL" else "IS_NULL"}}
    if kind == "BoolExpr" and body["boolop"] == "NOT_EXPR":
        negated: JSONObject = body["args"][0]
        return negated
    if kind == "A_Expr" and body["kind"] == "AEXPR_OP" and (operator := strings(body["name"])[-1]) in NEGATED:
        return {"A_Expr": body | {"name": [{"String": {"sval": NEGATED[operator]}}]}}
    return None


def _null_test(body: JSONObject, *, names: Collection[str], not_null: Collection[str]) -> Rows:
    kind, tested = opened(body["arg"])
    if kind == "ColumnRef":
        parts = strings(tested["fields"])
        own = len(parts) == 1 or parts[-2] in names
        if own and (parts[-1] in not_null or parts[-1] in SYSTEM_COLUMNS):
            return Rows.ALL if body["nulltesttype"] == "IS_NOT_NULL" else Rows.NONE
    return Rows.SOME if _depends(body["arg"], names=names) else Rows.ALL_OR_NONE


def _comparison(body: JSONObject, *, names: Collection[str]) -> Rows | None:
    """What can be told of a comparison without its values: of a thing with itself, of two literals, `LIKE '%'`."""
    operator = strings(body.get("name", ()))[-1]
    left, right = body.get("lexpr", {}), body.get("rexpr", {})
    kind, text = body["kind"], right.get("A_Const", {}).get("sval", {}).get("sval", "")
    if kind in ANY_TEXT and set(text) == {"%"}:
        return Rows.ALL if operator.startswith("~") else Rows.NONE
    if kind == "AEXPR_OP" and operator in MATCHES and "sval" in right.get("A_Const", {}) and text in ANY_EXPRESSION:
        return Rows.ALL if MATCHES[operator] else Rows.NONE
    if opened(right)[0] in {opened(left)[0], "List", "A_ArrayExpr"} and left and not _volatile(left):
        found = _with_itself(kind, operator, _plain(left, names=names), _plain(right, names=names))
        if found is not None:
            return found
    if kind == "AEXPR_OP" and operator == "=" and _same_kind_of_literal(left, right):
        return Rows.NONE
    return None


def _with_itself(kind: str, operator: str, left: JSONObject, right: JSONObject) -> Rows | None:
    """What a comparison comes to where both sides are the same, or one of a list is."""
    listed = right.get("List", {}).get("items", [])
    match kind:
        case "AEXPR_OP" if left == right and operator in ALWAYS_TRUE_ON_SELF:
            return Rows.ALL
        case "AEXPR_OP" if left == right and operator in NEVER_TRUE_ON_SELF:
            return Rows.NONE
        case "AEXPR_DISTINCT" | "AEXPR_NOT_DISTINCT" if left == right:
            return Rows.ALL if kind == "AEXPR_NOT_DISTINCT" else Rows.NONE
        case "AEXPR_IN" if left in listed:
            return Rows.ALL if operator == "=" else Rows.NONE
        case "AEXPR_BETWEEN" if listed == [left, left]:
            return Rows.ALL
        case "AEXPR_BETWEEN_SYM" if left in listed:
            return Rows.ALL
        case "AEXPR_OP_ANY" if operator in ALWAYS_TRUE_ON_SELF:
            return Rows.ALL if left in right.get("A_ArrayExpr", {}).get("elements", []) else None
    return None


def _same_kind_of_literal(left: JSONObject, right: JSONObject) -> bool:
    """Two different literals of a kind whose equality is that of their texts."""
    one, other = left.get("A_Const", {}), right.get("A_Const", {})
    return any(key in one and key in other for key in ("ival", "boolval"))


def _depends(node: JSONObject, *, names: Collection[str]) -> bool:
    """Whether an expression refers to the target's columns. In a subquery a bare name may, so it does."""
    return any(len(parts) == 1 or parts[-2] in names for parts in column_names(node))


def _volatile(node: JSONObject) -> bool:
    """Whether two evaluations may differ, as far as that can be told from here: a call or a subquery in it."""
    text = str(node)
    return "'FuncCall'" in text or "'SubLink'" in text


def _plain(value: Any, *, names: Collection[str]) -> Any:
    """The same tree without offsets in the text and the target's own name before its columns: what is equal is equal."""
    if isinstance(value, list):
        return [_plain(item, names=names) for item in value]
    if not isinstance(value, dict):
        return value
    if "ColumnRef" in value and len(fields := value["ColumnRef"]["fields"]) > 1 and strings(fields[-2:-1])[0] in names:
        return {"ColumnRef": {"fields": fields[-1:]}}
    return {key: _plain(item, names=names) for key, item in value.items() if key not in PLACES}
