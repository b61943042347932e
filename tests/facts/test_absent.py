"""What is claimed to be misspelt, PostgreSQL refuses for a name that it does not know; what it accepts is never claimed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg
import pytest

from mcp_gateway.facts.absent import MAX_CLAIMED
from mcp_gateway.facts.catalog import Catalog, Column, Function, Relation
from mcp_gateway.facts.judging import Judge
from mcp_gateway.facts.parser import SQLSyntaxError, parse_tree
from mcp_gateway.facts.sql import examine_sql, examine_statements, judge_of
from mcp_gateway.targets.postgres_queries import ABSENT
from tests.facts.corpus import SCHEMA, effects, reads
from tests.facts.databases import DOMAINS, OBJECTS, catalog_of, empty_database
from tests.facts.test_sql_server import TABLES
from tests.facts.test_sql_walk import POSITIONS
from tests.peers.postgres import PostgresServer

NAMES = {"42P01", "42703", "42883", "3F000"}
"""undefined_table, undefined_column, undefined_function, invalid_schema_name."""
pytestmark = pytest.mark.requirement("A1")

UNDEFINED = {*NAMES, "42704"}
"""With undefined_object."""
WORD = re.compile(r"'(?:[^']|'')*'|\"[^\"]+\"|[A-Za-z_][A-Za-z_0-9]*")
FURTHER = """
CREATE EXTENSION IF NOT EXISTS citext;
CREATE TYPE shade AS ENUM ('light', 'dark');
CREATE TYPE spread AS RANGE (subtype = int);
CREATE TYPE place AS (street text, town text);
CREATE TABLE people (id int PRIMARY KEY, home place, tint shade, homes place[], tags jsonb);
CREATE FUNCTION oldest() RETURNS people LANGUAGE sql AS 'SELECT * FROM people LIMIT 1';
CREATE FUNCTION pairs(OUT lefty int, OUT righty text) RETURNS SETOF record LANGUAGE sql AS 'SELECT 1, ''x''';
CREATE FUNCTION any_of(VARIADIC anyarray) RETURNS anyelement LANGUAGE sql AS 'SELECT $1[1]';
CREATE INDEX people_tint ON people (tint);
"""
ACCEPTED = [
    "SELECT shade('dark')", "SELECT spread(1, 2), spread('[1,2)')", "SELECT spread(1, 2)::spread",
    "SELECT home(p), p.home, (p.home).town, (p).tint FROM people p", "SELECT town(p.home) FROM people p", "SELECT people FROM people",
    "SELECT p FROM people p WHERE p IS NOT NULL", "SELECT ctid, xmin, tableoid::regclass, cmax FROM people", "SELECT citext('x')",
    "SELECT foo(s) FROM (SELECT 1 AS foo) s", "SELECT lefty(p) FROM pairs() p", "SELECT lefty, righty FROM pairs()",
    "SELECT pairs FROM pairs()", "SELECT town(h) FROM people, unnest(homes) h", "SELECT street FROM people, unnest(homes)",
    "SELECT generate_series FROM generate_series(1, 3)", "SELECT unnest FROM unnest(ARRAY[1])", "SELECT g.g FROM generate_series(1, 2) g",
    "SELECT column1, column2 FROM (VALUES (1, 2)) v", "SELECT * FROM (SELECT 1) s WHERE \"?column?\" = 1",
    "SELECT ordinality FROM unnest(ARRAY[1]) WITH ORDINALITY", "SELECT key, value FROM people, jsonb_each(tags)",
    "SELECT coalesce FROM (SELECT coalesce(1, 2)) s", "SELECT \"case\" FROM (SELECT CASE WHEN true THEN 1 END) s",
    "SELECT \"row\", \"array\" FROM (SELECT ROW(1, 2), ARRAY[1]) s", "SELECT bool FROM (SELECT true::bool) s",
    "SELECT exists FROM (SELECT EXISTS (SELECT 1)) s", "SELECT \"current_date\" FROM (SELECT current_date) s",
    "SELECT \"greatest\", nullif FROM (SELECT GREATEST(1, 2), NULLIF(1, 2)) s", "SELECT int4 FROM (SELECT '1'::int) s",
    "SELECT xmltable FROM xmltable('/a' PASSING '<a/>'::xml COLUMNS b text PATH '.')", "SELECT xmlelement FROM (SELECT xmlelement(name a)) s",
    "SELECT x.a, x FROM jsonb_to_record('{}') AS x(a int, b text)", "SELECT any_of(1, 2), any_of(VARIADIC ARRAY['x'])",
    "SELECT total AS told FROM orders ORDER BY told", "SELECT total AS told FROM orders GROUP BY told", "SELECT DISTINCT ON (told) total AS told FROM orders",
    "SELECT total AS told FROM orders GROUP BY ROLLUP (told)", "SELECT 1 AS told UNION SELECT 2 ORDER BY told",
    "WITH soon AS (SELECT 1 AS x) SELECT x FROM soon", "WITH RECURSIVE w(n) AS (SELECT 1 UNION SELECT n + 1 FROM w WHERE n < 3) SELECT n FROM w",
    "WITH gone AS (DELETE FROM orders RETURNING id AS was) SELECT was FROM gone", "WITH a AS (SELECT 1), b AS (SELECT * FROM a) TABLE b",
    "WITH RECURSIVE w AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM w) SEARCH DEPTH FIRST BY n SET ordering SELECT ordering FROM w",
    "WITH RECURSIVE w AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM w) CYCLE n SET looped USING way SELECT looped, way FROM w",
    "INSERT INTO people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET tint = excluded.tint WHERE excluded IS NOT NULL",
    "UPDATE people SET home.town = 'x' WHERE id = 1 RETURNING people", "INSERT INTO people (homes[1].town) VALUES ('x')",
    "SELECT sum(id) OVER win FROM people WINDOW win AS (ORDER BY id)",
    "SELECT j.x FROM (people JOIN orders USING (id)) AS j(x)", "SELECT both.id FROM people JOIN orders USING (id) AS both",
    "MERGE INTO people p USING orders o ON p.id = o.id WHEN MATCHED THEN UPDATE SET tint = 'dark' WHEN NOT MATCHED THEN INSERT (id) VALUES (o.id)",
    "SELECT relname FROM pg_class", "SELECT relname FROM pg_catalog.pg_class", "SELECT table_name FROM information_schema.tables",
    "SELECT numrange(1, 2), int4range(1, 2), int8multirange(int8range(1, 2))", "SELECT (oldest()).home.town", "SELECT oldest.id FROM oldest()",
    "SELECT \"char\"('x'), name('x'), bpchar('x'), oid('1')", "SELECT other.elsewhere(o) FROM orders o", "EXPLAIN SELECT people FROM people",
    "SELECT last_value FROM s", "SELECT a.b FROM (SELECT 1) AS a(b)", "SELECT (SELECT id FROM people LIMIT 1) AS x, lower(tint::text) FROM people",
    "SELECT f1 FROM (SELECT (ROW(1, 2)).*) s", "SELECT s.* FROM (SELECT (home).* FROM people) s WHERE s.town = 'x'",
]  # fmt: skip


DATABASES = {
    "traps": (OBJECTS, DOMAINS, TABLES, FURTHER),
    "corpus": (SCHEMA.read_text(encoding="utf-8"),),
}
STATEMENTS = {
    "traps": [*ACCEPTED, *(place.format(inner) for place in POSITIONS for inner in ("1", "a", "lower('x')"))],
    "corpus": [one.sql for one in (*reads(), *effects())],
}
FOUND_FLOOR = 0.75
"""Of the tables, columns and functions that a server does not know: the rest it is asked for by EXPLAIN, or a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    judge: Judge
    connection: psycopg.Connection[Any]
    known: dict[bytes, Any] = field(default_factory=dict)
    """What it answered about names: many statements have the same in them, and nothing changes here."""

    def refuses(self, sql: str) -> str:
        """The SQLSTATE that parsing ends with; empty where the server accepts the statement. Nothing is run."""
        return _state(self.connection.pgconn.prepare(b"", sql.encode()))

    def claims(self, sql: str) -> set[str]:
        """The names that an agent would be told of."""
        try:
            noted = sorted(examine_statements(parse_tree(sql), judge=self.judge).absent)
        except SQLSyntaxError:
            return set()
        said = orjson.dumps([[one.kind, one.schema, one.name] for one in noted])
        if said not in self.known:
            answer = self.connection.pgconn.exec_params(ABSENT.encode(), [said, b"{pg_catalog,public}"])
            assert not _state(answer)
            self.known[said] = orjson.loads(answer.get_value(0, 0) or b"")
        return {noted[number].name for number in self.known[said]}


def _state(result: psycopg.pq.abc.PGresult) -> str:
    return (result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"").decode()


def misspelt(sql: str) -> Iterator[str]:
    """The statement with each of its words, one at a time, as another one."""
    for word in WORD.finditer(sql):
        if not word.group().startswith("'"):
            yield sql[: word.end()] + ("" if word.group().endswith('"') else "zq") + sql[word.end() :]


@pytest.fixture(scope="module", params=sorted(DATABASES))
def world(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[tuple[Server, list[str]]]:
    try:
        with empty_database(postgres_server) as name, postgres_server.connect(name) as connection:
            for objects in DATABASES[request.param]:
                connection.execute(objects.encode())
            judge = judge_of(catalog_of(postgres_server, database=name))
            yield Server(judge=judge, connection=connection), STATEMENTS[request.param]
    finally:
        postgres_server.execute("DROP ROLE IF EXISTS corpus_reader")


@pytest.mark.timeout(300)
def test_nothing_that_a_server_accepts_is_refused(world: tuple[Server, list[str]]) -> None:
    server, statements = world
    accepted = [sql for sql in statements if not server.refuses(sql)]

    assert len(accepted) > 100
    assert {sql: names for sql in accepted if (names := server.claims(sql))} == {}


@pytest.mark.timeout(300)
def test_what_is_refused_is_undefined_at_the_server(world: tuple[Server, list[str]]) -> None:
    server, statements = world
    wrong, found, undefined = {}, 0, 0
    for sql in {one for right in statements if not server.refuses(right) for one in misspelt(right)}:
        state, names = server.refuses(sql), server.claims(sql)
        undefined += state in NAMES
        found += state in NAMES and bool(names)
        if names and state not in UNDEFINED:
            wrong[sql] = (state, names)

    assert wrong == {}
    assert found / undefined >= FOUND_FLOOR


SHOP = Catalog(
    server_version=170000,
    search_path=("public",),
    relations={
        "public.users": Relation(
            oid=20000,
            schema="public",
            name="users",
            kind="r",
            columns=(Column(name="id", type="pg_catalog.int4"), Column(name="name", type="pg_catalog.text")),
        )
    },
    functions={
        "lower": (Function(oid=870, schema="pg_catalog", name="lower", kind="f", language="internal", volatility="i"),)
    },
)


@pytest.mark.parametrize(
    ("sql", "absent"),
    [
        ("SELECT * FROM userz", {"relation userz"}),
        ("SELECT * FROM nowhere.users", {"relation nowhere.users"}),
        ("DELETE FROM userz WHERE id = 1", {"relation userz"}),
        ("EXPLAIN ANALYZE UPDATE userz SET id = 1", {"relation userz"}),
        ("SELECT lowr(name) FROM users", {"applied lowr"}),
        ("SELECT lowr() FROM users", {"function lowr"}),
        ("SELECT id FROM users WHERE nam = 'x'", {"column nam"}),
        ("SELECT u.nam FROM users u", {"column nam"}),
        ("INSERT INTO users (nam) SELECT name FROM users", {"target nam"}),
        ("UPDATE users SET nam = 'x'", {"target nam"}),
        ("WITH w AS (SELECT id FROM userz) SELECT id FROM w", {"relation userz"}),
        # What the statement brings itself.
        ("WITH userz AS (SELECT 1) SELECT * FROM userz", set()),
        ("SELECT x.nam FROM (SELECT name AS nam FROM users) x", set()),
        ("SELECT nam(x) FROM (SELECT name AS nam FROM users) x", set()),
        ("SELECT name AS nam FROM users ORDER BY nam", set()),
        # What is made, and what is looked up otherwise or later.
        ("CREATE TABLE new (id int)", set()),
        ("CREATE TABLE new AS SELECT * FROM userz", set()),
        ("SELECT * INTO new FROM users", set()),
        ("DROP TABLE userz", set()),
        ("TRUNCATE userz", set()),
        ("COPY userz TO STDOUT", set()),
        ("SELECT * FROM userz; SELECT 1", set()),
        ("SELECT * FROM shop.public.userz", set()),
        ("SELECT * FROM pg_temp.userz", set()),
        ("SELECT * FROM pg_temp_3.userz", set()),
        # What a server may read otherwise: by its encoding, or cut.
        ('SELECT * FROM "ÜSERZ"', set()),
        (f"SELECT * FROM {'u' * 63}", {f"relation {'u' * 63}"}),
        ("SELECT * FROM users WHERE xmin IS NULL", set()),
    ],
)
def test_a_name_is_claimed_only_where_nothing_else_may_be_meant(sql: str, absent: set[str]) -> None:
    found = examine_sql(sql, catalog=SHOP).absent

    assert {f"{one.kind} {'.'.join(filter(None, (one.schema, one.name)))}" for one in found} == absent
    assert examine_sql(sql, catalog=None).absent == set()


def test_a_statement_is_claimed_to_lack_so_many_names_at_most() -> None:
    sql = f"SELECT {', '.join(f'f{number}()' for number in range(1000))}"

    assert len(examine_sql(sql, catalog=SHOP).absent) == MAX_CLAIMED
