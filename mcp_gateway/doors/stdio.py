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
import structlog

from mcp_gateway.calls import Caller, Secret
from mcp_gateway.doors.intake import Intake
from mcp_gateway.doors.mcp import MCPDoor
from mcp_gateway.doors.splice import prepare
from mcp_gateway.doors.standard_streams import standard_streams
from mcp_gateway.identity.sources import TokenSource
from mcp_gateway.identity.tokens import TokenVerifier
from mcp_gateway.pipeline import Road
from mcp_gateway.registry import Registry

log = structlog.get_logger(__name__)


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
    """Serve until standard input ends, nobody reads standard output any more, or a signal asks to stop."""

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
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_stop_on_signal, group.cancel_scope)
            async with (
                standard_streams() as (incoming, outgoing),
                Intake(calls=road.max_calls_per_caller, prepare=prepare).bounded(incoming, outgoing, key="") as (
                    asked,
                    answered,
                ),
            ):
                options = door.server.create_initialization_options()
                await door.server.run(asked, answered, options)
            group.cancel_scope.cancel()
    except* ConnectionError:
        # A client that was killed leaves a broken pipe, or a reset where its host gave us sockets. By now what ran has
        # been cancelled and recorded.
        log.info("stdio_client_gone")


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        async for _ in received:
            scope.cancel()
            return
