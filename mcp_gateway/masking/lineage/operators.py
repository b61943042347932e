"""Operators, casts and orders: like calls, but found by symbol or type instead of by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mcp_gateway.calls import JSONObject
from mcp_gateway.masking.lineage.builtins import (
    COMPUTING,
    DIVISIONS,
    JSON_OPERATORS,
    LIKE_OPERATORS,
    PATTERN_OPERATORS,
    TEXT_TYPES,
    TOTAL_OPERATORS,
    WIDER_TYPES,
)
from mcp_gateway.masking.lineage.calls import Calls, is_steady
from mcp_gateway.masking.lineage.literals import is_valid_pattern, literal
from mcp_gateway.masking.lineage.nodes import strings, type_name
from mcp_gateway.masking.lineage.scopes import Scope
from mcp_gateway.masking.lineage.values import NONE, Classes, Unsure, Value, joined

BETWEEN_KINDS: Final = frozenset({"AEXPR_BETWEEN", "AEXPR_BETWEEN_SYM", "AEXPR_NOT_BETWEEN", "AEXPR_NOT_BETWEEN_SYM"})
_BETWEEN: Final = (">=", "<=", ">", "<")
"""What these kinds use, whose names are keywords."""
_JSON: Final = frozenset({"pg_catalog.json", "pg_catalog.jsonb"})


class Operators(Calls):
    """Operators, casts, orders and windows."""

    def operation(self, body: JSONObject, scope: Scope) -> Value:
        """An operator with its operands."""
        # Chains lean to the left; walking them down is a loop, so that a long one is no deep recursion.
        chain = [body]
        while (left := chain[-1].get("lexpr")) is not None and "A_Expr" in left:
            self.visit()
            chain.append(left["A_Expr"])
        last = chain[-1]
        value = self.value(last["lexpr"], scope) if "lexpr" in last else None
        for link in reversed(chain):
            value = self._operated(link, value, scope)
        if value is None:
            raise Unsure("an operator without operands")
        return value

    def _operated(self, body: JSONObject, left: Value | None, scope: Scope) -> Value:
        right = self.value(body["rexpr"], scope)
        classes = right.classes if left is None else joined(left.classes, right.classes)
        name = body["name"][-1]["String"]["sval"]
        kind = body["kind"]
        opaque = any(map(self.is_opaque_operator, _BETWEEN)) if kind in BETWEEN_KINDS else self.is_opaque_operator(name)
        if opaque:
            return self.given_away(classes, f"the operator {name!r}")
        if kind not in ("AEXPR_OP", "AEXPR_NULLIF") or name not in COMPUTING:
            self.tests(classes)
        plain = (
            right.plain
            and (left is None or left.plain)
            and _is_total_operation(kind, name, body, left)
            and not self.is_row(right)
            and (left is None or not self.is_row(left))
            and (name != "||" or self._can_join(left, right))
        )
        if classes and not plain:
            self.found.fact("may_fail", classes)
        if kind == "AEXPR_NULLIF" and left is not None:
            return Value(classes, plain=plain, type=left.type)
        of = left.type if name in ("->", "#>") and left is not None and left.type in _JSON else None
        return Value(classes, plain=plain, type=of)

    def _can_join(self, *values: Value | None) -> bool:
        """Whether `||` cannot fail: arrays have to agree in their shapes, and so do pieces of JSON in older servers."""
        return all(of is None or (self.is_single(of.type) and of.type not in _JSON) for of in values)

    def is_opaque_operator(self, name: str) -> bool:
        """Whether some operator of that name runs code that cannot be seen through."""
        return self.prepared.has_opaque_operator(name)

    def given_away(self, classes: Classes, what: str) -> Value:
        """The result of user code that is not found by name; what is classified may not go into it."""
        self.hand_over(classes, what)
        return self.opaque()

    def cast(self, body: JSONObject, scope: Scope) -> Value:
        """A cast: its argument, unless the type runs code."""
        value = self.value(body["arg"], scope)
        schema, name, is_array = type_name(body["typeName"])
        to = self.prepared.type_named(schema, name, path=self.path)
        if self.prepared.has_opaque_cast(name):
            return self.given_away(value.classes, f"the cast to {name!r}")
        if self.prepared.is_checked(to):
            self.found.fact("may_fail", value.classes - self.data)
            return self.opaque()
        limited = bool(body["typeName"].get("typmods")) and name not in TEXT_TYPES
        certain = "A_Const" in body["arg"] and (name != "money" or "sval" in body["arg"]["A_Const"])
        plain = value.plain and (certain or (not limited and _is_total_cast(value.type, name)))
        if not certain and not self.is_single(value.type) and self.grows():
            plain = False
        if value.classes and not plain:
            self.found.fact("may_fail", value.classes)
        if is_array:
            to = f"{to}[]" if to is not None else None
        row = value.row if to == value.type else None
        return Value(value.classes, plain=plain, type=to, row=row)

    def sort_classes(self, sorts: Sequence[JSONObject], scope: Scope) -> Classes:
        """The classes of ORDER BY expressions within an aggregate or a window, and a check of their operators."""
        classes = NONE
        for sort in sorts:
            classes |= self.value(sort["SortBy"]["node"], scope).classes
            self.check_sort_operator(sort, classes)
        self.found.fact("order", classes - self.data)
        return classes

    def check_sort_operator(self, sort: JSONObject, classes: Classes) -> None:
        """ORDER BY ... USING may name an operator that runs user code."""
        if "useOp" in sort["SortBy"] and self.is_opaque_operator(strings(sort["SortBy"]["useOp"])[-1]):
            self.given_away(classes, "an operator")

    def window_classes(self, window: JSONObject, scope: Scope) -> Classes:
        """The classes of a window's partitions, order and frame, those of the window it is based on included.

        `name` is what `OVER name` says; a definition in the WINDOW clause comes without its own.
        """
        based = window.get("name", window.get("refname"))
        classes = NONE
        if based is not None:
            if based not in scope.windows:
                raise Unsure("a window that is not defined")
            classes = scope.windows[based]
        classes |= self.classes(window.get("partitionClause", ()), scope)
        classes |= self.sort_classes(window.get("orderClause", ()), scope)
        classes |= self.classes((window[key] for key in ("startOffset", "endOffset") if key in window), scope)
        self.found.fact("window", classes)
        return classes

    def partial(self, value: Value) -> Value:
        """The result of something that may fail."""
        self.found.fact("may_fail", value.classes)
        return Value(value.classes, plain=False)


def _is_total_operation(kind: str, name: str, body: JSONObject, left: Value | None) -> bool:
    right = body["rexpr"]
    if kind in ("AEXPR_LIKE", "AEXPR_ILIKE", "AEXPR_SIMILAR") or name in PATTERN_OPERATORS:
        pattern = literal(right)
        if name in LIKE_OPERATORS:
            return isinstance(pattern, str) and not pattern.endswith("\\")
        return is_valid_pattern(pattern)
    if name in DIVISIONS:
        divisor = literal(right)
        return isinstance(divisor, int) and divisor > 0 and left is not None and is_steady(left)
    if name in JSON_OPERATORS:
        return left is not None and (left.base or left.type == "pg_catalog.jsonb")
    return kind not in ("AEXPR_OP", "AEXPR_OP_ANY", "AEXPR_OP_ALL") or name in TOTAL_OPERATORS


def _is_total_cast(of: str | None, to: str) -> bool:
    return to in TEXT_TYPES or (of is not None and to in WIDER_TYPES.get(of.removeprefix("pg_catalog."), ()))
