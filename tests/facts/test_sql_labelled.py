"""Scores on the labelled statements of `tests.facts.corpus`, whose labels a real server is asked to confirm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from mcp_gateway.calls import SQLFacts
from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.sql import examine_sql
from tests.corpora import cases
from tests.facts.corpus import SCHEMA, Statement, effects, reads
from tests.facts.databases import empty_database
from tests.facts.witness import WORDS, Seen, Witness
from tests.peers.postgres import PostgresServer

READS_FLOOR = 0.98
READS_WITHOUT_CATALOG_FLOOR = 0.91
EXACT_FLOOR = 0.99

STATEMENTS = [*reads(), *effects()]
SEEN = [statement for statement in STATEMENTS if not statement.unseen]


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    try:
        with empty_database(postgres_server) as name:
            postgres_server.execute(SCHEMA.read_text(encoding="utf-8"), database=name)
            yield name
    finally:
        postgres_server.execute("DROP ROLE IF EXISTS corpus_reader")


# The labels


@pytest.mark.timeout(120)
def test_labels_are_what_a_server_shows(witness: Witness, catalog: Catalog) -> None:
    wrong = {}
    for statement in SEEN:
        try:
            seen = witness.watch(statement)
        except psycopg.Error as error:
            wrong[statement.where] = str(error)
            continue
        if differences := list(_differences(statement, seen, catalog=catalog)):
            wrong[statement.where] = ", ".join(differences)

    assert wrong == {}


WRONG = [
    {"kinds": frozenset({"UPDATE"})},
    {"shows": frozenset()},
    {"shows": frozenset({"writes", "sequences"})},
    {"writes": frozenset()},
    {"writes": frozenset({"public.stock"})},
    {"also": frozenset()},
    {"also": frozenset({"public.orders", "public.order_items", "public.stock"})},
]


@pytest.mark.parametrize("label", WRONG)
def test_a_wrong_label_is_noticed(witness: Witness, catalog: Catalog, label: dict[str, Any]) -> None:
    (right,) = (one for one in effects() if one.sql == "DELETE FROM customers WHERE id = 4")

    assert list(_differences(right, witness.watch(right), catalog=catalog)) == []
    wrong = replace(right, **label)
    assert list(_differences(wrong, witness.watch(wrong), catalog=catalog)) != []


@pytest.mark.parametrize(
    "sql", ["SELECT note('x')", "SET work_mem = '9MB'", "NOTIFY corpus", "SELECT pg_advisory_lock(1)"]
)
def test_an_effect_that_is_labelled_as_a_read_is_noticed(witness: Witness, catalog: Catalog, sql: str) -> None:
    wrong = replace(reads()[0], sql=sql)

    assert list(_differences(wrong, witness.watch(wrong), catalog=catalog)) != []


def _differences(statement: Statement, seen: Seen, *, catalog: Catalog) -> Iterator[str]:
    """Where a label is not what was seen. What is written to a view or a parent changes other tables."""
    parents = {parent for relation in catalog.relations.values() for parent in relation.parents}
    views = {name for name, relation in catalog.relations.items() if relation.kind == "v"}
    changed, named = _bare(seen.changed), _bare(statement.writes)
    if seen.shows != statement.shows:
        yield f"shows {sorted(seen.shows)}"
    if named - changed - _bare(parents | views) or changed - named != _bare(statement.also):
        yield f"changes {sorted(seen.changed)}"
    if not any(kind.startswith(seen.tag) for kind in statement.kinds):
        yield f"is a {seen.tag}"


def test_only_what_has_an_effect_shows_one() -> None:
    assert [one.where for one in SEEN if one.has_effect != bool(one.shows)] == []
    assert [one.where for one in STATEMENTS if one.unseen and not one.has_effect] == []
    assert frozenset().union(*(one.shows for one in SEEN)) == WORDS


def test_there_are_many_statements_and_no_two_alike() -> None:
    texts = {_folded(statement.sql) for statement in STATEMENTS}

    assert len(texts) == len(STATEMENTS)
    assert len(reads()) >= 330
    assert len([one for one in effects() if not one.unseen]) >= 170


def test_none_of_the_statements_is_of_the_corpus_beside_the_project() -> None:
    elsewhere = {_folded(case["input"]["sql"]) for case in cases("sql.jsonl")}

    assert [one.where for one in STATEMENTS if _folded(one.sql) in elsewhere] == []


# The facts


def test_no_effect_is_called_read_only(catalog: Catalog) -> None:
    assert [one.where for one, facts in _examined(effects(), catalog) if facts.read_only] == []


def test_without_a_catalog_only_what_needs_one_is_mistaken() -> None:
    mistaken = {one.where for one, facts in _examined(effects(), None) if facts.read_only}

    assert mistaken == {one.where for one in effects() if one.catalog}


def test_reads_are_read_only(catalog: Catalog) -> None:
    assert _share(reads(), catalog, lambda _, facts: facts.read_only) >= READS_FLOOR


def test_most_reads_are_read_only_without_a_catalog() -> None:
    assert _share(reads(), None, lambda _, facts: facts.read_only) >= READS_WITHOUT_CATALOG_FLOOR


def test_kinds_and_written_tables_are_exact(catalog: Catalog) -> None:
    assert _share(STATEMENTS, catalog, lambda one, facts: facts.kinds == one.kinds) >= EXACT_FLOOR
    assert _share(STATEMENTS, catalog, lambda one, facts: _are_written(facts.writes, one, catalog)) >= EXACT_FLOOR


def _are_written(found: frozenset[str], statement: Statement, catalog: Catalog) -> bool:
    """What is named, and beside it only what was seen to change along with it or is what that is a part of."""
    parts = found - statement.writes
    tied = {parent for name in found for parent in catalog.relations[name].parents} if parts else set()
    tied |= {name for name in parts if {*catalog.relations[name].parents} & statement.writes}
    return statement.writes <= found and parts <= statement.also | tied


DEFINING = frozenset({"ALTER", "CLUSTER", "CREATE", "DROP", "GRANT", "REVOKE"})
"""Kinds that change definitions and rights: `writes` has the tables that they name as changed."""
SHOWS_DEFINITIONS = ("pg_get_viewdef", "pg_partition_tree", "pg_rules", "pg_views")
"""The server looks at relations to show how they are made, and at none of their rows."""
TOLD = frozenset({"triggers", "unnamed_parts", "unnamed_tables"})
"""Traits of a statement that may change more than is named."""


def test_whatever_changes_along_is_named_or_told(catalog: Catalog) -> None:
    found = [(one, facts) for one, facts in _examined(STATEMENTS, catalog) if not one.kinds & DEFINING]

    assert [one.where for one, facts in found if not (one.also <= facts.writes or facts.function_traits & TOLD)] == []
    by_code = {"public.customers", "public.order_items", "public.orders"}
    (cascading,) = (facts for one, facts in found if one.sql == "DELETE FROM customers WHERE id = 4")
    assert cascading.writes == by_code
    assert not cascading.function_traits & TOLD


def test_whatever_a_server_looks_at_is_named_or_told(witness: Witness, catalog: Catalog) -> None:
    missed, named = {}, 0
    for one, facts in _examined(reads(), catalog):
        if facts.kinds & {"DELETE", "INSERT", "UPDATE"} or any(word in one.sql for word in SHOWS_DEFINITIONS):
            continue
        looked_at = witness.looks_at(one.sql)
        named += bool(looked_at)
        if "unnamed_tables" not in facts.function_traits and (missing := looked_at - facts.reads):
            missed[one.where] = sorted(missing)

    assert missed == {}
    assert named > len(reads()) / 2


def test_ordinary_reads_write_nothing_and_few_are_told(catalog: Catalog) -> None:
    found = [(one, facts) for one, facts in _examined(reads(), catalog)]

    assert [one.where for one, facts in found if facts.writes] == []
    assert len([one for one, facts in found if facts.function_traits & TOLD]) <= len(found) / 100


def test_kinds_and_written_tables_are_exact_without_a_catalog() -> None:
    assert _share(STATEMENTS, None, lambda one, facts: facts.kinds == one.kinds) >= EXACT_FLOOR
    assert _share(STATEMENTS, None, lambda one, facts: _bare(facts.writes) == _bare(one.writes)) >= EXACT_FLOOR


EXAMINED: dict[tuple[str, int | None], tuple[Catalog | None, SQLFacts]] = {}
"""What was found in a statement by a catalog, which is kept so that no other one has its identity."""


def _examined(statements: Iterable[Statement], catalog: Catalog | None) -> Iterator[tuple[Statement, SQLFacts]]:
    """Each statement and its facts, which several tests look at."""
    for statement in statements:
        key = statement.sql, None if catalog is None else id(catalog)
        if key not in EXAMINED:
            EXAMINED[key] = catalog, examine_sql(statement.sql, catalog=catalog).facts
        yield statement, EXAMINED[key][1]


def _share(
    statements: Iterable[Statement], catalog: Catalog | None, holds: Callable[[Statement, SQLFacts], bool]
) -> float:
    found = [holds(one, facts) for one, facts in _examined(statements, catalog)]
    return sum(found) / len(found)


def _bare(names: Iterable[str]) -> set[str]:
    return {name.rpartition(".")[2] for name in names}


def _folded(sql: str) -> str:
    return " ".join(sql.lower().rstrip("; ").split())
