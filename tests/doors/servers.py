"""A road behind its HTTP door on a loopback port, with the local issuer and its people."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2

from mcp_gateway.approval.desk import Desk
from mcp_gateway.calls import Secret
from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.doors.app import HTTPParts, HTTPSettings, serve_http
from mcp_gateway.doors.connections import ConnectionBounds
from mcp_gateway.doors.ending import GRACE_SECONDS
from mcp_gateway.doors.guard import reachable
from mcp_gateway.doors.tls import server_context
from mcp_gateway.identity.approver import ApproverPolicy
from mcp_gateway.identity.local import LocalIssuer, LocalPerson, open_local_issuer
from mcp_gateway.identity.tokens import TokenVerifier
from tests.invariants.world import World
from tests.peers.certificates import ServerCertificate
from tests.plain_http import plain_client
from tests.private import write_private
from tests.roads import Bench, laid

PEOPLE = {
    "alex": LocalPerson(groups=frozenset({"dev"}), email="alex@example.com"),
    "dana": LocalPerson(groups=frozenset({"dba"}), email="dana@example.com"),
    "sam": LocalPerson(groups=frozenset({"dev"})),
}
APPROVER = "approver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running door."""

    bench: Bench
    issuer: LocalIssuer
    url: str
    world: World
    """Whom clients tell what they are answered."""

    def token(self, person: str = "alex", *, agent: str = "agent") -> str:
        """An agent's token."""
        return self.issuer.mint(person, client_id=agent, actor=agent).reveal_text()

    def client(self, person: str = "alex", *, agent: str = "agent") -> httpx2.AsyncClient:
        """An HTTP client that carries one."""
        return plain_client(headers={"authorization": f"Bearer {self.token(person, agent=agent)}"}, timeout=30)

    def approver(self, person: str = "dana") -> httpx2.AsyncClient:
        """A person's own client."""
        token = self.issuer.mint(person, client_id=APPROVER, auth_time=utc_now()).reveal_text()
        headers = {"authorization": f"Bearer {token}"}
        return plain_client(base_url=self.url, headers=headers, timeout=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a door needs, before it is opened."""

    served: Served
    settings: HTTPSettings
    parts: HTTPParts
    listener: socket.socket


@asynccontextmanager
async def served(folder: Path, *, grace_seconds: int = GRACE_SECONDS, **more: Any) -> AsyncIterator[Served]:
    """Serve until the block ends; `more` is for `standing`."""
    async with standing(folder, **more) as found:
        ready = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(_serve, found, ready, grace_seconds)
            await ready.wait()
            try:
                yield found.served
            finally:
                group.cancel_scope.cancel()


@asynccontextmanager
async def standing(
    folder: Path,
    *,
    world: World,
    scopes: dict[str, str] | None = None,
    wait: timedelta = timedelta(0),
    verifier: TokenVerifier | None = None,
    clock: Callable[[], datetime] = utc_now,
    connections: ConnectionBounds | None = None,
    people: Mapping[str, LocalPerson] = PEOPLE,
    certificate: ServerCertificate | None = None,
    **more: Any,
) -> AsyncIterator[Standing]:
    """A road with all that its door needs; `verifier` is in place of the local issuer's, and `more` is for the road.

    With a `certificate` the door speaks TLS.
    """
    world.data_dirs.append(folder / "data")
    async with laid(folder, wait=wait, **more) as bench:
        bench.clock.now = clock()
        # With its protocol named, so that asyncio turns off the delay of small segments, as uvloop does for any.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(512)
            listen = f"127.0.0.1:{listener.getsockname()[1]}"
            url = f"{'https' if certificate else 'http'}://{listen}"
            issuer = open_local_issuer(folder / "data", audience=url, clock=utc_now, new_id=new_id, people=people)
            settings = HTTPSettings(
                name="test",
                public_url=url,
                audience=url,
                issuer="local",
                scopes=scopes or {},
                names=reachable(public_url=url, listen=listen, allowed_origins=[]),
                sse=True,
                answer_within=timedelta(seconds=50),
                connections=connections or ConnectionBounds(),
                **(_tls(folder, certificate) if certificate else {}),
            )
            parts = HTTPParts(
                road=bench.road,
                registry=bench.registry,
                verifier=verifier or issuer.verifier(revoked=bench.revocations.refuses),
                desk=Desk(bench.approvals, policy=ApproverPolicy(clients=frozenset({APPROVER})), clock=clock),
                state_key=Secret(bytes(32)),
                problem=lambda: str(bench.store.failure) if bench.store.failure else None,
                clock=clock,
            )
            served = Served(bench=bench, issuer=issuer, url=url, world=world)
            yield Standing(served=served, settings=settings, parts=parts, listener=listener)


def _tls(folder: Path, certificate: ServerCertificate) -> dict[str, Any]:
    certificate_file = folder / "certificate.pem"
    certificate_file.write_bytes(certificate.certificate)
    return {"tls": server_context(certificate_file, write_private(folder / "certificate.key", certificate.key))}


async def _serve(found: Standing, ready: anyio.Event, grace_seconds: int) -> None:
    await serve_http(
        found.settings,
        found.parts,
        listener=found.listener,
        started=ready.set,
        stop=anyio.Event(),
        grace_seconds=grace_seconds,
    )
