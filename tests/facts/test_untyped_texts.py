"""What a text runs by becoming a value: CHECKs deep in its type, functions of ranges, negators. By a real server's account."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.sql import examine_sql
from tests.facts.databases import DOMAINS, OBJECTS, catalog_of, empty_database
from tests.peers.postgres import PostgresServer

TYPES = """
CREATE DOMAIN over_row AS holding;
CREATE DOMAIN over_array AS sneaky[];
CREATE TYPE sneaky_range AS RANGE (subtype = sneaky);
CREATE TYPE deep AS (r sneaky_range);
CREATE FUNCTION apart(text, text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM nextval(''s''); RETURN 1; END';
CREATE TYPE measured AS RANGE (subtype = text, subtype_diff = apart);
CREATE TYPE calm_range AS RANGE (subtype = text);
CREATE TABLE plain (id int, d sneaky, name text);
CREATE TABLE arrays (id int, ds sneaky[]);
CREATE TABLE ranges (id int, q sneaky_range);
CREATE TABLE measures (id int, r measured);
CREATE TABLE calm_ranges (id int, r calm_range);
INSERT INTO plain VALUES (1, 'a', 'b');
INSERT INTO arrays VALUES (1, '{a}');
INSERT INTO ranges VALUES (1, '[a,b]');
INSERT INTO holder VALUES (NULL);
INSERT INTO measures SELECT i, measured(chr(97 + i % 20), chr(98 + i % 20)) FROM generate_series(1, 200) i;
ANALYZE measures;
CREATE FUNCTION alike(mood, mood) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1::text = $2::text';
CREATE FUNCTION unlike(mood, mood) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM nextval(''s''); RETURN true; END';
CREATE OPERATOR ==! (leftarg = mood, rightarg = mood, function = unlike);
CREATE OPERATOR === (leftarg = mood, rightarg = mood, function = alike, negator = ==!);
CREATE TABLE moods (id int, m mood);
INSERT INTO moods VALUES (1, 'good');
"""
ROW, WHOLE = "'(1,\"{x}\")'", "'(1,x,y)'"
RUNNING = [
    f"SELECT {ROW}::over_row",
    "SELECT '{x}'::over_array",
    "SELECT '[a,b]'::sneaky_range",
    "SELECT '{[a,b]}'::sneaky_multirange",
    "SELECT '(\"[a,b]\")'::deep",
    f"SELECT coalesce(h, {ROW}) FROM holder",
    f"SELECT CASE WHEN id > 0 THEN h ELSE {ROW} END FROM holder, plain",
    f"SELECT h FROM holder UNION SELECT {ROW}",
    f"SELECT * FROM (VALUES ({ROW}), ((SELECT h FROM holder))) v",
    f"SELECT lag(h, 1, {ROW}) OVER () FROM holder",
    f"SELECT ARRAY[h, {ROW}] FROM holder",
    f"SELECT greatest(h, {ROW}) FROM holder",
    f"SELECT coalesce(plain, {WHOLE}) FROM plain",
    f"SELECT coalesce(p.*, {WHOLE}) FROM plain p",
    f"SELECT coalesce(x.p, {WHOLE}) FROM (SELECT p FROM plain p) x",
    "SELECT lag(d, 1, 'x') OVER () FROM plain",
    "SELECT array_append(array_agg(d), 'x') FROM plain",
    "SELECT array_agg(d) || '{x}' FROM plain",
    "SELECT ARRAY[d] || '{x}' FROM plain",
    "SELECT ARRAY(SELECT d FROM plain) || '{x}'",
    "SELECT coalesce(ds, '{x}') FROM arrays",
    "SELECT id FROM arrays WHERE ds = '{x}'",
    "SELECT id FROM ranges WHERE q && '[a,b]'",
    "SELECT id FROM measures WHERE r && '[c,e]'",
    "SELECT id FROM measures WHERE r && '[c,e]'::measured",
    "SELECT id FROM measures WHERE r && measured('c', 'e')",
    "SELECT NOT (m === 'bad') FROM moods",
]
CALM = [
    "SELECT id, d FROM plain WHERE d = 'x'",
    "SELECT coalesce(d, 'x') FROM plain",
    "SELECT left(d, 1) FROM plain WHERE name LIKE 'x%'",
    "SELECT plain.* FROM plain WHERE name = 'x'",
    "SELECT * FROM plain WHERE d IN ('x') OR d = ANY('{x}')",
    "SELECT id, upper(name) FROM arrays JOIN plain USING (id)",
    "SELECT id FROM ranges WHERE id = 1",
    "SELECT upper('x') FROM moods WHERE id = 1",
    "SELECT id FROM calm_ranges WHERE r && '[a,b]'",
    "SELECT '[a,b]'::calm_range, '[1,2]'::int4range, daterange('2024-01-01', '2024-02-01')",
]


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    with empty_database(postgres_server) as name:
        postgres_server.execute(OBJECTS + DOMAINS + TYPES, database=name)
        yield name


@pytest.fixture(scope="module")
def catalog(postgres_server: PostgresServer, database: str) -> Catalog:
    return catalog_of(postgres_server, database=database)


def runs_something(server: PostgresServer, database: str, sql: str) -> bool:
    """Whether a number of the sequence is used up, which all the functions of these types do."""
    with server.connect(database) as connection:
        connection.autocommit = True
        connection.execute("SELECT setval('s', 1000)")
        connection.execute(sql.encode())
        found = connection.execute("SELECT last_value FROM s").fetchone()
        assert found is not None
        return bool(found[0] != 1000)


@pytest.mark.parametrize("sql", RUNNING)
def test_what_a_text_runs_by_becoming_a_value_is_no_reading(
    postgres_server: PostgresServer, database: str, catalog: Catalog, sql: str
) -> None:
    assert runs_something(postgres_server, database, sql)
    assert not examine_sql(sql, catalog=catalog).facts.read_only


@pytest.mark.parametrize(
    "sql", ["SELECT coalesce(h, $1) FROM holder", "SELECT id FROM ranges WHERE q && $1", "SELECT $1::over_array"]
)
def test_a_parameter_is_a_text_of_whatever_type_the_server_takes_it_for(catalog: Catalog, sql: str) -> None:
    assert not examine_sql(sql, catalog=catalog).facts.read_only


@pytest.mark.parametrize("sql", CALM)
def test_a_text_that_becomes_nothing_that_is_checked_is_read(
    postgres_server: PostgresServer, database: str, catalog: Catalog, sql: str
) -> None:
    assert not runs_something(postgres_server, database, sql)
    assert examine_sql(sql, catalog=catalog).facts.read_only
