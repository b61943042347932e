"""The SQL/JSON constructors and query functions, whose nodes wrap their arguments in layers of their own."""

from __future__ import annotations

from mcp_gateway.calls import JSONObject
from mcp_gateway.masking.lineage.nodes import opened, type_name
from mcp_gateway.masking.lineage.operators import Operators
from mcp_gateway.masking.lineage.scopes import Scope
from mcp_gateway.masking.lineage.values import NONE, Classes, Found, Unsure, Value, classes_of

JSON_CONSTRUCTORS_SINCE = 160000
JSON_QUERY_FUNCTIONS_SINCE = 170000
"""Before these versions the same text called a function of that name."""

_JSON_EXPRESSIONS = frozenset({"arg", "context_item", "expr", "exprs", "passing", "pathspec"})
_JSON_MARKS = frozenset(
    {
        "absent_on_null",
        "behavior",
        "column_name",
        "format",
        "item_type",
        "location",
        "op",
        "quotes",
        "unique",
        "unique_keys",
        "wrapper",
    }
)


class SQLJSON(Operators):
    """SQL/JSON expressions."""

    def _json_since(self, version: int) -> bool:
        return self.prepared.catalog.server_version >= version

    def json(self, body: JSONObject, scope: Scope) -> Value:
        """A constructor or IS JSON."""
        if not self._json_since(JSON_CONSTRUCTORS_SINCE):
            raise Unsure("SQL/JSON on a server that has a function of that name instead")
        return self._json_children(body, scope)

    def json_query(self, body: JSONObject, scope: Scope) -> Value:
        """JSON_VALUE, JSON_QUERY, JSON_EXISTS and what came with them."""
        if not self._json_since(JSON_QUERY_FUNCTIONS_SINCE):
            raise Unsure("SQL/JSON on a server that has a function of that name instead")
        return self._json_children(body, scope)

    def _json_children(self, body: JSONObject, scope: Scope) -> Value:
        classes = NONE
        for key, child in body.items():
            if key == "constructor":
                classes |= self._json_constructor(child, scope)
            elif key == "query":
                around, self.found = self.found, Found()
                classes |= classes_of(self.query(child, scope)) | self.found.flow()
                inside, self.found = self.found, around
                around.merge(inside)
            elif key in _JSON_EXPRESSIONS:
                classes |= self._json_argument(child, scope)
            elif key == "output":
                classes |= self._json_output(child)
            elif key in ("on_empty", "on_error"):
                classes |= self.value(child["expr"], scope).classes if "expr" in child else NONE
            elif key not in _JSON_MARKS:
                raise Unsure(f"{key} in SQL/JSON")
        return self.partial(Value(classes))

    def _json_constructor(self, body: JSONObject, scope: Scope) -> Classes:
        classes = self._json_output(body["output"]) if "output" in body else NONE
        classes |= self.sort_classes(body.get("agg_order", ()), scope)
        if "agg_filter" in body:
            classes |= self.value(body["agg_filter"], scope).classes
        if "over" in body:
            classes |= self.window_classes(body["over"], scope)
        return classes

    def _json_output(self, body: JSONObject) -> Classes:
        schema, name, _ = type_name(body["typeName"])
        to = self.prepared.type_named(schema, name, path=self.path)
        if self.prepared.is_simple(to) and not self.prepared.has_opaque_cast(name):
            return NONE
        return self.opaque().classes

    def _json_argument(self, child: JSONObject | list[JSONObject], scope: Scope) -> Classes:
        """An expression, a list of them, or the parser's wrappers around one."""
        if isinstance(child, list):
            return NONE.union(*(self._json_argument(inner, scope) for inner in child))
        if "raw_expr" in child:
            return self.value(child["raw_expr"], scope).classes
        if "key" in child:
            return self._json_argument(child["key"], scope) | self._json_argument(child["value"], scope)
        tag, body = opened(child)
        if tag in ("JsonValueExpr", "JsonKeyValue"):
            return self._json_argument(body, scope)
        if tag == "JsonArgument":
            return self._json_argument(body["val"], scope)
        return self.value(child, scope).classes
