"""The stdio door: one client, the process that started us; its token comes from a file or the local issuer.

Standard output carries JSON-RPC and nothing else. When the client goes, or a signal comes, what runs is cancelled at
its target and recorded, and the process ends.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import anyio
from mcp.server.stdio import stdio_server

from mcp_gateway.calls import Caller, Secret
from mcp_gateway.doors.mcp import MCPDoor
from mcp_gateway.identity.sources import TokenSource
from mcp_gateway.identity.tokens import TokenVerifier
from mcp_gateway.pipeline import Road
from mcp_gateway.registry import Registry


async def serve_stdio(
    road: Road,
    *,
    registry: Registry,
    name: str,
    verifier: TokenVerifier,
    tokens: Callable[[], TokenSource],
    state_key: Secret,
    answer_within: timedelta,
    clock: Callable[[], datetime],
) -> None:
    """Serve until standard input ends or a signal asks to stop."""

    async def identify() -> Caller:
        return await verifier.verify(tokens().token())

    def identify_for(_: Any) -> Callable[[], Awaitable[Caller]]:
        return identify

    door = MCPDoor(
        road,
        registry=registry,
        name=name,
        door=lambda _: "stdio",
        identify=identify_for,
        state_keys=[state_key],
        answer_within=answer_within,
        clock=clock,
    )
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_on_signal, group.cancel_scope)
        async with stdio_server() as (read, write):
            await door.server.run(read, write, door.server.create_initialization_options())
        group.cancel_scope.cancel()


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        async for _ in received:
            scope.cancel()
            return
