"""Statements that a guard took for something else, against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from mcp_gateway_tools.query_database import QueryDatabaseArguments

from mcp_gateway.errors import TargetFailed
from mcp_gateway.targets.postgres import PostgresConnector
from tests.peers.postgres import PostgresDatabase
from tests.policies.inquiries import Desk, desk_at
from tests.targets.postgres_settings import connector, rows, run

__all__ = ["connector"]

pytestmark = pytest.mark.anyio

TABLE = """
CREATE TABLE kept (id int PRIMARY KEY, n int);
INSERT INTO kept VALUES (1, 1), (2, 2);
CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM kept RETURNING 1';
"""
ENDINGS = [
    "COMMIT; DROP SCHEMA public CASCADE;",
    "ROLLBACK; DELETE FROM kept",
    "END; DELETE FROM kept; BEGIN",
    "SELECT 1; COMMIT; DELETE FROM kept",
    "COMMIT AND CHAIN; DELETE FROM kept",
    "ABORT; DELETE FROM kept",
    "SET TRANSACTION READ WRITE; DELETE FROM kept",
    "SELECT 1; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
]
LOOKS_LIKE_A_READ = [
    "select 1; delete from kept",
    "SELECT wipe()",
    "SELECT * INTO copied FROM kept",
    "select/**/lo_import('/etc/passwd')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_terminate_backend(pg_backend_pid())",
    "SELECT set_config('default_transaction_read_only', 'off', false)",
    "SELECT * FROM kept FOR UPDATE",
    "WITH gone AS (DELETE FROM kept RETURNING *) SELECT * FROM gone",
    "EXPLAIN ANALYZE DELETE FROM kept",
    "EXPLAIN (ANALYZE false, ANALYZE true) DELETE FROM kept",
    "SELECT query_to_xml('DELETE FROM kept', true, true, '')",
    "SELECT 1 --\r; DELETE FROM kept",
]
QUOTED = [
    "'; DROP TABLE kept; --",
    '"; DROP TABLE kept; --',
    "kept'); DELETE FROM kept; --",
    "\\'; COMMIT; --",
    "$$; COMMIT",
]


@pytest.fixture
async def desk(postgres_database: PostgresDatabase) -> AsyncIterator[Desk]:
    postgres_database.execute(TABLE)
    async with desk_at(postgres_database, {}) as found:
        yield found


@pytest.mark.published("server-postgres 0.6.2")
async def test_a_second_statement_never_runs_even_where_all_before_the_wire_let_it_pass(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute(TABLE)
    for sql in ENDINGS:
        with pytest.raises(TargetFailed, match="42601"):
            await run(connector, sql)
    assert postgres_database.execute("SELECT count(*) FROM kept") == [(2,)]


@pytest.mark.published("server-postgres 0.6.2", "executeautomation-database-server", "sequel-mcp")
async def test_what_looks_like_a_read_is_not_allowed_as_one(desk: Desk) -> None:
    for sql in (*ENDINGS, *LOOKS_LIKE_A_READ):
        inquiry = await desk.ask(sql)
        assert inquiry.decision != "allow", sql
        assert inquiry.facts is None or not inquiry.facts.read_only, sql


@pytest.mark.published("CVE-2025-66335")
async def test_whatever_is_given_beside_the_statement_is_data(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute(TABLE)
    for text in QUOTED:
        result = await run(connector, "SELECT $1::text, count(*) FROM kept", text)
        assert rows(result) == [[text, 2]]
    assert postgres_database.execute("SELECT count(*) FROM kept") == [(2,)]


@pytest.mark.published("CVE-2025-66335")
def test_a_call_names_a_target_of_the_configuration_and_no_database() -> None:
    assert QueryDatabaseArguments.model_fields.keys() == {"target", "sql", "params", "max_rows", "reason", "repeat_of"}
