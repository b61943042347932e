"""Which names a part of a statement sees, and what they mean.

Follows PostgreSQL's parse_relation.c and parse_expr.c: an unqualified name is a column of the nearest scope that
has it, all scopes outward, and only then a whole row; a qualifier is the nearest range-table entry of that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mcp_gateway.calls import JSONObject
from mcp_gateway.masking.lineage.values import NONE, Classes, Columns, Found, Value, merged, tainted

SYSTEM_COLUMNS: Final = frozenset({"tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"})

PLACING: Final = frozenset({"tableoid", "ctid"})
"""Those that tell which partition a row is in, or that two are not in the same one."""


class Entry:
    """A range-table entry: what a qualifier reaches."""

    __slots__ = ("alias", "columns", "qualified", "stored")

    def __init__(self, alias: str, columns: Columns, *, qualified: str | None = None, stored: bool = False) -> None:
        self.alias = alias
        self.columns = columns
        self.qualified = qualified
        """`schema.name` of a stored relation without an alias."""
        self.stored = stored
        """Whether it has system columns."""

    def column(self, name: str) -> Value | None:
        """Its column `name`; None where it has none of that name for certain."""
        value = self.columns.names.get(name)
        if value is None and self.stored and name in SYSTEM_COLUMNS:
            value = Value(self.columns.placed if name in PLACING else NONE)
        loose = self.columns.loose
        return value if value is None or loose is None else tainted(value, loose)


class Item:
    """A FROM item: its entries for qualifiers, and its columns in order for `*` and bare names.

    The two differ: USING merges columns in the list, and an aliased join hides its members' entries.
    """

    __slots__ = ("entries", "flats", "stored")

    def __init__(self, entries: list[Entry], flats: list[Columns], *, stored: bool = False) -> None:
        self.entries = entries
        self.flats = flats
        self.stored = stored


class CTE:
    """A WITH entry. `columns` is None until it is resolved, and an approximation while it is iterated."""

    __slots__ = ("body", "columns", "found", "running", "scope")

    def __init__(self, body: JSONObject, scope: Scope) -> None:
        self.body = body
        self.scope = scope
        self.columns: Columns | None = None
        self.found = Found()
        self.running = False


class Scope:
    """The names of one query level, and the levels around it."""

    __slots__ = ("ctes", "entries", "flats", "parent", "stored", "windows")

    def __init__(self, parent: Scope | None = None) -> None:
        self.parent = parent
        self.entries: list[Entry] = []
        self.flats: list[Columns] = []
        self.stored = False
        self.ctes: dict[str, CTE] = {}
        self.windows: dict[str, Classes] = {}

    def add(self, item: Item) -> None:
        """Make a FROM item visible."""
        self.entries.extend(item.entries)
        self.flats.extend(item.flats)
        self.stored = self.stored or item.stored

    def has_entries(self) -> bool:
        """Whether there is anything to refer to, here or around."""
        scope: Scope | None = self
        while scope is not None:
            if scope.entries:
                return True
            scope = scope.parent
        return False

    def without_items(self) -> Scope:
        """What a FROM subquery that is not LATERAL sees."""
        scope = Scope(self.parent)
        scope.ctes = self.ctes
        return scope

    def with_item(self, item: Item) -> Scope:
        """The same scope with one more item, for the right side of a join."""
        scope = self.without_items()
        scope.entries, scope.flats, scope.stored = [*self.entries], [*self.flats], self.stored
        scope.add(item)
        return scope

    def cte(self, name: str) -> CTE | None:
        """The WITH entry that an unqualified relation name means, if any."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.ctes:
                return scope.ctes[name]
            scope = scope.parent
        return None

    def column(self, name: str) -> tuple[Value | None, Classes | None]:
        """An unqualified column, and the classes of unnamed columns that it might be instead."""
        loose: Classes | None = None
        scope: Scope | None = self
        while scope is not None:
            found = None
            for columns in scope.flats:
                value = columns.names.get(name)
                if value is not None:
                    found = value if found is None else merged(found, value)
                if columns.loose is not None:
                    loose = columns.loose | (loose or NONE)
            if found is None and scope.stored and name in SYSTEM_COLUMNS:
                placed = NONE.union(*(entry.columns.placed for entry in scope.entries))
                found = Value(placed if name in PLACING else NONE)
            if found is not None:
                return found, loose
            scope = scope.parent
        return None, loose

    def qualified(self, qualifier: Sequence[str]) -> list[Entry]:
        """The nearest entries that `t` or `schema.t` stands for; several only where the server would call it ambiguous.

        With a schema it means a stored relation without an alias.
        """
        is_alias = len(qualifier) == 1
        name = qualifier[0] if is_alias else ".".join(qualifier[-2:])
        scope: Scope | None = self
        while scope is not None:
            if is_alias:
                matches = [entry for entry in scope.entries if entry.alias == name]
            else:
                matches = [entry for entry in scope.entries if entry.qualified == name]
            if matches:
                return matches
            scope = scope.parent
        return []
