"""Settings and statements for tests of the PostgreSQL target."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.calls import Secret, Target
from mcp_gateway.facts.templates import cut
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.targets.postgres_session import Session
from mcp_gateway.targets.postgres_statement import Result, Statement
from tests.peers.postgres import PostgresDatabase

CALL_ID = "0199c0de-0000-7000-8000-000000000001"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a PostgreSQL target's configuration holds."""

    host: str
    port: int
    database: str
    user: str
    password: Any
    tls: str = "disable"
    tls_ca: Path | None = None
    timeout: timedelta = timedelta(seconds=30)
    classify: Mapping[str, str] = field(default_factory=dict)


async def as_it_is(source: Any) -> Secret:
    """A credential source that is the credential."""
    return Secret(source)


def settings_for(peer: PostgresDatabase, **changes: Any) -> Settings:
    settings = Settings(
        host=peer.host,
        port=peer.port,
        database=peer.name,
        user=peer.user,
        password=peer.password,
    )
    return replace(settings, **changes)


def connector_for(peer: PostgresDatabase, **changes: Any) -> PostgresConnector:
    return PostgresConnector(settings_for(peer, **changes), name="orders", fetch=as_it_is)


@pytest.fixture
async def connector(postgres_database: PostgresDatabase) -> AsyncIterator[PostgresConnector]:
    """A connector to the test's own database."""
    found = connector_for(postgres_database)
    yield found
    await found.aclose()


def alike(sql: str) -> str:
    """A shape that more statements have than have one result: those that differ in any values."""
    pieces = cut(sql)
    return sql if pieces is None else pieces.outline


async def statement(
    connector: PostgresConnector,
    sql: str,
    parameters: Sequence[Any] = (),
    *,
    relations: Sequence[str] = (),
    functions: Sequence[str] = (),
    **changes: Any,
) -> Statement:
    """A harmless read of `sql`, but for `changes`."""
    snapshot, _ = await connector.snapshot()
    made = Statement(
        sql=sql,
        parameters=parameters,
        call_id=CALL_ID,
        read_only=True,
        harmless=True,
        quiet=False,
        touched=snapshot.touched(relations=relations, functions=functions),
        timeout=timedelta(seconds=20),
        max_rows=1000,
        max_bytes=1_000_000,
        shape=alike(sql),
    )
    return replace(made, **changes)


def orders_target(classify: Mapping[str, str]) -> Target:
    """The target as policies and tools see it."""
    return Target(
        name="orders",
        kind="postgres",
        description="",
        labels={"env": "prod"},
        classes=frozenset(classify.values()),
        fingerprint="f" * 64,
    )


WRITE = {"read_only": False, "harmless": False}


async def run(connector: PostgresConnector, sql: str, *parameters: Any, **changes: Any) -> Result:
    """Run a statement with the snapshot in force."""
    return await connector.run(await statement(connector, sql, parameters, **changes))


def rows(result: Result) -> list[list[Any]]:
    return [list(row) for row in zip(*(column.values for column in result.columns), strict=True)]


def sessions(peer: PostgresDatabase, name: str = f"mcp-gateway/{CALL_ID}") -> list[Any]:
    """Pid, state and query of the sessions of an application."""
    return peer.execute(
        "SELECT pid, state, query FROM pg_stat_activity WHERE datname = %s AND application_name = %s",
        [peer.name, name],
    )


def sleeping(peer: PostgresDatabase) -> list[int]:
    """Process ids of calls that are inside `pg_sleep`."""
    found = peer.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = %s AND application_name = %s AND wait_event = 'PgSleep'",
        [peer.name, f"mcp-gateway/{CALL_ID}"],
    )
    return [pid for (pid,) in found]


def sent_on(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What goes out on a session from now on, write by write."""
    sent: list[bytes] = []
    way = session._driver.way
    carrier = way._transport

    class Heard:
        def write(self, data: bytes) -> None:
            sent.append(bytes(data))
            carrier.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(carrier, name)

    monkeypatch.setattr(way, "_transport", Heard())
    return sent
