"""A WHERE is split by how much its answer gives away; what does not fit a milder kind is `where`."""

from __future__ import annotations

import pytest

from tests.masking.lineage.catalogs import catalog, facts, function


@pytest.mark.parametrize(
    ("condition", "kind"),
    [
        ("ssn = '1'", "where_equality"),
        ("'1' = ssn", "where_equality"),
        ("u.ssn <> '1'", "where_equality"),
        ("ssn = $1", "where_equality"),
        ("ssn = $1::text", "where_equality"),
        ("ssn IN ('1', $2)", "where_equality"),
        ("ssn NOT IN ('1', '2')", "where_equality"),
        ("ssn = ANY ('{1,2}')", "where_equality"),
        ("ssn = ANY (ARRAY['1', $1])", "where_equality"),
        ("ssn IS DISTINCT FROM '1'", "where_equality"),
        ("NOT (id = 1 OR ssn = '1')", "where_equality"),
        ("ssn LIKE '1%'", "where_pattern"),
        ("ssn NOT ILIKE $1", "where_pattern"),
        ("ssn SIMILAR TO '1%'", "where"),
        ("ssn ~ '^1'", "where_pattern"),
        ("ssn !~* '^1'", "where_pattern"),
        ("ssn < '5'", "where_range"),
        ("'5' >= ssn", "where_range"),
        ("ssn BETWEEN '1' AND '5'", "where_range"),
        ("ssn NOT BETWEEN SYMMETRIC $1 AND $2", "where_range"),
        ("ssn < ANY ('{1,2}')", "where_range"),
        ("u < '(1,x)'", "where_range"),
    ],
)
def test_a_stored_column_and_given_values_have_a_kind_of_their_own(condition: str, kind: str) -> None:
    found = facts(f"SELECT id FROM users u WHERE {condition}")
    assert found.keys() - {"may_fail"} == {kind}


@pytest.mark.parametrize(
    "condition",
    [
        "left(ssn, 1) = '1'",
        "ssn || '' = '1'",
        "ssn::text = '1'",
        "ssn = lower('1')",
        "ssn = name",
        "ssn = email",
        "'1' LIKE ssn",
        "ssn < name",
        "ssn = (SELECT '1')",
        "ssn IN (SELECT name FROM products)",
        "(ssn, id) = ('1', 1)",
        "(ssn, id) < ('1', 1)",
        "ssn BETWEEN name AND '5'",
        "ssn IN ('1', name)",
        "coalesce(ssn, 'x') = '1'",
        "nullif(ssn, '1') IS NULL",
        "(ssn = '1') IS TRUE",
        "(ssn = '1') = true",
        "CASE WHEN ssn = '1' THEN true END",
        "starts_with(ssn, '1')",
        "ssn OPERATOR(pg_catalog.=) '1'",
        "tags[1] = ssn",
    ],
)
def test_all_else_is_the_worst(condition: str) -> None:
    assert "where" in facts(f"SELECT id FROM users u WHERE {condition}")


def test_a_condition_on_nothing_classified_tells_nothing() -> None:
    assert facts("SELECT id FROM users WHERE id = 1 AND (name LIKE 'a%' OR name < $1)") == {}


def test_each_part_counts() -> None:
    sql = "SELECT id FROM users WHERE ssn = '1' AND (email > 'a' OR ssn IS NULL)"
    assert facts(sql) == {"where_equality": "ssn", "where_range": "email", "null_test": "ssn"}


def test_a_subquery_that_only_has_to_exist_tells_what_is_in_it() -> None:
    sql = "SELECT id FROM orders o WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = o.user_id AND u.ssn = '1')"
    assert facts(sql) == {"where_equality": "ssn"}


def test_a_functions_own_parameters_may_be_anything() -> None:
    of = catalog(function("with_ssn", "SELECT id FROM users WHERE ssn = $1", arguments=("",), returns_set=True))
    assert facts("SELECT o.id FROM orders o, with_ssn(o.note) w", of)["where"] == "ssn"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT ssn LIKE '1%' FROM users", {"test": "ssn"}),
        ("SELECT bool_or(ssn = '1') FROM users", {"test": "ssn"}),
        ("SELECT count(*) FILTER (WHERE ssn = '1') FROM users", {"test": "ssn"}),
        ("SELECT CASE ssn WHEN '1' THEN 'a' END FROM users", {"test": "ssn"}),
        ("SELECT starts_with(ssn, '1') FROM users", {"test": "ssn"}),
        ("SELECT ssn IN (SELECT name FROM products) FROM users", {"test": "ssn"}),
        ("SELECT (ssn = '1') IS TRUE FROM users", {"test": "ssn"}),
        ("SELECT nullif(ssn, '1') IS NULL FROM users", {"test": "ssn"}),
        ("SELECT x FROM (SELECT ssn = '1' AS x FROM users) t", {"test": "ssn"}),
        ("UPDATE users SET name = 'x' WHERE id = 1 RETURNING ssn = '1'", {"test": "ssn"}),
        ("SELECT ssn, lower(ssn), ssn || '!', max(email) OVER () FROM users", {}),
        ("SELECT ssn IS NULL, count(email) FROM users GROUP BY 1", {"null_test": "email+ssn"}),
        ("SELECT id FROM contacts", {}),
    ],
)
def test_a_masked_answer_is_a_fact_of_its_own(sql: str, expected: dict[str, str]) -> None:
    assert facts(sql) == expected
