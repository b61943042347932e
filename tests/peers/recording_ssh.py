"""An SSH server that runs nothing: it writes down each command with its standard input, and says that it went well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncssh

from mcp_gateway.calls import Secret


@dataclass(kw_only=True)
class RecordingSSH:
    """A running one; as a target's settings it names itself."""

    host: str = "127.0.0.1"
    port: int = 0
    user: str = "agent"
    known_hosts: Path
    key: bytes
    ran: list[tuple[str, bytes]] = field(default_factory=list)
    """Each command with what came on its standard input."""

    def behind(self, port: int, known_hosts: Path) -> RecordingSSH:
        """The same as it is reached by another port; `known_hosts` is written for that."""
        known_hosts.write_text(self.known_hosts.read_text().replace(f":{self.port} ", f":{port} "))
        return replace(self, port=port, known_hosts=known_hosts)

    async def fetch(self, source: bytes) -> Secret:
        """What a credential source would give."""
        return Secret(source)


@asynccontextmanager
async def recording_ssh(folder: Path, **more: Any) -> AsyncIterator[RecordingSSH]:
    """Run one on a free port of the loopback; `more` as `asyncssh.listen` has it."""
    host_key, user_key = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    authorized = asyncssh.import_authorized_keys(user_key.export_public_key().decode())
    peer = RecordingSSH(known_hosts=folder / "known_hosts", key=user_key.export_private_key())

    async def serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
        given = await process.stdin.read()
        peer.ran.append((process.command or "", given))
        process.stdout.write(b"ok\n")
        process.exit(0)

    server = await asyncssh.listen(
        peer.host,
        0,
        server_host_keys=[host_key],
        authorized_client_keys=authorized,
        process_factory=serve,
        encoding=None,
        config=[],
        **more,
    )
    peer.port = server.get_port()
    peer.known_hosts.write_text(f"[{peer.host}]:{peer.port} {host_key.export_public_key().decode()}")
    try:
        yield peer
    finally:
        server.close()
        await server.wait_closed()
