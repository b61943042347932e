"""What a WHERE tells: the classes of its conditions, split by how much an answer gives away.

A stored column compared with values that the statement names confirms one guess (`where_equality`), narrows down by a
pattern (`where_pattern`) or halves what is left (`where_range`). Any other condition may do all of that and is `where`:
one on an expression (`left(ssn, 1) = '1'`), between columns, or in the body of a function, whose parameters may be
anything.
"""

from __future__ import annotations

from typing import Final

from mcp_gateway.calls import JSONObject
from mcp_gateway.masking.lineage.builtins import EQUALITIES, ORDERINGS, PATTERN_OPERATORS
from mcp_gateway.masking.lineage.from_items import FromItems
from mcp_gateway.masking.lineage.nodes import is_constant, opened, strings
from mcp_gateway.masking.lineage.operators import BETWEEN_KINDS
from mcp_gateway.masking.lineage.scopes import Scope
from mcp_gateway.masking.lineage.values import Value

_FORMS: Final = {
    "AEXPR_LIKE": "where_pattern",
    "AEXPR_ILIKE": "where_pattern",
    "AEXPR_SIMILAR": "where_pattern",
    "AEXPR_DISTINCT": "where_equality",
    "AEXPR_NOT_DISTINCT": "where_equality",
    "AEXPR_IN": "where_equality",
    **dict.fromkeys(BETWEEN_KINDS, "where_range"),
}
_BY_NAME: Final = frozenset({"AEXPR_OP", "AEXPR_OP_ANY", "AEXPR_OP_ALL"})


class Predicates(FromItems):
    """Conditions that decide which rows there are."""

    def where(self, body: JSONObject, scope: Scope) -> None:
        """The WHERE of a statement, if it has one."""
        if "whereClause" in body:
            self._condition(body["whereClause"], scope)

    def _condition(self, node: JSONObject, scope: Scope) -> Value:
        tag, body = opened(node)
        if tag == "BoolExpr":
            self.visit()
            return self.choice([self._condition(part, scope) for part in body["args"]])
        value = self.value(node, scope)
        if value.classes and body.get("subLinkType") != "EXISTS_SUBLINK":  # that has raised facts of its own
            # Only of what is classified does anybody ask which form it is: that looks at every value of a list.
            told = tag == "A_Expr" and not self.data.isdisjoint(value.classes)
            self.found.fact(self._form(body, scope) if told else "where", value.classes)
        return value

    def _form(self, body: JSONObject, scope: Scope) -> str:
        """The kind of a comparison: `where` unless a stored column meets values that stand in the statement."""
        left, right = body.get("lexpr"), body["rexpr"]
        if left is None or self.own_name:
            return "where"
        form = _FORMS.get(body["kind"]) or (_named(strings(body["name"])) if body["kind"] in _BY_NAME else "where")
        if _is_given(left) and form != "where_pattern" and body["kind"] == "AEXPR_OP":
            left, right = right, left
        return form if _is_given(right) and self._is_stored(left, scope) else "where"

    def _is_stored(self, node: JSONObject, scope: Scope) -> bool:
        return "ColumnRef" in node and self.value(node, scope).base


def _named(names: list[str]) -> str:
    if len(names) != 1:
        return "where"
    if names[0] in EQUALITIES:
        return "where_equality"
    if names[0] in ORDERINGS:
        return "where_range"
    return "where_pattern" if names[0] in PATTERN_OPERATORS else "where"


def _is_given(node: JSONObject) -> bool:
    """Literals and parameters, casts of them, and lists of all these."""
    tag, body = opened(node)
    if tag == "TypeCast":
        return _is_given(body["arg"])
    if tag in ("List", "A_ArrayExpr"):
        return all(_is_given(item) for item in (*body.get("items", ()), *body.get("elements", ())))
    return tag == "ParamRef" or is_constant(node)
