"""What gets past a READ ONLY transaction of PostgreSQL 15, and published ways around a guard: none gets past this one."""

from __future__ import annotations

import pytest

from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.facts.sql import examine_sql

CHANGES_THE_GUARD = [
    "COMMIT", "COMMIT AND CHAIN", "END", "ROLLBACK", "ABORT", "BEGIN READ WRITE", "START TRANSACTION READ WRITE",
    "SET transaction_read_only = off", "SET LOCAL transaction_read_only TO off", "SET TRANSACTION READ WRITE",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE", "RESET transaction_read_only", "RESET ALL",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "SET default_transaction_read_only = off", "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres", "SET statement_timeout = 0", "SET search_path = evil", "SET TIME ZONE 'UTC'",
    "SET standard_conforming_strings = off", "SET NAMES 'sjis'", "DISCARD ALL", "DISCARD TEMP", "PREPARE TRANSACTION 'x'",
    "SELECT set_config('transaction_read_only', 'off', false)", "SELECT set_config('ro' || 'le', 'postgres', false)",
    "SELECT pg_catalog.set_config('search_path', 'evil', false) FROM users", "SELECT 1 WHERE set_config('a.b', 'c', true) = 'c'",
    "EXPLAIN ANALYZE SELECT set_config('a.b', 'c', true)", "COPY (SELECT set_config('a.b', 'c', true)) TO STDOUT",
    "COMMIT; DROP SCHEMA public CASCADE", "commit/**/;/**/drop/**/table/**/orders", "SELECT 1; COMMIT", ";;SELECT 1; SELECT 2",
    "LISTEN a", "UNLISTEN *", "NOTIFY a, 'b'", "LOAD 'auto_explain'", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "FETCH ALL c",
    "MOVE c", "CLOSE ALL", "PREPARE a AS DELETE FROM users", "EXECUTE a", "DEALLOCATE ALL", "SAVEPOINT a", "RELEASE a",
]  # fmt: skip
DOES_MORE_THAN_READ = [
    "EXPLAIN ANALYZE CREATE TABLE a AS SELECT 1", "EXPLAIN ANALYZE SELECT 1 INTO a", "EXPLAIN ANALYZE CREATE MATERIALIZED VIEW a AS SELECT 1",
    "SELECT lo_create(0)", "SELECT lo_creat(-1)", "SELECT lo_from_bytea(0, 'x')", "SELECT lo_import('/etc/passwd')", "SELECT lo_unlink(1)",
    "SELECT lowrite(lo_open(1, 131072), 'x')", "SELECT lo_export(1, '/tmp/x')", "SELECT pg_create_physical_replication_slot('a')",
    "SELECT pg_replication_origin_create('a')", "SELECT pg_import_system_collations('public')", "ANALYZE", "REINDEX TABLE users",
    "CLUSTER users", "SELECT dblink_exec('dbname=x', 'DELETE FROM users')", "SELECT * FROM dblink('x', 'y') AS t(a int)",
    "SELECT query_to_xml('SELECT lo_import(''/etc/passwd'')', true, true, '')", "SELECT cursor_to_xml('c', 1, true, true, '')",
    "SELECT database_to_xml(true, true, '')", "SELECT * FROM ts_stat('SELECT setval()')", "COPY users TO '/tmp/x'",
    "COPY users TO PROGRAM 'id'", "COPY users FROM PROGRAM 'id'", "SELECT pg_file_write('a', 'b', false)", "SELECT pg_read_file('/etc/passwd')",
    "SELECT * FROM pg_ls_dir('/')", "SELECT pg_read_binary_file('x')", "SELECT pg_stat_file('x')", "SELECT pg_terminate_backend(1)",
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity", "SELECT pg_reload_conf()", "SELECT pg_switch_wal()", "SELECT pg_stat_reset()",
    "SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_lock(1)", "LOCK TABLE users IN ACCESS EXCLUSIVE MODE", "SELECT pg_notify('a', 'b')",
    "SELECT pg_logical_emit_message(true, 'a', 'b')", "SELECT nextval('s')", "SELECT setval('s', 1)", "SELECT * FROM users FOR UPDATE",
    "DO $$ BEGIN RESET transaction_read_only; DELETE FROM users; END $$", "CALL p()", "EXPLAIN (ANALYZE false, ANALYZE true) DELETE FROM users",
    "EXPLAIN ANALYSE DELETE FROM users", "SELECT U&\"\\0073etval\"('s', 1)", "SELECT 'x'::sneaky_dom", "SELECT 1 <+> 2", "SELECT touch_row(u) FROM users u",
    "WITH x AS (DELETE FROM users RETURNING *) SELECT * FROM x", "SELECT/**/pg_reload_conf/**/()", 'SELECT "pg_catalog"."pg_reload_conf"()',
    "SELECT CASE WHEN true THEN pg_reload_conf() END", "SELECT '\\'; DELETE FROM users; --'", "SELECT E'\\''; DELETE FROM users; --'",
    "SELECT $_$'$_$; DELETE FROM users", "SELECT 1 /* /* */ -- */; DELETE FROM users", "SELECT 1 --\r; DELETE FROM users",
    "SELECT 1 -- x\n; DELETE FROM users", "SELECT B'101', X'1F'; DELETE FROM users", "select 1 into users_copy",
]  # fmt: skip
NO_SQL = [
    "SELECT 1\0; DROP TABLE users", "SELECT 1;\u200bDROP TABLE users", "SELECT 1\uff1b DROP TABLE users '", "\\copy users to '/tmp/x'",
    "SELECT 1\u2028DELETE FROM users", "PRAGMA table_info(users)", "SELECT 1 GO DELETE FROM users", "DELETE FROM users WHERE", "SELECT '",
]  # fmt: skip


@pytest.mark.parametrize("sql", CHANGES_THE_GUARD)
def test_no_statement_changes_the_guard(sql: str) -> None:
    found = examine_sql(sql, catalog=None)

    assert found.refusal is not None
    assert not found.facts.read_only
    assert not found.harmless


@pytest.mark.parametrize("sql", DOES_MORE_THAN_READ)
def test_what_a_read_only_transaction_lets_through_is_not_called_read_only(sql: str) -> None:
    assert not examine_sql(sql, catalog=None).facts.read_only


@pytest.mark.parametrize("sql", NO_SQL)
def test_what_only_looks_like_sql_is_refused(sql: str) -> None:
    with pytest.raises(SQLSyntaxError):
        examine_sql(sql, catalog=None)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '\\', '; DELETE FROM users --'", "SELECT 1 /* ; DELETE FROM users */", "SELECT $a$; DELETE FROM users; $a$",
        'SELECT "delete" FROM "drop table users; --"', "SELECT 1 -- ; DELETE FROM users", "SELECT 1 AS \"; COMMIT\"",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_write_is_read_only(sql: str) -> None:
    assert examine_sql(sql, catalog=None).facts.read_only
