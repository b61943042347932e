"""A name means more than one relation: what a view is made of, and what a table is a part of or has as its parts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_gateway.facts.catalog import Catalog, Column, Function, Relation
from mcp_gateway.facts.meant import MAX_PART_COLUMNS, MAX_PARTS
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
    relation("public.cities"),
    relation("public.capitals", parents=("public.cities",)),
    relation("public.all_cities", "v", definition=" SELECT id, ssn FROM public.cities;"),
    relation("public.only_cities", "v", definition=" SELECT id, ssn FROM ONLY public.cities;"),
    relation("public.both_cities", "v", definition=" SELECT a.id FROM ONLY public.cities a, public.cities b;"),
    relation("public.seen_events", "v", definition=" SELECT id, ssn FROM public.events_2026_01;"),
    relation("public.joined", "v", definition=" SELECT a.id FROM public.events_2026_01 a, public.events_2026 b;"),
    relation("public.one", "v", definition=" SELECT id, ssn FROM public.two;"),
    relation("public.two", "v", definition=" SELECT id, ssn FROM public.one;"),
]
CATALOG = Catalog(
    server_version=150018, search_path=("public",), relations={found.qualified: found for found in RELATIONS}
)
EVENTS = {"public.events", "public.events_2026", "public.events_2026_01"}
CITIES = {"public.cities", "public.capitals"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("customers", {"public.customers"}),
        ("shown", {"public.shown", "public.customers"}),
        ("shown_again", {"public.shown_again", "public.shown", "public.customers", "public.other"}),
        ("odd", {"public.odd"}),
        ("kept", {"public.kept"}),
        ("events", EVENTS | {"public.events_2025"}),
        ("events_2026", EVENTS),
        ("events_2026_01", EVENTS),
        ("seen_events", {"public.seen_events", *EVENTS}),
        ("joined", {"public.joined", *EVENTS}),
        ("all_cities", {"public.all_cities", *CITIES}),
        ("only_cities", {"public.only_cities", "public.cities"}),
        ("both_cities", {"public.both_cities", *CITIES}),
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
        ("SELECT ssn FROM cities", {f"{name}.ssn" for name in CITIES}),
        ("SELECT ssn FROM ONLY cities", {"public.cities.ssn"}),
        ("SELECT ssn FROM ONLY cities WHERE EXISTS (SELECT 1 FROM cities)", {f"{name}.ssn" for name in CITIES}),
        ("SELECT id FROM all_cities", {"public.all_cities.id", *(f"{of}.{name}" for of in CITIES for name in ("id", "ssn"))}),
        ("SELECT id FROM only_cities", {"public.only_cities.id", "public.cities.id", "public.cities.ssn"}),
        ("SELECT * FROM ONLY events", {"public.events.id", "public.events.ssn"}),
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


@pytest.mark.parametrize(
    ("sql", "reads", "writes"),
    [
        ("SELECT 1 FROM cities", CITIES, set()),
        ("SELECT 1 FROM cities *", CITIES, set()),
        ("SELECT 1 FROM ONLY cities", {"public.cities"}, set()),
        ("SELECT 1 FROM ONLY cities JOIN cities AS c ON true", CITIES, set()),
        ("SELECT 1 FROM ONLY all_cities", {"public.all_cities", *CITIES}, set()),  # to the server it is no ONLY
        ("SELECT 1 FROM ONLY events_2026_01", EVENTS, set()),
        ("DELETE FROM ONLY cities WHERE id = 1", {"public.cities"}, {"public.cities"}),
        ("UPDATE cities SET id = 1", set(), CITIES),
        ("TRUNCATE cities", set(), CITIES),
        ("TRUNCATE ONLY cities", set(), {"public.cities"}),
        ("TRUNCATE events_2026", set(), EVENTS),
        ("DROP TABLE events", set(), EVENTS | {"public.events_2025"}),
        ("ALTER TABLE ONLY cities ADD x int", set(), {"public.cities"}),
        ("ALTER TABLE cities ADD x int", set(), CITIES),
        ("INSERT INTO cities (id) VALUES (1)", set(), {"public.cities"}),  # it stays where it is put
        ("INSERT INTO cities (id) VALUES (1) RETURNING id", {"public.cities"}, {"public.cities"}),
        ("COPY cities FROM STDIN", set(), {"public.cities"}),
        ("INSERT INTO events_2026 (id) VALUES (1)", set(), EVENTS),
        ("MERGE INTO cities AS c USING other AS o ON c.id = o.id WHEN MATCHED THEN DELETE", CITIES | {"public.other"}, CITIES),
    ],
)  # fmt: skip
def test_parts_are_meant_where_there_is_no_only(sql: str, reads: set[str], writes: set[str]) -> None:
    facts = examine_sql(sql, catalog=CATALOG).facts
    assert facts.reads == reads
    assert facts.writes == writes
    assert not facts.function_traits & UNNAMED


UNNAMED = {"unnamed_parts", "unnamed_columns"}


def with_parts(**numbers: int) -> Catalog:
    """Tables with so many parts each, and a view and a function of the first."""
    tables = [relation(f"public.{name}", "p") for name in numbers]
    parts = [
        relation(f"public.{name}_{part}", parents=(f"public.{name}",))
        for name, number in numbers.items()
        for part in range(number)
    ]
    first = next(iter(numbers))
    view = relation("public.seen", "v", definition=f" SELECT id, ssn FROM public.{first};")
    function = Function(
        oid=30_000, schema="public", name="counted", kind="f", language="sql", volatility="s", types=(), defaults="",
        body=f"SELECT id FROM {first}",
    )  # fmt: skip
    return Catalog(
        server_version=150018,
        search_path=("public",),
        relations={one.qualified: one for one in (*tables, *parts, view)},
        functions={"counted": (function,)},
    )


@pytest.mark.parametrize("sql", ["SELECT id FROM a", "SELECT id FROM seen", "SELECT counted()"])
def test_as_many_parts_as_may_be_are_named(sql: str) -> None:
    facts = examine_sql(sql, catalog=with_parts(a=MAX_PARTS)).facts
    assert facts.reads >= {"public.a", "public.a_0", f"public.a_{MAX_PARTS - 1}"}
    assert facts.columns >= {"public.a.id", "public.a_0.id", f"public.a_{MAX_PARTS - 1}.id"}
    assert not facts.function_traits & UNNAMED


@pytest.mark.parametrize("number", [MAX_PARTS + 1, 3000])
@pytest.mark.parametrize("sql", ["SELECT id FROM a", "SELECT id FROM seen", "SELECT counted()"])
def test_of_more_parts_none_is_named_and_that_is_told(sql: str, number: int) -> None:
    facts = examine_sql(sql, catalog=with_parts(a=number)).facts
    assert facts.reads - {"public.seen"} == {"public.a"}
    assert facts.columns - {"public.seen.id"} <= {"public.a.id", "public.a.ssn"}
    assert facts.function_traits & UNNAMED == UNNAMED


def test_no_other_table_in_a_statement_makes_parts_unnamed() -> None:
    catalog = with_parts(a=MAX_PARTS, b=MAX_PARTS + 1, c=MAX_PARTS)
    parts_of_a = {f"public.a_{part}" for part in range(MAX_PARTS)}
    for sql in ("SELECT a.id FROM a, b, c", "SELECT a.id FROM b, seen AS a", "SELECT counted() FROM b, c"):
        facts = examine_sql(sql, catalog=catalog).facts
        assert facts.reads >= parts_of_a, sql
        assert facts.columns >= {f"{part}.id" for part in parts_of_a}, sql
        assert facts.function_traits & UNNAMED == {"unnamed_parts"}, sql
        assert "public.b_0" not in facts.reads, sql
    named = examine_sql("SELECT a.id FROM a, c", catalog=catalog).facts
    assert len(named.reads) == 2 * (MAX_PARTS + 1)
    assert not named.function_traits


def test_an_only_table_has_no_parts_to_be_named() -> None:
    facts = examine_sql("SELECT id FROM ONLY a", catalog=with_parts(a=MAX_PARTS + 1)).facts
    assert facts.reads == {"public.a"}
    assert not facts.function_traits


def test_a_part_that_is_named_itself_is_named_beside_too_many() -> None:
    facts = examine_sql("SELECT 1 FROM a JOIN a_0 ON true", catalog=with_parts(a=MAX_PARTS + 1)).facts
    assert facts.reads == {"public.a", "public.a_0"}
    assert facts.function_traits == {"unnamed_parts"}


@pytest.mark.parametrize("sql", ["SELECT id FROM a", "SELECT * FROM a", "SELECT id FROM seen", "SELECT counted()"])
def test_columns_of_parts_are_named_up_to_a_number_of_a_table(sql: str) -> None:
    def with_columns(number: int) -> Catalog:
        columns = tuple(Column(name=f"c{n}", type="pg_catalog.int4", number=n) for n in range(number - 2))
        catalog = with_parts(a=MAX_PARTS)
        wide = {
            name: replace(one, columns=one.columns + columns)
            for name, one in catalog.relations.items()
            if one.kind != "v"
        }
        return replace(catalog, relations={**catalog.relations, **wide})

    most = MAX_PART_COLUMNS // MAX_PARTS
    named = examine_sql(sql, catalog=with_columns(most)).facts
    assert {"public.a.id", "public.a_0.id"} <= named.columns
    assert not named.function_traits & UNNAMED
    unnamed = examine_sql(sql, catalog=with_columns(most + 1)).facts
    assert unnamed.function_traits & UNNAMED == {"unnamed_columns"}
    assert "public.a_0.id" not in unnamed.columns
    assert "public.a_0" in unnamed.reads, "the parts themselves are named"


def test_parts_that_have_no_parts_need_not_be_watched() -> None:
    assert examine_sql("SELECT 1 FROM events", catalog=CATALOG).leaves == {
        "public.events_2025",
        "public.events_2026_01",
    }
    assert examine_sql("SELECT 1 FROM events, events_2025", catalog=CATALOG).leaves == {"public.events_2026_01"}
    assert examine_sql("SELECT 1 FROM seen_events", catalog=CATALOG).leaves == set()
    assert examine_sql("SELECT 1 FROM ONLY events", catalog=CATALOG).leaves == set()


def test_a_common_table_of_the_same_name_means_nothing_else() -> None:
    facts = examine_sql("WITH shown AS (SELECT 1 AS id) SELECT id FROM shown", catalog=CATALOG).facts
    assert facts.reads == set()


def test_what_is_only_planned_is_not_written() -> None:
    facts = examine_sql("EXPLAIN DELETE FROM shown", catalog=CATALOG).facts
    assert facts.writes == set()


def test_without_a_catalog_a_name_stands_for_itself() -> None:
    assert examine_sql("SELECT id FROM shown", catalog=None).facts.reads == {"shown"}
