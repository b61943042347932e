"""The PostgreSQL peer itself."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from tests.peers.postgres import PostgresDatabase, within_reach


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as somebody else")
def test_programs_in_a_folder_that_the_servers_account_cannot_enter_are_copied(tmp_path: Path) -> None:
    installed = tmp_path / "closed" / "pginstall18"
    (installed / "bin").mkdir(parents=True)
    (installed / "bin" / "initdb").write_text("#!/bin/sh\n")
    (tmp_path / "closed").chmod(0o700)

    with within_reach(installed) as found:
        assert found != installed
        assert (found / "bin" / "initdb").read_text() == "#!/bin/sh\n"
        assert all(folder.stat().st_mode & 0o001 for folder in found.parents)
    assert not found.exists()
