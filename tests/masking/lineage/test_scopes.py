"""Names: which column, row or function they mean."""

from __future__ import annotations

import pytest

from tests.masking.lineage.catalogs import CLASSIFY, catalog, function, joined, lineage, masked, relation


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT ssn, id FROM users", ["ssn", ""]),
        ("SELECT u.ssn, users.id FROM users u, users", ["ssn", ""]),
        ("SELECT public.users.ssn FROM users", ["ssn"]),
        ("SELECT anydb.public.users.ssn FROM users", ["ssn"]),
        ("SELECT other.users.ssn FROM other.users", [""]),
        ("SELECT other.users.ssn, public.users.ssn FROM other.users, public.users", ["", "ssn"]),
        ('SELECT "ssn" AS "\u0455sn" FROM users', ["ssn"]),
    ],
)
def test_a_column_is_found_by_every_way_of_naming_it(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


def test_an_alias_hides_the_name_of_the_table() -> None:
    assert masked("SELECT o.ssn FROM users AS u(ssn, b, c, d), other.secrets AS o") == [""]
    assert masked("SELECT public.users.ssn FROM users AS u") == ["?"]


def test_a_bare_name_is_a_column_of_an_outer_scope_before_it_is_a_whole_row() -> None:
    # Inside, `ssn` is the alias of a row of products and the outer column at once: the column wins.
    assert masked("SELECT (SELECT ssn FROM products AS ssn LIMIT 1) FROM users") == ["ssn"]
    assert masked("SELECT (SELECT users FROM products LIMIT 1) FROM users") == ["email+ssn"]


def test_the_nearest_scope_that_has_the_column_wins() -> None:
    assert masked("SELECT (SELECT o.ssn FROM other.secrets o LIMIT 1) FROM users o") == [""]
    assert masked("SELECT (SELECT ssn FROM other.secrets LIMIT 1) FROM users") == [""]
    assert masked("SELECT (SELECT ssn FROM orders LIMIT 1) FROM users") == ["ssn"]


@pytest.mark.parametrize("column", ["tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"])
def test_a_system_column_is_clear(column: str) -> None:
    assert masked(f"SELECT {column}, users.{column} FROM users") == ["", ""]


def test_a_derived_table_may_give_its_column_the_name_of_a_system_column() -> None:
    assert masked("SELECT ctid, t.ctid FROM (SELECT ssn AS ctid FROM users) t") == ["ssn", "ssn"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT u FROM users u", ["email+ssn"]),
        ("SELECT u.* FROM users u", ["", "", "email", "ssn", "", ""]),
        ("SELECT (u).* FROM users u", ["", "", "email", "ssn", "", ""]),
        ("SELECT (u).ssn, (u).id FROM users u", ["ssn", ""]),
        ("SELECT ((SELECT u)).ssn FROM users u", ["ssn"]),
        ("SELECT row_to_json(u) FROM users u", ["email+ssn"]),
        ("SELECT row_to_json(u.*) FROM users u", ["email+ssn"]),
        ("SELECT u::text, ROW(u.*) FROM users u", ["email+ssn", "email+ssn"]),
        ("SELECT (ROW(id, ssn)).f1, (ROW(id, ssn)).f2 FROM users", ["", "ssn"]),
        ("SELECT t FROM (SELECT id FROM users) t", [""]),
        ("SELECT was FROM archive", ["email+ssn"]),
        ("SELECT (t).x FROM (SELECT id AS x, ssn AS x FROM users) t", ["ssn"]),
        ("SELECT (was).ssn FROM archive", ["email+ssn"]),
    ],
)
def test_a_whole_row_is_the_union_of_its_columns_and_its_fields_are_columns(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


def test_a_row_keeps_the_field_names_of_its_type_whatever_the_alias_list_says() -> None:
    # The server finds `ssn` in the type users, where it is the fourth column, not the first as in the list.
    sql = "SELECT ((SELECT x)).ssn, x.ssn FROM users AS x(ssn, a, b, id)"
    assert masked(sql) == ["email+ssn", ""]


@pytest.mark.parametrize("call", ["sec(u)", "u.sec", "(u).sec", "((SELECT u)).sec"])
def test_a_field_that_is_no_column_is_a_function_of_the_row(call: str) -> None:
    assert masked(f"SELECT {call} FROM users u") == ["email+ssn"]


def test_a_column_comes_before_the_function_of_its_name() -> None:
    with_function = catalog(function("note"))
    assert masked("SELECT orders.note, (o).note FROM orders, orders o", with_function) == ["", ""]


def test_a_function_behind_a_field_is_seen_where_the_fields_are_not_known() -> None:
    verdict = lineage("SELECT ((SELECT x)).hidden FROM users AS x(a, b)")
    assert verdict.refusal is not None


def test_what_nothing_has_is_not_followed() -> None:
    for sql in (
        "SELECT nothing FROM users",
        "SELECT users.nothing FROM users",
        "SELECT nobody.ssn FROM users",
        "SELECT 1 FROM nowhere",
        "SELECT nobody.* FROM users",
    ):
        assert masked(sql) == ["?"]


def test_names_resolve_by_the_path_with_pg_catalog_first() -> None:
    fake = catalog(relation("public.pg_class", "oid oid, relname text, relpartbound text"))
    assert masked("SELECT relpartbound FROM pg_class", fake) == ["email+ssn"]
    assert masked("SELECT relpartbound FROM public.pg_class", fake) == [""]


def test_a_path_that_names_pg_catalog_last_is_honoured() -> None:
    from dataclasses import replace

    fake = replace(
        catalog(relation("public.pg_class", "oid oid, relname text, relpartbound text")),
        search_path=("public", "pg_catalog"),
    )
    assert masked("SELECT relpartbound FROM pg_class", fake) == [""]


def test_the_verdict_names_the_columns_as_the_server_does() -> None:
    verdict = lineage(
        "SELECT ssn, id AS a, upper(name), name::text, 1, CASE WHEN true THEN 1 END, (SELECT id FROM orders), u.sec, *"
        " FROM users u"
    )
    assert verdict.columns is not None
    assert [column.name for column in verdict.columns][:8] == [
        "ssn", "a", "upper", "name", "?column?", "case", "id", "sec",
    ]  # fmt: skip
    assert verdict.relations == {"public.users", "public.orders"}
    assert verdict.functions == {"public.sec"}
    assert joined(verdict.touch) == joined(CLASSIFY.values())
