"""Bodies of views and functions and expressions of tables, read as a statement is, and what a judge keeps of them.

`facts.judging` is one recursion cut into layers by inheritance: this one, `judging_functions`, `judging_types`, `judging`. A
layer calls the ones below it directly and the ones above through the methods that are abstract here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.bodies import body_statements, is_stored_parsed
from mcp_gateway.facts.catalog import Catalog, Relation
from mcp_gateway.facts.families import Families
from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.facts.reach import Named, Parts
from mcp_gateway.facts.trust import Trust, Verdicts

if TYPE_CHECKING:
    from mcp_gateway.facts.judging import Judge

MAX_DEPTH: Final = 64
"""Bodies of views and functions that are read one within another. One that lies deeper is not proved."""
MAX_NAMES: Final = 4096
"""How many names of one kind a judge remembers: agents choose them."""
ExamineBody: TypeAlias = "Callable[[Sequence[JSONObject], Judge], tuple[Trust, Named]]"
"""How far the statements of a body can be trusted, and what they name."""


class Bodies(ABC):
    """What a judge knows, and the bodies that it has read."""

    def __init__(self, catalog: Catalog | None, *, examine_body: ExamineBody, root: Judge | None) -> None:
        self.catalog = catalog
        self.path = ("pg_catalog",) if catalog is None or root else _with_system_schema(catalog.search_path)
        self.root = cast("Judge", root or self)
        self.families: Families = root.families if root else Families(catalog.relations if catalog else {})
        self.verdicts: Verdicts = root.verdicts if root else Verdicts()
        self.examine_body = examine_body
        self._named: dict[str, Named | None] = {}

    @abstractmethod
    def definitions(self) -> Judge:
        """The judge of what the catalog gives qualified."""

    @abstractmethod
    def checked(self, key: str) -> Trust:
        """A value that becomes one of this type without a written cast."""

    @abstractmethod
    def cast_to(self, key: str) -> Trust:
        """A cast that is written."""

    @abstractmethod
    def type_keys(self, schema: str, name: str) -> Iterable[str]:
        """What a type's name may mean."""

    @abstractmethod
    def domains_check(self) -> bool:
        """Whether filling in the fields of some row type may run a CHECK that matters."""

    @abstractmethod
    def find(self, parts: Parts) -> Relation | None:
        """The relation of this name."""

    def body(self, text: str) -> Trust:
        """How far a body can be trusted whose names are looked up by the path of this judge."""
        if self.verdicts.depth >= MAX_DEPTH:
            return Trust.UNPROVED  # what it names may be found out from a place that lies less deep
        self.verdicts.depth += 1
        try:
            trust, self._named[text] = self.examine_body(body_statements(text), cast("Judge", self))
        except SQLSyntaxError:
            self._named[text] = None
            return Trust.UNPROVED
        except RecursionError:  # as above
            return Trust.UNPROVED
        finally:
            self.verdicts.depth -= 1
        return trust

    def reads_body(self, body: str) -> Judge:
        """By whose path the names in a function's body are looked up."""
        return self.definitions() if is_stored_parsed(body) else self.root

    def named_in(self, text: str) -> Named | None:
        """What the body of a view or function names; None where it cannot be read."""
        if text not in self._named:
            self.body(text)
        return self._named.get(text)

    def expressions(self, texts: Sequence[str]) -> Trust:
        """How far expressions of the catalog can be trusted."""
        return max((self.definitions().body(f"SELECT {text}") for text in texts), default=Trust.KNOWN)


def _with_system_schema(path: Sequence[str]) -> tuple[str, ...]:
    return tuple(path) if "pg_catalog" in path else ("pg_catalog", *path)
