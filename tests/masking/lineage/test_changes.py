"""INSERT, UPDATE, DELETE, MERGE: what they return, and what they would move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.masking.lineage.catalogs import RELATIONS, USERS, catalog, facts, lineage, masked, relation


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("INSERT INTO users (id, ssn) VALUES (1, 'x') RETURNING *", ["", "", "email", "ssn", "", ""]),
        ("INSERT INTO users VALUES (1, 'x') RETURNING ssn IS NULL, lower(email), id", ["", "email", ""]),
        ("INSERT INTO users DEFAULT VALUES RETURNING users.ssn", ["ssn"]),
        ("INSERT INTO users (id, ssn) SELECT id, ssn FROM users RETURNING id", [""]),
        ("UPDATE users SET name = 'x' RETURNING ssn, name", ["ssn", ""]),
        ("UPDATE users AS u SET name = 'x' RETURNING u.*", ["", "", "email", "ssn", "", ""]),
        ("UPDATE orders SET note = 'x' FROM users WHERE users.id = user_id RETURNING *", ["", "", "", "", "", "", "email", "ssn", "", ""]),
        ("DELETE FROM users RETURNING ssn", ["ssn"]),
        ("DELETE FROM orders USING users u WHERE u.id = user_id RETURNING orders.id, u.email", ["", "email"]),
        ("UPDATE users SET name = 'x' RETURNING old.ssn, new.name", ["ssn", ""]),
        ("UPDATE users SET name = 'x' RETURNING WITH (OLD AS o, NEW AS n) o.ssn, n.name", ["ssn", ""]),
        ("DELETE FROM orders", []),
    ],
)  # fmt: skip
def test_returning_is_a_select_list(sql: str, expected: list[str]) -> None:
    assert masked(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO products SELECT id, ssn FROM users",
        "INSERT INTO products (email) SELECT email FROM users",
        "INSERT INTO products (id, name) VALUES (1, (SELECT max(ssn) FROM users))",
        "INSERT INTO products (id, name) SELECT id, CASE WHEN ssn LIKE '1%' THEN 'a' END FROM users",
        "INSERT INTO products (id, name) SELECT id, (SELECT 'a' FROM users WHERE ssn LIKE '1%') FROM users",
        "INSERT INTO products SELECT users.* FROM (SELECT id, ssn FROM users) users",
        "INSERT INTO products (name) TABLE contacts",
        "INSERT INTO products (name) SELECT hidden(1)",
        "INSERT INTO users (id, ssn) SELECT id, email FROM users",
        "INSERT INTO users (id, name) VALUES (1, '') ON CONFLICT (id) DO UPDATE SET name = users.ssn",
        "INSERT INTO users (id, ssn) VALUES (1, '') ON CONFLICT (id) DO UPDATE SET name = excluded.ssn",
        "UPDATE users SET name = ssn",
        "UPDATE users SET name = lower(name) || left(ssn, 1)",
        "UPDATE users SET (id, name) = (1, ssn)",
        "UPDATE users SET (id, name) = ROW(1, ssn)",
        "UPDATE users SET (name, id) = (SELECT email, id FROM users LIMIT 1)",
        "UPDATE users SET tags[1] = ssn",
        "UPDATE users SET tags[length(ssn)] = 'x'",
        "UPDATE orders SET note = u.ssn FROM users u WHERE u.id = user_id",
        "MERGE INTO products p USING users u ON p.id = u.id WHEN MATCHED THEN UPDATE SET name = u.ssn",
        "MERGE INTO products p USING users u ON p.id = u.id WHEN NOT MATCHED THEN INSERT VALUES (u.id, u.email)",
        "MERGE INTO products p USING users u ON p.id = u.id WHEN NOT MATCHED THEN INSERT (email) VALUES (u.email)",
        "WITH t AS (INSERT INTO products (name) SELECT ssn FROM users RETURNING 1) SELECT 1",
        "EXPLAIN ANALYZE INSERT INTO products (name) SELECT ssn FROM users",
    ],
)
def test_a_value_may_not_move_to_a_column_without_its_class(sql: str) -> None:
    verdict = lineage(sql)
    assert verdict.refusal is not None
    assert verdict.columns is None


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE users SET ssn = lower(ssn)",
        "UPDATE users SET email = DEFAULT, name = 'x'",
        "INSERT INTO users (id, email, ssn) SELECT id, email, ssn FROM users",
        "INSERT INTO users (id, ssn) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET ssn = excluded.ssn",
        "UPDATE products SET name = u.name FROM users u WHERE u.id = products.id",
        "INSERT INTO products (id, name) SELECT id, name FROM users",
        "MERGE INTO products p USING users u ON p.id = u.id WHEN MATCHED THEN UPDATE SET name = u.name"
        " WHEN NOT MATCHED THEN INSERT (id, name) VALUES (u.id, u.name)",
        "UPDATE archive SET was.name = (SELECT ssn FROM users LIMIT 1)",
    ],
)
def test_a_value_may_move_to_a_column_that_has_its_classes(sql: str) -> None:
    assert lineage(sql).refusal is None


def test_the_reason_says_what_would_move_where() -> None:
    assert lineage("UPDATE users SET name = ssn").refusal == (
        "it would write ssn into public.users.name, which does not have that class"
    )


def test_a_with_entry_is_never_what_is_written_to() -> None:
    sql = "WITH users AS (SELECT 'x' AS ssn) UPDATE users SET name = users.ssn"
    assert lineage(sql).refusal is not None


def test_old_and_new_are_tables_of_that_name_before_postgresql_18() -> None:
    of = catalog(relation("new", "id int4, ssn text"), server_version=150000)
    assert masked("UPDATE users SET name = 'x' FROM new WHERE true RETURNING new.ssn", of) == [""]
    assert lineage("UPDATE users SET name = 'x' RETURNING new.ssn", of).refusal is not None


def test_a_merge_returns_both_sides_with_the_classes_of_both() -> None:
    sql = "MERGE INTO products p USING users u ON p.id = u.id WHEN MATCHED THEN DELETE RETURNING p.id, merge_action()"
    assert masked(sql) == ["email+ssn", "email+ssn"]


@pytest.mark.parametrize("kind", ["triggers", "view", "foreign", "child"])
def test_what_runs_code_on_a_write_is_opaque(kind: str) -> None:
    [orders] = [of for of in RELATIONS if of.name == "orders"]
    more = {
        "triggers": [replace(orders, has_triggers=True)],
        "view": [replace(orders, kind="v", definition="SELECT 1, 2, 3.0, 'x'")],
        "foreign": [replace(orders, kind="f")],
        "child": [relation("old_orders", "id int4", has_triggers=True, parents=("public.orders",))],
    }[kind]
    verdict = lineage("UPDATE orders SET note = 'x' RETURNING id, 1", catalog(*more))
    assert verdict.opaque
    assert verdict.columns is not None
    assert [set(column.classes) for column in verdict.columns] == [{"ssn", "email"}] * 2


def test_errors_of_a_change_may_show_rows_of_what_it_cascades_to() -> None:
    for sql in (
        "DELETE FROM orders",
        "UPDATE orders SET id = 1",
        "INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2",
    ):
        assert lineage(sql).touch == {"ssn", "email"}
    assert lineage("INSERT INTO orders (id) VALUES (1)").touch == frozenset()


def test_conditions_of_a_change_are_facts() -> None:
    assert facts("DELETE FROM users WHERE ssn = '1'") == {"where_equality": "ssn"}
    assert facts("UPDATE orders SET note = 'x' FROM users u WHERE u.email = note") == {"where": "email"}
    assert facts("INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2 WHERE users.ssn = '1'") == {
        "where": "ssn"
    }
    assert facts("INSERT INTO users (id, ssn) VALUES (1, '1') ON CONFLICT (ssn) DO NOTHING") == {
        "where": "ssn",
        "may_fail": "ssn",
    }
    sql = "MERGE INTO orders o USING users u ON o.note = u.email WHEN MATCHED AND u.ssn = '1' THEN DELETE"
    assert facts(sql) == {"join": "email", "condition": "ssn"}


def test_a_change_that_cannot_be_followed_is_refused() -> None:
    for sql in (
        "UPDATE users SET nothing = ssn",
        "INSERT INTO nowhere SELECT ssn FROM users",
        "INSERT INTO users AS u (id) SELECT 1, 2",
        "UPDATE users SET (id, name) = (SELECT 1) ",
        "WITH t AS (DELETE FROM orders RETURNING nothing) SELECT 1",
        "UPDATE users SET name = ssn WHERE CURRENT OF c",
    ):
        assert lineage(sql).refusal is not None, sql


def test_a_generated_column_holds_the_classes_of_what_it_is_made_of() -> None:
    from tests.masking.lineage.catalogs import generated

    of = catalog(generated(USERS, "digits", "replace(ssn, '-'::text, ''::text)"))
    assert masked("UPDATE users SET ssn = 'x' RETURNING digits", of) == ["ssn"]


def test_a_check_of_what_is_assigned_and_what_stays_tells_of_that() -> None:
    members = relation(
        "members",
        "id int4, name text, ssn text, rank int4, nick text",
        checks=("(ssn > name)", "(length(ssn) = 11)"),
        unique_by=("id, rank", "nick, (ssn > '5'::text)"),
    )
    part = relation(
        "part",
        "id int4, name text, ssn text, rank int4",
        parents=("public.members",),
        checks=("((rank < 1) OR (ssn IS NULL) OR (ssn < 'x'))",),
    )
    of = catalog(members, part)
    classify = {"public.members.ssn": "ssn"}

    def told(sql: str) -> set[str]:
        return set(lineage(sql, of, classify=classify).inference.get("may_fail", ()))

    assert told("UPDATE members SET name = 'x' WHERE id = 1") == {"ssn"}
    assert told("UPDATE members SET rank = 1 WHERE id = 1") == {"ssn"}
    assert told("UPDATE members SET id = 2 WHERE id = 1") == set()
    assert told("INSERT INTO members (id, name) VALUES (1, 'x')") == set()
    assert told("UPDATE members SET nick = 'x' WHERE id = 1") == {"ssn"}
    assert told("INSERT INTO members (id, nick) VALUES (1, 'x')") == {"ssn"}
    assert told("INSERT INTO members (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'") == {"ssn"}
    assert told("MERGE INTO members m USING orders o ON m.id = o.id WHEN MATCHED THEN UPDATE SET name = 'x'") == {"ssn"}
