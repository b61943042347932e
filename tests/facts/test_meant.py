"""A name means more than one relation: what a view is made of, and what a table is a part of or has as its parts."""

from __future__ import annotations

import pytest

from mcp_gateway.facts.catalog import Catalog, Column, Relation
from mcp_gateway.facts.sql import examine_sql


def relation(name: str, kind: str = "r", *, parents: tuple[str, ...] = (), definition: str | None = None) -> Relation:
    schema, _, bare = name.rpartition(".")
    return Relation(
        oid=20_000 + sum(map(ord, name)),
        schema=schema,
        name=bare,
        kind=kind,
        columns=(Column(name="id", type="pg_catalog.int4", number=1), Column(name="ssn", type="pg_catalog.text", number=2)),
        parents=parents,
        definition=definition,
    )  # fmt: skip


RELATIONS = [
    relation("public.customers"),
    relation("public.other"),
    relation("public.shown", "v", definition=" SELECT id, ssn FROM public.customers;"),
    relation(
        "public.shown_again",
        "v",
        definition=" SELECT s.id, s.ssn FROM public.shown s WHERE s.id IN (SELECT id FROM public.other);",
    ),
    relation("public.odd", "v", definition="this is no SQL"),
    relation("public.kept", "m", definition=" SELECT id, ssn FROM public.customers;"),
    relation("public.events", "p"),
    relation("public.events_2026", "p", parents=("public.events",)),
    relation("public.events_2026_01", parents=("public.events_2026",)),
    relation("public.events_2025", parents=("public.events",)),
    relation("public.seen_events", "v", definition=" SELECT id, ssn FROM public.events_2026_01;"),
    relation("public.joined", "v", definition=" SELECT a.id FROM public.events_2026_01 a, public.events_2026 b;"),
    relation("public.one", "v", definition=" SELECT id, ssn FROM public.two;"),
    relation("public.two", "v", definition=" SELECT id, ssn FROM public.one;"),
]
CATALOG = Catalog(
    server_version=150018, search_path=("public",), relations={found.qualified: found for found in RELATIONS}
)
EVENTS = {"public.events", "public.events_2026", "public.events_2026_01"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("customers", {"public.customers"}),
        ("shown", {"public.shown", "public.customers"}),
        ("shown_again", {"public.shown_again", "public.shown", "public.customers", "public.other"}),
        ("odd", {"public.odd"}),
        ("kept", {"public.kept"}),
        ("events", {"public.events"}),
        ("events_2026", {"public.events_2026", "public.events"}),
        ("events_2026_01", EVENTS),
        ("seen_events", {"public.seen_events", *EVENTS}),
        ("joined", {"public.joined", *EVENTS}),
        ("one", {"public.one", "public.two"}),
        ("nowhere", {"nowhere"}),
    ],
)
def test_a_name_means_all_that_its_rows_are_of(name: str, meant: set[str]) -> None:
    assert examine_sql(f"SELECT id FROM {name}", catalog=CATALOG).facts.reads == meant
    deleted = examine_sql(f"DELETE FROM {name}", catalog=CATALOG).facts
    assert deleted.writes == meant
    assert deleted.reads == set() or name == "kept"
    copied = examine_sql(f"COPY {name} FROM STDIN", catalog=CATALOG).facts
    assert copied.writes == meant


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT ssn FROM customers", {"public.customers.ssn"}),
        ("SELECT ssn FROM events_2026_01", {f"{name}.ssn" for name in EVENTS}),
        ("SELECT 1 FROM shown", set()),
        ("SELECT id FROM shown", {"public.shown.id", "public.customers.id", "public.customers.ssn"}),
        (
            "SELECT id FROM shown_again",
            {"public.shown_again.id", "public.shown.id", "public.shown.ssn", "public.other.id"}
            | {"public.customers.id", "public.customers.ssn"},
        ),
        ("SELECT id FROM seen_events", {"public.seen_events.id", *(f"{of}.{name}" for of in EVENTS for name in ("id", "ssn"))}),
        ("UPDATE shown SET ssn = '' WHERE id = 1",
         {"public.shown.id", "public.shown.ssn", "public.customers.id", "public.customers.ssn"}),
    ],
)  # fmt: skip
def test_a_column_means_all_that_its_values_are_made_of(sql: str, columns: set[str]) -> None:
    assert examine_sql(sql, catalog=CATALOG).facts.columns == columns


def test_a_common_table_of_the_same_name_means_nothing_else() -> None:
    facts = examine_sql("WITH shown AS (SELECT 1 AS id) SELECT id FROM shown", catalog=CATALOG).facts
    assert facts.reads == set()


def test_what_is_only_planned_is_not_written() -> None:
    facts = examine_sql("EXPLAIN DELETE FROM shown", catalog=CATALOG).facts
    assert facts.writes == set()


def test_without_a_catalog_a_name_stands_for_itself() -> None:
    assert examine_sql("SELECT id FROM shown", catalog=None).facts.reads == {"shown"}
