"""Operators, casts and types that a statement names, and the texts that become values of a type unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.harmless import INFORMATION_SCHEMA_TYPES, OPERATORS, TYPES
from mcp_gateway.facts.judging_bodies import MAX_NAMES, ExamineBody
from mcp_gateway.facts.judging_functions import Functions, spellings
from mcp_gateway.facts.reach import Parts
from mcp_gateway.facts.trust import SYSTEM_SCHEMAS, Trust

if TYPE_CHECKING:
    from mcp_gateway.facts.judging import Judge

_SYSTEM = tuple(f"{schema}." for schema in SYSTEM_SCHEMAS)


class Types(Functions):
    """Operators and types by name."""

    def __init__(self, catalog: Catalog | None, *, examine_body: ExamineBody, root: Judge | None) -> None:
        super().__init__(catalog, examine_body=examine_body, root=root)
        self.operator = lru_cache(MAX_NAMES)(self._operator)
        self.type = lru_cache(MAX_NAMES)(self._type)
        self.literal = lru_cache(MAX_NAMES)(self._literal)
        self.filling = lru_cache(MAX_NAMES)(self._filling)
        self.takes_any_type = lru_cache(MAX_NAMES)(self._takes_any_type)
        self.casts = cache(self._casts_unseen)
        self._domains_check: bool | None = None

    def _operator(self, parts: Parts) -> Trust:
        """Use of an operator of this name."""
        built_in = parts[-1] in OPERATORS and parts[:-1] in {(), ("pg_catalog",)}
        own = self.own_operators(parts)
        if not built_in and not own:
            return Trust.UNPROVED
        return max(map(self.named_function, own), default=Trust.KNOWN)

    def own_operators(self, parts: Sequence[str]) -> Sequence[str]:
        """The functions, as `schema.function`, of operators of this name that are not the server's; empty for none."""
        only_system = parts[:-1] == ("pg_catalog",) or (len(parts) == 1 and self.path == ("pg_catalog",))
        return () if only_system or self.catalog is None else self.catalog.operators.get(parts[-1], ())

    def _casts_unseen(self) -> Trust:
        """The user-defined casts that are applied without being written, wherever types ask for it."""
        if self.catalog is None:
            return Trust.KNOWN
        worst = max(map(self.named_function, self.catalog.applied_unseen), default=Trust.KNOWN)
        return Trust.UNPROVED if worst == Trust.UNPROVED else Trust.KNOWN

    def comparing(self, compared: Iterable[str]) -> Trust:
        """What compares and hashes values of user-defined types, wherever they are sorted, grouped or told apart."""
        worst = max(map(self.named_function, compared), default=Trust.KNOWN)
        return Trust.UNPROVED if worst == Trust.UNPROVED else Trust.KNOWN

    def is_in_c(self, qualified: str) -> bool:
        """Whether a function given as `schema.function` is in C, or one of the server's own under another name."""
        schema, _, bare = qualified.rpartition(".")
        return all(one.language in {"c", "internal"} for one in self.candidates(schema, bare))

    def _type(self, parts: Parts) -> Trust:
        """A cast to the type of this name: a domain runs its CHECK, a user-defined cast its function."""
        return self._of_type(parts, self.cast_to)

    def _literal(self, parts: Parts) -> Trust:
        """A constant in quotes, read as the type of this name: no cast is applied to it."""
        return self._of_type(parts, self.checked)

    def _of_type(self, parts: Parts, judge: Callable[[str], Trust]) -> Trust:
        if not 1 <= len(parts) <= 2:
            return Trust.UNPROVED
        schema, name = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
        built_in = (name in TYPES and schema in {"", "pg_catalog"}) or (
            name in INFORMATION_SCHEMA_TYPES and schema == "information_schema"
        )
        if self.catalog is None:
            return Trust.KNOWN if built_in else Trust.UNPROVED
        return max(judge(key) for key in self.type_keys(schema, name))

    def type_keys(self, schema: str, name: str) -> Iterable[str]:
        """What a type's name may mean: `_name` is the array of `name`."""
        names = {part for one in spellings(name) for part in (one, one.removeprefix("_"), one.lstrip("_"))}
        return [f"{place}.{one}" for place in ((schema,) if schema else self.path) for one in names]

    def cast_to(self, key: str) -> Trust:
        """A cast that is written: of a row, field by field."""
        return self._reached(key, casts={} if self.catalog is None else self.catalog.casts)

    def checked(self, key: str) -> Trust:
        """A value that becomes one of this type without a written cast; those that need no writing are `casts`."""
        return self._reached(key, casts={})

    def _reached(self, key: str, *, casts: Mapping[str, Sequence[str]], above: frozenset[str] = frozenset()) -> Trust:
        if self.catalog is None or key in above:
            return Trust.KNOWN
        found = [self._domain(key), *(self.named_function(name) for name in casts.get(key, ()))]
        found += map(self.named_function, self.catalog.range_functions.get(key, ()))
        held = self.catalog.held.get(key)
        if held is not None and not key.startswith(_SYSTEM):
            found.append(self._reached(held.removesuffix("[]"), casts=casts, above=above | {key}))
        row_type = self.catalog.relations.get(key)
        if row_type is not None and row_type.schema not in SYSTEM_SCHEMAS:
            fields = {column.type.removesuffix("[]") for column in row_type.columns}
            found += [self._reached(field, casts=casts, above=above | {key}) for field in fields]
        return max(found)

    def _domain(self, key: str) -> Trust:
        """The CHECKs of a domain. Only the server's own code is trusted in them: no version tells when others' changes."""
        if self.catalog is None or not self.catalog.domains.get(key) or key.startswith("information_schema."):
            return Trust.KNOWN
        verdicts = self.verdicts.domains
        known = verdicts.get(key)
        if known is None:
            verdicts[key] = Trust.UNPROVED  # what a CHECK that casts to its own domain finds
            checks = self.catalog.domain_checks.get(key)
            if checks and all(checks) and self.expressions(checks) == Trust.KNOWN:
                verdicts[key] = Trust.KNOWN
            known = verdicts[key]
        return known

    def domains_check(self) -> bool:
        """Whether filling in the fields of some row type may run a CHECK that matters; the worst without a catalog."""
        if self._domains_check is None:
            domains = None if self.catalog is None else self.catalog.domains
            self._domains_check = domains is None or any(self._domain(name) != Trust.KNOWN for name in domains)
        return self._domains_check

    # Texts without a type

    def _filling(self, parts: Parts) -> tuple[Trust, Trust]:
        """What runs where a text becomes a value of a column of this relation: as a rule, and at the worst.

        As a rule it becomes none of a domain, but of the type below, to which no CHECK belongs. Beside a whole row it is
        a row, and beside an array, or to a function that takes any type, a value of the domain itself.
        """
        found = self.find(parts)
        if self.catalog is None or found is None or found.schema in SYSTEM_SCHEMAS:
            return Trust.KNOWN, Trust.KNOWN
        columns = max((self.checked(self._below(column.type)) for column in found.columns), default=Trust.KNOWN)
        return columns, max(columns, self.checked(found.qualified))

    def _takes_any_type(self, parts: Parts) -> bool:
        """Whether a function of this name may take values of one type, whichever that is."""
        found = self.candidates(parts[0] if len(parts) > 1 else "", parts[-1])
        types = {name for function in found for name in function.types or ()}
        return any(name.startswith("pg_catalog.any") and name != "pg_catalog.any" for name in types)

    def _below(self, name: str) -> str:
        """The type below a domain, and the element's of an array."""
        while self.catalog is not None and name in self.catalog.domains and name in self.catalog.held:
            name = self.catalog.held[name]
        return name.removesuffix("[]")
