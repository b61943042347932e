"""FROM: subqueries, joins, functions, alias lists."""

from __future__ import annotations

import pytest

from tests.masking.lineage.catalogs import catalog, facts, function, lineage, masked


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT t.a FROM (SELECT ssn AS a FROM users) t", ["ssn"]),
        ("SELECT b FROM (SELECT ssn, id FROM users) t(a, b)", [""]),
        ("SELECT a FROM (SELECT ssn, id FROM users) t(a)", ["ssn"]),
        ("SELECT id FROM (SELECT ssn, id FROM users) t(a)", [""]),
        ("SELECT name, ssn FROM users AS u(name, a, b, ssn)", ["", "ssn"]),
        ("SELECT name FROM users AS u(a, b, c, name)", ["ssn"]),
        ("SELECT l.s FROM users u, LATERAL (SELECT u.ssn AS s) l", ["ssn"]),
        ("SELECT l.s FROM users u CROSS JOIN LATERAL (SELECT ssn AS s) l", ["ssn"]),
        ("SELECT l.s FROM users u LEFT JOIN LATERAL (SELECT u.ssn AS s) l ON true", ["ssn"]),
        ("SELECT s FROM users AS t(a, b, c, s) TABLESAMPLE bernoulli (10)", ["ssn"]),
        ("SELECT * FROM (VALUES (1, 'x'), (2, (SELECT max(ssn) FROM users))) v", ["", "ssn"]),
        ("SELECT * FROM ONLY users", ["", "", "email", "ssn", "", ""]),
    ],
)
def test_columns_come_through_from(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


def test_a_subquery_that_is_not_lateral_does_not_see_its_siblings() -> None:
    # The server would look further out, and so must the resolver: here to the outer query's clear `ssn`.
    sql = "SELECT (SELECT max(t.s) FROM users u, (SELECT o.ssn AS s) t) FROM other.secrets o"
    assert masked(sql) == [""]
    assert masked("SELECT t.s FROM users u, (SELECT u.ssn AS s) t") == ["?"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM orders o JOIN (SELECT id, ssn FROM users) u USING (id)", ["", "", "", "", "ssn"]),
        ("SELECT ssn, u.ssn, s.ssn FROM users u JOIN other.secrets s USING (ssn)", ["ssn", "ssn", ""]),
        ("SELECT ssn FROM other.secrets s LEFT JOIN users u USING (ssn)", ["ssn"]),
        ("SELECT k.ssn FROM other.secrets s JOIN users u USING (ssn) AS k", ["ssn"]),
        ("SELECT k.* FROM users u JOIN other.secrets s USING (id) AS k", [""]),
        ("SELECT * FROM (SELECT ssn, id FROM users) a NATURAL JOIN other.secrets b", ["ssn", ""]),
        ("SELECT j.a, j.b FROM (users u JOIN orders o ON o.user_id = u.id) AS j(a, b, c, d)", ["", ""]),
        ("SELECT d FROM (users u JOIN orders o ON o.user_id = u.id) AS j(a, b, c, d)", ["ssn"]),
        ("SELECT u.ssn FROM (users u JOIN orders o ON true) AS j", ["?"]),
        ("SELECT x.email FROM products p FULL JOIN users x USING (email)", ["email"]),
        ("SELECT p.email FROM products p FULL JOIN users x USING (email)", [""]),
    ],
)
def test_joins_merge_and_hide_as_the_server_does(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


def test_join_conditions_are_facts() -> None:
    assert facts("SELECT o.id FROM orders o JOIN users u ON u.ssn = o.note") == {"join": "ssn"}
    assert facts("SELECT 1 FROM products p JOIN users u USING (email)") == {"join": "email"}
    assert facts("SELECT 1 FROM (SELECT email FROM products) p NATURAL JOIN users u") == {"join": "email"}
    assert facts("SELECT o.id FROM orders o JOIN users u ON u.id = o.user_id") == {}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM generate_series(1, 3) g", [""]),
        ("SELECT g, o FROM generate_series(1, 3) WITH ORDINALITY AS t(g, o)", ["", ""]),
        ("SELECT * FROM users u, regexp_split_to_table(u.ssn, '-') WITH ORDINALITY p", ["", "", "email", "ssn", "", "", "ssn", ""]),
        ("SELECT * FROM unnest(ARRAY['a', 'b']) AS x", [""]),
        ("SELECT a, b FROM users, unnest(ARRAY[ssn], ARRAY[name]) AS t(a, b)", ["ssn", ""]),
        ("SELECT a FROM unnest((SELECT array_agg(email) FROM users)) AS t(a)", ["email"]),
        ("SELECT uid, contact, label FROM listed(1)", ["", "email", ""]),
        ("SELECT b FROM listed(1) AS t(a, b, c)", ["email"]),
        ("SELECT l.uid, l.label FROM users u, listed(length(u.ssn)) l", ["ssn", "ssn"]),
        ("SELECT a FROM unnest((SELECT array_agg(ssn) FROM users)) WITH ORDINALITY AS t(a, o)", ["ssn"]),
        ("SELECT a FROM users, XMLTABLE(XMLNAMESPACES(ssn AS x), '/a' PASSING '<a/>' COLUMNS a text)", ["ssn"]),
        ("SELECT * FROM ROWS FROM (generate_series(1, 2), listed(1)) AS t(a, b, c, d)", ["", "", "email", ""]),
        ("SELECT ssn, name FROM everyone()", ["ssn", ""]),
        ("SELECT (everyone()).name", ["email+ssn"]),
        ("SELECT x FROM current_setting('a') x", [""]),
        ("SELECT a FROM XMLTABLE('/a' PASSING (SELECT '<a/>'::xml) COLUMNS a text PATH 'b', n FOR ORDINALITY)", [""]),
        ("SELECT a, n FROM users, XMLTABLE('/a' PASSING (ssn::xml) COLUMNS a text PATH 'b', n FOR ORDINALITY)", ["ssn", ""]),
    ],
)  # fmt: skip
def test_functions_in_from_are_lateral_and_name_their_columns(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


def test_what_an_opaque_function_returns_and_how_many_rows_is_anything() -> None:
    verdict = lineage("SELECT a FROM hidden_rows()")
    assert verdict.opaque
    assert masked("SELECT * FROM hidden_rows()") == ["email+ssn", "email+ssn"]
    assert masked("SELECT EXISTS (SELECT 1 FROM hidden_rows())") == ["email+ssn"]
    assert facts("SELECT 1 FROM hidden_rows()")["rows"] == "email+ssn"


def test_set_returning_functions_over_classified_input_tell_by_their_rows() -> None:
    assert facts("SELECT 1 FROM users, regexp_split_to_table(ssn, '-') r")["rows"] == "ssn"
    assert facts("SELECT uid FROM listed(1)") == {}


def test_a_star_over_an_unknown_number_of_columns_is_not_followed() -> None:
    assert masked("SELECT * FROM unnest((SELECT array_agg(u) FROM users u)) x") == ["?"]
    assert masked("SELECT x.city FROM unnest((SELECT array_agg(u) FROM users u)) x") == ["email+ssn"]


def test_a_name_that_may_be_an_unknown_column_has_its_classes_too() -> None:
    sql = "SELECT (SELECT ssn FROM unnest((SELECT array_agg(o.note) FROM orders o)) x) FROM users"
    assert masked(sql) == ["ssn"]
    inner = "SELECT t.name FROM products, LATERAL (SELECT name FROM unnest((SELECT array_agg(u) FROM users u)) x) t"
    assert masked(inner) == ["email+ssn"]


def test_functions_of_one_name_with_different_columns_are_open() -> None:
    more = catalog(function("listed", None, outputs=("uid",), returns_set=True, language="c", volatility="i"))
    assert masked("SELECT contact FROM listed(1)", more) == ["email"]
    assert masked("SELECT * FROM listed(1)", more) == ["?"]


def test_json_table_is_not_followed() -> None:
    assert masked("SELECT * FROM JSON_TABLE('{}', '$' COLUMNS (a int PATH '$.a'))") == ["?"]
