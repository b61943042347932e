"""The state of one walk over one statement, and what its layers call of each other.

The resolver is one recursion cut into layers by inheritance: `calls`, `expressions`, `from_items`, `queries`,
`changes`, `resolver`. A layer calls the ones below it directly and the ones above through the methods here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.catalog import Function, Relation
from mcp_gateway.masking.lineage.classified import ClassifiedCatalog, Expansion, Known, Path
from mcp_gateway.masking.lineage.scopes import CTE, Scope
from mcp_gateway.masking.lineage.values import ANY_COLUMN, NONE, Classes, Column, Columns, Found, Unsure, Value, joined

HANDED_OVER: Final = "classified data may not be handed to {name}: what happens to it there cannot be seen"
MAX_VISITS: Final = 20_000
"""Nodes; recursive CTEs in each other multiply, so the work must be bounded and not only the text."""

MAX_GROWN: Final = 10
"""Calls whose result may be several times as long as what they are given, one in the other."""


class Walker(ABC):
    """One walk."""

    def __init__(
        self, prepared: ClassifiedCatalog, *, path: Path, parameters: frozenset[str] = frozenset(), own_name: str = ""
    ) -> None:
        self.prepared = prepared
        self.top = prepared.top
        self.data = prepared.data
        self.path = path
        self.parameters = parameters
        """Names of the arguments, in the body of a function."""
        self.own_name = own_name
        """The function's name, which may qualify them."""
        self.found = Found()
        self.tested: Classes = NONE
        """Classes of what has been compared or tested since the SELECT list that is being resolved began."""
        self.visits = 0
        self.grown = 0

    def visit(self) -> None:
        """Count a node."""
        self.visits += 1
        if self.visits > MAX_VISITS:
            raise Unsure("too much to follow")

    def tests(self, classes: Classes) -> None:
        """Record that all this is compared or tested."""
        if not classes <= self.tested:
            self.tested |= classes

    def grows(self) -> bool:
        """Count what may make much of little, and whether there is too much of that in one statement."""
        self.grown += 1
        return self.grown > MAX_GROWN

    def opaque(self) -> Value:
        """Something that cannot be seen through: it may return anything, and fail or not by anything."""
        self.found.opaque = True
        self.found.fact("may_fail", self.top)
        return Value(self.top, plain=False)

    def hand_over(self, classes: Classes, name: str) -> None:
        """Record that all this goes into code that nobody sees, where data that is classified may not go."""
        if classes & self.data:
            self.found.refuse(HANDED_OVER.format(name=name))
        if classes:
            self.found.fact("may_fail", ANY_COLUMN | classes)

    @abstractmethod
    def value(self, node: JSONObject, scope: Scope) -> Value:
        """Resolve an expression."""

    @abstractmethod
    def query(self, node: JSONObject, scope: Scope | None) -> tuple[Column, ...]:
        """Resolve a query with its tag, a data-modifying one included: its columns."""

    @abstractmethod
    def change(self, tag: str, body: JSONObject, scope: Scope | None) -> tuple[Column, ...]:
        """Resolve a query that writes: the columns of its RETURNING."""

    @abstractmethod
    def cte_columns(self, cte: CTE) -> Columns:
        """The columns of a WITH entry, resolved when it is first met."""

    @abstractmethod
    def known(self, relation: Relation) -> Known:
        """The relation's columns with their classes, a view expanded."""

    @abstractmethod
    def expansion(self, function: Function) -> Expansion | None:
        """The body of a LANGUAGE sql function resolved, or None where it cannot be seen through."""

    @abstractmethod
    def defaults(self, function: Function) -> Expansion | None:
        """What a call passes for arguments that it leaves out, or None where that cannot be seen through."""

    @abstractmethod
    def computed(self, relation: Relation, expression: str) -> Classes:
        """The classes of what a table evaluates over its own columns."""

    def classes(self, nodes: Iterable[JSONObject], scope: Scope) -> Classes:
        """The union of the classes of expressions."""
        classes = NONE
        for node in nodes:
            classes = joined(classes, self.value(node, scope).classes)
        return classes
