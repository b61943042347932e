"""Which names mean what where: CTEs, FROM items and their columns, for the facts about a statement.

Only what is provable: an entry whose columns are not all known says so, and what could be several things is no
finding. Masking has its own, stricter, resolution (`masking.lineage`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mcp_gateway.calls import JSONObject
from mcp_gateway.facts.catalog import Relation
from mcp_gateway.facts.tree import opened, strings, written

SYSTEM_COLUMNS: Final = frozenset({"ctid", "cmax", "cmin", "tableoid", "xmax", "xmin"})


class Table(NamedTuple):
    """A relation of the catalog, with its names in facts."""

    relation: Relation
    name: str
    columns: Mapping[str, str | None]
    """Its columns' names to what facts call them, `relation.column`."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """One FROM item, or a relation that is written."""

    qualifier: str | None
    """The name that columns are qualified by; None where it is hidden or missing."""
    schema: str = ""
    """What may stand before the qualifier: only a stored relation without an alias has it."""
    base: str | None = None
    """The stored relation as facts name it; None for anything else."""
    columns: Mapping[str, str | None] = field(default_factory=dict)
    """Names that are certainly columns here, and so no functions; to the stored column as facts name it, if any."""
    complete: bool = False
    """Whether `columns` is all of them."""
    others: Sequence[str] = ()
    """Stored columns that only `*` and the whole row bring, since another one has their name."""


@dataclass(slots=True, kw_only=True)
class Scope:
    """One level of names. CTEs and entries of the levels above are visible."""

    parent: Scope | None = None
    ctes: dict[str, Sequence[str] | None] = field(default_factory=dict)
    """CTEs to the names of their columns, None where these are not known."""
    entries: list[Entry] = field(default_factory=list)
    only_qualified: list[Entry] = field(default_factory=list)
    """Entries that bare names do not reach: OLD and NEW in RETURNING."""

    def levels(self) -> Iterator[Scope]:
        """The levels from here outward."""
        level: Scope | None = self
        while level is not None:
            yield level
            level = level.parent

    def find_cte(self, name: str) -> tuple[bool, Sequence[str] | None]:
        """Whether an unqualified relation name means a CTE here, and the columns of that."""
        level: Scope | None = self
        while level is not None:
            if name in level.ctes:
                return True, level.ctes[name]
            level = level.parent
        return False, None

    def qualified(self, parts: tuple[str, ...]) -> Entry | None:
        """The entry that `parts`, such as `("public", "users")` or `("u",)`, stands for."""
        name, schema = parts[-1], parts[-2] if len(parts) > 1 else None
        level: Scope | None = self
        while level is not None:
            entries = [*level.entries, *level.only_qualified] if level.only_qualified else level.entries
            for entry in entries:
                if entry.qualifier == name and (schema is None or entry.schema == schema):
                    return entry
            level = level.parent
        return None

    def unqualified(self, name: str) -> Iterable[str]:
        """Stored columns that a bare `name` certainly means, as `relation.column`; whole rows as `relation.*`."""
        for level in self.levels():
            if not level.entries:
                continue
            owners = [entry for entry in level.entries if name in entry.columns]
            if owners:
                return [column for entry in owners for column in stored(entry, name)]
            open_entries = [entry for entry in level.entries if not entry.complete]
            if open_entries:
                rows = [entry for entry in level.entries if entry.qualifier == name and entry.complete]
                if rows:  # or a column of those that are open, which are no stored ones where the others are known
                    return all_stored(rows[0])
                only = len(level.entries) == 1 and not any(outer.entries for outer in _above(level))
                return stored(open_entries[0], name) if only else ()
            for entry in level.entries:
                if entry.qualifier == name:
                    return all_stored(entry)
        return ()


def stored(entry: Entry, name: str) -> Iterable[str]:
    """The stored column behind `name` of an entry, where there is one."""
    if not name or name in SYSTEM_COLUMNS:
        return ()
    if name == entry.qualifier and name not in entry.columns:
        return all_stored(entry)
    unlisted = None if entry.complete or entry.base is None else _qualified(entry.base, name)
    column = entry.columns.get(name, unlisted)
    return () if column is None else (column,)


def all_stored(entry: Entry) -> Iterable[str]:
    """Every stored column of an entry."""
    if entry.base is not None and not entry.complete:
        return (f"{entry.base}.*",)
    return [*entry.others, *(column for column in entry.columns.values() if column is not None)]


def table_of(relation: Relation) -> Table:
    """What facts call a relation and its columns."""
    name = written((relation.schema, relation.name))
    return Table(relation, name, {column.name: _qualified(name, column.name) for column in relation.columns})


def _qualified(relation: str, column: str) -> str:
    return f"{relation}.{written((column,))}"


def relation_entry(base: str, *, table: Table | None, body: JSONObject) -> Entry:
    """The entry of a stored relation, from its RangeVar."""
    alias = body.get("alias", {})
    names = strings(alias["colnames"]) if "colnames" in alias else ()
    qualifier = alias.get("aliasname") or body.get("relname", "")
    schema = "" if alias else body.get("schemaname", "") or (table.relation.schema if table else "")
    if table is None:
        # Which columns an alias list renames is not known, so nothing is certain of such an entry.
        return Entry(qualifier=qualifier, schema=schema, base=None if names else base, columns=dict.fromkeys(names))
    columns = table.columns
    if names:
        shown = [*names, *[*columns][len(names) :]]
        columns = dict(zip(shown, columns.values(), strict=False))
    return Entry(qualifier=qualifier, schema=schema, base=base, columns=columns, complete=True)


def derived_entry(alias: JSONObject, *, names: Sequence[str] | None = None, also: Iterable[str] = ()) -> Entry:
    """The entry of a subquery, CTE or function, whose columns are not stored: all `names`, or `also` and what else."""
    given = strings(alias.get("colnames", ()))
    shown = [*given, *also] if names is None else [*given, *names[len(given) :]]
    return Entry(qualifier=alias.get("aliasname"), columns=dict.fromkeys(shown), complete=names is not None)


def joined_entry(alias: JSONObject, members: Iterable[Entry]) -> Entry:
    """The entry of a join with an alias, which hides its members' own names, and may rename columns."""
    given = strings(alias.get("colnames", ()))
    columns: dict[str, str | None] = dict.fromkeys(given)
    complete = not given
    others: list[str] = []
    for member in members:
        if not given:
            others += [
                column for name in columns.keys() & member.columns.keys() if (column := columns[name]) is not None
            ]
            others += member.others
            columns |= member.columns
            complete &= member.complete
        member.qualifier = None
    return Entry(qualifier=alias.get("aliasname"), columns=columns, complete=complete, others=others)


def output_names(query: JSONObject) -> Sequence[str] | None:
    """Names of a query's result columns, None where a star or an unnamed one makes them uncertain."""
    kind, body = opened(query)
    if kind == "SelectStmt":
        while "larg" in body:
            body = body["larg"]
        if "valuesLists" in body:
            width = len(body["valuesLists"][0].get("List", {}).get("items", ()))
            return [f"column{number}" for number in range(1, width + 1)]
        targets = body.get("targetList", ())
    else:
        targets = body.get("returningClause", {}).get("exprs", ())
    names = [_output_name(target.get("ResTarget", {})) for target in targets]
    return None if None in names else [name for name in names if name is not None]


def _output_name(target: JSONObject) -> str | None:
    """As `FigureColname` in PostgreSQL's parse_target.c, for the plain cases."""
    if "name" in target:
        return str(target["name"])
    kind, body = opened(target.get("val", {}))
    match kind:
        case "ColumnRef":
            return strings(body["fields"])[-1] or None
        case "FuncCall":
            return strings(body["funcname"])[-1]
        case "TypeCast" if opened(body["arg"])[0] in {"ColumnRef", "FuncCall"}:
            return _output_name({"val": body["arg"]})
    return None


def _above(level: Scope) -> Iterator[Scope]:
    levels = level.levels()
    next(levels)
    return levels


def cte_names(cte: JSONObject) -> Sequence[str] | None:
    """The output names of a CTE, or None where they are not known."""
    given, own = strings(cte.get("aliascolnames", ())), output_names(cte["ctequery"])
    if own is None or "search_clause" in cte or "cycle_clause" in cte:
        return None
    return [*given, *own[len(given) :]]
