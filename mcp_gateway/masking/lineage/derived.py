"""From configured classes to the classes of every stored column, before any statement is looked at.

A class spreads to a fixpoint: between parents and children of inheritance and partitioning, both ways and by column
name; into generated columns; into columns that hold whole rows of a classified table. Views follow when they are
first read, by expansion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mcp_gateway.facts.catalog import Catalog, Relation
from mcp_gateway.masking.lineage.classified import BUILTIN_PATH, ClassifiedCatalog
from mcp_gateway.masking.lineage.resolver import Resolver
from mcp_gateway.masking.lineage.stored import StoredColumns
from mcp_gateway.masking.lineage.values import NONE, Classes

MAX_ROUNDS = 1000


def prepare(catalog: Catalog, classify: Mapping[str, str]) -> ClassifiedCatalog:
    """Spread `classify` (`schema.table.column` to a data class) over a catalog.

    Costs a few milliseconds and grows with the catalog: keep the result for as long as both stay the same.
    """
    declared = declared_classes(catalog, classify)
    prepared = ClassifiedCatalog(catalog, data=frozenset(classify.values()), declared=declared)
    prepared.columns = StoredColumns(prepared)
    if prepared.data:
        _spread(prepared)
    return prepared


def declared_classes(catalog: Catalog, classify: Mapping[str, str]) -> dict[str, dict[str, Classes]]:
    """By relation, then column: what the configuration says itself."""
    declared: dict[str, dict[str, Classes]] = {}
    for path, name in classify.items():
        for relation, column in _columns_named(catalog, path):
            of = declared.setdefault(relation, {})
            of[column] = of.get(column, NONE) | {name}
    return declared


def unknown_paths(catalog: Catalog, classify: Mapping[str, str]) -> tuple[str, ...]:
    """The classified paths that name no column of the catalog, sorted: a misspelt one would protect nothing."""
    return tuple(sorted(path for path in classify if not any(_columns_named(catalog, path))))


def _columns_named(catalog: Catalog, path: str) -> Iterator[tuple[str, str]]:
    """Relation and column of a dotted path; several where names contain dots themselves."""
    for at, character in enumerate(path):
        if character != ".":
            continue
        relation = catalog.relations.get(path[:at])
        name = path[at + 1 :]
        if relation is not None and any(column.name == name for column in relation.columns):
            yield path[:at], name


def _spread(prepared: ClassifiedCatalog) -> None:
    relations = prepared.catalog.relations
    linked = [(child, parent) for child in relations.values() for parent in child.parents]
    generated = [
        (relation, column.name, column.generated)
        for relation in relations.values()
        for column in relation.columns
        if column.generated is not None
    ]
    composite = [
        (relation, column.name, column.type.removesuffix("[]"))
        for relation in relations.values()
        if relation.kind not in ("v", "m")
        for column in relation.columns
        if column.type.removesuffix("[]") in relations
    ]
    stored = {name: dict(columns) for name, columns in prepared.declared.items()}
    for _ in range(MAX_ROUNDS):
        before = sum(len(classes) for columns in stored.values() for classes in columns.values())
        prepared.stored = {name: dict(columns) for name, columns in stored.items()}
        prepared.forget()
        for child, parent_name in linked:
            parent = relations.get(parent_name)
            if parent is not None:
                _share(stored, child, parent)
        for relation, column, expression in generated:
            made_of = Resolver(prepared, path=BUILTIN_PATH).computed(relation, expression)
            _add(stored, relation, column, made_of & prepared.data)
        for relation, column, type_name in composite:
            held = Resolver(prepared, path=BUILTIN_PATH).known(relations[type_name]).columns.classes
            _add(stored, relation, column, held & prepared.data)
        if sum(len(classes) for columns in stored.values() for classes in columns.values()) == before:
            break
    prepared.forget()


def _share(stored: dict[str, dict[str, Classes]], child: Relation, parent: Relation) -> None:
    """What a parent's column holds its children hold too, and a query of the parent reads them all."""
    for column in child.columns:
        both = stored.get(child.qualified, {}).get(column.name, NONE)
        both |= stored.get(parent.qualified, {}).get(column.name, NONE)
        if both and any(column.name == of.name for of in parent.columns):
            _add(stored, child, column.name, both)
            _add(stored, parent, column.name, both)


def _add(stored: dict[str, dict[str, Classes]], relation: Relation, column: str, classes: Classes) -> None:
    if classes:
        of = stored.setdefault(relation.qualified, {})
        of[column] = of.get(column, NONE) | classes
