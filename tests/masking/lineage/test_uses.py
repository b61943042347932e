"""Which columns a statement returns, and which only decide over what it returns."""

from __future__ import annotations

import pytest

from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.masking.lineage import ClassifiedCatalog, follow, prepare
from mcp_gateway.masking.lineage.resolver import Resolver
from tests.masking.lineage.catalogs import catalog, generated, relation

OF_HAND = catalog(
    relation("young", "id int4, label text", "v", definition="SELECT id, name FROM public.users WHERE age < 40;"),
    relation("again", "id int4, label text", "v", definition="SELECT young.id, young.label FROM public.young;"),
    relation("odd", "id int4", "v", definition="this is no SQL"),
    relation("kept", "id int4, tax text", "m", definition="SELECT id, ssn FROM public.users;"),
    relation("events", "id int4, actor text", "p"),
    relation("events_1", "id int4, actor text", parents=("public.events",)),
    relation("guarded", "id int4, owner text, note text", policies=("(owner = 'x'::text)",)),
    relation("guarded_oddly", "id int4, note text", policies=("this is no SQL",)),
    relation("watched", "id int4, note text", has_triggers=True),
    relation("far", "id int4, note text", "f"),
    generated(relation("bills", "id int4, iban text"), "tail", "lower(iban)"),
    generated(relation("whole", "id int4, iban text", "p"), "tail", "lower(iban)"),
    generated(relation("part", "id int4, iban text, own text", parents=("public.whole",)), "tail", "upper(own)"),
)
CATALOG = prepare(OF_HAND, {})
EVERYTHING = ("?", "?")
NAMES = ", ".join(f"c{number}" for number in range(201))
TURNED = ", ".join(f"c{number}" for number in (*range(1, 201), 0))
"""Columns that change places from round to round, more than anybody follows."""


def used(sql: str, of: ClassifiedCatalog = CATALOG) -> tuple[str, str]:
    """The columns that are returned, and those in conditions, without `public.`; `?` for those of all that are named."""
    found = follow(parse_tree(sql), of).uses
    return EVERYTHING if found is None or not found.apart else (shown(found.returned), shown(found.conditions))


def shown(columns: frozenset[str]) -> str:
    return " ".join(sorted(column.removeprefix("public.") for column in columns))


@pytest.mark.parametrize(
    ("sql", "returned", "conditions"),
    [
        ("SELECT id FROM users WHERE ssn = '1'", "users.id", "users.ssn"),
        ("SELECT id FROM users WHERE ssn IS NULL", "users.id", "users.ssn"),
        ("SELECT id, ssn FROM users", "users.id users.ssn", ""),
        ("SELECT ssn FROM users WHERE ssn = '1'", "users.ssn", "users.ssn"),
        ("SELECT id FROM users GROUP BY id HAVING max(ssn) > '5'", "users.id", "users.id users.ssn"),
        ("SELECT count(*) FROM users GROUP BY ssn", "", "users.ssn"),
        ("SELECT count(*) FROM users GROUP BY GROUPING SETS ((ssn), ())", "", "users.ssn"),
        ("SELECT id FROM users ORDER BY age LIMIT 1", "users.id", "users.age"),
        ("SELECT id AS x FROM users ORDER BY x", "users.id", "users.id"),
        ("SELECT id FROM users ORDER BY 1", "users.id", "users.id"),
        ("SELECT DISTINCT name FROM users", "users.name", "users.name"),
        ("SELECT DISTINCT ON (age) name FROM users", "users.name", "users.age"),
        ("SELECT id FROM users LIMIT (SELECT max(age) FROM users)", "users.id", "users.age"),
        ("SELECT u.name FROM users u JOIN orders o ON o.user_id = u.id", "users.name", "orders.user_id users.id"),
        ("SELECT id FROM users JOIN products USING (id)", "products.id users.id", "products.id users.id"),
        ("SELECT users.age FROM users JOIN products USING (id)", "users.age", "products.id users.id"),
        ("SELECT total FROM orders NATURAL JOIN other.secrets", "orders.total", "orders.id other.secrets.id"),
        ("SELECT id FROM users UNION ALL SELECT user_id FROM orders", "orders.user_id users.id", ""),
        (
            "SELECT id FROM users EXCEPT SELECT user_id FROM orders",
            "orders.user_id users.id",
            "orders.user_id users.id",
        ),
        ("SELECT 1 FROM users, generate_series(1, users.age)", "", "users.age"),
    ],
)
def test_what_decides_which_rows_there_are_is_apart(sql: str, returned: str, conditions: str) -> None:
    assert used(sql) == (returned, conditions)


@pytest.mark.parametrize(
    ("sql", "returned", "conditions"),
    [
        ("SELECT CASE WHEN ssn = '1' THEN name END FROM users", "users.name users.ssn", "users.ssn"),
        ("SELECT ssn LIKE '1%' FROM users", "users.ssn", "users.ssn"),
        ("SELECT ssn IS NULL FROM users", "users.ssn", "users.ssn"),
        ("SELECT CASE WHEN ssn IS NULL THEN id ELSE age END FROM users", "users.age users.id users.ssn", "users.ssn"),
        ("SELECT sum(age) FILTER (WHERE ssn = '1') FROM users", "users.age users.ssn", "users.ssn"),
        ("SELECT string_agg(name, ',' ORDER BY age) FROM users", "users.age users.name", "users.age"),
        (
            "SELECT rank() OVER (PARTITION BY name ORDER BY age) FROM users",
            "users.age users.name",
            "users.age users.name",
        ),
        ("SELECT max(id) OVER w FROM users WINDOW w AS (ORDER BY age)", "users.age users.id", "users.age"),
        ("SELECT EXISTS (SELECT 1 FROM orders WHERE note = 'x')", "orders.note", "orders.note"),
        ("SELECT id IN (SELECT user_id FROM orders) FROM users", "orders.user_id users.id", "orders.user_id users.id"),
        ("SELECT (SELECT max(note) FROM orders WHERE total > 1)", "orders.note orders.total", "orders.total"),
        ("SELECT generate_series(1, age) FROM users", "users.age", "users.age"),
    ],
)
def test_what_decides_which_value_it_is_may_be_both(sql: str, returned: str, conditions: str) -> None:
    assert used(sql) == (returned, conditions)


@pytest.mark.parametrize(
    ("sql", "returned", "conditions"),
    [
        ("SELECT count(ssn) FROM users", "", "users.ssn"),
        ("SELECT count(DISTINCT ssn) FROM users", "", "users.ssn"),
        ("SELECT count(nullif(ssn, '1')) FROM users", "users.ssn", "users.ssn"),
        ("SELECT count(*) FROM users", "", ""),
    ],
)
def test_how_many_values_there_are_is_not_the_value(sql: str, returned: str, conditions: str) -> None:
    assert used(sql) == (returned, conditions)


@pytest.mark.parametrize(
    ("sql", "returned", "conditions"),
    [
        ("SELECT id FROM (SELECT id, ssn FROM users) s", "users.id", ""),
        ("SELECT id FROM (SELECT id, ssn FROM users) s WHERE ssn = '1'", "users.id", "users.ssn"),
        ("SELECT x FROM (SELECT id, ssn FROM users) s (y, x) ORDER BY y", "users.ssn", "users.id"),
        ("WITH s AS (SELECT id, ssn FROM users WHERE age > 1) SELECT id FROM s", "users.id", "users.age"),
        ("WITH s AS (SELECT 1 FROM users WHERE age > 1) SELECT 2", "", "users.age"),
        ("WITH RECURSIVE r (a, b) AS (SELECT name, email FROM users UNION ALL SELECT b, a FROM r) SELECT a FROM r",
         "users.email users.name", ""),
        ("SELECT o.x FROM users u, LATERAL (SELECT u.ssn AS x) o", "users.ssn", ""),
        ("SELECT u FROM orders, LATERAL (SELECT total FROM users) u", "orders.total", ""),
        ("SELECT name FROM users WHERE id IN (SELECT user_id FROM orders WHERE total > 1)",
         "users.name", "orders.total orders.user_id users.id"),
        ("SELECT orders FROM orders", "orders.id orders.note orders.total orders.user_id", ""),
        ("SELECT total FROM orders o WHERE o IS NULL", "orders.total", "orders.id orders.note orders.total orders.user_id"),
        ("SELECT (was).ssn FROM archive", "archive.was", ""),
        ("SELECT 1 FROM (SELECT ssn::int AS x FROM users OFFSET 0) s", "", "users.ssn"),
    ],
)  # fmt: skip
def test_columns_are_followed_through_what_a_statement_is_made_of(sql: str, returned: str, conditions: str) -> None:
    assert used(sql) == (returned, conditions)


@pytest.mark.parametrize(
    ("sql", "returned", "conditions"),
    [
        ("SELECT id FROM young", "users.id young.id", "users.age"),
        ("SELECT 1 FROM young", "", "users.age"),
        ("SELECT label FROM again WHERE id = 1", "again.label users.name young.label",
         "again.id users.age users.id young.id"),
        ("SELECT tax FROM kept", "kept.tax", ""),
        ("SELECT actor FROM events", "events.actor", ""),
        ("SELECT actor FROM events_1 WHERE id = 1", "events.actor events_1.actor", "events.id events_1.id"),
        ("SELECT note FROM guarded", "guarded.note", "guarded.owner"),
        ("SELECT tail FROM bills", "bills.iban bills.tail", ""),
        ("SELECT 1 FROM bills ORDER BY tail", "", "bills.iban bills.tail"),
        ("SELECT tail FROM whole", "part.own whole.iban whole.tail", ""),
        ("SELECT tail FROM part", "part.own part.tail whole.tail", ""),
        ("SELECT note FROM far WHERE id = 1", "far.note", "far.id"),
        ("SELECT relname FROM pg_class WHERE oid = 1", "pg_catalog.pg_class.relname", "pg_catalog.pg_class.oid"),
        ("SELECT ssn_of(1)", "users.id users.ssn", "users.id"),
        ("SELECT contact FROM listed(1)", "users.email users.id", "users.id"),
    ],
)  # fmt: skip
def test_columns_are_followed_through_what_the_catalog_knows(sql: str, returned: str, conditions: str) -> None:
    assert used(sql) == (returned, conditions)


@pytest.mark.parametrize("order", [("whole", "part"), ("part", "whole")])
def test_it_makes_no_difference_which_relation_is_met_first(order: tuple[str, str]) -> None:
    fresh = prepare(OF_HAND, {})
    found = {name: used(f"SELECT tail FROM {name}", fresh)[0] for name in order}
    assert found == {"whole": "part.own whole.iban whole.tail", "part": "part.own part.tail whole.tail"}


@pytest.mark.parametrize(
    ("sql", "returned", "conditions"),
    [
        ("INSERT INTO orders (id, note) VALUES (1, 'x')", "", ""),
        ("INSERT INTO orders (id, note) SELECT id, ssn FROM users WHERE age > 1", "users.id users.ssn", "users.age"),
        ("INSERT INTO orders (id) VALUES (1) RETURNING note", "orders.note", ""),
        ("INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET note = orders.note WHERE orders.total > 1",
         "orders.note", "orders.id orders.total"),
        ("INSERT INTO orders (note) VALUES ('x') ON CONFLICT DO NOTHING", "",
         "orders.id orders.note orders.total orders.user_id"),
        ("INSERT INTO orders (note) VALUES ('x') ON CONFLICT ON CONSTRAINT c DO UPDATE SET total = 1", "",
         "orders.id orders.note orders.total orders.user_id"),
        ("UPDATE users SET name = 'x' WHERE id = 1", "", "users.id"),
        ("UPDATE users SET name = ssn WHERE id = 1", "users.ssn", "users.id"),
        ("UPDATE users SET (name, email) = (SELECT note, 'x' FROM orders WHERE total = 1)",
         "orders.note orders.total", "orders.total"),
        ("UPDATE users SET name = email RETURNING id", "users.email users.id", ""),
        ("DELETE FROM users WHERE ssn = '1'", "", "users.ssn"),
        ("DELETE FROM orders USING users u WHERE u.id = user_id RETURNING note", "orders.note", "orders.user_id users.id"),
        ("MERGE INTO orders o USING users u ON o.user_id = u.id WHEN MATCHED AND u.age > 1 THEN UPDATE SET note = u.name",
         "users.name", "orders.user_id users.age users.id"),
        ("WITH d AS (DELETE FROM users WHERE age = 1 RETURNING ssn) SELECT count(*) FROM d", "", "users.age"),
        ("CREATE TABLE x AS SELECT ssn FROM users WHERE age = 1", "users.ssn", "users.age"),
        ("SELECT ssn INTO x FROM users WHERE age = 1", "users.ssn", "users.age"),
        ("COPY (SELECT id FROM users WHERE ssn = '1') TO '/x'", "users.id", "users.ssn"),
        ("EXPLAIN ANALYZE SELECT id FROM users WHERE ssn = '1'", "users.id", "users.ssn"),
        ("DECLARE c CURSOR FOR SELECT id FROM users WHERE ssn = '1'", "users.id", "users.ssn"),
        ("PREPARE p AS SELECT id FROM users WHERE ssn = $1", "users.id", "users.ssn"),
        ("SHOW all", "", ""),
    ],
)  # fmt: skip
def test_what_is_written_somewhere_counts_as_returned(sql: str, returned: str, conditions: str) -> None:
    assert used(sql) == (returned, conditions)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT hidden(id) FROM orders",
        "SELECT name FROM users WHERE hidden(id) = 'x'",
        "SELECT pg_notify('x', ssn) FROM users",
        "SELECT id FROM odd",
        "SELECT note FROM guarded_oddly",
        "SELECT id FROM no_such_table",
        "SELECT no_such_column FROM users",
        "UPDATE watched SET note = 'x' WHERE id = 1",
        "UPDATE young SET label = 'x' WHERE id = 1",
        "COPY users TO '/x'",
        "COPY users FROM '/x'",
        "TRUNCATE users",
        "CREATE VIEW v AS SELECT ssn FROM users",
        "EXPLAIN EXECUTE x",
        "SELECT 1; SELECT ssn FROM users",
        "",
        f"WITH RECURSIVE r ({NAMES}) AS (SELECT ssn, {'1, ' * 199} 1 FROM users UNION ALL SELECT {TURNED} FROM r) TABLE r",
    ],
)
def test_what_is_not_followed_may_be_both(sql: str) -> None:
    assert used(sql) == EVERYTHING


def test_what_columns_are_generated_from_is_known_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = prepare(OF_HAND, {})
    with monkeypatch.context() as patch:
        patch.setattr(Resolver, "computed", broken)
        with pytest.raises(MemoryError):
            fresh.columns.of("public.bills")
    assert used("SELECT tail FROM bills", fresh)[0] == "bills.iban bills.tail"


def broken(*_: object) -> None:
    raise MemoryError
