"""The stdio door: one client, the process that started us; its token comes from a file or the local issuer.

Standard output carries JSON-RPC and nothing else. When the client goes, or a signal comes, what runs is cancelled at
its target and recorded, and the process ends.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import anyio
import structlog

from mcp_gateway.calls import Caller, Secret
from mcp_gateway.doors.carrying import Carrier
from mcp_gateway.doors.intake import Intake
from mcp_gateway.doors.mcp import MCPDoor, declared
from mcp_gateway.doors.plain_calls import Reader
from mcp_gateway.doors.splice import prepare
from mcp_gateway.doors.standard_streams import Incoming, Outgoing, standard_streams
from mcp_gateway.doors.stream_calls import StreamCalls
from mcp_gateway.identity.sources import TokenSource
from mcp_gateway.identity.tokens import TokenVerifier
from mcp_gateway.pipeline import Road
from mcp_gateway.registry import Registry

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioParts:
    """What stands behind the door."""

    road: Road
    registry: Registry
    name: str
    verifier: TokenVerifier
    tokens: Callable[[], TokenSource]
    """Where the client's token comes from, asked for each call."""
    state_key: Secret
    answer_within: timedelta
    clock: Callable[[], datetime]
    fast_path: bool = True
    """Whether plain calls are answered before the SDK."""


async def serve_stdio(parts: StdioParts) -> None:
    """Serve until standard input ends, nobody reads standard output any more, or a signal asks to stop."""
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_stop_on_signal, group.cancel_scope)
            async with standard_streams() as (incoming, outgoing):
                await serve_streams(parts, incoming, outgoing)
            group.cancel_scope.cancel()
    except* ConnectionError:
        # A client that was killed leaves a broken pipe, or a reset where its host gave us sockets. By now what ran has
        # been cancelled and recorded.
        log.info("stdio_client_gone")


async def serve_streams(parts: StdioParts, incoming: Incoming, outgoing: Outgoing) -> None:
    """Serve one client until it has said its last. Cancelled or not, at the end nothing runs any more."""

    async def identify() -> Caller:
        return await parts.verifier.verify(parts.tokens().token())

    def identify_for(_: Any) -> Callable[[], Awaitable[Caller]]:
        return identify

    door = MCPDoor(
        parts.road,
        registry=parts.registry,
        name=parts.name,
        door=lambda _: "stdio",
        identify=identify_for,
        state_keys=[parts.state_key],
        answer_within=parts.answer_within,
        clock=parts.clock,
        met=lambda _, connection: calls.met(connection),
    )
    calls = StreamCalls(
        carrier=Carrier(
            parts.road,
            door="stdio",
            result_meta=door.result_meta,
            answer_within=parts.answer_within,
            clock=parts.clock,
        ),
        reader=Reader(door.plain_tools if parts.fast_path else (), declared=declared),
        identify=identify,
    )
    intake = Intake(calls=parts.road.max_calls_per_caller, prepare=prepare)
    async with (
        intake.bounded(incoming, outgoing, key="") as (asked, answered),
        calls.carried(asked, answered) as rest,
    ):
        await door.server.run(rest, answered, door.server.create_initialization_options())


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        async for _ in received:
            scope.cancel()
            return
