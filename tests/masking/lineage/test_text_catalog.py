"""Without a catalog a text tells by itself which columns are returned and which decide, or says that it does not."""

from __future__ import annotations

import pytest

from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.masking.lineage import uses_by_text


def used(sql: str) -> tuple[str, str] | None:
    found = uses_by_text(parse_tree(sql))
    return None if found is None else (" ".join(sorted(found.returned)), " ".join(sorted(found.conditions)))


@pytest.mark.parametrize(
    ("sql", "returned", "conditions"),
    [
        ("SELECT id FROM users WHERE ssn = '1'", "users.id", "users.ssn"),
        ("SELECT id FROM app.users u WHERE u.ssn = '1'", "app.users.id", "app.users.ssn"),
        ("SELECT * FROM users WHERE ssn = '1'", "users.* users.ssn", "users.ssn"),
        ("TABLE users", "users.*", ""),
        ("SELECT u FROM users u ORDER BY age", "users.* users.age", "users.age"),
        ("SELECT users FROM users", "users.*", ""),
        ("SELECT count(ssn) FROM users GROUP BY city HAVING max(age) > 1", "", "users.age users.city users.ssn"),
        ("SELECT name FROM users JOIN orders ON user_id = users.id", "orders.name users.name",
         "orders.user_id users.id users.user_id"),
        ("SELECT id FROM users JOIN orders USING (id)", "orders.id users.id", "orders.id users.id"),
        ("SELECT x FROM (SELECT * FROM users) s", "users.x", ""),
        ("SELECT s.x FROM (SELECT ssn AS x, id AS y FROM users) s WHERE s.y = 1", "users.ssn", "users.id"),
        ("WITH s AS (SELECT id, ssn FROM users WHERE age > 1) SELECT id FROM s", "users.id", "users.age"),
        ("WITH users AS (SELECT 1 AS id) SELECT id FROM users", "", ""),
        ("SELECT u.id FROM users u WHERE EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id)", "users.id",
         "orders.user_id users.id"),
        ("SELECT DISTINCT lower(name) FROM users", "users.name", "users.name"),
        ("SELECT 1 FROM users, generate_series(1, users.age)", "", "users.age"),
        ("SELECT ctid FROM users", "", ""),
        ("SELECT relname FROM pg_class WHERE oid = 1", "pg_class.relname", "pg_class.oid"),
        ("INSERT INTO orders (id, note) SELECT id, ssn FROM users WHERE age > 1", "users.id users.ssn", "users.age"),
        ("INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET note = excluded.note", "orders.note", "orders.id"),
        ("UPDATE users SET name = 'x' WHERE id = 1 RETURNING ssn", "users.ssn", "users.id"),
        ("UPDATE users SET (a, b) = (c, 1) WHERE id = 1", "users.c", "users.id"),
        ("DELETE FROM users WHERE ssn = '1'", "", "users.ssn"),
        ("MERGE INTO o USING u ON o.k = u.id WHEN MATCHED AND u.age > 1 THEN UPDATE SET note = u.name "
         "WHEN NOT MATCHED THEN INSERT (k) VALUES (u.id)", "u.id u.name", "o.k u.age u.id"),
        ("EXPLAIN SELECT id FROM users WHERE ssn = '1'", "users.id", "users.ssn"),
        ("SELECT 1", "", ""),
    ],
)  # fmt: skip
def test_a_text_tells_as_far_as_it_goes(sql: str, returned: str, conditions: str) -> None:
    assert used(sql) == (returned, conditions)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM users NATURAL JOIN orders",
        "SELECT id FROM users u (a, b)",
        "SELECT id FROM users WHERE id IN (SELECT user_id FROM orders)",
        "SELECT (SELECT max(x) FROM orders) FROM users",
        "SELECT id FROM users, LATERAL (SELECT total FROM orders) o",
        "SELECT own(id) FROM users",
        "SELECT app.lower(id) FROM users",
        "SELECT nextval('s') FROM users",
        "SELECT id FROM db.app.users",
        "SELECT x.id FROM users",
        "SELECT key FROM json_each((SELECT doc FROM users))",
        "TRUNCATE users",
    ],
)
def test_what_a_text_leaves_open_may_be_both(sql: str) -> None:
    assert used(sql) is None
