"""The published ways around masking, each run on a real server and masked by the verdict on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.masking.lineage import ClassifiedCatalog, Lineage, follow, prepare
from tests.corpora import CORPORA, HINT
from tests.masking.lineage.databases import catalog_of, database, outcome
from tests.masking.lineage.evasion import CASES, CLASSIFY, leaking, own_literals
from tests.peers.parts import missing
from tests.peers.postgres import PostgresServer

LEAKS_WITHOUT_MASKING = 40


@pytest.fixture(scope="module")
def connection(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    with database(postgres_server, "lineage_corpus", (CORPORA / "mask_evasion.sql").read_text()) as connection:
        yield connection


@pytest.fixture(scope="module")
def prepared(postgres_server: PostgresServer, connection: psycopg.Connection[Any]) -> ClassifiedCatalog:
    return prepare(catalog_of(postgres_server, "lineage_corpus"), CLASSIFY)


def test_the_corpus_is_there() -> None:
    if not CASES:
        missing("the corpus mask_evasion.jsonl is missing", hint=HINT)


@pytest.mark.requirement("I5")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_no_way_around_masking_gives_a_value(
    case: dict[str, Any], connection: psycopg.Connection[Any], prepared: ClassifiedCatalog
) -> None:
    sql, expected = case["input"]["sql"], case["expected"]
    assert {path: CLASSIFY[path] for path in case["input"]["masked_columns"]} == CLASSIFY

    verdict = follow(parse_tree(sql), prepared).lineage

    if expected["must_pass"]:
        assert passes_untouched(verdict, connection, sql)
        return
    if verdict.refusal is not None:
        assert "refuse" in expected["ok_actions"]
        return
    result = outcome(connection, sql)
    if result.sqlstate is not None:
        # The masker reduces errors to their code when anything classified or opaque is involved.
        assert verdict.touch or verdict.opaque
        return
    assert expected["channel"] == "result", "other channels are for refusals and errors"
    own = set() if verdict.columns is None else own_literals(sql)
    for row in result.rows:
        for cell, masked in zip(row, masks(verdict, result.names), strict=True):
            assert masked or not leaking(cell) - own, f"{sql} gives {cell!r}"
    if expected["inference"]:
        assert verdict.inference or all(masks(verdict, result.names)[1:] or masks(verdict, result.names))


def test_without_masking_the_same_check_finds_the_values(connection: psycopg.Connection[Any]) -> None:
    """The baseline: it says that the check above sees what it looks for."""
    given_away = [
        case["id"]
        for case in CASES
        if case["expected"]["channel"] == "result"
        and case["expected"]["form"] != "inference"
        and any(leaking(cell) for row in outcome(connection, case["input"]["sql"]).rows for cell in row)
    ]
    assert len(given_away) >= LEAKS_WITHOUT_MASKING or not CASES


def passes_untouched(verdict: Lineage, connection: psycopg.Connection[Any], sql: str) -> bool:
    names = outcome(connection, sql).names
    return verdict.refusal is None and not verdict.inference and not any(masks(verdict, names))


def masks(verdict: Lineage, names: tuple[str, ...]) -> list[bool]:
    """What the masker does with the verdict: aligned by position, and all masked where anything does not fit."""
    if verdict.columns is None or len(verdict.columns) != len(names):
        return [True] * len(names)
    assert all(column.name in (None, name) for column, name in zip(verdict.columns, names, strict=True))
    return [bool(column.classes) for column in verdict.columns]
