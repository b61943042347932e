"""What code behind a statement reads and writes counts as what the statement reads and writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mcp_gateway.calls import SQLFacts
from mcp_gateway.facts.catalog import Catalog, Column, Function, Relation
from mcp_gateway.facts.judging_bodies import MAX_DEPTH
from mcp_gateway.facts.sql import examine_sql
from tests.facts.databases import catalog_of, empty_database
from tests.facts.witness import Witness
from tests.peers.postgres import PostgresServer

OBJECTS = """
CREATE SEQUENCE numbers;
CREATE TABLE customers (id int PRIMARY KEY, ssn text);
CREATE TABLE orders (id int PRIMARY KEY, total numeric);
CREATE TABLE log (id int, said text);
CREATE TABLE acl (who text, id int);
INSERT INTO customers VALUES (1, 'x');
CREATE VIEW shown AS SELECT id, ssn FROM customers;
CREATE FUNCTION everybody() RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT ssn FROM customers';
CREATE FUNCTION atomic() RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT count(*) FROM customers; END;
CREATE FUNCTION returning_it() RETURNS text LANGUAGE sql STABLE RETURN (SELECT ssn FROM customers LIMIT 1);
CREATE FUNCTION through_a_view() RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT id FROM shown';
CREATE FUNCTION through_an_atomic_view() RETURNS int LANGUAGE sql STABLE BEGIN ATOMIC SELECT id FROM shown; END;
CREATE FUNCTION twice_removed() RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT everybody() FROM orders';
CREATE FUNCTION noting(int) RETURNS void LANGUAGE sql AS $$ INSERT INTO log (id, said) VALUES ($1, 'x'); DELETE FROM orders WHERE id = $1 $$;
CREATE FUNCTION emptying() RETURNS void LANGUAGE sql AS 'TRUNCATE log';
CREATE FUNCTION planning() RETURNS text LANGUAGE sql AS 'EXPLAIN DELETE FROM log';
CREATE PROCEDURE noted(int) LANGUAGE sql AS 'SELECT noting($1)';
CREATE FUNCTION a() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION b() RETURNS int LANGUAGE sql AS 'SELECT a() + (SELECT count(*)::int FROM customers)';
CREATE OR REPLACE FUNCTION a() RETURNS int LANGUAGE sql AS 'SELECT b() + (SELECT count(*)::int FROM orders)';
CREATE FUNCTION same(int, int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT FROM customers WHERE id = $1)';
CREATE OPERATOR === (leftarg = int, rightarg = int, function = same);
CREATE TYPE tag AS ENUM ('a');
CREATE FUNCTION tag_text(tag) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM customers LIMIT 1';
CREATE CAST (tag AS text) WITH FUNCTION tag_text(tag);
CREATE FUNCTION defaulting(text DEFAULT returning_it()) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
CREATE FUNCTION field(customers) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT total FROM orders';
CREATE FUNCTION step(int, int) RETURNS int LANGUAGE sql STABLE AS 'SELECT count(*)::int FROM customers';
CREATE AGGREGATE counting (int) (sfunc = step, stype = int);
CREATE DOMAIN checked AS text CHECK (returning_it() IS NOT NULL);
CREATE VIEW calling AS SELECT id, everybody() AS ssn FROM orders;
CREATE VIEW above_calling AS SELECT id FROM calling;
CREATE TABLE filled (id int, first text DEFAULT returning_it(), CHECK (atomic() > id));
CREATE TABLE guarded (id int);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON guarded USING (id IN (SELECT id FROM acl WHERE who = current_user));
CREATE MATERIALIZED VIEW kept AS SELECT ssn FROM customers;
CREATE FUNCTION opaque() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM customers); END';
CREATE FUNCTION calling_opaque() RETURNS int LANGUAGE sql STABLE AS 'SELECT opaque()';
CREATE FUNCTION own_path() RETURNS text LANGUAGE sql SET search_path = public AS 'SELECT ssn FROM customers LIMIT 1';
CREATE FUNCTION lower(int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM customers';
"""


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    with empty_database(postgres_server) as name:
        postgres_server.execute("SET check_function_bodies = off;" + OBJECTS, database=name)
        yield name


def facts_of(sql: str, catalog: Catalog) -> SQLFacts:
    return examine_sql(sql, catalog=catalog).facts


def named(*names: str) -> set[str]:
    return {f"public.{name}" for name in names}


@pytest.mark.parametrize(
    ("sql", "reads", "columns"),
    [
        ("SELECT everybody()", ["customers"], ["customers.ssn"]),
        ("SELECT * FROM everybody() AS e", ["customers"], ["customers.ssn"]),
        ("SELECT 1 FROM orders WHERE EXISTS (SELECT public.everybody())", ["customers", "orders"], ["customers.ssn"]),
        ("SELECT atomic()", ["customers"], []),
        ("SELECT returning_it()", ["customers"], ["customers.ssn"]),
        ("SELECT through_a_view()", ["shown", "customers"], ["shown.id", "customers.id", "customers.ssn"]),
        ("SELECT through_an_atomic_view()", ["shown", "customers"], ["shown.id", "customers.id", "customers.ssn"]),
        ("SELECT twice_removed()", ["customers", "orders"], ["customers.ssn"]),
        ("SELECT a()", ["customers", "orders"], []),
        ("SELECT 1 === 2", ["customers"], ["customers.id"]),
        ("SELECT 1 OPERATOR(public.===) ANY (SELECT 2)", ["customers"], ["customers.id"]),
        ("SELECT CAST(lower('A')::tag AS text)", ["customers"], ["customers.ssn"]),
        ("SELECT defaulting()", ["customers"], ["customers.ssn"]),
        ("SELECT c.field FROM customers c", ["customers", "orders"], ["orders.total"]),
        ("SELECT counting(id) FROM orders", ["customers", "orders"], ["orders.id"]),
        ("SELECT now()::text::checked", ["customers"], ["customers.ssn"]),
        ("SELECT id FROM calling", ["calling", "orders", "customers"], ["calling.id", "orders.id", "customers.ssn"]),
        ("SELECT 1 FROM above_calling", ["above_calling", "calling", "orders", "customers"], ["customers.ssn"]),
        ("SELECT id FROM guarded", ["guarded", "acl"], ["guarded.id", "acl.id", "acl.who"]),
        ("SELECT lower(said) FROM log", ["log", "customers"], ["log.said"]),  # may mean lower(int)
        ("EXPLAIN SELECT everybody()", ["customers"], ["customers.ssn"]),
        ("COPY (SELECT everybody()) TO STDOUT", ["customers"], ["customers.ssn"]),
        ("CALL noted(1)", ["orders"], ["orders.id", "log.id", "log.said"]),
        ("SELECT upper(said) FROM log", ["log"], ["log.said"]),
        ("SELECT id FROM filled", ["filled"], ["filled.id"]),
    ],
)
def test_code_reads_for_whoever_reaches_it(
    catalog: Catalog, witness: Witness, sql: str, reads: list[str], columns: list[str]
) -> None:
    facts = facts_of(sql, catalog)
    assert facts.reads == named(*reads)
    assert facts.columns == named(*columns)
    assert "unnamed_tables" not in facts.function_traits
    if facts.kinds != {"CALL"} and sql != "SELECT a()":  # that one never ends
        assert facts.reads >= witness.looks_at(sql)


@pytest.mark.parametrize(
    ("sql", "writes"),
    [
        ("SELECT noting(1)", ["log", "orders"]),
        ("CALL noted(1)", ["log", "orders"]),
        ("SELECT emptying()", ["log"]),
        ("SELECT planning()", []),
        ("SELECT everybody()", []),
    ],
)
def test_code_writes_for_whoever_reaches_it(catalog: Catalog, sql: str, writes: list[str]) -> None:
    facts = facts_of(sql, catalog)
    assert facts.writes == named(*writes)
    assert not (writes and facts.read_only)


def test_a_write_reads_what_its_defaults_and_checks_read(catalog: Catalog) -> None:
    facts = facts_of("INSERT INTO filled (id) VALUES (1)", catalog)
    assert facts.reads == named("customers")
    assert facts.writes == named("filled")
    assert facts.columns == named("filled.id", "customers.ssn")


THROUGH_VIEWS = """
CREATE TABLE pay (id int PRIMARY KEY, amount int);
CREATE FUNCTION most() RETURNS int LANGUAGE sql STABLE AS 'SELECT max(amount) FROM public.pay';
CREATE FUNCTION fixed(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + (SELECT count(*)::int FROM public.pay)';
CREATE FUNCTION hidden() RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.pay; RETURN 1; END';
CREATE TABLE filled (id int, amount int DEFAULT most());
CREATE TABLE checked (id int CHECK (id <> most()));
CREATE TABLE computed (id int, other int GENERATED ALWAYS AS (fixed(id)) STORED);
CREATE TABLE sorted (id int);
CREATE INDEX ON sorted (fixed(id));
CREATE TABLE guarded (id int);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON guarded USING (true) WITH CHECK (id = most());
CREATE TABLE parted (id int, k int) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted (CHECK (id <> most())) FOR VALUES IN (1);
CREATE TABLE emptying (id int, n int DEFAULT hidden());
CREATE VIEW v_filled AS SELECT id FROM filled;
CREATE VIEW vv_filled AS SELECT id FROM v_filled;
CREATE VIEW v_checked AS SELECT id FROM checked;
CREATE VIEW v_computed AS SELECT id FROM computed;
CREATE VIEW v_sorted AS SELECT id FROM sorted;
CREATE VIEW v_guarded AS SELECT id FROM guarded;
CREATE VIEW v_parted AS SELECT id, k FROM parted;
CREATE VIEW v_emptying AS SELECT id FROM emptying;
"""


@pytest.fixture(scope="module")
def views(postgres_server: PostgresServer) -> Iterator[str]:
    with empty_database(postgres_server) as name:
        postgres_server.execute(THROUGH_VIEWS, database=name)
        yield name


@pytest.mark.parametrize("table", ["filled", "checked", "computed", "sorted", "guarded", "parted"])
def test_a_write_through_a_view_reads_what_the_table_below_reads(
    postgres_server: PostgresServer, views: str, table: str
) -> None:
    catalog = catalog_of(postgres_server, database=views)
    through = [name for name in (f"v_{table}", f"vv_{table}") if f"public.{name}" in catalog.relations]
    for view in through:
        columns, values = ("id, k", "2, 1") if table == "parted" else ("id", "2")
        facts = facts_of(f"INSERT INTO {view} ({columns}) VALUES ({values})", catalog)
        assert facts.reads >= named("pay"), view
        assert facts.function_traits >= {"own", "language:sql"}, view


def test_code_below_a_view_that_cannot_be_looked_into_is_told(postgres_server: PostgresServer, views: str) -> None:
    catalog = catalog_of(postgres_server, database=views)
    assert "unnamed_tables" in facts_of("INSERT INTO v_emptying (id) VALUES (1)", catalog).function_traits


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER t AFTER INSERT ON customers FOR EACH ROW EXECUTE FUNCTION f()",
        "ALTER TRIGGER t ON customers RENAME TO u",
        "DROP TRIGGER t ON public.customers",
        "CREATE RULE r AS ON INSERT TO customers DO INSTEAD NOTHING",
        "ALTER RULE r ON customers RENAME TO s",
        "DROP RULE r ON customers",
        "CREATE POLICY p ON customers USING (true)",
        "ALTER POLICY p ON customers USING (false)",
        "DROP POLICY p ON customers",
    ],
)
def test_a_change_of_what_decides_over_rows_of_a_table_is_told(catalog: Catalog, sql: str) -> None:
    assert "triggers" in facts_of(sql, catalog).function_traits
    assert "triggers" in examine_sql(sql, catalog=None).facts.function_traits
    assert "triggers" not in facts_of("TRUNCATE log", catalog).function_traits


def test_an_index_that_is_renamed_may_be_a_table(catalog: Catalog) -> None:
    assert facts_of("ALTER INDEX customers RENAME TO others", catalog).writes == named("customers")


def test_a_refresh_reads_what_its_query_reads(catalog: Catalog) -> None:
    facts = facts_of("REFRESH MATERIALIZED VIEW kept", catalog)
    assert facts.reads == named("customers")
    assert facts.writes == named("kept")
    assert facts.columns == named("customers.ssn")
    assert facts_of("SELECT ssn FROM kept", catalog).reads == named("kept")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT opaque()",
        "SELECT calling_opaque()",
        "SELECT own_path()",
        "SELECT misspelt()",
        "DO 'BEGIN PERFORM 1; END'",
        "SELECT query_to_xml('SELECT * FROM customers', true, false, '')",
        "SELECT table_to_xml('customers', true, false, '')",
        "SELECT schema_to_xml_and_xmlschema('public', true, false, '')",
        "SELECT database_to_xmlschema(true, false, '')",
        "SELECT * FROM ts_stat('SELECT ssn::tsvector FROM customers')",
        "SELECT ts_rewrite('a'::tsquery, 'SELECT 1')",
        "SELECT * FROM pg_logical_slot_peek_changes('s', NULL, NULL)",
        "SELECT domain_in('x', 'checked'::regtype, -1)",
        "SELECT array_in('{x}', 'checked'::regtype, -1)",
        "SELECT pg_input_is_valid('x', 'checked')",
        "SELECT currtid2('customers', '(0,1)')",
        "DROP SCHEMA public CASCADE",
        "DROP TYPE tag CASCADE",
        "DROP TABLE orders CASCADE",
        "DROP EXTENSION plpgsql",
        "DROP OWNED BY CURRENT_USER",
        "ALTER TABLE orders DROP COLUMN id CASCADE",
        "ALTER TYPE tag RENAME ATTRIBUTE a TO b CASCADE",
        "CREATE EXTENSION hstore",
    ],
)
def test_what_cannot_be_looked_into_is_told(catalog: Catalog, sql: str) -> None:
    assert "unnamed_tables" in facts_of(sql, catalog).function_traits


@pytest.mark.parametrize(
    "sql", ["SELECT misspelt()", "SELECT query_to_xml('', true, false, '')", "DO ''", "SELECT x.misspelt()"]
)
def test_it_is_told_without_a_catalog_too(sql: str) -> None:
    assert "unnamed_tables" in examine_sql(sql, catalog=None).facts.function_traits


@pytest.mark.parametrize("sql", ["DROP TABLE orders", "DROP TYPE tag", "ALTER TABLE orders DROP COLUMN id"])
def test_what_takes_nothing_along_is_not(catalog: Catalog, sql: str) -> None:
    assert "unnamed_tables" not in facts_of(sql, catalog).function_traits


CONVERTED = """
CREATE TABLE customers (id int, ssn text);
INSERT INTO customers VALUES (1, 'x');
CREATE TYPE answer AS ENUM ('yes', 'no');
CREATE FUNCTION said(answer) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.customers WHERE ssn = ''x'')';
CREATE CAST (answer AS bool) WITH FUNCTION said(answer) AS ASSIGNMENT;
CREATE TYPE amount AS (value int);
CREATE FUNCTION number_of(amount) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN DELETE FROM public.customers; RETURN 1; END';
CREATE CAST (amount AS bigint) WITH FUNCTION number_of(amount) AS IMPLICIT;
CREATE TABLE asked (id int, reply answer, size amount);
INSERT INTO asked VALUES (1, 'yes', ROW(1));
"""


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM asked WHERE reply",
        "SELECT a.id FROM asked a JOIN asked b ON a.reply",
        "SELECT FROM asked GROUP BY reply HAVING reply",
        "TABLE asked LIMIT (SELECT size FROM asked)",
        "SELECT id FROM asked OFFSET (SELECT size FROM asked)",
    ],
)
def test_a_column_alone_may_be_cast_where_a_condition_or_a_number_is_due(
    postgres_server: PostgresServer, sql: str
) -> None:
    with empty_database(postgres_server) as name:
        postgres_server.execute(CONVERTED, database=name)
        facts = facts_of(sql, catalog_of(postgres_server, database=name))
        postgres_server.execute(sql, database=name)
        [(left,)] = postgres_server.execute("SELECT count(*) FROM customers", database=name)
    assert "public.customers" in facts.reads
    assert "unnamed_tables" in facts.function_traits
    assert not facts.read_only
    assert left == ("size" not in sql), "the cast ran"


def test_what_is_grouped_by_the_name_of_an_output_column_is_a_column_of_the_table(catalog: Catalog) -> None:
    assert facts_of("SELECT count(*) AS ssn FROM customers GROUP BY ssn", catalog).columns == named("customers.ssn")
    assert facts_of("SELECT id AS nr FROM customers GROUP BY nr ORDER BY nr", catalog).columns == named("customers.id")
    assert facts_of("SELECT id AS ssn FROM customers ORDER BY ssn", catalog).columns == named("customers.id")


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT customers FROM customers", ["customers.id", "customers.ssn"]),
        ("SELECT j.ssn FROM (customers CROSS JOIN log) j", ["customers.ssn"]),
        ("SELECT j.* FROM (customers CROSS JOIN acl) j", ["customers.id", "customers.ssn", "acl.who", "acl.id"]),
        ("SELECT j FROM (customers CROSS JOIN acl) j", ["customers.id", "customers.ssn", "acl.who", "acl.id"]),
        ("SELECT j.b FROM (log CROSS JOIN acl) j (a, b)", ["log.id", "log.said", "acl.who", "acl.id"]),
        ("SELECT 1 FROM customers NATURAL JOIN log", ["customers.id", "log.id"]),
    ],
)
def test_columns_are_found_through_joins_also_beside_code_that_is_not_followed(
    catalog: Catalog, sql: str, columns: list[str]
) -> None:
    assert facts_of(sql, catalog).columns == named(*columns)
    assert facts_of(f"{sql}, opaque()", catalog).columns >= named(*columns)


def test_what_is_reached_rests_on_every_function_behind_it(catalog: Catalog) -> None:
    called = examine_sql("SELECT twice_removed(), 1 === 2", catalog=catalog).called
    assert called == {"twice_removed", "everybody", "same"}
    assert "count" in examine_sql("SELECT b()", catalog=catalog).called, "its body is looked up again at each call"


def sql_function(name: str, body: str, oid: int) -> Function:
    return Function(
        oid=oid, schema="public", name=name, kind="f", language="sql", volatility="s", types=(), defaults="", body=body
    )


@pytest.mark.parametrize(("length", "is_proved"), [(40, True), (MAX_DEPTH, False), (2000, False)])
def test_a_chain_of_functions_is_looked_through_or_told(length: int, is_proved: bool) -> None:
    bodies = {f"f{number}": f"SELECT f{number + 1}()" for number in range(length)} | {
        f"f{length}": "SELECT ssn FROM customers"
    }
    catalog = Catalog(
        server_version=150018,
        search_path=("public",),
        relations={
            "public.customers": Relation(
                oid=20_000, schema="public", name="customers", kind="r", columns=(Column(name="ssn", type="pg_catalog.text"),)
            )
        },
        functions={
            name: (sql_function(name, body, 30_000 + number),) for number, (name, body) in enumerate(bodies.items())
        },
    )  # fmt: skip
    facts = facts_of("SELECT f0()", catalog)
    assert "public.customers" in facts.reads or "unnamed_tables" in facts.function_traits
    assert facts.read_only is is_proved


def test_a_body_that_is_no_sql_is_told() -> None:
    function = sql_function("broken", "this is no SQL", 30_000)
    catalog = Catalog(server_version=150018, search_path=("public",), functions={"broken": (function,)})
    facts = facts_of("SELECT broken()", catalog)
    assert {"unknown", "unnamed_tables"} <= facts.function_traits
    assert not facts.read_only
