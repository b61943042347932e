from __future__ import annotations

import pytest

from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.sql_statements import analyzes, changed_tables, kind_of, refusal_of
from mcp_gateway.facts.tree import opened, written


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1", "SELECT"), ("VALUES (1)", "SELECT"), ("TABLE a", "SELECT"), ("SELECT 1 INTO a", "SELECT_INTO"),
        ("INSERT INTO a VALUES (1)", "INSERT"), ("UPDATE a SET b = 1", "UPDATE"), ("DELETE FROM a", "DELETE"),
        ("MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE", "MERGE"), ("TRUNCATE a", "TRUNCATE"),
        ("CREATE TABLE a (b int)", "CREATE"), ("CREATE TABLE a AS SELECT 1", "CREATE"), ("CREATE VIEW a AS SELECT 1", "CREATE"),
        ("CREATE INDEX ON a (b)", "CREATE"), ("CREATE TYPE a AS (b int)", "CREATE"), ("CREATE TYPE a AS ENUM ()", "CREATE"),
        ("CREATE AGGREGATE a (int) (sfunc = f, stype = int)", "CREATE"), ("CREATE DATABASE a", "CREATE"),
        ("CREATE EXTENSION a", "CREATE"), ("CREATE RULE r AS ON DELETE TO a DO NOTHING", "CREATE"),
        ("ALTER TABLE a ADD b int", "ALTER"), ("ALTER TABLE a RENAME TO b", "ALTER"), ("ALTER SYSTEM SET a = 1", "ALTER"),
        ("ALTER ROLE a SET b = 1", "ALTER"), ("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO a", "ALTER"),
        ("DROP TABLE a", "DROP"), ("DROP DATABASE a", "DROP"), ("DROP ROLE a", "DROP"), ("DROP OWNED BY a", "DROP"),
        ("GRANT SELECT ON a TO b", "GRANT"), ("GRANT a TO b", "GRANT"), ("REVOKE a FROM b", "REVOKE"),
        ("REVOKE ALL ON a FROM b", "REVOKE"), ("COMMENT ON TABLE a IS 'x'", "COMMENT"), ("DO 'x'", "DO"), ("CALL f()", "CALL"),
        ("SECURITY LABEL ON TABLE a IS 'x'", "SECURITY_LABEL"), ("VACUUM a", "VACUUM"), ("ANALYZE a", "ANALYZE"),
        ("CHECKPOINT", "CHECKPOINT"), ("REINDEX TABLE a", "REINDEX"), ("CLUSTER a", "CLUSTER"), ("LOCK TABLE a", "LOCK"),
        ("REFRESH MATERIALIZED VIEW a", "REFRESH"), ("REASSIGN OWNED BY a TO b", "REASSIGN"), ("EXPLAIN SELECT 1", "EXPLAIN"),
        ("IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c", "IMPORT"), ("COPY a TO STDOUT", "COPY"), ("SHOW a", "SHOW"),
        ("BEGIN", "BEGIN"), ("START TRANSACTION", "BEGIN"), ("COMMIT", "COMMIT"), ("END", "COMMIT"), ("ABORT", "ROLLBACK"),
        ("ROLLBACK", "ROLLBACK"), ("SAVEPOINT a", "SAVEPOINT"), ("RELEASE a", "RELEASE"), ("ROLLBACK TO a", "ROLLBACK_TO"),
        ("PREPARE TRANSACTION 'a'", "PREPARE_TRANSACTION"), ("COMMIT PREPARED 'a'", "COMMIT_PREPARED"),
        ("ROLLBACK PREPARED 'a'", "ROLLBACK_PREPARED"), ("SET a = 1", "SET"), ("SET LOCAL a TO DEFAULT", "SET"),
        ("SET TRANSACTION READ WRITE", "SET"), ("SET ROLE a", "SET"), ("RESET ROLE", "RESET"), ("RESET ALL", "RESET"),
        ("SET CONSTRAINTS ALL DEFERRED", "SET"), ("DISCARD ALL", "DISCARD"), ("LOAD 'a'", "LOAD"), ("LISTEN a", "LISTEN"),
        ("UNLISTEN a", "UNLISTEN"), ("NOTIFY a", "NOTIFY"), ("PREPARE a AS SELECT 1", "PREPARE"), ("EXECUTE a", "EXECUTE"),
        ("DEALLOCATE a", "DEALLOCATE"), ("DECLARE a CURSOR FOR SELECT 1", "DECLARE"), ("FETCH a", "FETCH"), ("MOVE a", "MOVE"),
        ("CLOSE a", "CLOSE"),
    ],
)  # fmt: skip
def test_a_statement_has_its_kind(sql: str, kind: str) -> None:
    (raw,) = parse_tree(sql)

    assert kind_of(*opened(raw["stmt"])) == kind


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("CREATE TABLE a.b (c int)", ["a.b"]),
        ("CREATE FOREIGN TABLE a (b int) SERVER s", ["a"]),
        ("DROP TABLE a, b.c CASCADE", ["a", "b.c"]),
        ("DROP MATERIALIZED VIEW a", ["a"]),
        ("DROP VIEW a", []),
        ("DROP INDEX a", []),
        ("ALTER TABLE a ADD b int", ["a"]),
        ("ALTER TABLE a ATTACH PARTITION b.c DEFAULT", ["a", "b.c"]),
        ("ALTER TABLE a DETACH PARTITION b", ["a", "b"]),
        ("ALTER TABLE a INHERIT b, NO INHERIT c", ["a", "b", "c"]),
        ("ALTER TABLE a RENAME b TO c", ["a"]),
        ("ALTER TABLE a RENAME TO b", ["a"]),
        ("ALTER TABLE a RENAME CONSTRAINT b TO c", ["a"]),
        ("ALTER TABLE a SET SCHEMA b", ["a"]),
        ("ALTER VIEW a RENAME TO b", []),
        ("ALTER INDEX a RENAME TO b", ["a"]),  # it may be a table
        ("ALTER SEQUENCE a RESTART", []),
        ("ALTER TYPE a RENAME TO b", []),
        ("TRUNCATE a, b.c", ["a", "b.c"]),
        ("REFRESH MATERIALIZED VIEW a", ["a"]),
        ("GRANT SELECT ON a TO b", []),
        ("CREATE INDEX ON a (b)", []),
        ('DROP TABLE "a.b"."c""d"', ['"a.b"."c""d"']),
    ],
)
def test_a_definition_names_the_tables_that_it_changes(sql: str, tables: list[str]) -> None:
    (raw,) = parse_tree(sql)

    assert [written(use.parts) for use in changed_tables(*opened(raw["stmt"]))] == tables


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ("", False), ("ANALYZE", True), ("ANALYSE", True), ("VERBOSE", False), ("(ANALYZE)", True), ("(ANALYSE)", True),
        ("(ANALYZE true)", True), ("(ANALYZE on)", True), ("(ANALYZE 1)", True), ("(ANALYZE 'true')", True),
        ("(ANALYZE false)", False), ("(ANALYZE OFF)", False), ("(ANALYZE 0)", False), ("(ANALYZE 'FaLsE')", False),
        ("(ANALYZE false, ANALYZE true)", True), ("(ANALYZE, ANALYZE off)", False), ("(COSTS off)", False),
        ("(ANALYZE 2)", True), ("(ANALYZE maybe)", True), ("(ANALYZE 0.0)", True), ("(BUFFERS, ANALYZE, FORMAT json)", True),
    ],
)  # fmt: skip
def test_explain_runs_its_statement_unless_the_last_analyze_is_surely_off(options: str, runs: bool) -> None:
    (raw,) = parse_tree(f"EXPLAIN {options} DELETE FROM users")

    assert analyzes(raw["stmt"]["ExplainStmt"].get("options", ())) is runs


@pytest.mark.parametrize(
    ("sql", "refusal"),
    [
        ("COMMIT", "COMMIT is transaction control: every call runs in a transaction of its own"),
        ("ROLLBACK TO a", "ROLLBACK TO is transaction control: every call runs in a transaction of its own"),
        ("SET a = 1", "SET is session-changing, and a call may not change its session"),
        ("LISTEN a", "LISTEN works across statements of a session, and a call has a session of its own"),
        ("COPY a FROM STDIN", "COPY FROM STDIN needs a stream that a call does not have: use INSERT"),
        ("COPY a TO STDOUT", "COPY TO STDOUT needs a stream that a call does not have: use SELECT"),
        ("COPY (SELECT 1) TO STDOUT", "COPY TO STDOUT needs a stream that a call does not have: use SELECT"),
        ("COPY a TO '/tmp/x'", None),
        ("COPY a FROM PROGRAM 'id'", None),
        ("DO 'x'", None),
        ("CALL f()", None),
        ("DROP TABLE a", None),
        ("SHOW a", None),
    ],
)
def test_what_can_never_run_in_a_call_says_why(sql: str, refusal: str | None) -> None:
    (raw,) = parse_tree(sql)

    assert refusal_of(*opened(raw["stmt"])) == refusal
