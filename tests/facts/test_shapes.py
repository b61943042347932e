"""Statements of one shape have one fingerprint, others have others; and what bounds rows is read exactly."""

from __future__ import annotations

import pytest

from mcp_gateway.facts.sql import examine_sql

SAME = [
    ("SELECT a FROM t WHERE id = 1", "select  a from T where ID = 99 -- and more"),
    ("SELECT a FROM t WHERE id = 1", "SELECT a FROM t WHERE id = $1"),
    ("SELECT a FROM t WHERE b = 'x'", "SELECT a FROM t WHERE b = E'\\x41'"),
    ("SELECT 'a'", """SELECT '"}},{"A_Const":{"isnull":true}},"location":7'"""),
    ("SELECT NULL, 1.5, true, B'1'", "SELECT -7, X'1F', false, NULL"),
    ("SELECT f('a\\', 1)", "SELECT f('\\\\\"', 1)"),
    ("SELECT a FROM t WHERE id IN (1, 2)", "SELECT a FROM t WHERE id IN (3, 4, 5, 6)"),
    ("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b'), (3, 'c')"),
    ("SELECT ARRAY[1, 2]", "SELECT ARRAY[1]"),
    ("SELECT a FROM t LIMIT 5", "SELECT a FROM t FETCH FIRST 9 ROWS ONLY"),
]
OTHER = [
    "SELECT a FROM t WHERE id = 1",
    "SELECT a FROM t WHERE id <> 1",
    "SELECT a FROM t WHERE id = b",
    "SELECT a FROM t WHERE id = 1 OR true",
    "SELECT a FROM public.t WHERE id = 1",
    'SELECT a FROM "T" WHERE id = 1',
    "SELECT b FROM t WHERE id = 1",
    "SELECT a, a FROM t WHERE id = 1",
    "SELECT DISTINCT a FROM t WHERE id = 1",
    "SELECT a FROM t WHERE id = 1 FOR UPDATE",
    "SELECT a FROM ONLY t WHERE id = 1",
    "SELECT a FROM t x WHERE id = 1",
    "SELECT a FROM t WHERE id = 1::text",
    "SELECT a FROM t WHERE id = lower('1')",
    "SELECT a FROM t",
    "DELETE FROM t WHERE id = 1",
    "DELETE FROM t",
    "UPDATE t SET a = 1 WHERE id = 1",
    "EXPLAIN SELECT a FROM t WHERE id = 1",
    "SELECT a FROM t WHERE id = 1; SELECT a FROM t WHERE id = 1",
    "SELECT (1, 2)",
    'SELECT "x?"',
    """SELECT "x"",""location"":5" """,
    """SELECT "x"",""location"":6" """,
    """SELECT a AS "{""A_Const"":{""isnull"":true}}" FROM t""",
    "SELECT a AS y FROM t",
    "SELECT a.b[x] FROM t",
    "SELECT a::varchar FROM t",
    "SELECT a::text FROM t",
    "SELECT 1, 2",
]


def fingerprint(sql: str) -> str:
    return examine_sql(sql, catalog=None).facts.fingerprint


@pytest.mark.parametrize(("one", "other"), SAME)
def test_values_spaces_and_comments_are_no_part_of_the_shape(one: str, other: str) -> None:
    assert fingerprint(one) == fingerprint(other)


def test_everything_else_is() -> None:
    found = {sql: fingerprint(sql) for sql in OTHER}
    assert len(set(found.values())) == len(OTHER)
    assert all(len(one) == 32 for one in found.values())


@pytest.mark.parametrize(
    ("sql", "limit"),
    [
        ("SELECT a FROM t LIMIT 10", 10),
        ("SELECT a FROM t LIMIT 0", 0),
        ("SELECT a FROM t FETCH FIRST ROW ONLY", 1),
        ("SELECT a FROM t OFFSET 3 LIMIT 4", 4),
        ("SELECT a FROM t UNION SELECT b FROM u LIMIT 7", 7),
        ("SELECT a FROM t", -1),
        ("SELECT a FROM t LIMIT ALL", -1),
        ("SELECT a FROM t LIMIT NULL", -1),
        ("SELECT a FROM t LIMIT $1", -1),
        ("SELECT a FROM t LIMIT 2 + 3", -1),
        ("SELECT a FROM t LIMIT 99999999999", -1),
        ("SELECT a FROM t LIMIT '5'", -1),
        ("SELECT a FROM t ORDER BY a FETCH FIRST 5 ROWS WITH TIES", -1),
        ("SELECT a FROM (SELECT a FROM t LIMIT 5) x", -1),
        ("SELECT a FROM t UNION ALL (SELECT b FROM u LIMIT 3)", -1),
        ("WITH d AS (DELETE FROM t RETURNING a) SELECT a FROM d LIMIT 5", 5),
        ("DELETE FROM t", -1),
        ("EXPLAIN ANALYZE SELECT a FROM t LIMIT 5", -1),
        ("SELECT a FROM t LIMIT 5; SELECT b FROM u", -1),
    ],
)
def test_what_bounds_the_rows_is_read_exactly(sql: str, limit: int) -> None:
    assert examine_sql(sql, catalog=None).facts.row_limit == limit
