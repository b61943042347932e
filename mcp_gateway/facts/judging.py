"""What a function, operator, type or relation that a statement names may do, as far as that can be proved.

Types of arguments are not known, so a name is as good as the worst of its candidates: a harmless built-in is not
enough where a function of the same name stands on the search path. Without a catalog a name means the built-in, and
what is not built in is unproved. `facts.harmless` is the list of built-ins; `facts.sql` asks here while it walks.

What a snapshot of the catalog does not tell and nothing here covers: functions in row-level security policies, and
domains below a range type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from functools import cached_property

from mcp_gateway.calls import JSONObject
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
from mcp_gateway.facts.parser import SQLSyntaxError, parse_tree
from mcp_gateway.facts.tree import opened

FIRST_USER_OID = 16384
"""Objects below it are the server's own (`FirstNormalObjectId`)."""
SYSTEM_SCHEMAS = ("pg_catalog", "information_schema")
MAX_NAMES = 4096
"""How many names a judge remembers: agents choose them."""
BODY_AS_STATEMENT = "CREATE FUNCTION f() RETURNS int LANGUAGE sql "
"""What makes a statement of a body in the form `BEGIN ATOMIC ... END` or `RETURN ...`."""


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
        examine_body: Callable[[Sequence[JSONObject], Judge], Trust],
        root: Judge | None = None,
    ) -> None:
        self.catalog = catalog
        self.path = ("pg_catalog",) if catalog is None or root else _with_system_schema(catalog.search_path)
        self._root = root or self
        self._families: Families = root._families if root else Families(catalog.relations if catalog else {})  # noqa: SLF001 - of the same class
        self._examine_body = examine_body
        self._functions: dict[int, Trust] = {}
        self._views: dict[str, Trust] = {}
        self._written: dict[str, Trust] = {}
        self._policies: dict[str, Trust] = {}
        self._names: dict[tuple[str, Sequence[str]], Trust] = {}

    # Functions

    def _remembered(self, what: str, parts: Sequence[str], judge: Callable[[Sequence[str]], Trust]) -> Trust:
        known = self._names.get((what, parts))
        if known is None:
            known = judge(parts)
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            self._names[what, parts] = known
        return known

    def function(self, parts: tuple[str, ...]) -> Trust:
        """A call of the function of this name, given as the text has it: with or without schema."""
        return self._remembered("function", parts, self._function)

    def _function(self, parts: Sequence[str]) -> Trust:
        if not 1 <= len(parts) <= 2:
            return Trust.UNPROVED
        schema, name = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
        found = self._candidates(schema, name)
        return self._built_in_function(schema, name) if not found else max(map(self._candidate, found))

    def knows_function(self, parts: Sequence[str]) -> bool:
        """Whether the catalog has a function of this name; without one nothing is unknown."""
        if self.catalog is None or len(parts) not in {1, 2}:
            return True
        return bool(self._candidates(parts[0] if len(parts) == 2 else "", parts[-1]))

    def attribute(self, name: str) -> Trust:
        """`(x).name` where `name` is not proved to be a field: a function or a type of that name is applied to x."""
        return self._remembered("attribute", (name,), self._attribute)

    def _attribute(self, parts: Sequence[str]) -> Trust:
        (name,) = parts
        if name in SINGLE_ARGUMENT_RISKS:
            return Trust.UNPROVED
        if name in SESSION_FUNCTIONS:
            return Trust.PROVED
        own = [function for one in _spellings(name) for function in self._candidates("", one)]
        return max(
            (
                *(self._candidate(function) for function in own if function.oid >= FIRST_USER_OID),
                *(self._cast_to(key) for key in self._type_keys("", name)),
            ),
            default=Trust.KNOWN,
        )

    def keyword(self, name: str) -> Trust:
        """Syntax that newer grammars know, in the form of a call: an older server finds a function of this name."""
        own = [function for function in self._candidates("", name) if function.oid >= FIRST_USER_OID]
        return max(map(self._candidate, own), default=Trust.KNOWN)

    def _candidates(self, schema: str, name: str) -> list[Function]:
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
            harmless = name in HARMLESS_FUNCTIONS or (name in RECORD_FILLERS and not self._domains_check)
        else:
            harmless = schema == "information_schema" and name in INFORMATION_SCHEMA_FUNCTIONS
        return Trust.KNOWN if harmless else Trust.UNPROVED

    def _own_function(self, function: Function) -> Trust:
        best = Trust.KNOWN if function.extension in TRUSTED_EXTENSIONS else Trust.PROVED
        if function.kind == "a":
            return max((best, *map(self._named, function.transitions or ("",))))
        if function.kind not in {"f", "w"}:
            return Trust.UNPROVED
        if function.extension and function.language in {"c", "internal"}:
            return max(best, self._extension_function(function, extension=function.extension))
        return max(best, self._sql_function(function)) if function.language == "sql" else Trust.UNPROVED

    def _sql_function(self, function: Function) -> Trust:
        """Its body, the defaults of its arguments, and the CHECKs of domains among its types."""
        if function.body is None or function.defaults is None or function.types is None:
            return Trust.UNPROVED
        types = {name.removesuffix("[]") for name in (function.result_type, *function.types)}
        return max(
            self._body(function.body, judge=self._definitions if _is_stored_parsed(function.body) else self._root),
            self._body(f"SELECT {function.defaults}", judge=self._definitions) if function.defaults else Trust.KNOWN,
            *map(self._cast_to, types),
        )

    def _extension_function(self, function: Function, *, extension: str) -> Trust:
        """Only a superuser can make a C function, so its volatility is a declaration that may be believed."""
        key = (extension, function.name)
        if key in EXTENSION_RECORD_FILLERS and self._domains_check:
            return Trust.UNPROVED
        only_computes = function.volatility == "i" or (function.volatility == "s" and extension in TRUSTED_EXTENSIONS)
        return Trust.KNOWN if only_computes or key in HARMLESS_EXTENSION_FUNCTIONS else Trust.UNPROVED

    @cached_property
    def _definitions(self) -> Judge:
        return Judge(self.catalog, examine_body=self._examine_body, root=self._root)

    def _body(self, text: str, *, judge: Judge) -> Trust:
        try:
            return self._examine_body(_body_statements(text), judge)
        except (SQLSyntaxError, RecursionError):
            return Trust.UNPROVED

    def _named(self, qualified: str) -> Trust:
        """A function given as `schema.function`."""
        parts = tuple(qualified.split("."))
        return self.function(parts) if len(parts) == 2 else Trust.UNPROVED

    # Operators, casts, types

    def operator(self, parts: tuple[str, ...]) -> Trust:
        """Use of an operator of this name, as the text has it."""
        return self._remembered("operator", parts, self._operator)

    def _operator(self, parts: Sequence[str]) -> Trust:
        schema, name = ("", parts[0]) if len(parts) == 1 else (".".join(parts[:-1]), parts[-1])
        built_in = name in OPERATORS and schema in {"", "pg_catalog"}
        only_system = schema == "pg_catalog" or (not schema and self.path == ("pg_catalog",))
        own = () if only_system or self.catalog is None else self.catalog.operators.get(name, ())
        if not built_in and not own:
            return Trust.UNPROVED
        return max(map(self._named, own), default=Trust.KNOWN)

    @cached_property
    def casts(self) -> Trust:
        """The user-defined casts that are applied without being written, wherever types ask for it."""
        if self.catalog is None:
            return Trust.KNOWN
        unwritten = self.catalog.unwritten_casts
        named = {name for names in self.catalog.casts.values() for name in names}
        worst = max((self._named(name) for name in (named if unwritten is None else unwritten)), default=Trust.KNOWN)
        return Trust.UNPROVED if worst == Trust.UNPROVED else Trust.KNOWN

    def type(self, parts: tuple[str, ...]) -> Trust:
        """A cast to the type of this name: a domain runs its CHECK, a user-defined cast its function."""
        return self._remembered("type", parts, self._type)

    def _type(self, parts: Sequence[str]) -> Trust:
        if not 1 <= len(parts) <= 2:
            return Trust.UNPROVED
        schema, name = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
        built_in = (name in TYPES and schema in {"", "pg_catalog"}) or (
            name in INFORMATION_SCHEMA_TYPES and schema == "information_schema"
        )
        if self.catalog is None:
            return Trust.KNOWN if built_in else Trust.UNPROVED
        return max(self._cast_to(key) for key in self._type_keys(schema, name))

    def _type_keys(self, schema: str, name: str) -> Iterable[str]:
        """What a type's name may mean: `_name` is the array of `name`."""
        names = {part for one in _spellings(name) for part in (one, one.removeprefix("_"), one.lstrip("_"))}
        return [f"{place}.{one}" for place in ((schema,) if schema else self.path) for one in names]

    def _cast_to(self, key: str, *, above: frozenset[str] = frozenset()) -> Trust:
        if self.catalog is None or key in above:
            return Trust.KNOWN
        if self.catalog.domains.get(key) and not key.startswith("information_schema."):
            return Trust.UNPROVED
        found = [self._named(name) for name in self.catalog.casts.get(key, ())]
        row_type = self.catalog.relations.get(key)
        if row_type is not None and row_type.schema not in SYSTEM_SCHEMAS:
            fields = {column.type.removesuffix("[]") for column in row_type.columns}
            found += [self._cast_to(field, above=above | {key}) for field in fields]
        return max(found, default=Trust.KNOWN)

    @cached_property
    def _domains_check(self) -> bool:
        """Whether filling in the fields of some row type may run a CHECK; the worst without a catalog."""
        if self.catalog is None:
            return True
        return any(check and not name.startswith("information_schema.") for name, check in self.catalog.domains.items())

    # Relations

    def find(self, parts: Sequence[str]) -> Relation | None:
        """The relation of this name, as the text has it, if there is a catalog and it knows one."""
        if self.catalog is None:
            return None
        schemas = self.path if len(parts) == 1 else (parts[-2],)
        for schema in schemas:
            found = self.catalog.relations.get(f"{schema}.{parts[-1]}")
            if found is not None and found.schema == schema:
                return found
        return None

    def reading(self, parts: Sequence[str]) -> Trust:
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
        return self._row_security(found)

    def writing(self, parts: Sequence[str], *, running: bool) -> Trust:
        """Writing to the relation of this name: what it sets off in it and in all that is written along with it.

        Triggers and rules, row-level security, defaults, checks, expressions of indexes and generated columns, CHECKs
        of domains. Without `running` it is only planned, which fires no trigger.
        """
        found = self.find(parts)
        if found is None:  # reading it has been judged
            return Trust.KNOWN
        relations = {} if self.catalog is None else self.catalog.relations
        names = self._families.written_along(found.qualified)
        reached = [relations[name] for name in names if name in relations]
        if running and any(of.has_triggers or of.kind not in {"r", "p"} for of in reached):
            return Trust.UNPROVED
        return max(map(self._evaluated, reached))

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
                *map(self._cast_to, types),
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

    def _expressions(self, texts: Sequence[str]) -> Trust:
        return max((self._body(f"SELECT {text}", judge=self._definitions) for text in texts), default=Trust.KNOWN)

    def _view(self, view: Relation) -> Trust:
        if view.definition is None:
            return Trust.UNPROVED
        verdicts = self._root._views  # noqa: SLF001 - of the same class
        known = verdicts.get(view.qualified)
        if known is None:
            verdicts[view.qualified] = Trust.UNPROVED
            known = verdicts[view.qualified] = self._body(view.definition, judge=self._definitions)
        return known


def _spellings(name: str) -> set[str]:
    """A name as the parser folded it, and as a server does whose encoding has one byte for each character."""
    return {name} if name.isascii() else {name, name.lower()}


def _with_system_schema(path: Sequence[str]) -> tuple[str, ...]:
    return tuple(path) if "pg_catalog" in path else ("pg_catalog", *path)


def _is_stored_parsed(body: str) -> bool:
    """Whether a function's body is in the form that the server keeps parsed, and so gives qualified."""
    return body.lstrip().upper().startswith(("BEGIN ATOMIC", "RETURN"))


def _body_statements(text: str) -> Sequence[JSONObject]:
    """The statements of a view's or function's body, in any of its forms."""
    if not _is_stored_parsed(text):
        return [raw["stmt"] for raw in parse_tree(text)]
    (raw,) = parse_tree(BODY_AS_STATEMENT + text)
    kind, body = opened(raw["stmt"]["CreateFunctionStmt"]["sql_body"])
    if kind != "List":
        return [{kind: body}]
    return [statement for item in body["items"] for statement in item.get("List", {}).get("items", ())]
