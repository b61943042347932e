"""Prefix truncation (Terrapin, CVE-2023-48795): no connection stands by what it can be done to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from mcp_gateway.errors import TargetUnavailable
from mcp_gateway.targets.ssh import SSHConnector
from tests.peers.recording_ssh import RecordingSSH, recording_ssh
from tests.peers.sshd import SSHServer
from tests.peers.terrapin import answered_after_all, old_servers, terrapin

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R36")]

CHACHA, GCM, CTR = "chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr"
ETM, PLAIN = "hmac-sha2-256-etm@openssh.com", "hmac-sha2-256"
OPEN: dict[str, dict[str, Any]] = {
    "ChaCha20-Poly1305 alone": {"encryption_algs": [CHACHA]},
    "encrypt-then-MAC alone": {"encryption_algs": [CTR], "mac_algs": [ETM]},
}
"""What a server offers, and prefix truncation could be done to."""


async def run(server: RecordingSSH) -> int | None:
    ran = await SSHConnector(server, fetch=server.fetch).run("true", stdin=b"", seconds=20, max_bytes=1000)
    return ran.exit_status


@asynccontextmanager
async def careless(server: RecordingSSH) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A client that takes the first cipher both know, as most do."""
    key = asyncssh.import_private_key(server.key)
    async with asyncssh.connect(
        server.host, server.port, username="x", client_keys=[key], known_hosts=str(server.known_hosts), config=[]
    ) as connection:
        yield connection


async def test_a_careless_client_loses_a_message_to_the_man_in_the_middle(tmp_path: Path) -> None:
    """The attack is one: without it everything below would prove nothing."""
    with old_servers():
        async with recording_ssh(tmp_path) as server, terrapin(server.port) as between:
            async with careless(server) as connection:
                assert answered_after_all(connection)
            async with careless(server.behind(between.port, tmp_path / "between")) as connection:
                assert connection.get_extra_info("recv_cipher") == CHACHA
                assert (await connection.run("true", stdin=asyncssh.DEVNULL)).exit_status == 0
                assert not answered_after_all(connection)
            assert between.dropped > 0


async def test_the_man_in_the_middle_ends_a_connection_and_nothing_runs(tmp_path: Path) -> None:
    with old_servers():
        async with recording_ssh(tmp_path) as server, terrapin(server.port) as between:
            assert await run(server) == 0
            with pytest.raises(TargetUnavailable, match=r"^no SSH connection to 127\.0\.0\.1:\d+: "):
                await run(server.behind(between.port, tmp_path / "between"))
            assert between.dropped > 0
            assert len(server.ran) == 1


@pytest.mark.parametrize("offered", OPEN)
async def test_an_old_server_without_a_safe_cipher_is_refused_before_anything_runs(
    tmp_path: Path, offered: str
) -> None:
    with old_servers():
        async with recording_ssh(tmp_path, **OPEN[offered]) as server:
            with pytest.raises(TargetUnavailable) as caught:
                await run(server)
            with pytest.raises(TargetUnavailable):
                await SSHConnector(server, fetch=server.fetch).check()

            assert server.ran == []
    assert str(caught.value) == (
        f"127.0.0.1:{server.port} offers no cipher that is safe without a strict key exchange (CVE-2023-48795): update its "
        "SSH server, or have it offer AES-GCM, or AES-CTR with hmac-sha2-256 or -512"
    )


@pytest.mark.parametrize("offered", OPEN)
async def test_with_a_strict_key_exchange_every_cipher_will_do(tmp_path: Path, offered: str) -> None:
    async with recording_ssh(tmp_path, **OPEN[offered]) as server, terrapin(server.port) as between:
        assert await run(server) == 0
        with pytest.raises(TargetUnavailable):
            await run(server.behind(between.port, tmp_path / "between"))
        assert len(server.ran) == 1


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ({"encryption_algs": [CHACHA, CTR, GCM], "mac_algs": [ETM, PLAIN]}, GCM),
        ({"encryption_algs": [CHACHA, CTR], "mac_algs": [ETM, PLAIN]}, f"{CTR} {PLAIN}"),
    ],
)
async def test_a_safe_cipher_comes_before_what_the_server_would_rather_have(
    tmp_path: Path, offered: dict[str, Any], chosen: str
) -> None:
    with old_servers():
        async with recording_ssh(tmp_path, **offered) as server:
            connection = await SSHConnector(server, fetch=server.fetch)._connect()
            found = {connection.get_extra_info(name) for name in ("send_cipher", "send_mac")}
            connection.abort()
            await connection.wait_closed()

    assert found == set(chosen.split())


async def test_openssh_is_reached_by_a_strict_key_exchange(ssh_server: SSHServer) -> None:
    connection = await SSHConnector(ssh_server, fetch=ssh_server.fetch)._connect()
    strict = connection._strict_kex
    connection.abort()
    await connection.wait_closed()

    assert strict
