"""A catalog snapshot with the classes of its columns: what the resolver looks names up in.

Made by `derived.prepare`, once for a catalog version and a classification, and kept by the caller. The caches fill
as statements are resolved; everything in them is a function of the catalog and the classification alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from mcp_gateway.facts.catalog import EVENTS, Catalog, Function, Relation
from mcp_gateway.facts.families import Families
from mcp_gateway.masking.lineage.nodes import SIMPLE_TYPES
from mcp_gateway.masking.lineage.purity import is_pure
from mcp_gateway.masking.lineage.values import ANY_COLUMN, NONE, Classes, Columns, Found

if TYPE_CHECKING:
    from mcp_gateway.masking.lineage.stored import StoredColumns

Path = tuple[str, ...]
MAX_TYPE_DEPTH = 8
MAX_NAMES = 4096
"""How many names of one kind are remembered: agents choose them."""

BUILTIN_PATH: Path = ("pg_catalog",)
"""How names resolve in what is stored: read with an empty search_path, it names all but built-ins in full."""


class Known(NamedTuple):
    """A relation as statements see it."""

    relation: Relation
    columns: Columns
    found: Found
    """What reading it finds: its classes for `touch`, and for a view all that its query raises."""
    watched: bool
    """Writing to it runs code that nobody sees: user triggers or rules, a view, a foreign table."""
    reshaped: frozenset[str] = EVENTS
    """Of a relation that is watched, the events on which that code may decide what RETURNING gives."""
    moves: Classes = NONE
    """Stored columns that writing to it writes, beside those that the statement does."""


class Expansion(NamedTuple):
    """The body of a LANGUAGE sql function, resolved with clear parameters, or the defaults of a function's arguments."""

    columns: Columns
    found: Found

    @property
    def is_constant(self) -> bool:
        """Whether it rests on nothing that is stored or defined."""
        found = self.found
        return not (self.columns.classes or found.relations or found.functions or found.opaque)


class Unwritten(NamedTuple):
    """The casts and comparisons that are applied without being written, wherever types ask for them."""

    opaque: bool
    """One of them runs code that cannot be seen through, or that looks at what is stored."""
    functions: frozenset[str]
    """`schema.name` of those whose body says that they are not."""


class Shape(NamedTuple):
    """The columns of a function's result."""

    kind: str
    """`scalar`, `row`, `record` (a column definition list says), `argument` (that of the first argument), `open`."""
    names: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Judged:
    """All functions that a name may mean, taken together: the argument types that would tell are not known."""

    names: frozenset[str]
    """`schema.name` of those that are not built in."""
    builtin: bool
    """All of them are PostgreSQL's own."""
    kinds: frozenset[str]
    opaque: bool
    sink: bool
    """Its result tells nothing of its arguments' data, but its arguments go somewhere."""
    returns_set: bool
    total: bool
    expansions: tuple[Expansion, ...]
    shape: Shape
    result_type: str | None


class ClassifiedCatalog:
    """A catalog, the data classes of every stored column, and caches."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        data: Classes,
        declared: Mapping[str, Mapping[str, Classes]],
    ) -> None:
        self.catalog = catalog
        self.data = data
        """Every data class of the target."""
        self.top: Classes = data | ANY_COLUMN
        """Every class: what is not understood has all of them."""
        self.columns: StoredColumns
        """The stored columns as classes."""
        self.declared = declared
        """By relation, then column: the configured data classes."""
        self.stored: Mapping[str, Mapping[str, Classes]] = declared
        """By relation, then column: with what inheritance, generated columns and row types add."""
        self.families = Families(catalog.relations)
        path = catalog.search_path
        self.path: Path = path if "pg_catalog" in path else ("pg_catalog", *path)
        self.known: dict[str, Known] = {}
        self.judged: dict[tuple[str | None, str, Path], Judged | None] = {}
        self.running: set[str] = set()
        """Views and functions that are being expanded: one that meets itself is not followed."""
        self._casts = _by_bare_type(catalog.casts)
        self.relation = lru_cache(MAX_NAMES)(self._relation)
        self.type_named = lru_cache(MAX_NAMES)(self._type_named)
        self.has_opaque_operator = lru_cache(MAX_NAMES)(self._has_opaque_operator)
        self.has_opaque_cast = lru_cache(MAX_NAMES)(self._has_opaque_cast)
        self.is_checked = lru_cache(MAX_NAMES)(self._is_checked)
        self.unwritten: Unwritten | None = None
        """What a resolver has found out of code that no statement names."""

    def forget(self) -> None:
        """Empty the caches, after `stored` has changed."""
        self.known.clear()
        self.judged.clear()
        self.unwritten = None

    def _relation(self, schema: str | None, name: str, *, path: Path) -> Relation | None:
        """The relation that a name means, pg_catalog first unless the path says otherwise."""
        schemas = path if schema is None else (schema,)
        found = (self.catalog.relations.get(f"{candidate}.{name}") for candidate in schemas)
        return next((relation for relation in found if relation is not None), None)

    def functions(self, schema: str | None, name: str, *, path: Path) -> tuple[Function, ...]:
        """Every function that a call of `name` may mean, those that stand behind `name` as a cast included."""
        schemas = path if schema is None else (schema,)
        found = [f for f in self.catalog.functions.get(name, ()) if f.schema in schemas]
        for qualified in self._casts.get(name, ()):
            found.extend(self.functions_named(qualified))
        return tuple(found)

    def functions_named(self, qualified: str) -> tuple[Function, ...]:
        """The functions of a `schema.name`."""
        for at, character in enumerate(qualified):
            if character == ".":
                schema, name = qualified[:at], qualified[at + 1 :]
                found = tuple(f for f in self.catalog.functions.get(name, ()) if f.schema == schema)
                if found:
                    return found
        return ()

    def _type_named(self, schema: str | None, name: str, *, path: Path) -> str | None:
        """`schema.type` of a type name, or None where only the server could tell."""
        first = path[0] if schema is None else schema
        if first == "pg_catalog" and name in SIMPLE_TYPES:
            return f"pg_catalog.{name}"
        for candidate in path if schema is None else (schema,):
            qualified = f"{candidate}.{name}"
            if qualified in self.catalog.domains or qualified in self.catalog.relations:
                return qualified
        return None

    def _has_opaque_operator(self, name: str) -> bool:
        """Whether some operator of that name runs code that cannot be seen through."""
        return not all(self.is_pure(function) for function in self.catalog.operators.get(name, ()))

    def _has_opaque_cast(self, type_name: str) -> bool:
        """Whether some cast to a type of that bare name does."""
        return not all(self.is_pure(function) for function in self._casts.get(type_name, ()))

    def is_pure(self, qualified: str) -> bool:
        """Whether all functions of a `schema.name` are pure by themselves; a body is not looked into."""
        functions = self.functions_named(qualified)
        return bool(functions) and all(is_pure(function, self.functions_named) for function in functions)

    def _is_checked(self, type_name: str | None, *, depth: int = 0) -> bool:
        """Whether making a value of the type runs the CHECK of a domain."""
        if type_name is None or depth > MAX_TYPE_DEPTH:
            return depth > MAX_TYPE_DEPTH
        bare = type_name.removesuffix("[]")
        if bare in self.catalog.domains:
            return self.catalog.domains[bare]
        relation = self.catalog.relations.get(bare)
        return relation is not None and any(self._is_checked(c.type, depth=depth + 1) for c in relation.columns)

    def row_type(self, name: str | None) -> Relation | None:
        """The relation whose rows a composite type holds."""
        return None if name is None else self.catalog.relations.get(name)

    def is_simple(self, name: str | None) -> bool:
        """Whether a type, or an array's element type, is certainly neither composite nor a pseudo-type."""
        if name is None:
            return False
        schema, _, bare = name.removesuffix("[]").partition(".")
        return schema == "pg_catalog" and bare in SIMPLE_TYPES

    def held(self, qualified: str) -> Classes:
        """The data classes of a stored relation's columns, those of its descendants included."""
        names = {qualified, *self.families.descendants(qualified)}
        return NONE.union(*(classes for name in names for classes in self.stored.get(name, {}).values()))


def _by_bare_type(casts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for qualified, functions in casts.items():
        bare = qualified.rpartition(".")[2]
        found[bare] = (*found.get(bare, ()), *functions)
    return found
