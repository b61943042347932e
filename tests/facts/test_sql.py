from __future__ import annotations

import pytest

from mcp_gateway.facts.catalog import Catalog, Column, Relation
from mcp_gateway.facts.parser import MAX_SQL_BYTES, SQLSyntaxError
from mcp_gateway.facts.sql import examine_sql
from mcp_gateway.facts.sql_statements import EMPTY, SESSION_FUNCTION


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        ("WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x", "SELECT DELETE"),
        ("WITH x AS (INSERT INTO a VALUES (1)), y AS (UPDATE b SET c = 1) MERGE INTO d USING e ON true WHEN MATCHED THEN DELETE",
         "INSERT UPDATE MERGE"),
        ("WITH x AS (WITH y AS (DELETE FROM a RETURNING *) SELECT * FROM y) SELECT * FROM x", "SELECT DELETE"),
        ("WITH x AS (SELECT 1) DELETE FROM a", "DELETE"),
        ("INSERT INTO a SELECT * FROM b", "INSERT"),
        ("SELECT * INTO a FROM b", "SELECT_INTO"),
        ("SELECT 1 INTO a UNION SELECT 2", "SELECT_INTO"),
        ("CREATE TABLE a AS SELECT 1", "CREATE SELECT"),
        ("CREATE MATERIALIZED VIEW a AS SELECT 1", "CREATE SELECT"),
        ("CREATE TABLE a AS EXECUTE b", "CREATE EXECUTE"),
        ("CREATE VIEW a AS SELECT 1", "CREATE"),
        ("CREATE RULE r AS ON DELETE TO a DO INSTEAD (UPDATE b SET c = 1; INSERT INTO d VALUES (1))", "CREATE UPDATE INSERT"),
        ("CREATE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM a; END", "CREATE DELETE"),
        ("CREATE SCHEMA a CREATE TABLE b (c int) GRANT SELECT ON b TO d", "CREATE GRANT"),
        ("EXPLAIN SELECT 1", "EXPLAIN SELECT"),
        ("EXPLAIN ANALYZE DELETE FROM a", "EXPLAIN DELETE"),
        ("EXPLAIN ANALYZE CREATE TABLE a AS SELECT 1", "EXPLAIN CREATE"),
        ("EXPLAIN EXECUTE a", "EXPLAIN EXECUTE"),
        ("EXPLAIN WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x", "EXPLAIN SELECT DELETE"),
        ("COPY (SELECT 1) TO STDOUT", "COPY SELECT"),
        ("COPY (WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x) TO STDOUT", "COPY SELECT DELETE"),
        ("PREPARE a AS DELETE FROM b", "PREPARE DELETE"),
        ("DECLARE a CURSOR FOR SELECT 1", "DECLARE SELECT"),
        ("SELECT 1; DROP TABLE a; COMMIT", "SELECT DROP COMMIT"),
    ],
)  # fmt: skip
def test_kinds_are_those_of_nested_statements_too(sql: str, kinds: str) -> None:
    assert examine_sql(sql, catalog=None).facts.kinds == set(kinds.split())


@pytest.mark.parametrize(
    ("sql", "reads", "writes"),
    [
        ("SELECT * FROM a.b, c JOIN d ON true", "a.b c d", ""),
        ("SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE c IN (TABLE d))", "a b d", ""),
        ("SELECT * FROM generate_series(1, 2), (SELECT * FROM a) x, LATERAL (SELECT * FROM b) y", "a b", ""),
        ("WITH users AS (SELECT * FROM users) SELECT * FROM users", "users", ""),
        ("WITH RECURSIVE users AS (SELECT * FROM users) SELECT * FROM users", "", ""),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM b", "b", ""),
        ("WITH a AS (SELECT 1) SELECT * FROM public.a, a", "public.a", ""),
        ("WITH a AS (SELECT 1) SELECT * FROM (WITH b AS (TABLE a) TABLE b) x, b", "b", ""),
        ("WITH a AS (SELECT 1) (SELECT * FROM a) UNION (SELECT * FROM b)", "b", ""),
        ("WITH a AS (SELECT 1) DELETE FROM a WHERE b = 1", "a", "a"),
        ("WITH a AS (SELECT 1) INSERT INTO a SELECT * FROM a", "", "a"),
        ("WITH a AS (SELECT 1) UPDATE b SET c = a.d FROM a", "b", "b"),
        ("INSERT INTO a VALUES (1)", "", "a"),
        ("INSERT INTO a SELECT * FROM b RETURNING *", "a b", "a"),
        ("INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET c = a.c + 1", "a", "a"),
        ("INSERT INTO a VALUES (1) ON CONFLICT DO NOTHING", "", "a"),
        ("UPDATE a.b SET c = 1", "", "a.b"),
        ("UPDATE a SET c = d", "a", "a"),
        ("UPDATE a SET c = 1 FROM b WHERE a.id = b.id", "a b", "a"),
        ("DELETE FROM a", "", "a"),
        ("DELETE FROM a USING b WHERE a.id = b.id", "a b", "a"),
        ("MERGE INTO a USING (SELECT * FROM b) c ON true WHEN MATCHED THEN DELETE", "a b", "a"),
        ("EXPLAIN DELETE FROM a WHERE b IN (TABLE c)", "a c", ""),
        ("EXPLAIN ANALYZE DELETE FROM a WHERE b IN (TABLE c)", "a c", "a"),
        ("EXPLAIN SELECT * INTO a FROM b", "b", ""),
        ("EXPLAIN CREATE TABLE a AS SELECT * FROM b", "b", ""),
        ("EXPLAIN ANALYZE CREATE TABLE a AS SELECT * FROM b", "b", "a"),
        ("COPY a FROM STDIN", "", "a"),
        ("COPY a TO STDOUT", "a", ""),
        ("COPY (TABLE a) TO PROGRAM 'x'", "a", ""),
        ("SELECT * INTO a.b FROM c", "c", "a.b"),
        ("CREATE VIEW a AS SELECT * FROM b", "b", ""),
        ("CREATE RULE r AS ON DELETE TO a DO DELETE FROM b WHERE c = old.c", "b", "b"),
        ("PREPARE x AS UPDATE a SET b = 1", "", "a"),
        ("DROP TABLE a, b.c", "", "a b.c"),
        ('SELECT * FROM "A.b"."c" , Users', '"A.b".c users', ""),
        ("SELECT * FROM db.a.b", "db.a.b", ""),
        ("SELECT * FROM a TABLESAMPLE system (1), ONLY b", "a b", ""),
        ("DO 'DELETE FROM a'", "", ""),
    ],
)
def test_reads_and_writes_are_real_relations_as_the_text_has_them(sql: str, reads: str, writes: str) -> None:
    facts = examine_sql(sql, catalog=None).facts

    assert (sorted(facts.reads), sorted(facts.writes)) == (reads.split(), writes.split())


def test_functions_are_as_written_and_lower_case() -> None:
    facts = examine_sql(
        "SELECT COUNT(*), \"MyFunc\"(1), app.Touch(2), U&\"\\0073etval\"('s', 1), a AT TIME ZONE 'UTC'", catalog=None
    ).facts

    assert facts.functions == {"count", "myfunc", "app.touch", "setval", "pg_catalog.timezone"}


def test_what_was_called_keeps_its_case_for_looking_it_up() -> None:
    assert examine_sql('SELECT app."Touch"(u), u.name', catalog=None).called == {"Touch", "name"}


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT name FROM users", "users.name"),
        ("SELECT name FROM app.users WHERE id = 1 ORDER BY created", "app.users.created app.users.id app.users.name"),
        ("SELECT u.name, o.total FROM users u, app.orders AS o", "app.orders.total users.name"),
        ("SELECT app.users.name FROM app.users", "app.users.name"),
        ("SELECT name FROM users, orders", ""),
        ("SELECT * FROM users u JOIN orders USING (id)", "orders.* orders.id users.* users.id"),
        ("SELECT u FROM users u", "users.*"),
        ("SELECT u.name FROM users u(id, name)", ""),
        ("SELECT x.a FROM (SELECT name AS a FROM users) x", "users.name"),
        ("SELECT a FROM (SELECT name AS a FROM users) x, orders", "users.name"),
        ("SELECT name FROM users WHERE id IN (SELECT user_id FROM orders)", "users.id users.name"),
        ("SELECT name AS x FROM users ORDER BY x", "users.name"),
        ("WITH u AS (SELECT name FROM users) SELECT u.name FROM u", "users.name"),
        ("SELECT x.id FROM (users u JOIN orders o ON u.id = o.id) x", "orders.id users.id"),
        ("UPDATE users SET name = 'x' WHERE id = 1 RETURNING old.email", "users.email users.id users.name"),
        (
            "INSERT INTO users (name) VALUES ('x') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            "users.id users.name",
        ),
        ("MERGE INTO a USING b ON a.x = b.y WHEN MATCHED THEN UPDATE SET c = b.d", "a.c a.x b.d b.y"),
        ("SELECT 1", ""),
    ],
)
def test_columns_are_those_that_can_be_proved(sql: str, columns: str) -> None:
    assert sorted(examine_sql(sql, catalog=None).facts.columns) == columns.split()


SHOP = Catalog(
    server_version=150018,
    search_path=("app", "public"),
    relations={
        f"{schema}.{name}": Relation(
            oid=20000 + number,
            schema=schema,
            name=name,
            kind="r",
            columns=tuple(
                Column(name=column, type="pg_catalog.text", not_null=column == "id") for column in columns.split()
            ),
        )
        for number, (schema, name, columns) in enumerate(
            [
                ("public", "users", "id name email"),
                ("app", "users", "id name"),
                ("public", "orders", "id user_id total"),
            ]
        )
    },
)


@pytest.mark.parametrize(
    ("sql", "reads", "columns"),
    [
        ("SELECT name FROM users", "app.users", "app.users.name"),
        ("SELECT email FROM users", "app.users", ""),
        ("SELECT * FROM public.users", "public.users", "public.users.email public.users.id public.users.name"),
        ("SELECT name, total FROM users, orders", "app.users public.orders", "app.users.name public.orders.total"),
        ("SELECT (SELECT total FROM orders WHERE user_id = name) FROM users", "app.users public.orders",
         "app.users.name public.orders.total public.orders.user_id"),
        ("SELECT b FROM users u(a, b)", "app.users", "app.users.name"),
        ("SELECT u FROM users u", "app.users", "app.users.id app.users.name"),
        ("SELECT app.users.id FROM users", "app.users", "app.users.id"),
        ("SELECT * FROM nowhere", "nowhere", "nowhere.*"),
    ],
)  # fmt: skip
def test_with_a_catalog_names_are_resolved_along_the_path(sql: str, reads: str, columns: str) -> None:
    facts = examine_sql(sql, catalog=SHOP).facts

    assert (sorted(facts.reads), sorted(facts.columns)) == (reads.split(), columns.split())


@pytest.mark.parametrize(
    ("sql", "unbounded"),
    [
        ("DELETE FROM a", True),
        ("UPDATE a SET b = 1", True),
        ("UPDATE a SET b = 1 WHERE true", True),
        ("DELETE FROM a x WHERE x.id = x.id", True),
        ("DELETE FROM a x USING b WHERE b.id = 1", True),
        ("WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x WHERE id = 1", True),
        ("EXPLAIN ANALYZE DELETE FROM a", True),
        ("PREPARE x AS DELETE FROM a", True),
        ("MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE", True),
        ("MERGE INTO a USING b ON a.id = b.id WHEN NOT MATCHED BY SOURCE THEN DELETE", True),
        ("MERGE INTO a USING b ON b.id = 1 WHEN MATCHED THEN UPDATE SET c = 1", True),
        ("DELETE FROM a WHERE id = 1", False),
        ("UPDATE a SET b = 1 WHERE c", False),
        ("EXPLAIN DELETE FROM a", False),
        ("MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE", False),
        ("MERGE INTO a USING b ON true WHEN MATCHED AND a.id = 1 THEN DELETE", False),
        ("MERGE INTO a USING b ON true WHEN NOT MATCHED THEN INSERT VALUES (1)", False),
        ("INSERT INTO a SELECT * FROM b", False),
        ("SELECT * FROM a", False),
        ("TRUNCATE a", False),
    ],
)
def test_an_update_or_delete_that_nothing_binds_is_unbounded(sql: str, unbounded: bool) -> None:
    assert examine_sql(sql, catalog=None).facts.unbounded is unbounded


def test_the_catalog_knows_which_null_tests_bind_nothing() -> None:
    sql = "DELETE FROM users WHERE id IS NOT NULL"

    assert examine_sql(sql, catalog=SHOP).facts.unbounded
    assert not examine_sql(sql, catalog=None).facts.unbounded


@pytest.mark.parametrize(
    ("sql", "refusal"),
    [
        ("", EMPTY),
        (" ;; -- nothing", EMPTY),
        ("SELECT 1; SELECT 2", "a call runs one statement, this text has 2"),
        ("COMMIT; DROP SCHEMA public CASCADE", "a call runs one statement, this text has 2"),
        ("SELECT set_config('role', 'postgres', false)", SESSION_FUNCTION),
        ("UPDATE a SET b = pg_catalog.set_config('x', 'y', true)", SESSION_FUNCTION),
        ("SELECT * FROM set_config('a', 'b', false)", SESSION_FUNCTION),
        ("EXPLAIN EXECUTE a", "EXECUTE works across statements of a session, and a call has a session of its own"),
        (
            "CREATE TABLE a AS EXECUTE b",
            "EXECUTE works across statements of a session, and a call has a session of its own",
        ),
        (
            "EXPLAIN ANALYZE CREATE TABLE a AS EXECUTE b",
            "EXECUTE works across statements of a session, and a call has a session of its own",
        ),
        (
            "EXPLAIN DECLARE c CURSOR FOR SELECT 1",
            "DECLARE works across statements of a session, and a call has a session of its own",
        ),
        ("SET ROLE a", "SET is session-changing, and a call may not change its session"),
        ("SET SESSION AUTHORIZATION a", "SET is session-changing, and a call may not change its session"),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            "SET is session-changing, and a call may not change its session",
        ),
        ("RESET transaction_read_only", "RESET is session-changing, and a call may not change its session"),
        ("START TRANSACTION READ WRITE", "BEGIN is transaction control: every call runs in a transaction of its own"),
        ("SELECT 1;", None),
        ("DROP TABLE a", None),
        ("DO 'x'", None),
    ],
)
def test_some_texts_can_never_run_whatever_policy_says(sql: str, refusal: str | None) -> None:
    assert examine_sql(sql, catalog=None).refusal == refusal


@pytest.mark.parametrize(
    ("sql", "harmless"),
    [
        ("SELECT lower(name) FROM users", True),
        ("DELETE FROM users WHERE created < now()", True),
        ("UPDATE users SET name = upper(name) WHERE id = 1", True),
        ("INSERT INTO a SELECT * FROM b", True),
        ("SELECT * FROM users FOR UPDATE", True),
        ("SELECT touch(u) FROM users u", False),
        ("SELECT * INTO TEMP a FROM users", False),
        ("SELECT lastval(), currval('s')", False),
        ("SELECT ('s'::regclass).currval", False),
        ("DELETE FROM users WHERE touch(id)", False),
        ("DELETE FROM users WHERE id = 'x'::sneaky", False),
        ("UPDATE users SET id = nextval('s')", False),
        ("EXPLAIN SELECT 1", False),
        ("SHOW ALL", False),
        ("CREATE TABLE a AS SELECT 1", False),
        ("DROP TABLE a", False),
        ("SELECT 1; SELECT 2", False),
    ],
)
def test_a_preview_is_allowed_where_everything_called_is_known(sql: str, harmless: bool) -> None:
    assert examine_sql(sql, catalog=None).harmless is harmless


@pytest.mark.parametrize(
    "sql", ["SELECT 'x", "SELECT 1\0", "\ud800", "x" * (MAX_SQL_BYTES + 1), "SELECT 1" + "+1" * 16_000]
)
def test_what_cannot_be_read_raises(sql: str) -> None:
    with pytest.raises(SQLSyntaxError):
        examine_sql(sql, catalog=None)


def test_long_chains_below_the_limit_of_nesting_are_read() -> None:
    for sql in (
        "SELECT " + " || ".join(["a"] * 300),
        "SELECT 1" + " UNION ALL SELECT 1" * 200,
        "SELECT * FROM a WHERE " + " OR ".join(["b = 1"] * 3000),
        "SELECT * FROM a WHERE b IN (" + ", ".join(["1"] * 10_000) + ")",
        "SELECT " + ", ".join(f"c{number}" for number in range(4000)),
    ):
        assert examine_sql(sql, catalog=None).facts.read_only


def test_what_the_session_did_before_may_be_read() -> None:
    assert examine_sql("SELECT lastval(), pg_catalog.currval('s')", catalog=None).facts.read_only


@pytest.mark.parametrize(
    ("sql", "unknown"),
    [
        ("SELECT * FROM userz, users", {"userz"}),
        ("DELETE FROM app.userz WHERE id = 1", {"app.userz"}),
        ("SELECT * FROM users WHERE lowr(name) = 'x'", {"lowr"}),
        ("CREATE TABLE new AS SELECT * FROM users", set()),
        ("WITH x AS (SELECT 1) SELECT * FROM x", set()),
    ],
)
def test_names_that_the_catalog_does_not_know_are_told(sql: str, unknown: set[str]) -> None:
    assert examine_sql(sql, catalog=SHOP).unknown == unknown
    assert examine_sql(sql, catalog=None).unknown == set()


def test_only_a_single_statement_can_be_read_only() -> None:
    facts = examine_sql("SELECT 1; SELECT 2", catalog=None).facts

    assert not facts.read_only
    assert facts.statements == 2


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT (c).seen FROM customers c",
        "SELECT ((c)).seen FROM customers c",
        "SELECT (c.*).seen FROM customers c",
        "SELECT (customers).seen FROM customers",
        "SELECT (public.customers).seen FROM public.customers",
        "SELECT 1 FROM customers c WHERE EXISTS (SELECT (c).seen)",
        "SELECT s.seen FROM (SELECT 1 AS a) s",
        "SELECT (s).seen FROM (SELECT 1 AS a) s",
        "SELECT s.b FROM (SELECT 1 AS a, 2 AS b) s(a, c)",
        "WITH w AS (SELECT 1 AS a) SELECT w.seen FROM w",
        "SELECT v.column2 FROM (VALUES (1)) v",
    ],
)
def test_what_is_written_as_a_function_of_a_row_is_one_where_no_catalog_tells(sql: str) -> None:
    assert not examine_sql(sql, catalog=None).facts.read_only


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT c.name FROM customers c",
        "SELECT (c.home).city, (home).city FROM customers c",
        "SELECT (s).a, s.a FROM (SELECT 1 AS a) s",
        "SELECT s.row_to_json, (s).to_json FROM (SELECT 1 AS a) s",
        "SELECT (c).a FROM (SELECT * FROM customers) AS c(a)",
        "SELECT (json_each(body)).key FROM messages",
        "SELECT c.ctid, c.tableoid FROM customers c",
    ],
)
def test_fields_and_harmless_functions_of_rows_are_read_only_without_a_catalog(sql: str) -> None:
    assert examine_sql(sql, catalog=None).facts.read_only
