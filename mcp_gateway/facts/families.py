"""Which relations of a catalog belong together: by inheritance or partitioning, and by foreign keys that cascade. Pure.

Facts and lineage both ask: a statement on one relation reads and writes others along with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property

from mcp_gateway.facts.catalog import Relation


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
        return self._relations[name].cascades if name in self._relations else ()


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
