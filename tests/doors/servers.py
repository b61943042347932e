"""A road behind its HTTP door on a loopback port, with the local issuer and its people."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2

from mcp_gateway.approval.desk import Desk
from mcp_gateway.calls import Secret
from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.doors.app import HTTPParts, HTTPSettings, serve_http
from mcp_gateway.doors.ending import GRACE_SECONDS
from mcp_gateway.doors.guard import reachable
from mcp_gateway.identity.approver import ApproverPolicy
from mcp_gateway.identity.local import LocalIssuer, LocalPerson, open_local_issuer
from tests.invariants.world import World
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
        return httpx2.AsyncClient(
            headers={"authorization": f"Bearer {self.token(person, agent=agent)}"}, timeout=30, trust_env=False
        )

    def approver(self, person: str = "dana") -> httpx2.AsyncClient:
        """A person's own client."""
        token = self.issuer.mint(person, client_id=APPROVER, auth_time=utc_now()).reveal_text()
        headers = {"authorization": f"Bearer {token}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=30, trust_env=False)


@asynccontextmanager
async def served(
    folder: Path,
    *,
    world: World,
    scopes: dict[str, str] | None = None,
    wait: timedelta = timedelta(0),
    grace_seconds: int = GRACE_SECONDS,
    **more: Any,
) -> AsyncIterator[Served]:
    """Serve until the block ends; `more` is for the road."""
    world.data_dirs.append(folder / "data")
    async with laid(folder, wait=wait, **more) as bench:
        bench.clock.now = utc_now()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listen = f"127.0.0.1:{listener.getsockname()[1]}"
            url = f"http://{listen}"
            issuer = open_local_issuer(folder / "data", audience=url, clock=utc_now, new_id=new_id, people=PEOPLE)
            settings = HTTPSettings(
                name="test",
                public_url=url,
                audience=url,
                issuer="local",
                scopes=scopes or {},
                names=reachable(public_url=url, listen=listen, allowed_origins=[]),
                sse=True,
                answer_within=timedelta(seconds=50),
            )
            parts = HTTPParts(
                road=bench.road,
                registry=bench.registry,
                verifier=issuer.verifier(revoked=bench.revocations.refuses),
                desk=Desk(bench.approvals, policy=ApproverPolicy(clients=frozenset({APPROVER})), clock=utc_now),
                state_key=Secret(bytes(32)),
                problem=lambda: str(bench.store.failure) if bench.store.failure else None,
                clock=utc_now,
            )
            ready = anyio.Event()
            async with anyio.create_task_group() as group:
                group.start_soon(_serve, settings, parts, listener, ready, grace_seconds)
                await ready.wait()
                try:
                    yield Served(bench=bench, issuer=issuer, url=url, world=world)
                finally:
                    group.cancel_scope.cancel()


async def _serve(
    settings: HTTPSettings, parts: HTTPParts, listener: socket.socket, ready: anyio.Event, grace_seconds: int
) -> None:
    stop = anyio.Event()
    await serve_http(settings, parts, listener=listener, started=ready.set, stop=stop, grace_seconds=grace_seconds)
