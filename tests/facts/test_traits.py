"""What is known of functions, by what a statement names and by the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mcp_gateway.facts.catalog import Catalog, Column, Function, Relation
from mcp_gateway.facts.sql import examine_sql
from tests.facts.databases import catalog_of, empty_database
from tests.peers.postgres import PostgresServer

UNNAMED = {"unnamed_tables"}
UNKNOWN = UNNAMED | {"unknown"}
OWN, SQL = {"own"}, {"own", "language:sql"}
PL = OWN | UNNAMED | {"language:plpgsql"}
"""What a body in another language reads and writes is not known."""


def function(name: str, **changes: object) -> Function:
    values = {"oid": 20_000, "schema": "public", "name": name, "kind": "f", "language": "plpgsql", "volatility": "s"}
    return Function(**values | changes)  # type: ignore[arg-type]


FUNCTIONS = (
    function("own_stable"),
    function("own_volatile", volatility="v", security_definer=True),
    function("own_c", language="c"),
    function("dblink", language="c", extension="dblink", volatility="v"),
    function("similarity", language="c", extension="pg_trgm", volatility="i"),
    function("lower", oid=870, schema="pg_catalog", language="internal", volatility="i"),
    function("behind", volatility="v", language="plpython3u"),
    function("twice", language="sql"),
    function("twice", oid=20_001, volatility="v", language="plperl"),
)
CATALOG = Catalog(
    server_version=150018,
    search_path=("public",),
    functions={name: tuple(one for one in FUNCTIONS if one.name == name) for name in {one.name for one in FUNCTIONS}},
    operators={"@+@": ("public.behind",)},
)


@pytest.mark.parametrize(
    ("sql", "traits"),
    [
        ("SELECT 1", set()),
        ("SELECT lower('x')", set()),
        ("SELECT own_stable()", PL),
        ("SELECT own_volatile()", PL | {"volatile", "security_definer"}),
        ("SELECT own_c()", OWN | UNNAMED),
        ("SELECT dblink('x', 'y')", {"extension:dblink", "volatile", "network"} | UNNAMED),
        ("SELECT similarity('x', 'y')", {"extension:pg_trgm"}),
        ("SELECT 1 @+@ 2", {"own", "volatile", "language:plpython3u"} | UNNAMED),
        ("SELECT twice(1)", SQL | UNKNOWN | {"volatile", "language:plperl"}),  # without a body
        ("SELECT elsewhere.own_stable()", UNKNOWN),
        ("SELECT nothing_of_the_kind()", UNKNOWN),
        ("WITH w AS (SELECT own_stable()) SELECT 1 FROM t WHERE EXISTS (SELECT own_c())", PL),
    ],
)
def test_traits_come_from_the_catalog(sql: str, traits: set[str]) -> None:
    assert examine_sql(sql, catalog=CATALOG).facts.function_traits == traits


OBJECTS = """
CREATE FUNCTION below(text) RETURNS text LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN 1; END';
CREATE FUNCTION stable() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER AS 'BEGIN RETURN 1; END';
CREATE TYPE tag AS ENUM ('a', 'b');
CREATE TYPE span AS RANGE (subtype = tag);
CREATE FUNCTION tag_text(tag) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 1; END';
CREATE CAST (tag AS text) WITH FUNCTION tag_text(tag) AS IMPLICIT;
CREATE TYPE note AS (a text, b int);
CREATE FUNCTION note_of(text) RETURNS note LANGUAGE sql IMMUTABLE AS 'SELECT ROW($1, pg_backend_pid())::note';
CREATE CAST (text AS note) WITH FUNCTION note_of(text);
CREATE FUNCTION locked(int, int) RETURNS bool LANGUAGE sql STABLE RETURN $1 = pg_try_advisory_lock($2)::int;
CREATE OPERATOR ### (leftarg = int, rightarg = int, function = locked);
CREATE OPERATOR ==> (leftarg = int, rightarg = int, function = int4eq);
CREATE FUNCTION dated(day int DEFAULT nextval('numbers')) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
CREATE FUNCTION looping(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
CREATE OR REPLACE FUNCTION looping(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT looping($1 - 1)';
CREATE FUNCTION elsewhere() RETURNS int LANGUAGE sql STABLE SET search_path = public AS 'SELECT 1';
CREATE AGGREGATE locking (int, int) (sfunc = locking_step, stype = int);
CREATE DOMAIN checked AS text CHECK (below(value) IS NOT NULL);
CREATE TABLE plain (id int, name text);
CREATE TABLE tagged (id int, tag tag);
CREATE TABLE spans (id int, span span);
CREATE TABLE guarded (id int);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY rows ON guarded USING (pg_notify('a', 'b') IS NULL);
CREATE TABLE filled (id int, name text DEFAULT below('x'), size text GENERATED ALWAYS AS (length(name)::text) STORED);
CREATE VIEW calm AS SELECT id, upper(name) AS name FROM plain;
CREATE VIEW reading AS SELECT pg_read_file('/etc/passwd') AS file;
CREATE VIEW above AS SELECT r.file FROM reading r JOIN calm ON true;
CREATE FUNCTION through() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM above';
CREATE MATERIALIZED VIEW kept AS SELECT pg_notify('a', 'b') IS NULL AS said;
CREATE VIEW numbered AS SELECT tag FROM tagged;
"""
LOCKING_STEP = """
CREATE SEQUENCE numbers;
CREATE FUNCTION locking_step(int, int, int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1 FROM pg_advisory_xact_lock($1)';
"""
LOCKS = {"locks", "volatile"}


@pytest.fixture(scope="module")
def catalog(postgres_server: PostgresServer) -> Iterator[Catalog]:
    with empty_database(postgres_server) as name:
        with postgres_server.connect(name) as connection:
            connection.execute((LOCKING_STEP + OBJECTS).encode())
        yield catalog_of(postgres_server, database=name)


@pytest.mark.parametrize(
    ("sql", "traits"),
    [
        ("SELECT 1 + 1, name::text FROM plain", set()),
        ("SELECT * FROM calm", set()),
        ("SELECT below('x')", PL | {"volatile"}),
        ("SELECT 'a'::text::note", SQL),
        ("SELECT CAST(name AS note) FROM plain", SQL),
        ("SELECT CAST(name AS note[]) FROM plain", SQL),
        ("SELECT tag::text FROM tagged", PL),
        ("SELECT tag::text FROM numbered", PL),
        ("SELECT length(tag) FROM tagged", PL),
        ("SELECT tag || 'x' FROM tagged", PL),
        ("SELECT lower(span) || 'x' FROM spans", PL),
        ("SELECT upper(name::tag) FROM plain", PL),
        ("INSERT INTO plain (name) SELECT tag FROM tagged", PL),
        ("SELECT id FROM tagged", set()),  # computes nothing
        ("SELECT 1 ### 2", SQL | LOCKS),
        ("SELECT 1 FROM plain WHERE id BETWEEN 1 AND 2 ORDER BY id USING OPERATOR(public.###)", SQL | LOCKS),
        ("SELECT 1 FROM plain WHERE id OPERATOR(public.###) ANY (SELECT 1)", SQL | LOCKS),
        ("SELECT 1 ==> 2", set()),
        ("SELECT locking(id, id) FROM plain", SQL | LOCKS),
        ("SELECT dated()", SQL | {"sequences", "volatile"}),
        ("SELECT looping(3)", SQL),
        ("SELECT elsewhere()", SQL | UNKNOWN),
        ("SELECT 'x'::checked", PL | {"volatile"}),
        ("SELECT * FROM json_to_record('{}') AS r(a checked)", PL | {"volatile"}),
        ("SELECT * FROM reading", {"files", "volatile"}),
        ("SELECT file FROM above", {"files", "volatile"}),
        ("TABLE above", {"files", "volatile"}),
        ("SELECT through()", SQL | {"files", "volatile"}),
        ("WITH w AS (SELECT * FROM above) SELECT 1 FROM w", {"files", "volatile"}),
        ("SELECT id FROM guarded", {"notifications", "volatile"}),
        ("INSERT INTO filled (id) VALUES (1)", PL | {"volatile"}),
        ("COPY filled FROM STDIN", PL | {"volatile"}),
        ("SELECT id FROM filled", set()),
        ("SELECT said FROM kept", set()),
        ("REFRESH MATERIALIZED VIEW kept", {"notifications", "volatile"}),
        ("EXPLAIN SELECT file FROM above", {"files", "volatile"}),
        ("SELECT * FROM pg_hba_file_rules", {"files"}),
        ("SELECT * FROM pg_stat_activity", set()),
        ("SELECT * FROM information_schema.columns", set()),
    ],
)
def test_traits_are_those_of_all_that_is_reached(catalog: Catalog, sql: str, traits: set[str]) -> None:
    assert examine_sql(sql, catalog=catalog).facts.function_traits == traits


def test_where_it_is_not_known_which_casts_there_are_and_of_what_all_count(catalog: Catalog) -> None:
    less = replace(catalog, unwritten_casts=None, cast_sources={})
    assert examine_sql("SELECT 1 + 1", catalog=less).facts.function_traits == SQL | PL
    newer = "SELECT 1 + 1 FROM made_since"
    assert examine_sql(newer, catalog=catalog).facts.function_traits == PL


def test_a_long_chain_of_views_is_no_matter() -> None:
    def view(number: int) -> Relation:
        body = f"SELECT a FROM public.v{number + 1}" if number < 2000 else "SELECT pg_read_file('x') AS a"
        column = Column(name="a", type="pg_catalog.text")
        return Relation(
            oid=30_000 + number, schema="public", name=f"v{number}", kind="v", columns=(column,), definition=body
        )

    views = {f"public.v{number}": view(number) for number in range(2001)}
    catalog = Catalog(server_version=150018, search_path=("public",), relations=views)
    facts = examine_sql("SELECT a FROM v0", catalog=catalog).facts
    assert not facts.read_only
    assert "files" in facts.function_traits


@pytest.mark.parametrize(
    ("sql", "reach"),
    [
        ("SELECT pg_read_file('/etc/passwd')", "files"),
        ("SELECT pg_ls_dir('.')", "files"),
        ("SELECT lo_import('/etc/passwd')", "files"),
        ("SELECT lo_import('/etc/passwd')", "large_objects"),
        ("SELECT lo_get(1)", "large_objects"),
        ("SELECT dblink_connect('host=evil')", "network"),
        ("SELECT pg_terminate_backend(1)", "sessions"),
        ("SELECT nextval('s')", "sequences"),
        ("SELECT set_config('a', 'b', false)", "settings"),
        ("SELECT pg_advisory_lock(1)", "locks"),
        ("SELECT pg_try_advisory_xact_lock(1)", "locks"),
        ("SELECT pg_notify('a', 'b')", "notifications"),
        ("SELECT pg_create_logical_replication_slot('a', 'b')", "replication"),
        ('SELECT PG_CATALOG."pg_read_file"($1)', "files"),
        ("SELECT x.pg_read_file FROM (SELECT 'a'::text) x", "files"),
    ],
)
def test_what_a_known_function_reaches_is_told_with_and_without_a_catalog(sql: str, reach: str) -> None:
    assert reach in examine_sql(sql, catalog=None).facts.function_traits
    assert reach in examine_sql(sql, catalog=CATALOG).facts.function_traits


def test_ordinary_functions_have_no_traits() -> None:
    sql = "SELECT count(*), upper(a), now(), percentile_cont(0.5) WITHIN GROUP (ORDER BY b), jsonb_agg(c) FROM t"
    assert examine_sql(sql, catalog=None).facts.function_traits == set()


@pytest.mark.parametrize(
    ("sql", "traits"),
    [
        ("COPY (SELECT 1) TO '/tmp/x'", {"files"}),
        ("COPY t FROM '/tmp/x'", {"files"}),
        ("COPY (SELECT 1) TO PROGRAM 'sh'", {"programs"}),
        ("COPY (SELECT 1) TO STDOUT", set()),
        ("SELECT a FROM t FOR UPDATE", {"locks"}),
        ("SELECT a FROM (SELECT a FROM t FOR SHARE) AS s", {"locks"}),
        ("LOCK TABLE t", {"locks"}),
        ("DO 'BEGIN END'", UNKNOWN),
        ("SELECT a FROM t", set()),
    ],
)
def test_what_a_statement_does_itself_is_a_trait(sql: str, traits: set[str]) -> None:
    assert examine_sql(sql, catalog=None).facts.function_traits == traits
