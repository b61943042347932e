"""Returned columns and those in conditions, as policy sees them: with columns of parts and of what only code behind uses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_gateway.calls import SQLFacts
from mcp_gateway.facts.catalog import Catalog, Dependent
from mcp_gateway.facts.inspect_sql import inspect_sql
from mcp_gateway.facts.meant import MAX_PART_COLUMNS, MAX_PARTS
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.sql import examine_sql, examine_statements, judge_of
from mcp_gateway.facts.uses import NOT_FOLLOWED
from mcp_gateway.masking.lineage import follow, prepare
from tests.masking.lineage.catalogs import catalog, function, relation

CATALOG = catalog(
    relation("events", "id int4, actor text", "p", oid=20_001),
    relation("events_1", "id int4, actor text", parents=("public.events",), oid=20_002),
    relation("events_2", "id int4, actor text", parents=("public.events",), oid=20_003),
    relation("seen", "id int4", "v", definition="SELECT id FROM public.events WHERE actor = 'x'::text;", oid=20_004),
    relation("checked", "id int4, note text", checks=("(public.lowest() < id)",), oid=20_005),
    function("lowest", "SELECT age FROM public.users", result_type="pg_catalog.int4"),
)


def facts(sql: str, of: Catalog = CATALOG) -> SQLFacts:
    statements = parse_tree(sql)
    return examine_statements(statements, judge=judge_of(of), uses=follow(statements, prepare(of, {})).uses).facts


def apart(found: SQLFacts) -> tuple[set[str], set[str]]:
    context = found.context()
    assert {*context["returned_columns"], *context["condition_columns"]} <= {*context["columns"]}
    return (
        {column.removeprefix("public.") for column in context["returned_columns"]},
        {column.removeprefix("public.") for column in context["condition_columns"]},
    )


def every(column: str) -> set[str]:
    return {f"{name}.{column}" for name in ("events", "events_1", "events_2")}


@pytest.mark.parametrize(
    ("sql", "returned", "conditions"),
    [
        ("SELECT id FROM events WHERE actor = 'x'", every("id"), every("actor")),
        ("SELECT id FROM ONLY events WHERE actor = 'x'", {"events.id"}, {"events.actor"}),
        ("SELECT id FROM events_1 WHERE actor = 'x'", {"events.id", "events_1.id"}, {"events.actor", "events_1.actor"}),
        ("SELECT 1 FROM seen", set(), every("actor")),
        ("SELECT id FROM seen", {"seen.id", *every("id")}, every("actor")),
        ("DELETE FROM events WHERE actor = 'x'", set(), every("actor")),
        ("SELECT lowest() FROM orders", {"users.age"}, set()),
        ("INSERT INTO checked VALUES (1, 'x')", {"users.age"}, {"users.age"}),
    ],
)
def test_columns_stand_for_the_same_in_parts_and_in_code_behind(
    sql: str, returned: set[str], conditions: set[str]
) -> None:
    assert apart(facts(sql)) == (returned, conditions)


def test_columns_of_many_parts_are_not_named_and_a_trait_says_so() -> None:
    parts = [
        relation(f"events_{number}", "id int4, actor text", parents=("public.events",), oid=30_000 + number)
        for number in range(MAX_PARTS + 1)
    ]
    found = facts("SELECT id FROM events WHERE actor = 'x'", catalog(*CATALOG.relations.values(), *parts))
    assert apart(found) == ({"events.id"}, {"events.actor"})
    assert {"unnamed_parts", "unnamed_columns"} <= found.function_traits


@pytest.mark.parametrize("sql", ["SELECT c1 FROM wide ORDER BY c2", "SELECT * FROM wide ORDER BY c2"])
def test_too_many_columns_of_parts_are_not_named_either(sql: str) -> None:
    def of(parts: int) -> Catalog:
        columns = ", ".join(f"c{number} int4" for number in range(MAX_PART_COLUMNS // 2))
        names = [f"wide_{number}" for number in range(parts)]
        made = [relation(name, columns, parents=("public.wide",), oid=30_000 + n) for n, name in enumerate(names)]
        return catalog(relation("wide", columns, "p", oid=29_999), *made)

    few, many = facts(sql, of(2)), facts(sql, of(3))
    assert {"wide.c1", "wide_0.c1", "wide_1.c1"} <= apart(few)[0]
    assert apart(few)[1] == {"wide.c2", "wide_0.c2", "wide_1.c2"}
    assert "unnamed_columns" not in few.function_traits
    assert apart(many)[1] == {"wide.c2"}
    assert "wide_0.c1" not in apart(many)[0]
    assert "unnamed_columns" in many.function_traits


def test_a_column_that_a_foreign_key_sets_along_is_only_written_to() -> None:
    key = Dependent(relation="public.quotes", columns=("author",), referenced=("author",), on_update="c")
    posts = replace(relation("posts", "id int4, author int4", oid=30_000), dependents=(key,))
    found = facts("UPDATE posts SET author = 1", catalog(posts, relation("quotes", "author int4", oid=30_001)))
    assert found.columns == {"public.posts.author", "public.quotes.author"}
    assert apart(found) == (set(), set())


@pytest.mark.parametrize(
    "sql", ["SELECT id FROM users WHERE ssn = '1'", "DELETE FROM users WHERE ssn = '1' RETURNING id"]
)
def test_without_a_catalog_a_column_may_be_both(sql: str) -> None:
    found = examine_sql(sql, catalog=None).facts
    assert apart(found) == ({"users.id", "users.ssn"}, {"users.id", "users.ssn"})


def test_a_table_that_is_copied_out_has_its_columns_named() -> None:
    everything = {"users.age", "users.email", "users.id", "users.name", "users.ssn", "users.tags"}
    assert apart(facts("COPY users TO '/x'")) == (everything, everything)
    assert apart(facts("COPY users (id, ssn) TO PROGRAM 'x'"))[0] == {"users.id", "users.ssn"}
    assert apart(facts("COPY users FROM '/x'")) == (set(), set())


@pytest.mark.parametrize(
    ("sql", "returned", "conditions"),
    [
        ("SELECT * FROM a, b WHERE a.x = 1", ["a.*", "a.x", "b.*"], ["a.x"]),
        ("SELECT a.y FROM a JOIN b USING (k) WHERE x = 1", ["a.y"], ["a.k", "b.k"]),
        ("SELECT x FROM (SELECT * FROM a) s", ["a.*"], []),
        ("SELECT x FROM (SELECT * FROM a) s ORDER BY z", ["a.*"], ["a.*"]),
        ("SELECT y FROM a WHERE x = 1", ["a.y"], ["a.x"]),
        ("SELECT y FROM a WHERE x IN (SELECT x FROM b)", ["a.x", "a.y"], ["a.x", "a.y"]),
    ],
)
def test_a_text_alone_names_no_column_that_is_not_certain(sql: str, returned: list[str], conditions: list[str]) -> None:
    found = inspect_sql(sql)
    assert (found["returned_columns"], found["condition_columns"]) == (returned, conditions)
    assert found["columns"] == sorted(examine_sql(sql, catalog=None).facts.columns)


ENDLESS = " WHERE 0 NOT IN (" + ",".join(["1+1"] * 7500) + ")"
"""More than is followed."""
OPAQUE = catalog(
    *CATALOG.relations.values(),
    relation("dated", "id int4, born date, age int4", oid=20_010),
    relation("grown", "id int4", "v", definition="SELECT id FROM public.dated WHERE age > 17;", oid=20_011),
    function("hidden", result_type="pg_catalog.text"),
)


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT (SELECT age FROM generate_series(1, 1) h) FROM dated, events_1", "dated.age events_1.actor"),
        ("SELECT (SELECT d FROM generate_series(1, 1) h) FROM dated d", "dated.age dated.born dated.id"),
        ("SELECT count(*) FROM grown", "dated.age"),
    ],
)
def test_of_what_is_too_long_to_be_followed_every_column_is_named(sql: str, names: str) -> None:
    padded = sql + ENDLESS
    assert {f"public.{name}" for name in names.split()} <= facts(padded, OPAQUE).columns
    returned, conditions = apart(facts(padded, OPAQUE))
    assert returned == conditions >= set(names.split())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT hidden(), (SELECT age FROM generate_series(1, 1) h) FROM dated, orders",
        "SELECT hidden((SELECT age FROM generate_series(1, 1) h)) FROM dated, orders",
        "SELECT id FROM orders WHERE hidden() = (SELECT (SELECT max(age) FROM generate_series(1, 1) h) FROM dated, orders)",
        "SELECT hidden() FROM grown",
        "DELETE FROM orders WHERE hidden() = 'x' AND EXISTS (SELECT FROM grown)",
    ],
)
def test_beside_code_that_nobody_sees_columns_are_named_all_the_same(sql: str) -> None:
    found = facts(sql, OPAQUE)
    assert "dated.age" in apart(found)[0] & apart(found)[1]
    assert "dated.born" not in apart(found)[0] | apart(found)[1]
    assert "unnamed_tables" in found.function_traits


def test_what_was_not_followed_stays_so_where_only_a_text_is_known() -> None:
    facts = examine_statements(parse_tree("SELECT a FROM t"), judge=judge_of(None), uses=NOT_FOLLOWED).facts
    assert (facts.returned_columns, facts.condition_columns) == (None, None)
    assert facts.columns == {"t.a"}
