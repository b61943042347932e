"""What PostgreSQL itself says of columns that are named in neither set, or not as returned.

Random statements run in databases that are alike but for the values of one column. A column in neither set changes
nothing of what comes back. One that is only in conditions may change which rows there are, their number and their
order, but no piece of its values is in any of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.uses import Uses
from mcp_gateway.masking.lineage import ClassifiedCatalog, follow, prepare
from tests.masking.lineage import shop
from tests.masking.lineage.databases import catalog_of, database, outcome
from tests.masking.lineage.statements import Generator
from tests.peers.postgres import PostgresServer

STATEMENTS = int(os.environ.get("LINEAGE_STATEMENTS", "360"))
BATCHES = 3
WALKED = 400
TEXTS = ("users.name", "users.email", "users.ssn", "users.city", "orders.note", "products.name", "products.email",
         "person.name", "events.actor", "partner.accounts.iban", "partner.accounts.name")  # fmt: skip
NUMBERS = ("users.age", "orders.user_id", "orders.total", "products.price", "lines.amount", "lines.product_id")
PLANS = ("SET enable_hashjoin = off", "SET enable_hashagg = off", "SET max_parallel_workers_per_gather = 0")
"""Hashing orders rows by values, also by such as do not count."""
CHANGED_TEXT = "CASE WHEN {0} IS NULL THEN 'was null' WHEN md5({0}) < '6' THEN NULL ELSE reverse({0}) || md5({0}) END"
CHANGED_NUMBER = "CASE WHEN {0} IS NULL THEN 2 WHEN {0} % 5 = 1 THEN NULL ELSE 300 - {0} * 3 END"

Connections = dict[str, psycopg.Connection[Any]]


def marked(column: str) -> str:
    """A text that only values of this column begin with, whatever they are."""
    return "".join(chr(ord("k") + int(digit)) for digit in f"{TEXTS.index(column):02}") + "qz"


def rewritten(changed: str) -> str:
    """SQL that writes every row anew, once and in the same order in all databases: texts get their mark, and one column
    gets other values.
    """
    assigned: dict[str, list[str]] = {}
    for column in (*TEXTS, *NUMBERS):
        relation, _, name = column.rpartition(".")
        value = f"('{marked(column)}' || {name})" if column in TEXTS else name
        if column == changed:
            value = (CHANGED_TEXT if column in TEXTS else CHANGED_NUMBER).format(value)
        assigned.setdefault(relation, []).append(f"{name} = {value}")
    return "; ".join(f"UPDATE {relation} SET {', '.join(values)}" for relation, values in assigned.items())


@pytest.fixture(scope="module")
def twins(postgres_server: PostgresServer) -> Iterator[Connections]:
    """By the column that has other values there; the empty name is that of the database with the first values."""
    with ExitStack() as stack:
        yield {
            changed: stack.enter_context(
                database(postgres_server, f"uses_{number}", shop.schema("a"), rewritten(changed), *PLANS)
            )
            for number, changed in enumerate(("", *TEXTS, *NUMBERS))
        }


@pytest.fixture(scope="module")
def columns(postgres_server: PostgresServer, twins: Connections) -> ClassifiedCatalog:
    assert "" in twins
    return prepare(catalog_of(postgres_server, "uses_0"), {})


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_column_changes_only_what_it_is_said_to_be_used_for(
    batch: int, twins: Connections, columns: ClassifiedCatalog
) -> None:
    seen: Counter[str] = Counter()
    for seed in range(batch, STATEMENTS, BATCHES):
        sql = Generator(seed).statement()
        found = follow(parse_tree(sql), columns).uses
        if found is None or not found.apart:
            seen["not followed"] += 1
        else:
            seen.update(check(sql, found, twins))
    assert seen["not followed"] < STATEMENTS / BATCHES / 3, seen
    assert seen["unused"] > STATEMENTS and seen["only a condition"] > STATEMENTS / BATCHES / 6, seen


def test_columns_and_data_classes_are_found_in_one_walk_and_do_not_depend_on_each_other(
    postgres_server: PostgresServer, columns: ClassifiedCatalog
) -> None:
    catalog = catalog_of(postgres_server, "uses_0")
    classified = prepare(catalog, shop.CLASSIFY)
    everything = prepare(catalog, dict.fromkeys(all_columns(catalog), "any"))
    told = 0
    for seed in range(WALKED):
        tree = parse_tree(Generator(seed).statement())
        lineage, uses = follow(tree, classified)
        assert uses == follow(tree, columns).uses == follow(tree, everything).uses
        classes = {*lineage.touch, *lineage.returned(otherwise=classified.data)}.union(*lineage.inference.values())
        assert classes <= classified.data
        told += uses is not None and uses.apart
    assert told > WALKED * 2 / 3


def all_columns(catalog: Catalog) -> list[str]:
    return [
        f"{relation.qualified}.{column.name}"
        for relation in catalog.relations.values()
        if relation.schema in ("public", "partner")
        for column in relation.columns
    ]


def check(sql: str, found: Uses, twins: Connections) -> Iterator[str]:
    """Compare with every twin whose column does not count, or not as returned."""
    here = outcome(twins[""], sql)
    if here.sqlstate is not None and here.sqlstate.startswith("42"):
        yield "invalid"
        return
    for column in (*TEXTS, *NUMBERS):
        name = column if column.startswith("partner.") else f"public.{column}"
        if name in found.returned:
            continue
        if name in found.conditions:
            if column in TEXTS and not sql.startswith("EXPLAIN"):
                assert marked(column) not in str(here.rows).lower(), (column, sql)
                yield "only a condition"
        else:
            there = outcome(twins[column], sql)
            assert (here.sqlstate, here.names, here.rows) == (there.sqlstate, there.names, there.rows), (column, sql)
            yield "unused"
