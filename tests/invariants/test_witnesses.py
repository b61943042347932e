"""The witnesses, against the real servers whose logs they read."""

from __future__ import annotations

from pathlib import Path

import anyio
import httpx2
import pytest

from tests.invariants.witnesses import APIWitness, PostgresWitness, SSHWitness
from tests.peers.api import running_api
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer
from tests.targets.postgres_settings import connector_for, run

pytestmark = pytest.mark.anyio


async def test_postgresql_tells_the_agents_statement_from_the_gateways_own(postgres_database: PostgresDatabase) -> None:
    witness = PostgresWitness(postgres_database, target="orders")
    connector = connector_for(postgres_database)
    await connector.catalog()
    await run(connector, "SELECT 1,\n\t'two'")

    assert witness.left_open()
    await connector.aclose()
    with anyio.fail_after(10):
        while witness.left_open():
            await anyio.sleep(0.02)
    (effect,) = [effect for effect in witness.effects() if not effect.own]
    assert effect.what == "SELECT 1,\n\t'two'"
    assert effect.call_id == "0199c0de-0000-7000-8000-000000000001"
    assert effect.at is not None
    assert any("current_setting" in own.what for own in witness.effects() if own.own)


async def test_sshd_tells_of_each_session(ssh_server: SSHServer) -> None:
    import asyncssh

    witness = SSHWitness(target="web1", log=ssh_server.log)
    async with asyncssh.connect(
        ssh_server.host,
        ssh_server.port,
        username=ssh_server.user,
        known_hosts=str(ssh_server.known_hosts),
        client_keys=[str(ssh_server.key)],
        config=None,
    ) as connection:
        await connection.run("id")
        await connection.run("uname")
        assert [effect.what for effect in witness.effects()] == ["command", "command"]
        assert witness.left_open() == ["1 connections"]
    with anyio.fail_after(10):
        while witness.left_open():
            await anyio.sleep(0.02)


async def test_an_api_tells_of_each_request(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running_api(log=log, store=tmp_path) as api, httpx2.AsyncClient(trust_env=False) as client:
        await client.get(f"{api.url}/x")
    (effect,) = APIWitness(target="api", log=log, whole=True).effects()
    assert effect.what == "GET /x HTTP/1.1"
    assert effect.intents == frozenset()
