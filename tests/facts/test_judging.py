"""What a real catalog says of functions, operators, types and views: every trap is set up on a server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator

import asyncpg
import pytest

from mcp_gateway.facts.catalog import Catalog, Function, Relation
from mcp_gateway.facts.judging import Judge, Trust
from mcp_gateway.facts.sql import examine_sql
from mcp_gateway.targets.postgres_catalog import load_catalog
from tests.peers.postgres import PostgresServer

OBJECTS = """
CREATE TABLE users (id int PRIMARY KEY, name text, created timestamptz DEFAULT now());
CREATE TABLE orders (id int, user_id int REFERENCES users, total numeric, status text);
CREATE SEQUENCE s;
CREATE SCHEMA other;
CREATE FUNCTION noisy(int, int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''s''); RETURN 1; END';
CREATE FUNCTION touch(users) RETURNS int LANGUAGE plpgsql AS 'BEGIN UPDATE public.users SET name = name; RETURN 1; END';
CREATE FUNCTION total2(orders) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION other.elsewhere(orders) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION lower(int) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''s''); END';
CREATE FUNCTION looks_immutable() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END';
CREATE FUNCTION quoted(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + 1';
CREATE FUNCTION atomic(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a + 2; END;
CREATE FUNCTION returning_one(a int) RETURNS int LANGUAGE sql RETURN a + 3;
CREATE FUNCTION recursing(a int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OR REPLACE FUNCTION recursing(a int) RETURNS int LANGUAGE sql AS 'SELECT recursing(a)';
CREATE FUNCTION defaulting(a int DEFAULT 1 + 1) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION defaulting_badly(a int DEFAULT nextval('s')) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION sneaky_sql() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT nextval('s') $$;
CREATE FUNCTION behind_sneaky_sql() RETURNS bigint LANGUAGE sql AS $$ SELECT sneaky_sql() $$;
CREATE FUNCTION writing() RETURNS void LANGUAGE sql AS $$ INSERT INTO orders (id) VALUES (1) $$;
CREATE FUNCTION writing_in_cte() RETURNS bigint LANGUAGE sql AS $$ WITH x AS (DELETE FROM orders RETURNING 1) SELECT count(*) FROM x $$;
CREATE FUNCTION locking() RETURNS int LANGUAGE sql AS 'SELECT id FROM users FOR UPDATE';
CREATE FUNCTION own_path() RETURNS int LANGUAGE sql SET search_path = other AS 'SELECT 1';
CREATE FUNCTION json_array(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''s''); END';
CREATE FUNCTION json_value(int, text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''s''); END';
CREATE PROCEDURE proc() LANGUAGE sql AS 'SELECT 1';
CREATE OPERATOR @+@ (leftarg = int, rightarg = int, function = noisy);
CREATE OPERATOR @-@ (leftarg = int, rightarg = int, function = int4pl);
CREATE OPERATOR other.|| (leftarg = int, rightarg = int, function = noisy);
CREATE AGGREGATE calm_sum (int) (sfunc = int4pl, stype = int);
CREATE AGGREGATE noisy_sum (int) (sfunc = noisy, stype = int);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (a int, b text);
CREATE VIEW calm_view AS SELECT u.id, upper(u.name) AS name, o.total FROM users u JOIN orders o ON o.user_id = u.id;
CREATE FUNCTION calling(a int) RETURNS int LANGUAGE sql AS 'SELECT quoted(a) + (SELECT count(*)::int FROM calm_view)';
CREATE VIEW noisy_view AS SELECT id, touch(users) FROM users;
CREATE VIEW behind_noisy_view AS SELECT * FROM noisy_view;
CREATE VIEW overloaded_view AS SELECT pg_catalog.lower(name) AS name FROM users;
CREATE MATERIALIZED VIEW kept AS SELECT id, touch(users) FROM users;
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;
CREATE FOREIGN TABLE far (a int) SERVER elsewhere;
CREATE TABLE parted (a int) PARTITION BY LIST (a);
CREATE TABLE parted_near PARTITION OF parted FOR VALUES IN (1) PARTITION BY LIST (a);
CREATE FOREIGN TABLE parted_far PARTITION OF parted_near FOR VALUES IN (1) SERVER elsewhere;
"""
DOMAINS = """
CREATE FUNCTION checking(text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''s''); RETURN true; END';
CREATE DOMAIN sneaky AS text CHECK (checking(value));
CREATE DOMAIN behind_sneaky AS sneaky;
CREATE DOMAIN calm AS text;
CREATE TYPE holding AS (a int, b sneaky[]);
CREATE TABLE holder (h holding);
CREATE FUNCTION taking(sneaky) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION giving() RETURNS sneaky LANGUAGE sql AS 'SELECT ''x''::text';
CREATE FUNCTION giving_rows() RETURNS TABLE (a sneaky) LANGUAGE sql AS 'SELECT ''x''::text';
"""
CASTS = """
CREATE FUNCTION casting(mood) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''s''); END';
CREATE CAST (mood AS int) WITH FUNCTION casting(mood) AS IMPLICIT;
"""


@pytest.fixture(scope="module")
def catalogs(postgres_server: PostgresServer) -> Iterator[dict[str, Catalog]]:
    """One database after each of the set-ups above."""
    name = f"judging_{secrets.token_hex(4)}"
    postgres_server.execute(f"CREATE DATABASE {name}")

    async def load() -> Catalog:
        connection = await asyncpg.connect(
            host=postgres_server.host,
            port=postgres_server.port,
            user=postgres_server.user,
            password=postgres_server.password,
            database=name,
            ssl=False,
        )
        try:
            return await load_catalog(connection, search_path=("public",))
        finally:
            await connection.close()

    found = {}
    try:
        for step, objects in {"objects": OBJECTS, "domains": DOMAINS, "casts": CASTS}.items():
            postgres_server.execute(objects, database=name)
            found[step] = asyncio.run(load())
        yield found
    finally:
        postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT quoted(1), atomic(2), returning_one(3), public.quoted(4)",
        "SELECT calling(1)",
        "SELECT defaulting()",
        "SELECT calm_sum(id) FROM users",
        "SELECT 1 @-@ 2",
        "SELECT 'good'::mood, ROW(1, 'x')::pair, NULL::users, '{good}'::mood[], mood 'bad'",
        "SELECT * FROM calm_view",
        "SELECT * FROM overloaded_view",
        "SELECT * FROM kept",
        "SELECT o.total FROM orders o",
        "SELECT o.total2 FROM (SELECT total AS total2 FROM orders) o",
        "SELECT o.elsewhere FROM (SELECT total AS elsewhere FROM orders) o",
        "SELECT x.touch FROM json_to_record('{}') AS x(touch int)",
        "WITH u AS (SELECT id AS touch FROM users) SELECT u.touch FROM u",
        "SELECT (u).name FROM users u",
        "SELECT jsonb_populate_record(NULL::users, '{}')",
        "SELECT pg_catalog.lower('x'), upper('x')",
        "SELECT json_object('a' : 1)",
        "SELECT 1 OPERATOR(pg_catalog.||) 'x'",
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace",
        "SELECT * FROM information_schema.tables",
        "EXPLAIN DELETE FROM users",
    ],
)
def test_what_the_catalog_proves_is_read_only(catalogs: dict[str, Catalog], sql: str) -> None:
    assert examine_sql(sql, catalog=catalogs["objects"]).facts.read_only


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT sneaky_sql()",
        "SELECT behind_sneaky_sql()",
        "SELECT writing()",
        "SELECT writing_in_cte()",
        "SELECT locking()",
        "SELECT own_path()",
        "SELECT recursing(1)",
        "SELECT defaulting_badly()",
        "SELECT looks_immutable()",
        "SELECT lower(name) FROM users",
        "SELECT other.elsewhere(o) FROM orders o",
        "SELECT nowhere()",
        "SELECT proc()",
        "SELECT u.touch FROM users u",
        "SELECT users.touch FROM users",
        "SELECT public.users.touch FROM public.users",
        "SELECT (u).touch FROM users u",
        "SELECT u.touch FROM users u(touch2)",
        "SELECT x.touch FROM (users u JOIN orders o ON true) AS x(touch2)",
        "SELECT o.total2 FROM orders o",
        "SELECT o.total2 FROM (SELECT * FROM orders) o",
        "SELECT ((SELECT o FROM orders o)).total2",
        "SELECT touch(u) FROM users u",
        "SELECT * FROM users u, LATERAL touch(u)",
        "SELECT noisy_sum(id) FROM users",
        "SELECT 1 @+@ 2",
        "SELECT 1 || 2",
        "SELECT 1 OPERATOR(other.||) 2",
        "SELECT json_array(1)",
        "SELECT json_value(1, 'a')",
        "SELECT * FROM noisy_view",
        "SELECT * FROM behind_noisy_view",
        "SELECT * FROM far",
        "SELECT * FROM parted",
        "SELECT * FROM parted_near",
        "SELECT * FROM nowhere",
        "EXPLAIN SELECT touch(u) FROM users u",
        "EXPLAIN SELECT * FROM noisy_view",
    ],
)
def test_what_the_catalog_does_not_prove_is_not_read_only(catalogs: dict[str, Catalog], sql: str) -> None:
    found = examine_sql(sql, catalog=catalogs["objects"])

    assert not found.facts.read_only
    assert not found.harmless


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'x'::sneaky",
        "SELECT 'x'::public.sneaky",
        "SELECT 'x'::behind_sneaky",
        "SELECT '{x}'::_sneaky",
        "SELECT '{x}'::sneaky[]",
        "SELECT NULL::holding",
        "SELECT NULL::holder",
        "SELECT sneaky('x')",
        "SELECT ('x'::text).sneaky",
        "SELECT x.sneaky FROM unnest(ARRAY['x']) x",
        "SELECT jsonb_populate_record(h, '{}') FROM holder h",
        "SELECT * FROM json_to_record('{}') AS x(a sneaky)",
        "SELECT * FROM json_to_recordset('[]') AS x(a public.sneaky[])",
        "SELECT * FROM xmltable('/a' PASSING xmlparse(content '<a/>') COLUMNS a sneaky PATH 'b')",
        "SELECT * FROM json_table('{}', '$' COLUMNS (a sneaky PATH '$.a'))",
        "SELECT json_query('{}', '$' RETURNING sneaky)",
        "SELECT taking('x')",
        "SELECT giving()",
        "SELECT * FROM giving_rows()",
    ],
)
def test_a_value_of_a_checked_domain_runs_its_check(catalogs: dict[str, Catalog], sql: str) -> None:
    assert not examine_sql(sql, catalog=catalogs["domains"]).facts.read_only


@pytest.mark.parametrize("sql", ["SELECT 'x'::calm", "SELECT 'good'::mood", "SELECT quoted(1)", "SELECT h FROM holder"])
def test_checked_domains_do_not_stand_in_the_way_of_the_rest(catalogs: dict[str, Catalog], sql: str) -> None:
    assert examine_sql(sql, catalog=catalogs["domains"]).facts.read_only


@pytest.mark.parametrize(
    "sql", ["SELECT 'good'::mood::int", "SELECT 1 + m FROM (SELECT 'good'::mood AS m) x", "SELECT abs(1)"]
)
def test_a_cast_that_runs_code_may_be_applied_unseen(catalogs: dict[str, Catalog], sql: str) -> None:
    assert not examine_sql(sql, catalog=catalogs["casts"]).facts.read_only
    assert examine_sql("SELECT name FROM users", catalog=catalogs["casts"]).facts.read_only


def test_read_code_allows_reading_but_no_preview(catalogs: dict[str, Catalog]) -> None:
    assert not examine_sql("SELECT quoted(1)", catalog=catalogs["objects"]).harmless
    assert examine_sql("SELECT name FROM calm_view", catalog=catalogs["objects"]).harmless


def function(name: str, **more: object) -> Function:
    defaults = {"oid": 20_000, "schema": "public", "kind": "f", "language": "c", "volatility": "i"}
    return Function(name=name, **(defaults | more))  # type: ignore[arg-type]


def judged(function: Function, **more: object) -> Trust:
    catalog = Catalog(
        server_version=150018,
        search_path=("public",),
        functions={function.name: (function,)},
        **more,  # type: ignore[arg-type]
    )
    return Judge(catalog, examine_body=lambda _statements, _judge: Trust.KNOWN).function((function.name,))


@pytest.mark.parametrize(
    ("extension", "name", "volatility", "trust"),
    [
        ("pg_trgm", "similarity", "i", Trust.KNOWN),
        ("citext", "citext_eq", "s", Trust.KNOWN),
        ("uuid-ossp", "uuid_generate_v4", "v", Trust.KNOWN),
        ("pg_trgm", "set_limit", "v", Trust.UNPROVED),
        ("timescaledb", "time_bucket", "i", Trust.PROVED),
        ("pg_stat_statements", "pg_stat_statements", "v", Trust.PROVED),
        ("pg_stat_statements", "pg_stat_statements_reset", "v", Trust.UNPROVED),
        ("tablefunc", "crosstab", "s", Trust.UNPROVED),
        ("dblink", "dblink_exec", "v", Trust.UNPROVED),
        ("xml2", "xpath_table", "s", Trust.UNPROVED),
        (None, "mine", "i", Trust.UNPROVED),
    ],
)
def test_functions_of_extensions_count_by_what_they_declare(
    extension: str | None, name: str, volatility: str, trust: Trust
) -> None:
    assert judged(function(name, extension=extension, volatility=volatility)) == trust


def test_a_record_filler_of_an_extension_counts_by_the_domains() -> None:
    filler = function("populate_record", extension="hstore")

    assert judged(filler) == Trust.KNOWN
    assert judged(filler, domains={"public.checked": True}) == Trust.UNPROVED


@pytest.mark.parametrize("language", ["plpgsql", "plpython3u", "internal", "c"])
def test_code_that_cannot_be_read_is_not_proved(language: str) -> None:
    assert judged(function("mine", language=language)) == Trust.UNPROVED


@pytest.mark.parametrize("missing", ["body", "defaults", "types"])
def test_a_sql_function_is_proved_only_if_all_of_it_is_known(missing: str) -> None:
    known = {"language": "sql", "body": "SELECT 1", "defaults": "", "types": ()}

    assert judged(function("mine", **known)) == Trust.PROVED
    assert judged(function("mine", **(known | {missing: None}))) == Trust.UNPROVED


def test_a_body_that_cannot_be_parsed_is_not_proved() -> None:
    assert judged(function("mine", language="sql", body="SELEC", defaults="", types=())) == Trust.UNPROVED


def test_a_function_that_took_the_name_of_a_built_in_is_not_it() -> None:
    assert judged(function("lower", language="plpgsql", schema="pg_catalog")) == Trust.UNPROVED


def test_names_fold_further_on_servers_of_other_encodings() -> None:
    own = function("\u00e9", language="plpgsql")
    catalog = Catalog(
        server_version=150018, search_path=("public",), functions={own.name: (own,)}, domains={"public.\u00fc": True}
    )

    assert not examine_sql("SELECT x.\u00c9 FROM unnest(ARRAY[1]) x", catalog=catalog).facts.read_only
    assert not examine_sql("SELECT 'x'::\u00dc", catalog=catalog).facts.read_only


def test_a_view_of_unknown_definition_is_not_proved() -> None:
    view = Relation(oid=20_000, schema="public", name="seen", kind="v", columns=())
    catalog = Catalog(server_version=150018, search_path=("public",), relations={"public.seen": view})

    assert not examine_sql("SELECT * FROM seen", catalog=catalog).facts.read_only


def test_a_judge_remembers_a_bounded_number_of_names() -> None:
    judge = Judge(None, examine_body=lambda _statements, _judge: Trust.KNOWN)

    for number in range(10_000):
        judge.function((f"f{number}",))

    assert len(judge._names) <= 4096
