"""Which relations of a catalog belong together: by inheritance or partitioning, and by foreign keys that cascade. Pure.

Facts and lineage both ask: a statement on one relation reads and writes others along with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

from mcp_gateway.facts.catalog import CHANGING, Dependent, Relation

How: TypeAlias = Literal["insert", "update", "delete", "truncate", "truncate_cascade"]


class Effect(NamedTuple):
    """What happens to rows of a relation."""

    how: How
    columns: frozenset[str] | None = None
    """Names of the columns that an update assigns; None for any."""


class Families:
    """For the relations of one catalog, by `schema.name`."""

    def __init__(self, relations: Mapping[str, Relation]) -> None:
        self._relations = relations

    def descendants(self, qualified: str) -> tuple[str, ...]:
        """All that inherits from a relation or is a partition of it, at any depth; itself only in a circle."""
        return _reached(self._children_of(qualified), self._children_of)

    def ancestors(self, qualified: str) -> tuple[str, ...]:
        """All that a relation inherits from or is a partition of, at any depth; itself only in a circle."""
        return _reached(self._parents_of(qualified), self._parents_of)

    def written_along(self, qualified: str) -> tuple[str, ...]:
        """A relation, its descendants, and what foreign keys change along with any of them."""
        return _reached([qualified], lambda name: (*self._cascades_of(name), *self._children_of(name)))

    def changed_along(self, names: Iterable[str], effect: Effect) -> dict[str, frozenset[str]]:
        """The tables that foreign keys change along with rows of these, to the columns of keys that are assigned there."""
        found: dict[str, set[str]] = {}
        seen: set[tuple[str, Effect]] = set()
        waiting = [(name, effect) for name in names]
        while waiting:
            name, happens = one = waiting.pop()
            if one in seen or name not in self._relations:
                continue
            seen.add(one)
            for key in self._relations[name].dependents:
                then = _then(happens, key=key, relation=self._relations[name])
                if then is not None:
                    found.setdefault(key.relation, set()).update(then.columns or ())
                    waiting += [(each, then) for each in self.with_rows_of(key.relation)]
        return {name: frozenset(columns) for name, columns in found.items()}

    def with_rows_of(self, qualified: str) -> tuple[str, ...]:
        """A relation and, if it is partitioned, its partitions: to a foreign key, what only inherits is another table."""
        return (qualified, *(self.descendants(qualified) if self.is_partitioned(qualified) else ()))

    def is_partitioned(self, qualified: str) -> bool:
        """Whether rows that are put into it are its partitions' rows."""
        return qualified in self._relations and self._relations[qualified].kind == "p"

    @cached_property
    def above_foreign(self) -> frozenset[str]:
        """What is read together with a foreign table: its ancestors."""
        foreign = (of for of in self._relations.values() if of.kind == "f")
        return frozenset(_reached((parent for of in foreign for parent in of.parents), self._parents_of))

    def heads(self) -> dict[str, str]:
        """Each relation to one name for all that it is tied to by inheritance or partitioning, directly or not."""
        heads = {name: name for name in self._relations}

        def head(name: str) -> str:
            while heads[name] != name:
                name = heads[name]
            return name

        for name, relation in self._relations.items():
            for parent in relation.parents:
                if parent in heads:
                    heads[head(name)] = head(parent)
        return {name: head(name) for name in heads}

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for relation in self._relations.values():
            for parent in relation.parents:
                found.setdefault(parent, []).append(relation.qualified)
        return found

    def _children_of(self, name: str) -> Collection[str]:
        return self._children.get(name, ())

    def _parents_of(self, name: str) -> Collection[str]:
        return self._relations[name].parents if name in self._relations else ()

    def _cascades_of(self, name: str) -> Collection[str]:
        keys = self._relations[name].dependents if name in self._relations else ()
        return [key.relation for key in keys if key.changes_along]


def _reached(start: Iterable[str], further: Callable[[str], Iterable[str]]) -> tuple[str, ...]:
    """Always in the same order, so that what is found out on the way is the same in every process."""
    found: dict[str, None] = {}
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting += further(name)
    return tuple(found)


def _then(effect: Effect, *, key: Dependent, relation: Relation) -> Effect | None:
    """What happens to rows of the table that has a foreign key, if something happens to those that it refers to."""
    match effect.how:
        case "truncate_cascade":
            return effect
        case "delete":
            action = key.on_delete
        case "update" if _assigns(effect, key=key, relation=relation):
            action = key.on_update
        case _:
            return None
    if action == "c" and effect.how == "delete":
        return effect
    return Effect("update", frozenset(key.columns)) if action in CHANGING else None


def _assigns(effect: Effect, *, key: Dependent, relation: Relation) -> bool:
    """Whether an update may give new values to what a key refers to. A trigger may assign what it likes."""
    if effect.columns is None or relation.has_triggers:
        return True
    generated = {column.name for column in relation.columns if column.generated is not None}
    return not (effect.columns | generated).isdisjoint(key.referenced)
