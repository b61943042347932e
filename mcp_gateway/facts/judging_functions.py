"""Functions that a statement names: what a name may mean, and how far that can be trusted."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from mcp_gateway.facts.catalog import Catalog, Function
from mcp_gateway.facts.harmless import (
    EXTENSION_RECORD_FILLERS,
    HARMLESS_EXTENSION_FUNCTIONS,
    HARMLESS_FUNCTIONS,
    INFORMATION_SCHEMA_FUNCTIONS,
    RECORD_FILLERS,
    SESSION_FUNCTIONS,
    SINGLE_ARGUMENT_RISKS,
    TRUSTED_EXTENSIONS,
)
from mcp_gateway.facts.judging_bodies import MAX_NAMES, Bodies, ExamineBody
from mcp_gateway.facts.reach import Parts
from mcp_gateway.facts.scopes import SYSTEM_COLUMNS
from mcp_gateway.facts.traits import traits_of
from mcp_gateway.facts.trust import FIRST_USER_OID, Trust

if TYPE_CHECKING:
    from mcp_gateway.facts.judging import Judge


class Functions(Bodies):
    """Functions by name."""

    def __init__(self, catalog: Catalog | None, *, examine_body: ExamineBody, root: Judge | None) -> None:
        super().__init__(catalog, examine_body=examine_body, root=root)
        # What is asked by a name: in its parts, as the text has it, with or without schema.
        self.function = lru_cache(MAX_NAMES)(self._function)
        self.knows_function = lru_cache(MAX_NAMES)(self._knows_function)
        self.traits = lru_cache(MAX_NAMES)(self._traits)
        self.attribute = lru_cache(MAX_NAMES)(self._attribute)

    def _function(self, parts: Parts) -> Trust:
        """A call of the function of this name."""
        if not 1 <= len(parts) <= 2:
            return Trust.UNPROVED
        schema, name = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
        found = self.candidates(schema, name)
        return self._built_in_function(schema, name) if not found else max(map(self._candidate, found))

    def _knows_function(self, parts: Parts) -> bool:
        """Whether the catalog has a function of this name; without one nothing is unknown."""
        if self.catalog is None or len(parts) not in {1, 2}:
            return True
        return bool(self.candidates(parts[0] if len(parts) == 2 else "", parts[-1]))

    def knows_column(self, name: str) -> bool:
        """Whether anything in the catalog has a column of this name, or what is written like one: a field, a function."""
        if self.catalog is None:
            return True
        names = self.verdicts.column_names
        if names is None:
            names = self.verdicts.column_names = self._find_column_names(self.catalog)
        return name in names

    @staticmethod
    def _find_column_names(catalog: Catalog) -> frozenset[str]:
        functions = [function for named in catalog.functions.values() for function in named]
        return frozenset(catalog.functions).union(
            (column.name for relation in catalog.relations.values() for column in relation.columns),
            (name for function in functions for name in (*function.arguments, *function.outputs)),
            SYSTEM_COLUMNS,
        )

    def _traits(self, parts: Parts) -> frozenset[str]:
        """What is known of the functions that a name may mean, without what is behind them."""
        found = self.candidates(parts[-2] if len(parts) > 1 else "", parts[-1])
        has_catalog = self.catalog is not None
        return frozenset(traits_of(parts[-1], found, has_catalog=has_catalog, first_own_oid=FIRST_USER_OID))

    @staticmethod
    def is_system(oid: int) -> bool:
        """Whether an object is one that the server brings."""
        return oid < FIRST_USER_OID

    def _attribute(self, name: str) -> Trust:
        """`(x).name` where `name` is not proved to be a field: a function or a type of that name is applied to x."""
        if name in SINGLE_ARGUMENT_RISKS:
            return Trust.UNPROVED
        if name in SESSION_FUNCTIONS:
            return Trust.PROVED
        own = [function for one in spellings(name) for function in self.candidates("", one)]
        return max(
            (
                *(self._candidate(function) for function in own if function.oid >= FIRST_USER_OID),
                *(self.cast_to(key) for key in self.type_keys("", name)),
            ),
            default=Trust.KNOWN,
        )

    def keyword(self, name: str) -> Trust:
        """Syntax that newer grammars know, in the form of a call: an older server finds a function of this name."""
        own = [function for function in self.candidates("", name) if function.oid >= FIRST_USER_OID]
        return max(map(self._candidate, own), default=Trust.KNOWN)

    def candidates(self, schema: str, name: str) -> list[Function]:
        """The functions that a name may mean, where it has a schema and where it has none (empty)."""
        if self.catalog is None:
            return []
        schemas = (schema,) if schema else self.path
        return [function for function in self.catalog.functions.get(name, ()) if function.schema in schemas]

    def _candidate(self, function: Function) -> Trust:
        if function.oid < FIRST_USER_OID:
            return self._built_in_function(function.schema, function.name)
        verdicts = self.verdicts.functions
        known = verdicts.get(function.oid)
        if known is None:
            verdicts[function.oid] = Trust.UNPROVED  # what a function that calls itself finds
            known = verdicts[function.oid] = self._own_function(function)
        return known

    def _built_in_function(self, schema: str, name: str) -> Trust:
        if schema in {"", "pg_catalog"}:
            if name in SESSION_FUNCTIONS:
                return Trust.PROVED
            harmless = name in HARMLESS_FUNCTIONS or (name in RECORD_FILLERS and not self.domains_check())
        else:
            harmless = schema == "information_schema" and name in INFORMATION_SCHEMA_FUNCTIONS
        return Trust.KNOWN if harmless else Trust.UNPROVED

    def _own_function(self, function: Function) -> Trust:
        best = Trust.KNOWN if function.extension in TRUSTED_EXTENSIONS else Trust.PROVED
        if function.kind == "a":
            return max((best, *map(self.named_function, function.transitions or ("",))))
        if function.kind not in {"f", "w"}:
            return Trust.UNPROVED
        if function.makes_its_type:
            types = (function.result_type, *(function.types or ()))
            return max(best, *(self.checked(name.removesuffix("[]")) for name in types))
        if function.extension and function.language in {"c", "internal"}:
            return max(best, self._extension_function(function, extension=function.extension))
        return max(best, self._sql_function(function)) if function.language == "sql" else Trust.UNPROVED

    def reaches_no_table(self, function: Function) -> bool:
        """Whether a function that is not in SQL is known to read and write no table that it does not name."""
        if function.kind == "a" or function.makes_its_type:  # an aggregate is as good as its own functions
            return True
        extension = function.extension if function.language in {"c", "internal"} else None
        return extension is not None and self._extension_function(function, extension=extension) != Trust.UNPROVED

    def _sql_function(self, function: Function) -> Trust:
        """Its body, the defaults of its arguments, and the CHECKs of domains among its types."""
        if function.body is None or function.defaults is None or function.types is None:
            return Trust.UNPROVED
        types = {name.removesuffix("[]") for name in (function.result_type, *function.types)}
        return max(
            self.reads_body(function.body).body(function.body),
            self.definitions().body(f"SELECT {function.defaults}") if function.defaults else Trust.KNOWN,
            *map(self.checked, types),
        )

    def _extension_function(self, function: Function, *, extension: str) -> Trust:
        """Only a superuser can make a C function, so its volatility is a declaration that may be believed."""
        key = (extension, function.name)
        if key in EXTENSION_RECORD_FILLERS and self.domains_check():
            return Trust.UNPROVED
        only_computes = function.volatility == "i" or (function.volatility == "s" and extension in TRUSTED_EXTENSIONS)
        return Trust.KNOWN if only_computes or key in HARMLESS_EXTENSION_FUNCTIONS else Trust.UNPROVED

    def named_function(self, qualified: str) -> Trust:
        """A function given as `schema.function`."""
        parts = tuple(qualified.split("."))
        return self.function(parts) if len(parts) == 2 else Trust.UNPROVED


def spellings(name: str) -> set[str]:
    """A name as the parser folded it, and as a server does whose encoding has one byte for each character."""
    return {name} if name.isascii() else {name, name.lower()}
