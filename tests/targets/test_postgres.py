"""The PostgreSQL connector: the way in, the gateway's own looks, the check."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.calls import Secret
from mcp_gateway.errors import TargetFailed, TargetUnavailable
from mcp_gateway.targets.postgres import PostgresConnector
from tests.peers.postgres import PostgresDatabase, free_port
from tests.targets.postgres_settings import (
    connector,
    connector_for,
    rows,
    run,
    sessions,
    settings_for,
)

__all__ = ["connector"]

pytestmark = pytest.mark.anyio


# The way in.


async def test_a_wrong_password_says_what_to_check_and_never_the_password(
    postgres_database: PostgresDatabase,
) -> None:
    connector = connector_for(postgres_database, password="canary-wrong")
    with pytest.raises(TargetUnavailable) as caught:
        await connector.catalog()
    assert str(caught.value) == (
        f"PostgreSQL at 127.0.0.1:{postgres_database.port} does not let {postgres_database.user!r} in: "
        "28P01 (invalid_password); whoever runs the gateway has to check the target's user and password"
    )
    assert "canary" not in repr(caught.value) + repr(caught.value.__cause__)


@pytest.mark.requirement("R26")
async def test_a_rotated_password_is_fetched_again(postgres_database: PostgresDatabase) -> None:
    current = [Secret(postgres_database.password)]

    async def fetch(source: Any) -> Secret:
        return current[0]

    connector = PostgresConnector(settings_for(postgres_database), name="orders", fetch=fetch)
    await run(connector, "SELECT 1")
    postgres_database.execute(f"ALTER ROLE {postgres_database.user} PASSWORD 'the new one'")
    before = current[0]
    current[0] = Secret("the new one")
    assert rows(await run(connector, "SELECT 1", harmless=False)) == [[1]]
    assert rows(await run(connector, "SELECT 2")) == [[2]]
    assert tuple(connector.secrets()) == (before, current[0])
    await connector.aclose()


@pytest.mark.requirement("R26")
async def test_no_session_of_an_earlier_credential_is_used_again(postgres_database: PostgresDatabase) -> None:
    current = [Secret(postgres_database.password)]

    async def fetch(source: Any) -> Secret:
        return current[0]

    connector = PostgresConnector(settings_for(postgres_database), name="orders", fetch=fetch)
    look = "SELECT pg_backend_pid() FROM pg_sleep(0.05)"
    pids: list[int] = []

    async def noted() -> None:
        pids.extend(pid for (pid,) in rows(await run(connector, look)))

    async def together(count: int) -> set[int]:
        pids.clear()
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(noted)
        return set(pids)

    earlier = await together(3)
    postgres_database.execute(f"ALTER ROLE {postgres_database.user} PASSWORD 'the new one'")
    current[0] = Secret("the new one")
    await together(4)  # three of them on sessions from before, the fourth opens one and finds the password refused
    assert len(earlier) == 3
    assert not earlier & await together(4)
    await connector.aclose()


async def test_a_port_where_nobody_listens(postgres_database: PostgresDatabase) -> None:
    port = free_port()
    with pytest.raises(TargetUnavailable, match=f"^nothing listens where PostgreSQL at 127.0.0.1:{port} should be$"):
        await connector_for(postgres_database, port=port).catalog()


async def test_a_database_that_is_not_there(postgres_database: PostgresDatabase) -> None:
    with pytest.raises(TargetUnavailable, match=r"^PostgreSQL at .* has no database 'nowhere'$"):
        await connector_for(postgres_database, database="nowhere").catalog()


async def test_a_name_that_does_not_resolve(postgres_database: PostgresDatabase) -> None:
    with pytest.raises(TargetUnavailable, match=r"^the name 'db.invalid' cannot be resolved$"):
        await connector_for(postgres_database, host="db.invalid").catalog()


async def test_a_server_without_tls_where_tls_is_demanded(postgres_database: PostgresDatabase) -> None:
    for tls in ("require", "verify-ca", "verify-full"):
        with pytest.raises(TargetUnavailable, match=f"does not offer TLS, which tls = '{tls}' demands"):
            await connector_for(postgres_database, tls=tls).catalog()


@pytest.mark.requirement("R26")
async def test_nothing_of_the_environment_or_the_home_folder_is_used(
    postgres_database: PostgresDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".pgpass").write_text("*:*:*:*:from-pgpass\n")
    (tmp_path / ".pgpass").chmod(0o600)
    (tmp_path / ".pg_service.conf").write_text("[evil]\nhost=192.0.2.1\nuser=evil\n")
    hostile = {
        "HOME": str(tmp_path),
        "PGHOST": "192.0.2.1",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGUSER": "evil",
        "PGPASSWORD": "evil",
        "PGPASSFILE": str(tmp_path / ".pgpass"),
        "PGDATABASE": "evil",
        "PGSERVICE": "evil",
        "PGSERVICEFILE": str(tmp_path / ".pg_service.conf"),
        "PGOPTIONS": "-c search_path=evil",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(tmp_path / "none"),
        "PGSSLNEGOTIATION": "direct",
        "PGTARGETSESSIONATTRS": "standby",
        "PGAPPNAME": "evil",
        "PGTZ": "Asia/Kolkata",
        "PGDATESTYLE": "German",
        "PGCLIENTENCODING": "latin1",
        "PGKRBSRVNAME": "evil",
        "PGGSSLIB": "evil",
    }
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    connector = connector_for(postgres_database)
    found = rows(await run(connector, "SELECT current_user, current_database(), current_setting('search_path')"))
    assert found == [[postgres_database.user, postgres_database.name, '"public", "pg_temp"']]
    await connector.aclose()
    without = connector_for(postgres_database, password=None)
    with pytest.raises(TargetUnavailable, match="28P01"):
        await without.catalog()


# The gateway's own looks.


async def test_the_catalog_is_kept_until_it_changes(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    first, looked = await connector.snapshot()
    assert looked == "catalog loaded"
    again, looked = await connector.snapshot()
    assert (again is first, looked) == (True, "")
    connector._fresh_until = 0.0
    again, looked = await connector.snapshot()
    assert (again is first, looked) == (True, "catalog checked")
    postgres_database.execute("CREATE TABLE users (id int)")
    connector._fresh_until = 0.0
    changed, looked = await connector.snapshot()
    assert looked == "catalog loaded"
    assert "public.users" in changed.catalog.relations


async def test_looks_have_a_session_and_a_name_of_their_own(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    await connector.catalog()
    assert len(sessions(postgres_database, "mcp-gateway/catalog")) == 1
    assert sessions(postgres_database, "mcp-gateway") == []


async def test_many_who_ask_at_once_load_the_catalog_once(connector: PostgresConnector) -> None:
    looks: list[str] = []

    async def look() -> None:
        looks.append((await connector.snapshot())[1])

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(look)
    assert sorted(looks) == [""] * 9 + ["catalog loaded"]


async def test_a_plan_is_made_and_nothing_is_run(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute(
        "CREATE TABLE users (id int); INSERT INTO users SELECT generate_series(1, 500); ANALYZE users"
    )
    (plan,) = await connector.explain("DELETE FROM users WHERE id < $1", ["100"])
    assert plan["Plan"]["Node Type"] == "ModifyTable"
    assert postgres_database.execute("SELECT count(*) FROM users") == [(500,)]
    with pytest.raises(TargetFailed, match="42P01"):
        await connector.explain("SELECT * FROM userz", [])
    with pytest.raises(TargetFailed, match="42601"):
        await connector.explain("SELECT 1; DELETE FROM users", [])
    with pytest.raises(TargetFailed, match="parameters"):
        await connector.explain("SELECT $1::int", [])
    assert "public.users" in (await connector.catalog()).relations


async def test_a_check_names_what_is_wider_than_it_need_be(postgres_database: PostgresDatabase) -> None:
    postgres_database.execute("CREATE TABLE customers (ssn text)")
    connector = connector_for(
        postgres_database, classify={"public.customers.ssn": "pii.national_id", "public.customers.sssn": "pii.x"}
    )
    found = await connector.check()
    assert found.server.startswith("PostgreSQL 1")
    assert found.problems == ("the classified column 'public.customers.sssn' does not exist, so it protects nothing",)
    assert any("may change 1 table, such as public.customers" in warning for warning in found.warnings)
    assert any("may create objects in public" in warning for warning in found.warnings)
    assert any("is not encrypted" in warning for warning in found.warnings)
    assert not any("SUPERUSER" in warning for warning in found.warnings)
    await connector.aclose()
    server = postgres_database.server
    superuser = connector_for(postgres_database, user=server.user, password=server.password)
    assert any("is SUPERUSER: it may do everything" in warning for warning in (await superuser.check()).warnings)
    await superuser.aclose()


@asynccontextmanager
async def granted(database: PostgresDatabase, role: str) -> AsyncIterator[None]:
    database.execute(f"GRANT {role} TO {database.user}")
    yield
    database.execute(f"REVOKE {role} FROM {database.user}")


async def test_a_check_names_dangerous_roles(postgres_database: PostgresDatabase) -> None:
    connector = connector_for(postgres_database)
    async with granted(postgres_database, "pg_execute_server_program"):
        warnings = (await connector.check()).warnings
    assert any("has pg_execute_server_program: it runs programs on the server's host" in text for text in warnings)
    await connector.aclose()
