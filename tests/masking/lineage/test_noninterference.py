"""Two databases that differ in classified values alone give the same unmasked output.

Random statements run in twins. Where the verdict names no facts, all classified values differ; where it does, the
twin keeps order, equality, lengths and prefixes, so that predicates on them decide the same rows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.masking.lineage import ClassifiedCatalog, Lineage, follow, prepare
from tests.masking.lineage import shop
from tests.masking.lineage.databases import Outcome, catalog_of, database, outcome
from tests.masking.lineage.statements import Generator
from tests.peers.postgres import PostgresServer

STATEMENTS = int(os.environ.get("LINEAGE_STATEMENTS", "800"))
"""Random statements to try; far more of them for a change to the resolver."""
BATCHES = 4
ORDERED_PLANS = ("SET enable_hashjoin = off", "SET enable_hashagg = off")
"""Hashing would order rows by the classified values themselves, which no twin can keep."""
NOT_KEPT = ("md5",)
"""Functions under which order and prefixes do not survive."""

Connections = dict[str, psycopg.Connection[Any]]


@pytest.fixture(scope="module")
def twins(postgres_server: PostgresServer) -> Iterator[Connections]:
    with (
        database(postgres_server, "lineage_a", shop.schema("a"), *ORDERED_PLANS) as first,
        database(postgres_server, "lineage_b", shop.schema("b"), *ORDERED_PLANS) as other,
        database(postgres_server, "lineage_c", shop.schema("c"), *ORDERED_PLANS) as alike,
    ):
        yield {"a": first, "b": other, "c": alike}


@pytest.fixture(scope="module")
def prepared(postgres_server: PostgresServer, twins: Connections) -> ClassifiedCatalog:
    return prepare(catalog_of(postgres_server, "lineage_a"), shop.CLASSIFY)


@pytest.mark.requirement("I5")
@pytest.mark.parametrize("batch", range(BATCHES))
def test_unmasked_output_does_not_depend_on_classified_values(
    batch: int, twins: Connections, prepared: ClassifiedCatalog
) -> None:
    seen: Counter[str] = Counter()
    for seed in range(batch, STATEMENTS, BATCHES):
        sql = Generator(seed).statement()
        verdict = follow(parse_tree(sql), prepared).lineage
        if verdict.refusal is None:
            seen[check(sql, verdict, twins)] += 1
    # The comparison is worth something only as long as most statements run and are compared.
    assert seen["compared"] > STATEMENTS / BATCHES / 2, seen
    assert seen["unsure"] <= STATEMENTS / BATCHES / 50, seen


def check(sql: str, verdict: Lineage, twins: Connections) -> str:
    writes = sql.startswith(("WITH", "INSERT", "UPDATE", "DELETE", "MERGE"))
    here = outcome(twins["a"], sql, state=writes)
    if here.sqlstate is not None and here.sqlstate.startswith("42"):
        return "invalid"
    secrets = shop.canaries("a")
    assert verdict.touch or verdict.opaque or not any(secret in here.message for secret in secrets), sql
    assert not any(secret in str(here.state) for secret in secrets), sql
    if verdict.columns is None:
        return "unsure"
    if here.sqlstate is None:
        assert len(verdict.columns) == len(here.names), sql
        assert all(column.name in (None, name) for column, name in zip(verdict.columns, here.names, strict=True)), sql
        assert not any(secret in str(clear(here, verdict)) for secret in secrets), sql
    if verdict.opaque:
        return "opaque"
    facts = set(verdict.inference) - {"count_distinct", "null_test", "test"}
    if facts and any(name in sql for name in NOT_KEPT):
        return "not kept"
    there = outcome(twins["c" if facts else "b"], sql, state=writes)
    if facts:
        if here.sqlstate is None and there.sqlstate is None:
            assert sorted(map(str, clear(here, verdict))) == sorted(map(str, clear(there, verdict))), sql
            assert here.state == there.state, sql
    else:
        assert here.sqlstate == there.sqlstate, sql
        assert clear(here, verdict) == clear(there, verdict), sql
        assert here.state == there.state, sql
    return "compared"


def clear(result: Outcome, verdict: Lineage) -> list[list[Any]]:
    """The rows without their masked cells."""
    masked = [bool(column.classes) for column in verdict.columns or ()]
    return [[cell for cell, hidden in zip(row, masked, strict=True) if not hidden] for row in result.rows]
