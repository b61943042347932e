"""The snapshot of a server's catalog, against a real server."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from mcp_gateway.facts.catalog import Dependent
from mcp_gateway.targets.postgres_catalog import (
    REMEMBERED_TOUCHED,
    catalog_stamp,
    load_catalog,
    load_snapshot,
    object_versions,
)
from mcp_gateway.targets.postgres_queries import VERSIONS
from tests.peers.postgres import PostgresDatabase

pytestmark = pytest.mark.anyio

SCHEMA = """
    CREATE TABLE customers (id int PRIMARY KEY, ssn text NOT NULL, tags text[], lower_ssn text
      GENERATED ALWAYS AS (lower(ssn)) STORED);
    CREATE VIEW people AS SELECT id, ssn AS number FROM customers;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM people;
    CREATE TABLE events (id int, at date) PARTITION BY RANGE (at);
    CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER noted BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION note();
    CREATE FUNCTION first_ssn(at_least int, OUT found text) LANGUAGE sql STABLE
      AS 'SELECT ssn FROM public.customers WHERE id >= at_least';
    CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT a * 2; END;
    CREATE FUNCTION listed() RETURNS TABLE (a int, b text) LANGUAGE sql AS 'SELECT 1, ''x''';
    CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int);
    CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN $1 = $2; END';
    CREATE OPERATOR === (leftarg = text, rightarg = text, function = same);
    CREATE TYPE pair AS (a int, b text);
    CREATE FUNCTION pair_of(text) RETURNS pair LANGUAGE sql AS 'SELECT 1, $1';
    CREATE CAST (text AS pair) WITH FUNCTION pair_of(text);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN small AS positive;
    CREATE DOMAIN plain AS int;
    CREATE TABLE dropped (a int, b int, c int);
    ALTER TABLE dropped DROP COLUMN b;
"""


@pytest.fixture
async def connection(postgres_database: PostgresDatabase) -> AsyncIterator[asyncpg.Connection[Any]]:
    postgres_database.execute(SCHEMA)
    found = await asyncpg.connect(
        host=postgres_database.host,
        port=postgres_database.port,
        user=postgres_database.user,
        password=postgres_database.password,
        database=postgres_database.name,
        ssl=False,
    )
    yield found
    await found.close()


async def test_relations_of_every_kind_come_with_their_columns(connection: asyncpg.Connection[Any]) -> None:
    catalog = await load_catalog(connection, search_path=("public",))
    customers = catalog.relations["public.customers"]
    assert [(column.number, column.name, column.type, column.not_null) for column in customers.columns] == [
        (1, "id", "pg_catalog.int4", True),
        (2, "ssn", "pg_catalog.text", True),
        (3, "tags", "pg_catalog.text[]", False),
        (4, "lower_ssn", "pg_catalog.text", False),
    ]
    assert customers.columns[3].generated == "lower(ssn)"
    kinds = {
        name: catalog.relations[f"public.{name}"].kind for name in ("customers", "people", "counted", "events", "pair")
    }
    assert kinds == {"customers": "r", "people": "v", "counted": "m", "events": "p", "pair": "c"}
    assert [(column.number, column.name) for column in catalog.relations["public.dropped"].columns] == [
        (1, "a"),
        (3, "c"),
    ]
    assert catalog.relations["pg_catalog.pg_class"].kind == "r"
    assert catalog.relations["information_schema.tables"].kind == "v"


async def test_definitions_are_qualified(connection: asyncpg.Connection[Any]) -> None:
    catalog = await load_catalog(connection, search_path=("public",))
    assert "FROM public.customers" in (catalog.relations["public.people"].definition or "")
    assert "FROM public.people" in (catalog.relations["public.counted"].definition or "")
    assert catalog.relations["public.customers"].definition is None


async def test_inheritance_and_triggers_are_seen(connection: asyncpg.Connection[Any]) -> None:
    catalog = await load_catalog(connection, search_path=("public",))
    assert catalog.relations["public.events_2026"].parents == ("public.events",)
    assert catalog.relations["public.events"].partitioned_by == ("at",)
    assert catalog.relations["public.events_2026"].partitioned_by == ()
    assert catalog.relations["public.customers"].has_triggers
    assert not catalog.relations["public.people"].has_triggers
    assert not catalog.relations["public.events"].has_triggers


async def test_on_what_a_trigger_may_change_what_is_returned_is_seen(
    connection: asyncpg.Connection[Any], postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute(
        """
        CREATE TABLE logged (id int); CREATE TABLE stamped (id int); CREATE TABLE counted_all (id int); CREATE VIEW v AS SELECT 1 AS id;
        CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON logged FOR EACH ROW EXECUTE FUNCTION note();
        CREATE TRIGGER t BEFORE UPDATE OF id ON stamped FOR EACH ROW EXECUTE FUNCTION note();
        CREATE TRIGGER s BEFORE DELETE OR TRUNCATE ON counted_all EXECUTE FUNCTION note();
        CREATE TRIGGER t INSTEAD OF INSERT OR DELETE ON v FOR EACH ROW EXECUTE FUNCTION note();
        """
    )
    relations = (await load_catalog(connection, search_path=("public",))).relations
    names = ("customers", "logged", "stamped", "counted_all", "v", "people")
    assert {name: sorted(relations[f"public.{name}"].reshaped_on) for name in names} == {
        "customers": ["insert"],
        "logged": [],
        "stamped": ["update"],
        "counted_all": ["delete"],
        "v": ["delete", "insert"],
        "people": [],
    }


async def test_what_a_table_evaluates_by_itself_is_seen(
    connection: asyncpg.Connection[Any], postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute(
        """
        CREATE DOMAIN named AS text DEFAULT upper('x');
        CREATE TABLE tenants (id serial PRIMARY KEY, owner text DEFAULT current_user, nick named, CHECK (id > 0));
        CREATE TABLE bills (id int REFERENCES tenants ON UPDATE SET NULL);
        CREATE TABLE notes (id int REFERENCES tenants);
        CREATE INDEX ON tenants (lower(owner), (id + 1)) WHERE owner > 'a';
        CREATE POLICY own ON tenants USING (owner = current_user) WITH CHECK (id > 1);
        CREATE TABLE parts (id int) PARTITION BY LIST ((id % 2));
        CREATE UNIQUE INDEX ON tenants (nick) INCLUDE (owner);
        CREATE UNIQUE INDEX ON tenants (nick, owner);
        CREATE UNIQUE INDEX ON tenants (nick, lower(owner)) WHERE id > 2;
        CREATE TABLE mixed ("Kind, of" text, id int, at date) PARTITION BY RANGE ("Kind, of", (id % 2), at, lower("Kind, of"));
        """
    )
    before = (await load_catalog(connection, search_path=("public",))).relations["public.tenants"]
    assert before.policies == ()
    postgres_database.execute("ALTER TABLE tenants ENABLE ROW LEVEL SECURITY")
    catalog = await load_catalog(connection, search_path=("public",))
    found = catalog.relations["public.tenants"]
    assert found.policies == ("(owner = CURRENT_USER)", "(id > 1)")
    assert found.defaults == ("CURRENT_USER", "upper('x'::text)")
    assert sorted(set(found.checks)) == [
        "(id > 0)",
        "(id > 2)",
        "(owner > 'a'::text)",
        "lower(owner)",
        "lower(owner), (id + 1)",
    ]
    assert found.unique_by == ("owner, nick", "nick, lower(owner), (id > 2)")
    assert found.dependents == (
        Dependent(relation="public.bills", columns=("id",), referenced=("id",), on_delete="a", on_update="n"),
        Dependent(relation="public.notes", columns=("id",), referenced=("id",), on_delete="a", on_update="a"),
    )
    assert catalog.relations["public.parts"].checks == ("(id % 2)",)
    assert catalog.relations["public.parts"].partitioned_by == ("(id % 2)",)
    assert catalog.relations["public.mixed"].partitioned_by == ('"Kind, of"', "at", '(id % 2), lower("Kind, of")')
    assert catalog.relations["public.customers"].checks == ()


async def test_what_planning_looks_at_is_seen(
    connection: asyncpg.Connection[Any], postgres_database: PostgresDatabase
) -> None:
    touched = (await load_snapshot(connection, search_path=("public",))).touched(relations={"customers"}, functions=())
    stamp = await catalog_stamp(connection)
    assert await object_versions(connection, touched) == touched.expected
    postgres_database.execute("CREATE STATISTICS told ON lower(ssn), (id + 1) FROM customers")
    assert await object_versions(connection, touched) != touched.expected
    assert await catalog_stamp(connection) != stamp
    catalog = await load_catalog(connection, search_path=("public",))
    assert catalog.relations["public.customers"].measured == ("lower(ssn)", "(id + 1)")
    assert catalog.relations["public.events"].measured == ()


async def test_what_compares_and_hashes_by_itself_is_seen(
    connection: asyncpg.Connection[Any], postgres_database: PostgresDatabase
) -> None:
    stamp = await catalog_stamp(connection)
    assert (await load_catalog(connection, search_path=("public",))).comparing == {}
    postgres_database.execute(
        """
        CREATE FUNCTION hashed(pair) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
        CREATE FUNCTION alike(pair, pair) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
        CREATE OPERATOR ==== (leftarg = pair, rightarg = pair, function = alike);
        CREATE OPERATOR CLASS pairs DEFAULT FOR TYPE pair USING hash AS OPERATOR 1 ====, FUNCTION 1 hashed(pair);
        """
    )
    assert (await load_catalog(connection, search_path=("public",))).comparing == {
        "public.alike": ("public.pair",),
        "public.hashed": ("public.pair",),
    }
    assert await catalog_stamp(connection) != stamp


async def test_casts_that_are_applied_unwritten_are_told_apart(
    connection: asyncpg.Connection[Any], postgres_database: PostgresDatabase
) -> None:
    assert (await load_catalog(connection, search_path=("public",))).unwritten_casts == frozenset()
    for form in ("IMPLICIT", "ASSIGNMENT"):
        postgres_database.execute(
            "CREATE FUNCTION text_of(pair) RETURNS text LANGUAGE sql AS 'SELECT $1.b';"
            f"CREATE CAST (pair AS text) WITH FUNCTION text_of AS {form}"
        )
        assert (await load_catalog(connection, search_path=("public",))).unwritten_casts == frozenset(
            {"public.text_of"}
        )
        postgres_database.execute("DROP FUNCTION text_of CASCADE")


async def test_what_a_tables_own_code_rests_on_is_touched_too(
    connection: asyncpg.Connection[Any], superuser: asyncpg.Connection[Any], postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute(
        """
        CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION g(int) RETURNS bool LANGUAGE sql AS 'SELECT true';
        CREATE FUNCTION h(int) RETURNS bool LANGUAGE sql AS 'SELECT true';
        CREATE TABLE kept (id int PRIMARY KEY DEFAULT f(1), CHECK (g(id)));
        CREATE POLICY own ON kept USING (h(id));
        CREATE TABLE heirs (id int REFERENCES kept ON DELETE CASCADE);
        CREATE FUNCTION indexed(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
        CREATE FUNCTION measured(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
        CREATE FUNCTION keyed(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
        CREATE INDEX ON kept (indexed(id));
        CREATE STATISTICS told ON measured(id), (id + 1) FROM kept;
        CREATE TABLE shares (id int) PARTITION BY LIST (keyed(id));
        """
    )
    snapshot = await load_snapshot(connection, search_path=("public",))
    touched = snapshot.touched(relations=["kept", "shares"], functions=[])
    assert await object_versions(connection, touched) == touched.expected
    for change in (
        "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 2'",
        "CREATE OR REPLACE FUNCTION g(int) RETURNS bool LANGUAGE sql AS 'SELECT false'",
        "CREATE OR REPLACE FUNCTION h(int) RETURNS bool LANGUAGE sql AS 'SELECT false'",
        "CREATE OR REPLACE FUNCTION indexed(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'",
        "CREATE OR REPLACE FUNCTION measured(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'",
        "CREATE OR REPLACE FUNCTION keyed(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'",
        "CREATE TRIGGER noted BEFORE DELETE ON heirs FOR EACH ROW EXECUTE FUNCTION note()",
    ):
        async with undone(superuser, change):
            assert await object_versions(superuser, touched) != touched.expected, change


async def test_functions_say_what_they_are(connection: asyncpg.Connection[Any]) -> None:
    catalog = await load_catalog(connection, search_path=("public",))
    (first,) = catalog.functions["first_ssn"]
    assert (first.language, first.volatility, first.arguments, first.outputs, first.result_type) == (
        "sql",
        "s",
        ("at_least",),
        ("found",),
        "pg_catalog.text",
    )
    assert "FROM public.customers" in (first.body or "")
    (twice,) = catalog.functions["twice"]
    assert "a * 2" in (twice.body or "")
    (listed,) = catalog.functions["listed"]
    assert (listed.returns_set, listed.arguments, listed.outputs) == (True, (), ("a", "b"))
    (total,) = catalog.functions["total"]
    assert (total.kind, total.transitions) == ("a", ("pg_catalog.int4pl",))
    (note,) = catalog.functions["note"]
    assert (note.language, note.body) == ("plpgsql", None)
    assert all(function.oid < 16384 and function.version == "" for function in catalog.functions["now"])


async def test_operators_casts_and_domains_are_those_that_users_made(connection: asyncpg.Connection[Any]) -> None:
    catalog = await load_catalog(connection, search_path=("public",))
    assert catalog.operators == {"===": ("public.same",)}
    assert catalog.casts == {"public.pair": ("public.pair_of",)}
    assert {name: check for name, check in catalog.domains.items() if name.startswith("public.")} == {
        "public.positive": True,
        "public.small": True,
        "public.plain": False,
    }
    assert {name: checks for name, checks in catalog.domain_checks.items() if name.startswith("public.")} == {
        "public.positive": ("(VALUE > 0)",),
        "public.small": ("(VALUE > 0)",),
        "public.plain": (),
    }


async def test_a_snapshot_pickles_and_its_version_is_that_of_its_content(
    connection: asyncpg.Connection[Any], postgres_database: PostgresDatabase
) -> None:
    first = await load_catalog(connection, search_path=("public",))
    assert pickle.loads(pickle.dumps(first)) == first
    assert first == await load_catalog(connection, search_path=("public",))
    assert first.version != (await load_catalog(connection, search_path=("other", "public"))).version
    postgres_database.execute("ALTER TABLE customers ALTER COLUMN ssn DROP NOT NULL")
    assert first.version != (await load_catalog(connection, search_path=("public",))).version
    assert first.search_path == ("public",)
    assert first.server_version >= 140000


@pytest.fixture
async def superuser(postgres_database: PostgresDatabase) -> AsyncIterator[asyncpg.Connection[Any]]:
    server = postgres_database.server
    found = await asyncpg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=postgres_database.name,
        ssl=False,
    )
    yield found
    await found.close()


@asynccontextmanager
async def undone(connection: asyncpg.Connection[Any], change: str) -> AsyncIterator[None]:
    """Make a change that only this connection sees, and take it back."""
    await connection.execute("BEGIN; " + change)
    yield
    await connection.execute("ROLLBACK")


CHANGES = [
    "CREATE OR REPLACE VIEW people AS SELECT id, lower(ssn) AS number FROM customers",
    "CREATE OR REPLACE FUNCTION first_ssn(at_least int, OUT found text) LANGUAGE sql STABLE AS 'SELECT ''x'''",
    "ALTER TABLE customers RENAME COLUMN ssn TO number",
    "ALTER TABLE customers DROP COLUMN tags",
    "ALTER TABLE customers RENAME TO clients",
    "DROP TRIGGER noted ON customers",
    "CREATE RULE quiet AS ON DELETE TO customers DO INSTEAD NOTHING",
    "CREATE TABLE children () INHERITS (customers)",
    "ALTER TABLE events DETACH PARTITION events_2026",
    "CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA earlier CREATE TABLE customers (id int)",
    "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON customers USING (id > 0)",
    "ALTER TABLE customers ALTER ssn SET DEFAULT 'x'",
    "ALTER TABLE customers ADD CHECK (length(ssn) > 1)",
    "CREATE INDEX ON customers (length(ssn))",
    "CREATE INDEX ON customers (id) WHERE ssn > 'x'",
    "ALTER TABLE customers ADD UNIQUE (id); CREATE TABLE bills (id int REFERENCES customers (id) ON DELETE CASCADE)",
]
ELSEWHERE = [
    "CREATE OPERATOR ==== (leftarg = text, rightarg = text, function = same)",
    "CREATE CAST (varchar AS pair) WITH FUNCTION pair_of(text)",
    "CREATE DOMAIN other AS int",
    "ALTER DOMAIN plain ADD CHECK (VALUE > 1)",
    "CREATE AGGREGATE other (int) (sfunc = int4mi, stype = int)",
    "CREATE SCHEMA later",
]


@pytest.mark.requirement("R14")
async def test_every_redefinition_changes_the_stamp(
    connection: asyncpg.Connection[Any], superuser: asyncpg.Connection[Any]
) -> None:
    snapshot = await load_snapshot(connection, search_path=("public",))
    assert await catalog_stamp(connection) == snapshot.stamp
    for change in CHANGES + ELSEWHERE:
        async with undone(superuser, change):
            assert await catalog_stamp(superuser) != snapshot.stamp, change
    assert await catalog_stamp(connection) == snapshot.stamp


@pytest.mark.requirement("R14")
async def test_a_redefinition_of_what_a_statement_touches_changes_its_versions(
    connection: asyncpg.Connection[Any], superuser: asyncpg.Connection[Any]
) -> None:
    snapshot = await load_snapshot(connection, search_path=("public",))
    touched = snapshot.touched(
        relations=["public.customers", "people", "events"], functions=["first_ssn", "pg_catalog.lower"]
    )
    assert await object_versions(connection, touched) == touched.expected
    for change in CHANGES:
        async with undone(superuser, change):
            assert await object_versions(superuser, touched) != touched.expected, change


async def test_what_a_view_rests_on_is_touched_too(
    connection: asyncpg.Connection[Any], postgres_database: PostgresDatabase
) -> None:
    snapshot = await load_snapshot(connection, search_path=("public",))
    touched = snapshot.touched(relations=["counted"], functions=[])
    postgres_database.execute("ALTER TABLE customers ADD COLUMN more text")
    assert await object_versions(connection, touched) != touched.expected


async def test_a_change_of_data_alone_changes_no_version(
    connection: asyncpg.Connection[Any], superuser: asyncpg.Connection[Any]
) -> None:
    snapshot = await load_snapshot(connection, search_path=("public",))
    touched = snapshot.touched(relations=["customers", "counted"], functions=[])
    for change in (
        "INSERT INTO customers VALUES (1, 'x')",
        "TRUNCATE customers",
        "REFRESH MATERIALIZED VIEW counted",
        "ANALYZE customers",
        "CREATE INDEX ON customers (ssn)",
        "CREATE TEMPORARY TABLE customers (a int)",
        "VACUUM FREEZE public.customers",
    ):
        await superuser.execute(change)
        assert await object_versions(connection, touched) == touched.expected, change
        assert await catalog_stamp(connection) == snapshot.stamp, change


async def test_names_that_need_quoting_are_only_names(connection: asyncpg.Connection[Any]) -> None:
    snapshot = await load_snapshot(connection, search_path=("public",))
    touched = snapshot.touched(
        relations=['a"b', "c\\d", "e,f", "{g}", "h'); DROP TABLE customers; --", ""], functions=["NULL"]
    )
    assert await object_versions(connection, touched) == {}


async def test_a_look_at_versions_does_not_read_the_whole_catalog(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE looked AS {VERSIONS}")
    rows = await connection.fetch("EXPLAIN (COSTS OFF) EXECUTE looked('{customers,people}', '{}', '{lower}', '{}')")
    plan = "\n".join(row[0] for row in rows)

    assert "Index Scan using pg_class_relname_nsp_index" in plan
    assert "Seq Scan on pg_class" not in plan
    assert "Seq Scan on pg_proc" not in plan


async def test_what_was_reached_once_is_known_but_not_without_end(connection: asyncpg.Connection[Any]) -> None:
    snapshot = await load_snapshot(connection, search_path=("public",))
    first = snapshot.touched(relations=["people"], functions=["lower"])
    assert snapshot.touched(relations={"people"}, functions=("lower",)) is first
    assert snapshot.touched(relations=["lower"], functions=["people"]) != first, "a relation is no function"
    for number in range(REMEMBERED_TOUCHED):
        snapshot.touched(relations=[f"r{number}"], functions=[])
    again = snapshot.touched(relations=["people"], functions=["lower"])
    assert again.parameters == first.parameters and again.expected == first.expected
    assert again is not first
