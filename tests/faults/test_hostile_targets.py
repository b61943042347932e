"""Targets that lie: whatever a server says, a call ends with a typed error, in bounded memory, and the next one works."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.faults.gateways import EACH_TOOL, Gateway, Targets
from tests.faults.peaks import stays_small
from tests.faults.served import all_work, served
from tests.faults.sizes import times
from tests.invariants.world import World
from tests.peers.api import answer
from tests.peers.hostile_http import HOSTILE
from tests.peers.hostile_postgres import HostilePostgres, Visit, error, hostile_postgres, message
from tests.peers.hostile_ssh import SAYINGS, HostileSSH, hostile_ssh
from tests.private import write_private

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R36"), pytest.mark.timeout(600)]

CANARY = "canary-words"
NOTICE = message("N", b"SNOTICE\0Mcanary-words" + b"x" * 8000 + b"\0\0")
NEEDS_TIME = 20.0
LOG_IN: dict[str, tuple[bytes, bytes]] = {
    "nothing but the end": (b"", b""),
    "garbage": (bytes(range(255, 0, -1)) * 40, b""),
    "a negative length": (b"R" + struct.pack("!i", -1), b""),
    "a length of two gigabytes": (b"R" + struct.pack("!i", 2**31 - 1), b"\0" * 65536),
    "an error without a code": (error(None), b""),
    "an error of two gigabytes": (b"E" + struct.pack("!i", 2**31 - 1), CANARY.encode() * 4096),
    "notices without end": (b"", NOTICE * 8),
    "reports without end": (b"", message("S", b"TimeZone\0UTC\0") * 512),
    "the password in the clear": (message("R", struct.pack("!i", 3)), b""),
    "the password as MD5": (message("R", struct.pack("!i", 5) + b"salt"), b""),
    "SASL by a method of its own": (message("R", struct.pack("!i", 10) + b"X-CLEAR\0\0"), b""),
    "Kerberos": (message("R", struct.pack("!i", 2)), b""),
}
"""What a server says to the start of a session: once, and then without end."""
MOMENTS = (("evil-db", "login"), ("evil-tls", "tls"), ("evil-db", "connect"))
"""Targets, and what they are asked when they say it: to let in, for TLS, and nothing yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A gateway before three honest targets and hostile ones."""

    gateway: Gateway
    database: HostilePostgres
    host: HostileSSH


def tables(targets: Targets, database: HostilePostgres, host: HostileSSH, folder: Path) -> str:
    """The hostile targets; `changed` is the real host under another host's key."""
    key = targets.host.known_hosts.read_text().split(maxsplit=1)[1]
    known = write_private(folder / "known_hosts", f"[127.0.0.1]:{host.port} {key}")
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGYp4Qh8Ns6dn3L0SSuLVNTSnk6rYyCzIWaMYIlTRrdi"
    changed = write_private(folder / "changed_hosts", f"[127.0.0.1]:{targets.host.port} {other}\n")
    found = ""
    for name, tls in (("evil-db", "disable"), ("evil-tls", "verify-full")):
        found += f"""
[targets.{name}]
kind = "postgres"
labels = {{ env = "dev" }}
timeout = "2s"
host = "127.0.0.1"
port = {database.port}
database = "orders"
user = "gateway"
password = {{ file = "{folder / "password"}" }}
tls = "{tls}"
"""
    for name, port, file in (("evil-host", host.port, known), ("changed-host", targets.host.port, changed)):
        found += f"""
[targets.{name}]
kind = "ssh"
labels = {{ env = "dev" }}
timeout = "2s"
host = "127.0.0.1"
port = {port}
user = "{targets.host.user}"
known_hosts = "{file}"
key = {{ file = "{targets.host.key}" }}
"""
    return (
        found
        + f"""
[targets.evil-api]
kind = "http"
labels = {{ env = "dev" }}
timeout = "2s"
base_url = "{targets.api.url}"
networks = ["127.0.0.0/8"]
"""
    )


@asynccontextmanager
async def scene(folder: Path, targets: Targets, world: World) -> AsyncIterator[Scene]:
    """Set it up, and start the gateway."""
    home = folder / "gateway"
    home.mkdir(mode=0o700)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(hostile_postgres())
        host = await stack.enter_async_context(hostile_ssh())
        more = tables(targets, database, host, home)
        gateway = await stack.enter_async_context(served(folder, targets, world=world, more=more))
        # The same API is reached as two targets.
        world.sources.add(folder / "api.api.log")
        yield Scene(gateway=gateway, database=database, host=host)
        database.dismiss()
        assert "Traceback" not in gateway.said()
        assert CANARY not in gateway.said()
    (folder / "api.api.log").unlink()


async def called(found: Scene, tool: str, **arguments: Any) -> dict[str, Any]:
    """One call; it ends in time."""
    with anyio.fail_after(NEEDS_TIME):
        return await found.gateway.call(tool, arguments)


async def as_postgresql(found: Scene, _: Targets) -> None:
    """A PostgreSQL server."""
    for name, (first, endless) in LOG_IN.items():

        async def fault(visit: Visit, first: bytes = first, endless: bytes = endless) -> None:
            await visit.send(first)
            if endless:
                await visit.flood(endless)
            if first:
                await visit.hang()

        for target, at in MOMENTS[: times(commit=1, full=len(MOMENTS))]:
            found.database.misbehave, found.database.at = fault, at
            ended = await called(found, "query_database", target=target, sql="SELECT 1")
            assert ended["code"] == "target_unavailable", (name, target, ended)
    # Nothing was said to it without TLS where that is demanded, and no password anywhere.
    assert found.database.received == []


async def as_ssh(found: Scene, _: Targets) -> None:
    """An SSH server."""
    for name, (found.host.first, found.host.endless) in SAYINGS.items():
        ended = await called(found, "run_ssh_command", target="evil-host", argv=["true"])
        assert ended["code"] in {"target_unavailable", "timeout"}, (name, ended)
    changed = await called(found, "run_ssh_command", target="changed-host", argv=["true"])
    assert changed["code"] == "target_unavailable"


async def as_api(found: Scene, targets: Targets) -> None:
    """An HTTP API, whose next answer is an honest one."""
    for name, hostile in HOSTILE.items():
        targets.api.answers, targets.api.endless = [hostile.first], hostile.endless
        asked = len(targets.api.requests)
        ended = await called(found, "call_api", target="evil-api", path="x")
        assert ended.get("code", "ok") in hostile.codes | {"timeout"}, (name, ended)
        assert "forged" not in str(ended.get("text", "")) or name == "two answers", (name, ended)
        assert len(targets.api.requests) == asked + 1, name
        targets.api.answers, targets.api.endless = [answer(b"ok")], b""
        assert await found.gateway.code(*EACH_TOOL[2]) == "ok", name


async def test_targets_that_lie(tmp_path: Path, world: World, targets: Targets) -> None:
    world.canaries["what a hostile server says"] = CANARY.encode()
    async with scene(tmp_path, targets, world) as found:
        with stays_small(found.gateway, "hostile servers of all three kinds at once"):
            async with anyio.create_task_group() as group:
                for lies in (as_postgresql, as_ssh, as_api):
                    group.start_soon(lies, found, targets)
        await all_work(found.gateway)
