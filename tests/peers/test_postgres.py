"""The PostgreSQL peer itself."""

from __future__ import annotations

import psycopg
import pytest

from tests.peers.postgres import PostgresDatabase


def test_the_gateways_role_reads_and_writes_what_the_superuser_creates(postgres_database: PostgresDatabase) -> None:
    postgres_database.execute("CREATE TABLE users (name text)")
    with postgres_database.connect() as connection:
        connection.execute("INSERT INTO users VALUES ('ada')")
    assert postgres_database.execute("SELECT name FROM users") == [("ada",)]


def test_the_gateways_role_is_no_superuser(postgres_database: PostgresDatabase) -> None:
    assert postgres_database.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [postgres_database.user]) == [
        (False,)
    ]


def test_a_password_is_demanded(postgres_database: PostgresDatabase) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        postgres_database.server.connect(postgres_database.name, user=postgres_database.user, password="wrong")


def test_every_statement_is_in_the_log(postgres_database: PostgresDatabase) -> None:
    with postgres_database.connect() as connection:
        connection.execute("SET application_name = 'witness'")
        connection.execute("SELECT 42")
    assert [line for line in postgres_database.log_lines() if "witness@" in line and "SELECT 42" in line]
