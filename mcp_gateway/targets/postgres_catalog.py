"""What a PostgreSQL server's catalog says, read into a `facts.catalog.Catalog`, and whether that still holds.

A snapshot is big and rarely changes, so it is kept and checked in two ways: `catalog_stamp` covers everything and
costs time in proportion to the schema, `object_versions` covers only what one statement can touch and is cheap
enough for every call. Both compare values that change with any redefinition (LINEAGE section 7).

The connection is one whose application_name is `mcp-gateway/catalog`; every query here is the gateway's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import asyncpg
import orjson

from mcp_gateway.facts.catalog import Catalog, Column, Dependent, Function, Relation, Rule
from mcp_gateway.recent import Recent
from mcp_gateway.targets.postgres_queries import (
    BEGIN_SNAPSHOT,
    CASTS,
    COMPARING,
    DEPENDENCIES,
    FIRST_USER_OID,
    FUNCTIONS,
    OPERATORS,
    RELATIONS,
    SERVER,
    STAMP,
    TYPES,
    VERSIONS,
)

RULE_EVENTS = {"2": "update", "3": "insert", "4": "delete"}
"""By `pg_rewrite.ev_type`."""
NEXT_NUMBER = re.compile(r"nextval\('(?:[^']|'')+'::regclass\)")
"""The default of a serial column: it leaves nothing behind but a gap."""

REMEMBERED_TOUCHED = 256

AnyConnection: TypeAlias = "asyncpg.Connection[Any]"

K = TypeVar("K")
Kind: TypeAlias = str
"""`r` for a relation, `f` for a function."""
Versions: TypeAlias = Mapping[tuple[Kind, int], str]
"""Kind and oid of an object to what changes when it is redefined."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Touched:
    """What a statement can reach: names as it writes them, without schema, and what lies behind them.

    Equal to itself alone: what is known of one was known by its snapshot.
    """

    relation_names: frozenset[str]
    relation_oids: frozenset[int]
    function_names: frozenset[str]
    function_oids: frozenset[int]
    expected: Versions
    """What `object_versions` gives for it as long as its snapshot holds."""

    @cached_property
    def parameters(self) -> tuple[str, str, str, str]:
        """The four arrays that the query for versions takes."""
        return (
            text_array(self.relation_names),
            text_array(self.relation_oids),
            text_array(self.function_names),
            text_array(self.function_oids),
        )

    @cached_property
    def objects(self) -> list[tuple[Kind, int, str]]:
        """What is expected of each object, in order."""
        return sorted((*key, version) for key, version in self.expected.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A catalog with what is needed to see whether it still holds."""

    catalog: Catalog
    stamp: str
    depends: Mapping[tuple[Kind, int], frozenset[tuple[Kind, int]]] = field(default_factory=dict)
    """What views, rules and SQL functions refer to, one step."""
    versions: Versions = field(default_factory=dict)
    """Of every object that is not the server's own."""
    named: Mapping[tuple[Kind, str], Sequence[tuple[Kind, int]]] = field(default_factory=dict)
    """The same objects by kind and bare name."""
    _touched: Recent[tuple[frozenset[str], frozenset[str]], Touched] = field(
        default_factory=lambda: Recent(REMEMBERED_TOUCHED), init=False, repr=False, compare=False
    )

    def touched(self, *, relations: Iterable[str], functions: Iterable[str]) -> Touched:
        """What may lie behind these names, `name` or `schema.name`. Agents name the same ones again and again.

        Every object of the name in any schema, because a search_path may come to mean another one, and what those
        that are views or functions refer to.
        """
        named = frozenset(relations), frozenset(functions)
        known = self._touched.get(named)
        if known is None:
            known = self._reached(*named)
            self._touched.put(named, known)
        return known

    def _reached(self, relations: frozenset[str], functions: frozenset[str]) -> Touched:
        relation_names = relations | {name.rpartition(".")[2] for name in relations}
        function_names = functions | {name.rpartition(".")[2] for name in functions}
        meant = (*(("r", name) for name in relation_names), *(("f", name) for name in function_names))
        todo = [key for name in meant for key in self.named.get(name, ())]
        seen: set[tuple[Kind, int]] = set()
        while todo:
            key = todo.pop()
            if key not in seen:
                seen.add(key)
                todo.extend(self.depends.get(key, ()))
        return Touched(
            relation_names=relation_names,
            relation_oids=frozenset(oid for kind, oid in seen if kind == "r"),
            function_names=function_names,
            function_oids=frozenset(oid for kind, oid in seen if kind == "f"),
            expected={key: self.versions[key] for key in seen if key in self.versions},
        )


async def load_catalog(connection: AnyConnection, *, search_path: Sequence[str]) -> Catalog:
    """Read the whole catalog in one read-only transaction. `search_path` is that of the sessions agents use."""
    return (await load_snapshot(connection, search_path=search_path)).catalog


async def load_snapshot(connection: AnyConnection, *, search_path: Sequence[str]) -> Snapshot:
    """Read the whole catalog, and with it what `Snapshot` needs."""
    await connection.execute(BEGIN_SNAPSHOT)
    try:
        texts = [
            str(await connection.fetchval(query))
            for query in (SERVER, RELATIONS, FUNCTIONS, OPERATORS, CASTS, COMPARING, TYPES, DEPENDENCIES, STAMP)
        ]
    finally:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
    return _snapshot(texts, search_path=tuple(search_path))


async def catalog_stamp(connection: AnyConnection) -> str:
    """A text that changes when anything does that a snapshot holds."""
    return str(await connection.fetchval(STAMP))


async def object_versions(connection: AnyConnection, touched: Touched) -> Versions:
    """Versions of every object that the names or oids in `touched` mean now, whatever they meant before."""
    return read_versions(str(await connection.fetchval(VERSIONS, *touched.parameters)))


def read_versions(text: str) -> Versions:
    """What the query for versions gave."""
    return {(kind, oid): version for kind, oid, version in orjson.loads(text)}


def text_array(values: Iterable[str | int]) -> str:
    """Values as an array in the server's text form, sorted: for queries that only ask whether something is in it."""
    escaped = (str(value).replace("\\", "\\\\").replace('"', '\\"') for value in sorted(values, key=str))
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"


def _snapshot(texts: Sequence[str], *, search_path: tuple[str, ...]) -> Snapshot:
    *parts, stamp = texts
    server, relations, functions, operators, casts, comparing, types, dependencies = map(orjson.loads, parts)
    type_names, checks = _types(types)
    held, range_functions = _holding(types, type_names=type_names)
    catalog = Catalog(
        server_version=int(server),
        search_path=search_path,
        relations={f"{row['schema']}.{row['name']}": _relation(row, type_names=type_names) for row in relations},
        functions=_grouped((row["name"], _function(row, type_names=type_names)) for row in functions),
        operators=_grouped((name, function or "") for name, function in operators),
        casts=_grouped((type_names[target], function) for target, function, *_ in casts),
        unwritten_casts=frozenset(function for _, function, unwritten, _ in casts if unwritten),
        cast_sources=_grouped((function, type_names[source]) for _, function, _, source in casts),
        domains={name: bool(expressions) for name, expressions in checks.items()},
        domain_checks=checks,
        held=held,
        comparing=_grouped((function, type_names[of]) for function, of in comparing),
        range_functions=range_functions,
        version=hashlib.sha256("\0".join((*texts[:7], *search_path)).encode()).hexdigest(),
    )
    return Snapshot(
        catalog=catalog,
        stamp=stamp,
        depends=_depends([*dependencies, *_cascades(relations)]),
        versions={
            (kind, row["oid"]): row["version"]
            for kind, rows in (("r", relations), ("f", functions))
            for row in rows
            if row["version"]
        },
        named=_grouped(
            ((kind, row["name"]), (kind, row["oid"]))
            for kind, rows in (("r", relations), ("f", functions))
            for row in rows
            if row["version"]
        ),
    )


def _types(rows: list[Any]) -> tuple[dict[int, str], dict[str, tuple[str, ...]]]:
    """Names of all types, and the domains with the CHECKs on them and on what they are based on."""
    plain = {oid: f"{schema}.{name}" for oid, schema, name, *_ in rows}
    names = {oid: f"{plain[element]}[]" if element in plain else plain[oid] for oid, _, _, _, _, element, *_ in rows}
    checks = {oid: checks or () for oid, _, _, _, _, _, checks, *_ in rows}
    base = {oid: below for oid, _, _, kind, below, *_ in rows if kind == "d"}
    domains = {}
    for oid in base:
        step, found = oid, list[str]()
        while step in base:
            found += checks[step]
            step = base[step]
        domains[plain[oid]] = tuple(found)
    return names, domains


def _holding(rows: list[Any], *, type_names: Mapping[int, str]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Of what type the values in a domain, a range and a multirange are, and the functions of ranges."""
    held, functions = {}, {}
    for oid, schema, name, _, base, _, _, inner, own in rows:
        if base or inner:
            held[f"{schema}.{name}"] = type_names[base or inner]
        if own and oid >= FIRST_USER_OID:
            functions[f"{schema}.{name}"] = tuple(own)
    return held, functions


def _relation(row: dict[str, Any], *, type_names: Mapping[int, str]) -> Relation:
    return Relation(
        oid=row["oid"],
        schema=row["schema"],
        name=row["name"],
        kind=row["kind"],
        columns=tuple(
            Column(number=number, name=name, type=type_names[type_oid], not_null=not_null, generated=generated)
            for number, name, type_oid, not_null, generated in row["columns"] or ()
        ),
        definition=row["definition"],
        parents=tuple(row["parents"] or ()),
        has_triggers=row["has_triggers"],
        reshaped_on=frozenset(row["reshaped_on"] or ()),
        rules=tuple(Rule(on=RULE_EVENTS[event], definition=text) for event, text in row["rules"] or ()),
        policies=tuple(row["policies"] or ()),
        defaults=tuple(text for text in row["defaults"] or () if NEXT_NUMBER.fullmatch(text) is None),
        checks=tuple(row["checks"] or ()),
        measured=tuple(row["measured"] or ()),
        unique_by=tuple(row["unique_by"] or ()),
        partitioned_by=tuple(row["partitioned_by"] or ()),
        dependents=tuple(map(_dependent, row["dependents"] or ())),
        version=_short(row["version"]),
    )


def _dependent(row: tuple[str, list[str], list[str], str, str]) -> Dependent:
    relation, columns, referenced, on_delete, on_update = row
    return Dependent(
        relation=relation,
        columns=tuple(columns),
        referenced=tuple(referenced),
        on_delete=on_delete,
        on_update=on_update,
    )


def _function(row: dict[str, Any], *, type_names: Mapping[int, str]) -> Function:
    modes = row["modes"] or ["i"] * row["inputs"]
    names = row["names"] or [""] * len(modes)
    return Function(
        oid=row["oid"],
        schema=row["schema"],
        name=row["name"],
        kind=row["kind"],
        language=row["language"],
        volatility=row["volatility"],
        returns_set=row["returns_set"],
        security_definer=row["security_definer"],
        extension=row["extension"],
        result_type=type_names[row["result_type"]],
        arguments=tuple(name for name, mode in zip(names, modes, strict=True) if mode in "ibv"),
        outputs=tuple(name for name, mode in zip(names, modes, strict=True) if mode in "bot"),
        types=tuple(type_names[type_oid] for type_oid in row["types"]),
        body=row["body"],
        defaults=row["defaults"],
        transitions=tuple(row["transitions"] or ()),
        version=_short(row["version"]),
    )


def _cascades(relations: list[Any]) -> list[Any]:
    """What a foreign key changes along with a table, as dependencies."""
    oids = {f"{row['schema']}.{row['name']}": row["oid"] for row in relations}
    return [
        ["r", row["oid"], "r", oids[key.relation]]
        for row in relations
        for key in map(_dependent, row["dependents"] or ())
        if key.changes_along and key.relation in oids
    ]


def _depends(rows: list[Any]) -> dict[tuple[Kind, int], frozenset[tuple[Kind, int]]]:
    found: dict[tuple[Kind, int], set[tuple[Kind, int]]] = {}
    for kind, oid, other_kind, other_oid in rows:
        found.setdefault((kind, oid), set()).add((other_kind, other_oid))
    return {key: frozenset(others - {key}) for key, others in found.items()}


def _grouped(pairs: Iterable[tuple[K, Any]]) -> dict[K, tuple[Any, ...]]:
    found: dict[K, list[Any]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in found.items()}


def _short(version: str | None) -> str:
    return hashlib.sha256(version.encode()).hexdigest()[:32] if version else ""
