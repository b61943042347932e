"""What a function, operator, type or relation that a statement names may do, as far as that can be proved.

Types of arguments are not known, so a name is as good as the worst of its candidates: a harmless built-in is not
enough where a function of the same name stands on the search path. Without a catalog a name means the built-in, and
what is not built in is unproved. `facts.harmless` is the list of built-ins; `facts.sql` asks here while it walks.

A text is a value of whatever type it becomes, written or not: beside a column of a row type `'(1,x)'` is a row, and what
its fields are checked by runs. So a text without a type is judged by all that it may become (`filling`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from functools import cache, lru_cache

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.bodies import body_statements, is_stored_parsed
from mcp_gateway.facts.catalog import Catalog, Function, Relation
from mcp_gateway.facts.families import Families
from mcp_gateway.facts.harmless import (
    EXTENSION_RECORD_FILLERS,
    HARMLESS_EXTENSION_FUNCTIONS,
    HARMLESS_FUNCTIONS,
    INFORMATION_SCHEMA_FUNCTIONS,
    INFORMATION_SCHEMA_TYPES,
    OPERATORS,
    RECORD_FILLERS,
    SERVER_FILE_RELATIONS,
    SESSION_FUNCTIONS,
    SINGLE_ARGUMENT_RISKS,
    TRUSTED_EXTENSIONS,
    TYPES,
)
from mcp_gateway.facts.meant import Meanings
from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.facts.planned import at_planning, unlike
from mcp_gateway.facts.reach import Named, Parts, Reach
from mcp_gateway.facts.scopes import SYSTEM_COLUMNS, Table, table_of
from mcp_gateway.facts.traits import traits_of

FIRST_USER_OID = 16384
"""Objects below it are the server's own (`FirstNormalObjectId`)."""
SYSTEM_SCHEMAS = ("pg_catalog", "information_schema")
_SYSTEM = tuple(f"{schema}." for schema in SYSTEM_SCHEMAS)
MAX_DEPTH = 64
"""Bodies of views and functions that are read one within another. One that lies deeper is not proved."""
MAX_NAMES = 4096
"""How many names of one kind a judge remembers: agents choose them."""


class Trust(IntEnum):
    """How much is known of what would run. The larger of two counts."""

    KNOWN = 0
    """The server's own or a vetted extension's, and harmless."""
    PROVED = 1
    """Somebody's own code that has been read, or any extension's that only computes: harmless."""
    UNPROVED = 2
    """It may do anything."""


class Judge:
    """Answers for one catalog, or for none; keeps what it found out.

    `root` is the judge by whose path a session's names are looked up; this one then is for definitions, which are read
    with an empty path and qualify everything that is not in pg_catalog.
    """

    def __init__(
        self,
        catalog: Catalog | None,
        *,
        examine_body: Callable[[Sequence[JSONObject], Judge], tuple[Trust, Named]],
        root: Judge | None = None,
    ) -> None:
        self.catalog = catalog
        self.path = ("pg_catalog",) if catalog is None or root else _with_system_schema(catalog.search_path)
        self._root = root or self
        self._families: Families = root._families if root else Families(catalog.relations if catalog else {})  # noqa: SLF001 - of the same class
        self._examine_body = examine_body
        self._functions: dict[int, Trust] = {}
        self._domains: dict[str, Trust] = {}
        self._views: dict[str, Trust] = {}
        self._written: dict[str, Trust] = {}
        self._policies: dict[str, Trust] = {}
        self._planned: dict[str, Trust] = {}
        self._named: dict[str, Named | None] = {}
        self._column_names: frozenset[str] | None = None
        """Of the whole catalog, once they were asked for."""
        self._depth = 0
        """Of the bodies that are being read, by the root's count."""
        self.meanings: Meanings = root.meanings if root else Meanings(self, self._families)
        self.reach = Reach(self)
        # What is asked by a name: in its parts, as the text has it, with or without schema.
        self.function = lru_cache(MAX_NAMES)(self._function)
        self.knows_function = lru_cache(MAX_NAMES)(self._knows_function)
        self.traits = lru_cache(MAX_NAMES)(self._traits)
        self.attribute = lru_cache(MAX_NAMES)(self._attribute)
        self.operator = lru_cache(MAX_NAMES)(self._operator)
        self.type = lru_cache(MAX_NAMES)(self._type)
        self.literal = lru_cache(MAX_NAMES)(self._literal)
        self.table = lru_cache(MAX_NAMES)(self._table)
        self.reading = lru_cache(MAX_NAMES)(self._reading)
        self.filling = lru_cache(MAX_NAMES)(self._filling)
        self.takes_any_type = lru_cache(MAX_NAMES)(self._takes_any_type)
        # What is asked of the whole catalog.
        self.definitions = cache(self._definitions)
        self.casts = cache(self._casts_unseen)
        self._domains_check = cache(self._some_domain_checks)

    # Functions

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
        names = self._root._column_names  # noqa: SLF001 - of the same class
        if names is None:
            names = self._root._column_names = self._find_column_names(self.catalog)  # noqa: SLF001 - of the same class
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
        own = [function for one in _spellings(name) for function in self.candidates("", one)]
        return max(
            (
                *(self._candidate(function) for function in own if function.oid >= FIRST_USER_OID),
                *(self._cast_to(key) for key in self.type_keys("", name)),
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
        verdicts = self._root._functions  # noqa: SLF001 - of the same class
        known = verdicts.get(function.oid)
        if known is None:
            verdicts[function.oid] = Trust.UNPROVED  # what a function that calls itself finds
            known = verdicts[function.oid] = self._own_function(function)
        return known

    def _built_in_function(self, schema: str, name: str) -> Trust:
        if schema in {"", "pg_catalog"}:
            if name in SESSION_FUNCTIONS:
                return Trust.PROVED
            harmless = name in HARMLESS_FUNCTIONS or (name in RECORD_FILLERS and not self._domains_check())
        else:
            harmless = schema == "information_schema" and name in INFORMATION_SCHEMA_FUNCTIONS
        return Trust.KNOWN if harmless else Trust.UNPROVED

    def _own_function(self, function: Function) -> Trust:
        best = Trust.KNOWN if function.extension in TRUSTED_EXTENSIONS else Trust.PROVED
        if function.kind == "a":
            return max((best, *map(self._qualified, function.transitions or ("",))))
        if function.kind not in {"f", "w"}:
            return Trust.UNPROVED
        if function.makes_its_type:
            types = (function.result_type, *(function.types or ()))
            return max(best, *(self._checked(name.removesuffix("[]")) for name in types))
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
            self._body(function.body, judge=self.reads_body(function.body)),
            self._body(f"SELECT {function.defaults}", judge=self.definitions()) if function.defaults else Trust.KNOWN,
            *map(self._checked, types),
        )

    def _extension_function(self, function: Function, *, extension: str) -> Trust:
        """Only a superuser can make a C function, so its volatility is a declaration that may be believed."""
        key = (extension, function.name)
        if key in EXTENSION_RECORD_FILLERS and self._domains_check():
            return Trust.UNPROVED
        only_computes = function.volatility == "i" or (function.volatility == "s" and extension in TRUSTED_EXTENSIONS)
        return Trust.KNOWN if only_computes or key in HARMLESS_EXTENSION_FUNCTIONS else Trust.UNPROVED

    def _definitions(self) -> Judge:
        """The judge of what the catalog gives qualified."""
        return self if self is not self._root else Judge(self.catalog, examine_body=self._examine_body, root=self._root)

    def _body(self, text: str, *, judge: Judge) -> Trust:
        root = self._root
        if root._depth >= MAX_DEPTH:  # noqa: SLF001 - of the same class
            return Trust.UNPROVED  # what it names may be found out from a place that lies less deep
        root._depth += 1  # noqa: SLF001
        try:
            trust, judge._named[text] = self._examine_body(body_statements(text), judge)
        except SQLSyntaxError:
            judge._named[text] = None
            return Trust.UNPROVED
        except RecursionError:  # as above
            return Trust.UNPROVED
        finally:
            root._depth -= 1  # noqa: SLF001
        return trust

    def reads_body(self, body: str) -> Judge:
        """By whose path the names in a function's body are looked up."""
        return self.definitions() if is_stored_parsed(body) else self._root

    def named_in(self, text: str) -> Named | None:
        """What the body of a view or function names; None where it cannot be read."""
        if text not in self._named:
            self._body(text, judge=self)
        return self._named.get(text)

    def _qualified(self, qualified: str) -> Trust:
        """A function given as `schema.function`."""
        parts = tuple(qualified.split("."))
        return self.function(parts) if len(parts) == 2 else Trust.UNPROVED

    # Operators, casts, types

    def _operator(self, parts: Parts) -> Trust:
        """Use of an operator of this name."""
        built_in = parts[-1] in OPERATORS and parts[:-1] in {(), ("pg_catalog",)}
        own = self.own_operators(parts)
        if not built_in and not own:
            return Trust.UNPROVED
        return max(map(self._qualified, own), default=Trust.KNOWN)

    def own_operators(self, parts: Sequence[str]) -> Sequence[str]:
        """The functions, as `schema.function`, of operators of this name that are not the server's; empty for none."""
        only_system = parts[:-1] == ("pg_catalog",) or (len(parts) == 1 and self.path == ("pg_catalog",))
        return () if only_system or self.catalog is None else self.catalog.operators.get(parts[-1], ())

    def _casts_unseen(self) -> Trust:
        """The user-defined casts that are applied without being written, wherever types ask for it."""
        if self.catalog is None:
            return Trust.KNOWN
        worst = max(map(self._qualified, self.catalog.applied_unseen), default=Trust.KNOWN)
        return Trust.UNPROVED if worst == Trust.UNPROVED else Trust.KNOWN

    def comparing(self, compared: Iterable[str]) -> Trust:
        """What compares and hashes values of user-defined types, wherever they are sorted, grouped or told apart."""
        worst = max(map(self._qualified, compared), default=Trust.KNOWN)
        return Trust.UNPROVED if worst == Trust.UNPROVED else Trust.KNOWN

    def is_in_c(self, qualified: str) -> bool:
        """Whether a function given as `schema.function` is in C, or one of the server's own under another name."""
        schema, _, bare = qualified.rpartition(".")
        return all(one.language in {"c", "internal"} for one in self.candidates(schema, bare))

    def _type(self, parts: Parts) -> Trust:
        """A cast to the type of this name: a domain runs its CHECK, a user-defined cast its function."""
        return self._of_type(parts, self._cast_to)

    def _literal(self, parts: Parts) -> Trust:
        """A constant in quotes, read as the type of this name: no cast is applied to it."""
        return self._of_type(parts, self._checked)

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
        names = {part for one in _spellings(name) for part in (one, one.removeprefix("_"), one.lstrip("_"))}
        return [f"{place}.{one}" for place in ((schema,) if schema else self.path) for one in names]

    def _cast_to(self, key: str) -> Trust:
        """A cast that is written: of a row, field by field."""
        return self._reached(key, casts={} if self.catalog is None else self.catalog.casts)

    def _checked(self, key: str) -> Trust:
        """A value that becomes one of this type without a written cast; those that need no writing are `casts`."""
        return self._reached(key, casts={})

    def _reached(self, key: str, *, casts: Mapping[str, Sequence[str]], above: frozenset[str] = frozenset()) -> Trust:
        if self.catalog is None or key in above:
            return Trust.KNOWN
        found = [self._domain(key), *(self._qualified(name) for name in casts.get(key, ()))]
        found += map(self._qualified, self.catalog.range_functions.get(key, ()))
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
        verdicts = self._root._domains  # noqa: SLF001 - of the same class
        known = verdicts.get(key)
        if known is None:
            verdicts[key] = Trust.UNPROVED  # what a CHECK that casts to its own domain finds
            checks = self.catalog.domain_checks.get(key)
            if checks and all(checks) and self._expressions(checks) == Trust.KNOWN:
                verdicts[key] = Trust.KNOWN
            known = verdicts[key]
        return known

    def _some_domain_checks(self) -> bool:
        """Whether filling in the fields of some row type may run a CHECK that matters; the worst without a catalog."""
        if self.catalog is None:
            return True
        return any(self._domain(name) != Trust.KNOWN for name in self.catalog.domains)

    # Texts without a type

    def _filling(self, parts: Parts) -> tuple[Trust, Trust]:
        """What runs where a text becomes a value of a column of this relation: as a rule, and at the worst.

        As a rule it becomes none of a domain, but of the type below, to which no CHECK belongs. Beside a whole row it is
        a row, and beside an array, or to a function that takes any type, a value of the domain itself.
        """
        found = self.find(parts)
        if self.catalog is None or found is None or found.schema in SYSTEM_SCHEMAS:
            return Trust.KNOWN, Trust.KNOWN
        columns = max((self._checked(self._below(column.type)) for column in found.columns), default=Trust.KNOWN)
        return columns, max(columns, self._checked(found.qualified))

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

    # Relations

    def _table(self, parts: Parts) -> Table | None:
        """The relation of this name, if there is a catalog and it knows one."""
        if self.catalog is None:
            return None
        schemas = self.path if len(parts) == 1 else (parts[-2],)
        for schema in schemas:
            found = self.catalog.relations.get(f"{schema}.{parts[-1]}")
            if found is not None and found.schema == schema:
                return table_of(found)
        return None

    def find(self, parts: Parts) -> Relation | None:
        """The same without what facts call it."""
        table = self.table(parts)
        return None if table is None else table.relation

    def _reading(self, parts: Parts) -> Trust:
        """Reading the relation of this name: a view runs what it is made of, a foreign table reaches elsewhere."""
        schema = parts[-2] if len(parts) > 1 else ""
        if schema in {"", "pg_catalog"} and parts[-1] in SERVER_FILE_RELATIONS:
            return Trust.UNPROVED
        if self.catalog is None:
            return Trust.KNOWN
        found = self.find(parts)
        if found is None:  # not yet in the snapshot, or nowhere
            system = schema in SYSTEM_SCHEMAS or (not schema and parts[-1].startswith("pg_"))
            return Trust.KNOWN if system else Trust.UNPROVED
        if found.schema in SYSTEM_SCHEMAS and found.oid < FIRST_USER_OID:
            return Trust.KNOWN
        if found.kind == "v":
            return self._view(found)
        if found.kind == "f" or found.qualified in self._families.above_foreign:
            return Trust.UNPROVED
        return max(self._row_security(found), self._planning(found))

    def writing(self, parts: Parts, *, running: bool) -> Trust:
        """Writing to the relation of this name: what it sets off in it and in all that is written along with it.

        Triggers and rules, row-level security, defaults, checks, expressions of indexes and generated columns, CHECKs
        of domains. Without `running` it is only planned, which fires no trigger.
        """
        found = self.find(parts)
        if found is None:  # reading it has been judged
            return Trust.KNOWN
        reached = self.written_along(found)
        if running and any(of.has_triggers or of.kind not in {"r", "p"} for of in reached):
            return Trust.UNPROVED
        return max(map(self._evaluated, reached))

    def written_along(self, relation: Relation) -> Sequence[Relation]:
        """A relation, what a view is made of, and what a write to any of these changes along with it."""
        relations = {} if self.catalog is None else self.catalog.relations
        made_of = self.meanings.made_of(relation.qualified)
        names = dict.fromkeys(name for one in made_of for name in self._families.written_along(one))
        return [relations[name] for name in names if name in relations]

    def _evaluated(self, relation: Relation) -> Trust:
        """The expressions that a write to one table evaluates."""
        verdicts = self._root._written  # noqa: SLF001 - of the same class
        known = verdicts.get(relation.qualified)
        if known is None:
            verdicts[relation.qualified] = Trust.UNPROVED
            generated = [column.generated for column in relation.columns if column.generated is not None]
            types = {column.type.removesuffix("[]") for column in relation.columns}
            known = verdicts[relation.qualified] = max(
                self._row_security(relation),
                self._expressions([*relation.defaults, *relation.checks, *generated]),
                *map(self._checked, types),
                Trust.KNOWN,
            )
        return known

    def _row_security(self, relation: Relation) -> Trust:
        """The policies of a table; whether they hold for this role is not asked."""
        verdicts = self._root._policies  # noqa: SLF001 - of the same class
        known = verdicts.get(relation.qualified)
        if known is None:
            verdicts[relation.qualified] = Trust.UNPROVED  # what a policy that reads its own table finds
            known = verdicts[relation.qualified] = self._expressions(relation.policies)
        return known

    def _planning(self, relation: Relation) -> Trust:
        """What planning a statement over a relation runs of its own expressions, and of those of its parts and parents."""
        verdicts = self._root._planned  # noqa: SLF001 - of the same class
        known = verdicts.get(relation.qualified)
        if known is None:
            verdicts[relation.qualified] = Trust.UNPROVED
            families, relations = self._families, {} if self.catalog is None else self.catalog.relations
            names = (*families.ancestors(relation.qualified), *families.descendants(relation.qualified))
            made = [relation, *(relations[name] for name in names if name in relations)]
            texts = unlike(text for one in made for text in (*one.checks, *one.measured))
            known = verdicts[relation.qualified] = max(map(self._at_planning, texts), default=Trust.KNOWN)
        return known

    def _at_planning(self, text: str) -> Trust:
        judge = self.definitions()
        try:
            trust, _ = self._examine_body(at_planning(text, waits=judge._waits_for_rows), judge)  # noqa: SLF001
        except (SQLSyntaxError, RecursionError):
            return Trust.UNPROVED
        return trust

    def _waits_for_rows(self, parts: Parts) -> bool:
        """Whether a function that is applied to a column runs for rows alone: one in SQL may be looked into before."""
        found = self.candidates(parts[-2] if len(parts) > 1 else "", parts[-1])
        return bool(found) and all(function.language != "sql" for function in found)

    def _expressions(self, texts: Sequence[str]) -> Trust:
        return max((self._body(f"SELECT {text}", judge=self.definitions()) for text in texts), default=Trust.KNOWN)

    def _view(self, view: Relation) -> Trust:
        if view.definition is None:
            return Trust.UNPROVED
        verdicts = self._root._views  # noqa: SLF001 - of the same class
        known = verdicts.get(view.qualified)
        if known is None:
            verdicts[view.qualified] = Trust.UNPROVED
            known = verdicts[view.qualified] = self._body(view.definition, judge=self.definitions())
        return known


def _spellings(name: str) -> set[str]:
    """A name as the parser folded it, and as a server does whose encoding has one byte for each character."""
    return {name} if name.isascii() else {name, name.lower()}


def _with_system_schema(path: Sequence[str]) -> tuple[str, ...]:
    return tuple(path) if "pg_catalog" in path else ("pg_catalog", *path)
