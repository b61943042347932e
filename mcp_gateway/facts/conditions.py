"""Whether a WHERE condition binds the rows of an UPDATE or DELETE, or is none in disguise.

A condition binds if its truth depends on the target's own columns. `WHERE true`, `1 = 1`, `id = id`,
`x IS NULL OR x IS NOT NULL`, `now() > '2000-01-01'` and `EXISTS (SELECT 1)` do not: they take every row or none, and
which of the two is not worth a guess. This is for the approver's eye and for policy; it proves no row count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import Enum
from typing import Any

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.scopes import SYSTEM_COLUMNS
from mcp_gateway.facts.tree import opened, strings

ALWAYS_TRUE_ON_SELF = frozenset({"=", "<=", ">="})
NEVER_TRUE_ON_SELF = frozenset({"<>", "<", ">"})
FALSE_TEXTS = ("false", "no", "off", "0")
"""What a boolean's text input takes for false, down to one letter."""
ANY_TEXT = {"AEXPR_LIKE": "%", "AEXPR_ILIKE": "%"}


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
                    return Rows.ALL if _complementary(body["args"]) else _either(parts)
                case _:
                    return _opposite(parts[0])
        case "NullTest":
            return _null_test(body, names=names, not_null=not_null)
        case "A_Expr":
            found = _comparison(body)
            if found is not None:
                return found
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


def _complementary(parts: list[JSONObject]) -> bool:
    """`x IS NULL OR x IS NOT NULL`, `p OR NOT p`."""
    plain = [_without_places(part) for part in parts]
    for part in plain:
        kind, body = opened(part)
        if kind == "NullTest":
            other = "IS_NOT_NULL" if body["nulltesttype"] == "IS_NULL" else "IS_NULL"
            if {"NullTest": body | {"nulltesttype": other}} in plain:
                return True
        elif kind == "BoolExpr" and body["boolop"] == "NOT_EXPR" and body["args"][0] in plain:
            return True
    return False


def _null_test(body: JSONObject, *, names: Collection[str], not_null: Collection[str]) -> Rows:
    kind, tested = opened(body["arg"])
    if kind == "ColumnRef":
        parts = strings(tested["fields"])
        own = len(parts) == 1 or parts[-2] in names
        if own and (parts[-1] in not_null or parts[-1] in SYSTEM_COLUMNS):
            return Rows.ALL if body["nulltesttype"] == "IS_NOT_NULL" else Rows.NONE
    return Rows.SOME if _depends(body["arg"], names=names) else Rows.ALL_OR_NONE


def _comparison(body: JSONObject) -> Rows | None:
    """What can be told of a comparison without its values: of a thing with itself, of two literals, `LIKE '%'`."""
    operator = strings(body.get("name", ()))[-1:]
    left, right = _without_places(body.get("lexpr", {})), _without_places(body.get("rexpr", {}))
    if body["kind"] in ANY_TEXT and set(right.get("A_Const", {}).get("sval", {}).get("sval", "")) == {"%"}:
        return Rows.ALL if operator[0].startswith("~") else Rows.NONE
    if body["kind"] == "AEXPR_OP" and left and left == right and not _volatile(left):
        if operator[0] in ALWAYS_TRUE_ON_SELF:
            return Rows.ALL
        return Rows.NONE if operator[0] in NEVER_TRUE_ON_SELF else None
    if body["kind"] == "AEXPR_OP" and operator[0] == "=" and _same_kind_of_literal(left, right):
        return Rows.NONE
    return None


def _same_kind_of_literal(left: JSONObject, right: JSONObject) -> bool:
    """Two different literals of a kind whose equality is that of their texts."""
    one, other = left.get("A_Const", {}), right.get("A_Const", {})
    return any(key in one and key in other for key in ("ival", "boolval"))


def _depends(node: JSONObject, *, names: Collection[str]) -> bool:
    """Whether an expression refers to the target's columns. In a subquery a bare name may, so it does."""
    return any(len(parts) == 1 or parts[-2] in names for parts in _column_names(node))


def _column_names(value: Any) -> Iterator[tuple[str, ...]]:
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo += item
        elif isinstance(item, dict):
            if "ColumnRef" in item:
                yield strings(item["ColumnRef"]["fields"])
            else:
                todo += item.values()


def _volatile(node: JSONObject) -> bool:
    """Whether two evaluations may differ, as far as that can be told from here: a call or a subquery in it."""
    text = str(node)
    return "'FuncCall'" in text or "'SubLink'" in text


def _without_places(value: Any) -> Any:
    """The same tree without the offsets in the text, so that equal expressions are equal."""
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items() if key != "location"}
    return [_without_places(item) for item in value] if isinstance(value, list) else value
