"""Expressions: the union over what they are made of, and the few that are clear all the same."""

from __future__ import annotations

import pytest

from tests.masking.lineage.catalogs import catalog, facts, masked

DERIVED = """
ssn||'' | 'x'||ssn | ssn||name||name | lower(ssn) | upper(lower(ssn)) | left(ssn, 3) | substring(ssn FROM 2) | md5(ssn)
length(ssn) | ascii(ssn) | ssn::text | CAST(ssn AS varchar(3)) | ssn COLLATE "C" | (ssn) | ssn::xml | ssn::regclass
coalesce(ssn, '') | coalesce(name, ssn) | nullif(ssn, 'x') | nullif('x', ssn) | greatest(ssn, '') | least('', ssn)
CASE WHEN ssn LIKE '1%' THEN 'y' ELSE 'n' END | CASE ssn WHEN '1' THEN 'y' END | CASE WHEN true THEN ssn END
ssn LIKE '1%' | ssn > '5' | ssn = name | ssn IN ('1', '2') | name IN ('1', ssn) | ssn BETWEEN 'a' AND 'b' | NOT ssn = '1'
name = 'x' AND ssn = '1' | ssn IS DISTINCT FROM 'x' | ssn SIMILAR TO '1%' | ssn ~ '^1' | (ssn = '1') IS TRUE
ARRAY[ssn] | (ARRAY['x', ssn])[1] | (ARRAY['x', 'y'])[length(ssn)] | ROW(id, ssn) | (ROW(1, ssn)).f2
xmlelement(name a, ssn) | xmlelement(name a, xmlattributes(ssn AS b)) | xmlforest(ssn) | xmlserialize(content ssn::xml AS text)
json_build_object('a', ssn) | concat('a', ssn) | format('%s', ssn) | to_char(length(ssn), '9') | repeat('x', length(ssn))
JSON_OBJECT('a': ssn) | JSON_ARRAY(1, ssn) | JSON_VALUE(ssn::jsonb, '$.a') | JSON_SCALAR(ssn) | ssn IS JSON
JSON_ARRAY(SELECT ssn) | JSON_QUERY('{}', '$' PASSING ssn AS x) | JSON_VALUE('{}', '$' DEFAULT ssn ON EMPTY)
EXTRACT(year FROM now() - ssn::interval) | ssn::date AT TIME ZONE 'utc' | num_nulls(ssn) | ssn > ANY (ARRAY['1'])
"""


@pytest.mark.parametrize(
    "expression", [part.strip() for line in DERIVED.strip().splitlines() for part in line.split(" | ")]
)
def test_what_is_made_of_a_classified_column_has_its_class(expression: str) -> None:
    assert masked(f"SELECT {expression} FROM users") == ["ssn"]


CLEAR = """
id | 1 | NULL | 'ssn' | $1 | name || 'ssn' | now() | current_date | current_user | random() | id + length(name)
ssn IS NULL | ssn IS NOT NULL | CASE WHEN ssn IS NULL THEN 0 ELSE 1 END | clock_timestamp() | pg_typeof(id)
date_trunc('month', now()) | to_char(now(), 'YYYY') | id % 2 | (ARRAY[id])[1] | pg_total_relation_size('users')
"""


@pytest.mark.parametrize(
    "expression", [part.strip() for line in CLEAR.strip().splitlines() for part in line.split(" | ")]
)
def test_what_is_not_made_of_one_is_clear(expression: str) -> None:
    assert masked(f"SELECT {expression} FROM users") == [""]


@pytest.mark.parametrize(
    "test",
    [
        "nullif(ssn, 'guess') IS NULL",
        "(CASE WHEN ssn = 'guess' THEN 1 END) IS NOT NULL",
        "(SELECT nullif(s, 'guess') IS NULL FROM (SELECT ssn) t(s))",
        "(SELECT s IS NULL FROM (SELECT nullif(ssn, 'guess')) t(s))",
        "(SELECT s IS NULL FROM (SELECT ssn UNION ALL SELECT nullif(ssn, 'guess')) t(s) LIMIT 1)",
        "(ssn || NULL) IS NULL",
        "ROW(ssn, name) IS NULL",
        "(SELECT max(ssn)) IS NULL",
    ],
)
def test_a_null_test_on_anything_but_a_stored_column_is_an_oracle(test: str) -> None:
    assert masked(f"SELECT {test} FROM users") == ["ssn"]


def test_a_stored_column_stays_one_through_derived_tables_and_unions() -> None:
    assert masked("SELECT s IS NULL FROM (SELECT ssn FROM users) t(s)") == [""]
    assert masked("WITH t AS (SELECT ssn s FROM users) SELECT count(s) FROM t") == [""]
    assert masked("SELECT s IS NULL FROM (SELECT ssn FROM users UNION ALL SELECT ssn FROM users) t(s)") == [""]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT count(*), count(ssn), count(u), count(u.*) FROM users u", ["", "", "", ""]),
        ("SELECT count(DISTINCT ssn) FROM users", [""]),
        ("SELECT count(t) FROM (SELECT id, nullif(ssn, 'guess') FROM users) t", ["ssn"]),
        ("SELECT count(nullif(ssn, 'guess')) FROM users", ["ssn"]),
        ("SELECT count(DISTINCT lower(ssn)) FROM users", ["ssn"]),
        ("SELECT count(*) FILTER (WHERE ssn LIKE '1%') FROM users", ["ssn"]),
        ("SELECT count(ssn) FILTER (WHERE email LIKE 'a%') FROM users", ["email"]),
        ("SELECT count(*) FILTER (WHERE id > 1) FROM users", [""]),
        ("SELECT min(ssn), max(ssn), sum(length(ssn)), bool_or(ssn = '1') FROM users", ["ssn"] * 4),
        ("SELECT array_agg(ssn), string_agg(ssn, ','), json_agg(ssn) FROM users", ["ssn"] * 3),
        ("SELECT string_agg(name, ',' ORDER BY ssn) FROM users", ["ssn"]),
        ("SELECT string_agg(name, email) FROM users", ["email"]),
        ("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY length(ssn)) FROM users", ["ssn"]),
    ],
)
def test_aggregates(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT rank() OVER (ORDER BY ssn) FROM users", ["ssn"]),
        ("SELECT count(*) OVER (PARTITION BY ssn) FROM users", ["ssn"]),
        ("SELECT rank() OVER w FROM users WINDOW w AS (ORDER BY ssn)", ["ssn"]),
        ("SELECT rank() OVER (w ORDER BY id) FROM users WINDOW w AS (PARTITION BY ssn)", ["ssn"]),
        ("SELECT rank() OVER v FROM users WINDOW w AS (PARTITION BY ssn), v AS (w ORDER BY id)", ["ssn"]),
        ("SELECT sum(id) OVER (ORDER BY id ROWS BETWEEN length(ssn) PRECEDING AND CURRENT ROW) FROM users", ["ssn"]),
        ("SELECT first_value(ssn) OVER (ORDER BY id) FROM users", ["ssn"]),
        ("SELECT rank() OVER (ORDER BY id), sum(id) OVER (PARTITION BY name) FROM users", ["", ""]),
    ],
)
def test_windows_count_their_partition_order_and_frame(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT (SELECT ssn FROM users LIMIT 1)", ["ssn"]),
        ("SELECT (SELECT count(*) FROM users WHERE ssn LIKE '1%')", ["ssn"]),
        ("SELECT (SELECT id FROM users ORDER BY ssn LIMIT 1)", ["ssn"]),
        ("SELECT (SELECT id FROM users GROUP BY id, ssn HAVING ssn > '5')", ["ssn"]),
        ("SELECT (SELECT id FROM users LIMIT (SELECT length(max(ssn)) FROM users))", ["ssn"]),
        ("SELECT EXISTS (SELECT 1 FROM users WHERE ssn LIKE '1%')", ["ssn"]),
        ("SELECT EXISTS (SELECT ssn FROM users WHERE id = 1)", [""]),
        ("SELECT EXISTS (SELECT 1 FROM users u JOIN products p ON p.email = u.email)", ["email"]),
        ("SELECT EXISTS (SELECT 1 FROM (SELECT 1 FROM users WHERE ssn = '1') t)", ["ssn"]),
        ("SELECT EXISTS (WITH t AS (SELECT 1 FROM users WHERE ssn = '1') SELECT 1 FROM t)", ["ssn"]),
        ("SELECT EXISTS (SELECT name FROM products EXCEPT SELECT ssn FROM users)", ["ssn"]),
        ("SELECT EXISTS (SELECT DISTINCT ssn FROM users OFFSET 2)", ["ssn"]),
        ("SELECT ARRAY(SELECT id FROM users ORDER BY ssn)", ["ssn"]),
        ("SELECT '1' IN (SELECT ssn FROM users)", ["ssn"]),
        ("SELECT ssn IN (SELECT name FROM products) FROM users", ["ssn"]),
        ("SELECT name = ALL (SELECT name FROM products WHERE email IN (SELECT email FROM users)) FROM users", ["email"]),
        ("SELECT (SELECT count(DISTINCT ssn) FROM users)", [""]),
        ("SELECT (SELECT max(total) FROM orders o WHERE o.user_id = u.id) FROM users u", [""]),
    ],
)  # fmt: skip
def test_a_subquery_is_its_columns_and_all_that_decides_its_rows(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


def test_facts_of_a_subquery_are_facts_of_the_statement() -> None:
    sql = "SELECT id FROM orders WHERE EXISTS (SELECT 1 FROM users WHERE ssn LIKE '1%')"
    assert facts(sql) == {"where_pattern": "ssn"}


def test_a_cte_read_twice_decides_rows_both_times() -> None:
    sql = "WITH t AS (SELECT id FROM users WHERE ssn = '1') SELECT (SELECT count(*) FROM t), EXISTS (SELECT 1 FROM t)"
    assert masked(sql) == ["ssn", "ssn"]


def test_sql_json_is_what_the_server_takes_it_for() -> None:
    # Before PostgreSQL 17 the same text calls a function of that name.
    old = catalog(server_version=150000)
    assert masked("SELECT JSON_SCALAR(id) FROM users", old) == ["?"]
    assert masked("SELECT JSON_SCALAR(id) FROM users") == [""]
    assert masked("SELECT JSON_ARRAY(SELECT id FROM users ORDER BY ssn)") == ["ssn"]
    assert masked("SELECT JSON_ARRAYAGG(ssn ORDER BY email) FILTER (WHERE id > 1) FROM users") == ["email+ssn"]


def test_a_long_chain_of_operators_is_followed() -> None:
    assert masked(f"SELECT {' || '.join(['name'] * 150)} || ssn FROM users") == ["ssn"]


@pytest.mark.parametrize(
    "row",
    [
        "(CASE WHEN u.ssn LIKE '1%' THEN u END)",
        "(CASE WHEN true THEN (CASE WHEN u.ssn LIKE '1%' THEN ROW(u, 1) END) END).f1",
        "(SELECT v FROM users v WHERE u.ssn LIKE '1%')",
        "(SELECT x FROM (VALUES (CASE WHEN u.ssn LIKE '1%' THEN u END)) AS t (x))",
    ],
)
def test_whether_a_chosen_row_has_a_column_tells_what_chose_it(row: str) -> None:
    assert masked(f"SELECT ({row}).name IS NULL FROM users u") == ["ssn"]
    assert masked(f"SELECT count(({row}).name) FROM users u") == ["ssn"]


def test_whether_a_row_as_it_is_stored_has_a_column_is_clear() -> None:
    assert masked("SELECT (u).ssn IS NULL, ((ROW(u.ssn, 1)).f1) IS NULL, count((u).ssn) FROM users u GROUP BY u") == [
        "", "", "",
    ]  # fmt: skip
