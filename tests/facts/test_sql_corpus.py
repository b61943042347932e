"""Scores on the labelled statements. The floors are what was reached; they may only rise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mcp_gateway.calls import SQLFacts
from mcp_gateway.facts.inspect_sql import UNREADABLE
from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.facts.sql import examine_sql
from tests.corpora import cases

READS_FLOOR = 0.98
KINDS_FLOOR = 0.99
WRITES_FLOOR = 0.99
FUNCTIONS_FLOOR = 0.99


def examined() -> Iterator[tuple[dict[str, Any], SQLFacts]]:
    for case in cases("sql.jsonl"):
        try:
            yield case, examine_sql(case["input"]["sql"], catalog=None).facts
        except SQLSyntaxError:
            yield case, UNREADABLE


def test_no_write_of_the_corpus_is_called_read_only() -> None:
    wrong = [case["id"] for case, facts in examined() if facts.read_only and not case["expected"]["read_only"]]

    assert wrong == []


def test_reads_of_the_corpus_are_allowed() -> None:
    reads = [
        facts.read_only
        for case, facts in examined()
        if case["expected"]["read_only"] and not case["expected"].get("ambiguous")
    ]

    assert sum(reads) / len(reads) >= READS_FLOOR


@pytest.mark.parametrize(
    ("label", "attribute", "floor"),
    [
        ("kinds", "kinds", KINDS_FLOOR),
        ("tables_written", "writes", WRITES_FLOOR),
        ("functions", "functions", FUNCTIONS_FLOOR),
    ],
)
def test_facts_about_the_corpus_are_exact(label: str, attribute: str, floor: float) -> None:
    right = [
        getattr(facts, attribute) == set(case["expected"][label])
        for case, facts in examined()
        if case["expected"]["parses"]
    ]

    assert sum(right) / len(right) >= floor


def test_statements_of_the_corpus_are_counted() -> None:
    wrong = [
        case["id"]
        for case, facts in examined()
        if case["expected"]["parses"] and facts.statements != case["expected"]["n_statements"]
    ]

    assert wrong == []
