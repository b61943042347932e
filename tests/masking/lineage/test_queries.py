"""Queries: stars, set operations, VALUES, WITH, and the facts that their clauses raise."""

from __future__ import annotations

import pytest

from tests.masking.lineage.catalogs import facts, lineage, masked


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("TABLE users", ["", "", "email", "ssn", "", ""]),
        ("SELECT *, ssn FROM orders, (SELECT ssn FROM users) u", ["", "", "", "", "ssn", "ssn"]),
        ("SELECT u.*, o.id FROM orders o, users u", ["", "", "email", "ssn", "", "", ""]),
        ("SELECT o.* FROM orders o, users u", ["", "", "", ""]),
        ("SELECT FROM users", []),
        ("SELECT (listed(1)).contact, (ROW(1, 2)).*", ["email", "", ""]),
    ],
)
def test_stars_expand_in_the_servers_order(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT name FROM users UNION SELECT ssn FROM users", ["ssn"]),
        ("SELECT ssn FROM users UNION ALL SELECT name FROM users", ["ssn"]),
        ("SELECT name FROM users WHERE false UNION ALL SELECT email FROM users", ["email"]),
        ("SELECT name, id FROM users EXCEPT SELECT ssn, id FROM users", ["ssn", ""]),
        ("SELECT name FROM users INTERSECT ALL SELECT ssn FROM users", ["ssn"]),
        ("SELECT '' UNION ALL SELECT name FROM users UNION ALL SELECT ssn FROM users", ["ssn"]),
        ("SELECT '' UNION ALL (SELECT name FROM users UNION ALL SELECT ssn FROM users LIMIT 3)", ["ssn"]),
        ("(SELECT ssn FROM users LIMIT 1) UNION ALL SELECT 'x'", ["ssn"]),
        ("VALUES (1, 'x'), (2, (SELECT min(email) FROM users))", ["", "email"]),
        ("SELECT 1 UNION SELECT 1, 2", ["?"]),
    ],
)
def test_a_set_operation_is_the_union_of_all_arms(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


def test_hundreds_of_arms_are_followed() -> None:
    assert masked(" UNION ALL ".join(["SELECT 1"] * 300 + ["SELECT length(ssn) FROM users"])) == ["ssn"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("WITH t(a) AS (SELECT ssn FROM users) SELECT a FROM t", ["ssn"]),
        ("WITH users AS (SELECT id, ssn AS x FROM users) SELECT x, id FROM users", ["ssn", ""]),
        ("WITH users AS (SELECT 1 AS ssn) SELECT ssn FROM users", [""]),
        ("WITH users AS (SELECT 1 AS ssn) SELECT ssn FROM public.users", ["ssn"]),
        ("WITH a AS (SELECT ssn FROM users), b AS (SELECT * FROM a) SELECT * FROM b", ["ssn"]),
        ("WITH a AS (SELECT id AS ssn FROM users) SELECT (SELECT max(ssn) FROM a) FROM users", [""]),
        ("WITH a AS (SELECT 1 AS ssn) SELECT * FROM (WITH a AS (SELECT ssn FROM users) TABLE a) t", ["ssn"]),
        ("SELECT (WITH t AS (SELECT u.ssn) SELECT ssn FROM t) FROM users u", ["ssn"]),
        ("WITH t AS MATERIALIZED (SELECT ssn FROM users) TABLE t", ["ssn"]),
        ("WITH gone AS (DELETE FROM users RETURNING *) SELECT id, ssn FROM gone", ["", "ssn"]),
        ("WITH new AS (INSERT INTO users (id) VALUES (1) RETURNING email, id) SELECT * FROM new", ["email", ""]),
    ],
)
def test_a_with_entry_sees_the_earlier_ones_and_not_itself(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("WITH RECURSIVE r(s, n) AS (SELECT ssn, 1 FROM users UNION ALL SELECT s, n + 1 FROM r WHERE n < 2) TABLE r",
         ["ssn", ""]),
        ("WITH RECURSIVE r(a, b, c, n) AS (SELECT ssn, 'x', 'y', 1 FROM users UNION ALL"
         " SELECT c, a, b, n + 1 FROM r WHERE n < 4) TABLE r", ["ssn", "ssn", "ssn", ""]),
        ("WITH RECURSIVE r(a) AS (SELECT 'x' UNION SELECT u.ssn FROM r, users u) TABLE r", ["ssn"]),
        ("WITH RECURSIVE a AS (TABLE b), b AS (SELECT ssn FROM users) TABLE a", ["ssn"]),
        ("WITH RECURSIVE a AS (SELECT 1 AS x), users AS (SELECT x FROM a) TABLE users", [""]),
        ("WITH RECURSIVE r AS (SELECT u FROM users u UNION ALL SELECT u FROM r) SELECT (u).ssn, (u).id FROM r", ["ssn", ""]),
        ("WITH RECURSIVE r(a, b) AS (SELECT ssn, 1 FROM users UNION ALL SELECT a, b + 1 FROM r WHERE b < 3)"
         " SEARCH DEPTH FIRST BY a SET o SELECT b, o FROM r", ["", "ssn"]),
        ("WITH RECURSIVE r(a, b) AS (SELECT ssn, 1 FROM users UNION ALL SELECT a, b + 1 FROM r)"
         " CYCLE a SET looped USING path SELECT b, looped, path FROM r", ["", "ssn", "ssn"]),
        ("WITH RECURSIVE r AS (SELECT * FROM r) TABLE r", ["?"]),
    ],
)  # fmt: skip
def test_a_recursive_entry_is_followed_to_its_fixpoint(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT id FROM users WHERE ssn = '1'", {"where_equality": "ssn"}),
        ("SELECT id FROM users WHERE id = 1 AND (name = 'x' OR email LIKE 'a%')", {"where_pattern": "email"}),
        ("SELECT id FROM users WHERE ssn IS NOT NULL", {"null_test": "ssn"}),
        ("SELECT name, count(*) FROM users GROUP BY name HAVING max(ssn) > '5'", {"having": "ssn"}),
        ("SELECT count(*) FROM users GROUP BY ssn", {"group": "ssn"}),
        ("SELECT ssn, count(*) FROM users GROUP BY 1", {"group": "ssn"}),
        ("SELECT ssn AS s, count(*) FROM users GROUP BY s", {"group": "ssn"}),
        ("SELECT count(*) FROM users GROUP BY ROLLUP (name, (ssn, email))", {"group": "email+ssn"}),
        ("SELECT id FROM users ORDER BY ssn", {"order": "ssn"}),
        ("SELECT id, ssn FROM users ORDER BY 2", {"order": "ssn"}),
        ("SELECT id, ssn AS k FROM users ORDER BY k DESC", {"order": "ssn"}),
        ("SELECT id AS ssn FROM users ORDER BY ssn", {"order": "ssn"}),
        ("SELECT id FROM users ORDER BY id", {}),
        ("SELECT DISTINCT ssn, id FROM users", {"distinct": "ssn"}),
        ("SELECT DISTINCT ON (ssn) id FROM users", {"distinct": "ssn"}),
        ("SELECT DISTINCT ON (id) id FROM users", {}),
        ("SELECT ssn FROM users UNION SELECT 'x'", {"distinct": "ssn"}),
        ("SELECT ssn FROM users UNION ALL SELECT 'x'", {}),
        ("SELECT ssn FROM users EXCEPT ALL SELECT 'x'", {"distinct": "ssn"}),
        ("SELECT rank() OVER (ORDER BY ssn) FROM users", {"window": "ssn"}),
        ("SELECT id FROM users LIMIT (SELECT length(max(ssn)) FROM users)", {"limit": "ssn"}),
        ("SELECT count(DISTINCT ssn) FROM users", {"count_distinct": "ssn"}),
        ("SELECT CASE WHEN ssn LIKE '1%' THEN pg_sleep(1) END FROM users", {"condition": "ssn", "test": "ssn"}),
        ("SELECT CASE WHEN ssn LIKE '1%' THEN 'a' ELSE name END FROM users", {"test": "ssn"}),
        ("SELECT ssn LIKE '1%' AND 1 / (id - 1) > 0 FROM users", {"condition": "ssn", "test": "ssn"}),
        ("SELECT coalesce(nullif(ssn, 'x'), (1 / id)::text) FROM users", {"condition": "ssn", "test": "ssn"}),
        (
            "SELECT sum(1 / id) FILTER (WHERE ssn LIKE '1%') FROM users",
            {"condition": "ssn", "may_fail": "ssn", "test": "ssn"},
        ),
        ("SELECT address IS NULL FROM contacts WHERE address > 'a'", {"where_range": "email", "null_test": "email"}),
    ],
)
def test_what_masking_cannot_hide_is_a_fact(sql: str, expected: dict[str, str]) -> None:
    assert facts(sql) == expected


def test_select_into_is_refused() -> None:
    assert "SELECT INTO" in str(lineage("SELECT ssn INTO copy FROM users").refusal)
    assert "SELECT INTO" in str(lineage("WITH t AS (SELECT 1 AS a) SELECT a INTO copy FROM t").refusal)
