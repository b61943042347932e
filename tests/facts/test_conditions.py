from __future__ import annotations

import pytest

from mcp_gateway.facts.conditions import is_unbounded
from mcp_gateway.facts.parser import parse_tree


def unbounded(where: str, *, not_null: frozenset[str] = frozenset()) -> bool:
    (raw,) = parse_tree(f"DELETE FROM users u USING other o WHERE {where}")
    condition = raw["stmt"]["DeleteStmt"]["whereClause"]
    return is_unbounded(condition, names={"u"}, not_null=not_null)


def test_no_condition_binds_nothing() -> None:
    assert is_unbounded(None, names={"u"})


@pytest.mark.parametrize(
    "where",
    [
        "true", "1 = 1", "'a' = 'a'", "NOT false", "'t'::bool", "true IS TRUE", "id = id", "u.id >= u.id", "id = 5 OR true",
        "id = 5 OR 1 = 1", "(id = 5 OR true) AND 2 = 2", "name LIKE '%'", "name ILIKE '%%'", "id IS NULL OR id IS NOT NULL",
        "id > 5 OR NOT id > 5", "ctid IS NOT NULL", "u.tableoid IS NOT NULL", "EXISTS (SELECT 1)", "now() > '2000-01-01'",
        "$1", "$1 = $1", "random() < 2", "o.id = 5", "NOT (false AND id = 5)", "current_user = 'x'", "1 IN (1, 2)",
        "1 BETWEEN 0 AND 2", "NOT (NOT true)", "EXISTS (SELECT 1 FROM other x WHERE x.id = 5)", "NOT NULL IS NOT NULL",
        "u.id = id", "id <= u.id", "users.u.id = id", "id IN (id)", "id IN (5, u.id)", "NOT id NOT IN (id)", "id BETWEEN id AND u.id",
        "id BETWEEN SYMMETRIC id AND 5", "id IS NOT DISTINCT FROM id", "NOT id IS DISTINCT FROM id", "id = ANY (ARRAY[5, id])",
        "name ~ ''", "name ~* '^.*$'", "NOT name !~ '.*'", "id = 5 OR u.id <> 5", "id < 5 OR name = 'x' OR id >= 5",
        "CASE WHEN id = 5 THEN true ELSE 1 = 1 END", "NOT CASE id WHEN 5 THEN false END", "lower(name) IS NULL OR lower(u.name) IS NOT NULL",
    ],
)  # fmt: skip
def test_a_condition_that_no_row_of_the_target_decides_is_none(where: str) -> None:
    assert unbounded(where)


@pytest.mark.parametrize(
    "where",
    [
        "id = 5", "u.id = 5", "id = $1", "id = 5 OR id = 6", "id = 5 AND true", "name LIKE 'a%'", "name NOT LIKE '%'",
        "id IS NOT NULL", "NOT id = 5", "id IN (1, 2)", "id = ANY ($1)", "u.id = o.id", "false", "1 = 2", "id <> id",
        "id = 5 OR 1 = 2", "NOT true", "CURRENT OF cursor", "u", "active", "id IN (SELECT user_id FROM other)", "NULL",
        "EXISTS (SELECT 1 FROM other x WHERE x.user_id = u.id)", "id > 5 OR NOT name = 'x'", "'f'", "coalesce(id, 1) = 2",
        "random() * id = random() * id", "CASE WHEN id = 5 THEN true END", "ctid IS NULL", "id IS NULL OR name IS NOT NULL",
        "o.id = id", "id IN (o.id)", "id NOT IN (id)", "id BETWEEN id AND 5", "id BETWEEN 5 AND id", "id NOT BETWEEN id AND id",
        "id IS DISTINCT FROM id", "id = ALL (ARRAY[5, id])", "id < ANY (ARRAY[id])", "name ~ 'a.*'", "name ~ id", "name !~ ''", "name = ''",
        "id = 5 OR id <> 6", "id = 5 OR o.id <> 5 AND name = 'x'", "id < 5 OR id > 5", "CASE WHEN id = 5 THEN true ELSE false END",
        "CASE id WHEN 5 THEN true END", "random() * id IN (random() * id)", "id IN (SELECT id FROM other)",
    ],
)  # fmt: skip
def test_a_condition_on_the_targets_columns_binds(where: str) -> None:
    assert not unbounded(where)


def test_a_column_without_nulls_makes_a_null_test_no_condition() -> None:
    not_null = frozenset({"id"})

    assert unbounded("id IS NOT NULL", not_null=not_null)
    assert unbounded("u.id IS NOT NULL", not_null=not_null)
    assert not unbounded("id IS NULL", not_null=not_null)
    assert unbounded("o.id IS NOT NULL", not_null=not_null)
    assert not unbounded("name IS NOT NULL", not_null=not_null)
