"""What runs though no statement names it: comparisons of user-defined types, and what planning computes. On a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.sql import examine_sql
from tests.facts.databases import catalog_of, empty_database
from tests.peers.postgres import PostgresServer

DRAWS = "BEGIN PERFORM nextval(''drawn''); RETURN {}; END"
ALIKE = """
CREATE SEQUENCE drawn;
CREATE TYPE ver AS (major int, minor int);
CREATE FUNCTION less(a ver, b ver) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT (a).major < (b).major';
CREATE FUNCTION alike(a ver, b ver) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT (a).major = (b).major';
CREATE OPERATOR <! (leftarg = ver, rightarg = ver, function = less);
CREATE OPERATOR ==! (leftarg = ver, rightarg = ver, function = alike, commutator = '==!', hashes);
"""
ORDER = """
CREATE OPERATOR CLASS ver_order DEFAULT FOR TYPE ver USING btree AS
  OPERATOR 1 <!, OPERATOR 3 ==!, FUNCTION 1 compared(ver, ver);
CREATE OPERATOR CLASS ver_hash DEFAULT FOR TYPE ver USING hash AS OPERATOR 1 ==!, FUNCTION 1 hashed(ver);
CREATE TYPE versions AS RANGE (subtype = ver);
CREATE TABLE releases (id int, v ver);
INSERT INTO releases VALUES (1, '(1,2)'), (2, '(0,9)'), (3, '(1,0)');
CREATE TABLE plain (n int);
CREATE TYPE holder AS (a int, b ver[]);
CREATE TABLE holders (h holder);
CREATE TABLE heirs (more int) INHERITS (releases);
CREATE VIEW seen AS SELECT v AS x FROM releases;
CREATE FUNCTION made() RETURNS ver LANGUAGE sql IMMUTABLE AS 'SELECT ROW(1, 2)::ver';
CREATE FUNCTION ver_of(int) RETURNS ver LANGUAGE sql IMMUTABLE AS 'SELECT ROW($1, $1)::ver';
CREATE TABLE keyed (a int) PARTITION BY RANGE (ver_of(a));
CREATE TABLE lists (l ver[]);
CREATE TABLE spans (s versions);
CREATE TABLE parted (v ver) PARTITION BY RANGE (v);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM ('(0,0)') TO ('(1,0)');
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM ('(1,0)') TO ('(2,0)');
"""
COMPARED = {
    "drawing": f"""
        CREATE FUNCTION compared(a ver, b ver) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
          '{DRAWS.format("CASE WHEN (a).major < (b).major THEN -1 WHEN (a).major > (b).major THEN 1 ELSE 0 END")}';
        CREATE FUNCTION hashed(a ver) RETURNS int LANGUAGE plpgsql IMMUTABLE AS '{DRAWS.format("(a).major")}';
    """,
    "calm": """
        CREATE FUNCTION compared(a ver, b ver) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp((a).major, (b).major)';
        CREATE FUNCTION hashed(a ver) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT (a).major';
    """,
}
COMPARING = [
    "SELECT id FROM releases ORDER BY v", "SELECT DISTINCT v FROM releases", "SELECT DISTINCT ON (v) v FROM releases",
    "SELECT FROM releases GROUP BY v", "SELECT FROM releases GROUP BY GROUPING SETS ((id, v), (id))",
    "SELECT v FROM releases UNION SELECT v FROM releases", "SELECT count(DISTINCT v) FROM releases",
    "SELECT rank() OVER (PARTITION BY v) FROM releases", "SELECT rank() OVER w FROM releases WINDOW w AS (ORDER BY v)",
    "SELECT array_agg(id ORDER BY v) FROM releases", "SELECT DISTINCT r FROM releases r", "SELECT versions('(1,2)', '(2,2)')",
    "SELECT greatest(v, v) FROM releases", "SELECT v FROM parted",
    "SELECT ARRAY(SELECT v FROM releases) < ARRAY(SELECT v FROM releases)",
    "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY v) FROM releases",
    "WITH RECURSIVE t AS (SELECT v FROM releases UNION SELECT v FROM t) SELECT FROM t",
]  # fmt: skip
PLANNED = f"""
CREATE SEQUENCE drawn;
CREATE FUNCTION drawing(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS '{DRAWS.format("$1")}';
CREATE FUNCTION behind(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT public.drawing(1) + $1';
CREATE DOMAIN even AS int CHECK (drawing(2) = 2);
CREATE TABLE by_index (id int, a int); CREATE INDEX ON by_index ((a + drawing(1)));
CREATE TABLE by_predicate (id int, a int); CREATE INDEX ON by_predicate (id) WHERE CASE WHEN a > 1 THEN drawing(1) ELSE 1 END = 1;
CREATE TABLE by_sql_function (id int, a int); CREATE INDEX ON by_sql_function (behind(a));
CREATE TABLE by_argument (id int, a int); CREATE INDEX ON by_argument (drawing(a + drawing(1)));
CREATE TABLE by_cast (id int, a int); CREATE INDEX ON by_cast ((a + '4'::even));
CREATE TABLE by_statistics (id int, a int); CREATE STATISTICS told ON (a + drawing(1)), id FROM by_statistics;
CREATE TABLE by_key (id int, a int) PARTITION BY RANGE ((a + drawing(1)));
CREATE TABLE by_key_part PARTITION OF by_key FOR VALUES FROM (0) TO (10);
CREATE TABLE above (id int, a int);
CREATE TABLE by_child (CHECK (a > drawing(1))) INHERITS (above);
CREATE VIEW seen AS SELECT id, a FROM by_index;
CREATE TABLE for_rows (id int, a int CHECK (drawing(a) > 0)); CREATE INDEX ON for_rows (drawing(a)) WHERE upper('x') > a::text;
CREATE TABLE calm (id int, a int); CREATE INDEX ON calm ((abs(a) + abs(-1)));
ANALYZE;
"""
RUN_BY_PLANNING = {
    "by_index", "by_predicate", "by_sql_function", "by_argument", "by_cast", "by_statistics", "by_key", "above", "seen",
}  # fmt: skip


def drawn(server: PostgresServer, database: str, sql: str) -> bool:
    """Whether a statement draws from the sequence, in a session of its own."""
    before = server.execute("SELECT last_value, is_called FROM drawn", database=database)
    server.execute(sql, database=database)
    return server.execute("SELECT last_value, is_called FROM drawn", database=database) != before


@pytest.fixture(scope="module", params=COMPARED)
def compared(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[tuple[str, str, Catalog]]:
    with empty_database(postgres_server) as name:
        postgres_server.execute(ALIKE + COMPARED[request.param] + ORDER, database=name)
        yield request.param, name, catalog_of(postgres_server, database=name)


@pytest.mark.parametrize("sql", COMPARING)
def test_what_a_comparison_runs_is_seen(
    postgres_server: PostgresServer, compared: tuple[str, str, Catalog], sql: str
) -> None:
    kind, database, catalog = compared
    facts = examine_sql(sql, catalog=catalog).facts

    assert drawn(postgres_server, database, sql) == (kind == "drawing")
    assert facts.read_only == (kind == "calm")
    assert ("unnamed_tables" in facts.function_traits) == (kind == "drawing")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id, v FROM releases",
        "SELECT n, count(*) FROM plain GROUP BY n ORDER BY n + 1",
        "SELECT max(n) FROM plain",
    ],
)
def test_without_such_values_nothing_compares_them(compared: tuple[str, str, Catalog], sql: str) -> None:
    facts = examine_sql(sql, catalog=compared[2]).facts

    assert facts.read_only
    assert facts.function_traits == frozenset()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT FROM holders ORDER BY h", "SELECT FROM heirs ORDER BY v", "SELECT DISTINCT x FROM seen",
        "SELECT most_common_vals = most_common_vals FROM pg_stats", "SELECT DISTINCT f FROM made() f",
        "SELECT '(1,2)'::ver = '(1,2)'::ver", "SELECT a FROM keyed", "SELECT l FROM lists ORDER BY l", "SELECT FROM nowhere ORDER BY 1",
        "SELECT DISTINCT r.a FROM jsonb_to_record('{}') AS r(a ver)", "SELECT max(s) FROM spans",
    ],
)  # fmt: skip
def test_wherever_such_values_may_come_from_they_are_compared(compared: tuple[str, str, Catalog], sql: str) -> None:
    kind, _, catalog = compared
    facts = examine_sql(sql, catalog=catalog).facts

    assert facts.read_only == (kind == "calm" and "nowhere" not in sql)


@pytest.fixture(scope="module")
def planned(postgres_server: PostgresServer) -> Iterator[tuple[str, Catalog]]:
    with empty_database(postgres_server) as name:
        postgres_server.execute(PLANNED, database=name)
        yield name, catalog_of(postgres_server, database=name)


@pytest.mark.parametrize("table", sorted(RUN_BY_PLANNING))
def test_what_planning_runs_is_seen(postgres_server: PostgresServer, planned: tuple[str, Catalog], table: str) -> None:
    database, catalog = planned
    sql = f"SELECT id FROM {table} WHERE a = 3"

    assert drawn(postgres_server, database, sql)
    assert not examine_sql(sql, catalog=catalog).facts.read_only
    assert not examine_sql(f"EXPLAIN {sql}", catalog=catalog).facts.read_only


@pytest.mark.parametrize("table", ["for_rows", "calm"])
def test_what_waits_for_a_row_leaves_a_read_alone(
    postgres_server: PostgresServer, planned: tuple[str, Catalog], table: str
) -> None:
    database, catalog = planned
    sql = f"SELECT id FROM {table} WHERE a = 3"

    assert not drawn(postgres_server, database, sql)
    assert examine_sql(sql, catalog=catalog).facts.read_only
