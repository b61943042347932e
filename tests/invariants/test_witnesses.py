"""The witnesses, against the real servers whose logs they read."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.invariants.witnesses import APIWitness, PostgresWitness, SSHWitness, is_connected
from tests.invariants.world import HAS_PROC
from tests.peers.api import running_api
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer
from tests.plain_http import plain_client
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

    witness = SSHWitness(target="web1", log=ssh_server.log, port=ssh_server.port)

    def connect() -> Any:
        return asyncssh.connect(
            ssh_server.host,
            ssh_server.port,
            username=ssh_server.user,
            known_hosts=str(ssh_server.known_hosts),
            client_keys=[str(ssh_server.key)],
            config=None,
        )

    # A number is given again once its session has ended, which may be later than its client knows.
    async with connect() as connection:
        await connection.run("id")
    async with connect() as connection:
        async with connection.create_process("cat"):
            await connection.run("uname")
            assert [(effect.what, effect.kills) for effect in witness.effects()] == [
                ("command", False), ("command", False), ("command", True),
            ]  # fmt: skip
        assert witness.left_open()
    with anyio.fail_after(10):
        while witness.left_open():
            await anyio.sleep(0.02)


@pytest.mark.skipif(not HAS_PROC, reason="this system does not say which connections stand")
def test_a_port_that_has_become_another_connections_is_not_left_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [server.getsockname()[1] for server in (one, other)]
        with socket.create_connection(("127.0.0.1", ports[0])) as connection:
            client = connection.getsockname()[1]

            assert [is_connected(client, port) for port in ports] == [True, False]
        assert [is_connected(client, port) for port in ports] == [False, False]


async def test_an_api_tells_of_each_request(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running_api(log=log, store=tmp_path) as api, plain_client() as client:
        await client.get(f"{api.url}/x")
    (effect,) = APIWitness(target="api", log=log, whole=True).effects()
    assert effect.what == "GET /x HTTP/1.1"
    assert effect.intents == frozenset()
