"""The HTTP door: streamable HTTP at `/mcp`, the deprecated SSE transport at `/sse`, metadata, health, approvals.

An OAuth 2.1 protected resource (RFC 9728). `guard` stands before every route; the SDK's transports come after it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import anyio
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_gateway.approval.desk import Desk
from mcp_gateway.calls import Caller, Door, Secret
from mcp_gateway.doors.approvals_api import approval_routes
from mcp_gateway.doors.departures import Watched
from mcp_gateway.doors.ending import GRACE_SECONDS, RECORD_SECONDS, close_connections, end_in_order
from mcp_gateway.doors.guard import METADATA_PATH, Guard, Reachable
from mcp_gateway.doors.mcp import Identify, MCPDoor
from mcp_gateway.doors.splice import Splicer
from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.tokens import TokenVerifier
from mcp_gateway.pipeline import Road
from mcp_gateway.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPSettings:
    """What the door needs of the configuration."""

    name: str
    public_url: str
    audience: str
    issuer: str
    scopes: dict[str, str]
    names: Reachable
    sse: bool
    answer_within: timedelta
    tls_cert: Path | None = None
    tls_key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPParts:
    """What stands behind the door."""

    road: Road
    registry: Registry
    verifier: TokenVerifier
    desk: Desk
    state_key: Secret
    problem: Callable[[], str | None]
    """Why the gateway is not ready; None while it is."""
    clock: Callable[[], datetime]


@asynccontextmanager
async def http_app(settings: HTTPSettings, parts: HTTPParts) -> AsyncIterator[Guard]:
    """The guarded application, with its sessions, until the block ends."""
    manager = StreamableHTTPSessionManager(app=_door(settings, parts, "http").server, json_response=False)
    routes: list[Route | Mount] = [
        Route("/healthz", _healthy),
        Route("/readyz", _ready(parts)),
        Route(METADATA_PATH, _metadata(settings)),
        Route("/mcp", Watched(Splicer(StreamableHTTPASGIApp(manager)))),
        *approval_routes(parts.desk),
    ]
    if settings.sse:
        routes += _sse_routes(_door(settings, parts, "sse"))
    async with manager.run():
        yield Guard(
            Starlette(routes=routes),
            names=settings.names,
            verifier=parts.verifier,
            scope_of=settings.scopes.get,
            scoped=bool(settings.scopes),
            metadata_url=f"{settings.public_url.rstrip('/')}{METADATA_PATH}",
        )


async def serve_http(
    settings: HTTPSettings,
    parts: HTTPParts,
    *,
    listener: socket.socket,
    started: Callable[[], None],
    stop: anyio.Event,
    grace_seconds: int = GRACE_SECONDS,
) -> None:
    """Serve on a bound socket until `stop`; then let what runs finish for a while. Cancelled, it ends at once.

    On return nothing runs any more: whoever closes the store afterwards takes it from nobody.
    """
    async with http_app(settings, parts) as app:
        server = uvicorn.Server(
            uvicorn.Config(
                _Ending(app, ending=lambda: server.should_exit),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                http="httptools",
                timeout_graceful_shutdown=grace_seconds + RECORD_SECONDS,
                timeout_keep_alive=30,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            )
        )
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # the command has its own
        async with anyio.create_task_group() as group:
            group.start_soon(_announce, server, started)
            group.start_soon(_end_when, stop, server, parts.road, grace_seconds)
            try:
                await _serve_quietly(server, listener, grace_seconds=grace_seconds)
            finally:
                group.cancel_scope.cancel()


async def _serve_quietly(server: uvicorn.Server, listener: socket.socket, *, grace_seconds: int) -> None:
    """`Server.serve` without its signal handlers, which belong to the command."""
    try:
        await server._serve(sockets=[listener])  # noqa: SLF001 - `serve` only adds the signal handlers
    except anyio.get_cancelled_exc_class():
        server.should_exit = True
        close_connections(server)  # so that what runs is cancelled at its target, and recorded
        with anyio.CancelScope(shield=True), anyio.move_on_after(grace_seconds + RECORD_SECONDS):
            await server.shutdown(sockets=[listener])
            # What is over time uvicorn cancels and leaves alone; a call has to be cancelled at its target and recorded.
            if cancelled := set(server.server_state.tasks):
                await asyncio.wait(cancelled)
        raise


async def _end_when(stop: anyio.Event, server: uvicorn.Server, road: Road, seconds: int) -> None:
    await stop.wait()
    road.let_go()
    await end_in_order(server, is_idle=lambda: road.calls_under_way == 0, seconds=seconds)


class _Ending:
    """An application whose requests end without an error when the server ends them; uvicorn would log a traceback."""

    def __init__(self, app: ASGIApp, *, ending: Callable[[], bool]) -> None:
        self._app = app
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._ending():
                raise


async def _announce(server: uvicorn.Server, started: Callable[[], None]) -> None:
    while not server.started:  # noqa: ASYNC110 - the server has no event for it
        await anyio.sleep(0.005)
    started()


def _door(settings: HTTPSettings, parts: HTTPParts, door: Door) -> MCPDoor:
    return MCPDoor(
        parts.road,
        registry=parts.registry,
        name=settings.name,
        door=lambda _: door,
        identify=_identify_by_message(parts.verifier),
        state_keys=[parts.state_key],
        answer_within=settings.answer_within,
        clock=parts.clock,
    )


def _identify_by_message(verifier: TokenVerifier) -> Callable[[Any], Identify]:
    """The caller of each message is who sent it, never who opened its session."""

    def identify_for(_: Any) -> Callable[[], Awaitable[Caller]]:
        token = get_access_token()

        async def identify() -> Caller:
            if token is None:
                raise IdentityError("no token came with this message")
            return await verifier.verify(token.token)

        return identify

    return identify_for


def _sse_routes(door: MCPDoor) -> list[Route | Mount]:
    transport = SseServerTransport("/messages/")

    async def connect(request: Request) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as (read, write):  # noqa: SLF001
            await door.server.run(read, write, door.server.create_initialization_options())
        return Response()

    return [
        Route("/sse", connect, methods=["GET"]),
        Mount("/messages/", app=cast("Any", transport.handle_post_message)),
    ]


async def _healthy(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _ready(parts: HTTPParts) -> Callable[[Request], Awaitable[Response]]:
    async def ready(_: Request) -> Response:
        problem = parts.problem()
        return JSONResponse({"status": problem or "ok"}, status_code=503 if problem else 200)

    return ready


def _metadata(settings: HTTPSettings) -> Callable[[Request], Awaitable[Response]]:
    document: dict[str, Any] = {
        "resource": settings.audience,
        "bearer_methods_supported": ["header"],
        "resource_name": settings.name,
    }
    if settings.issuer != "local":
        document["authorization_servers"] = [settings.issuer]
    if settings.scopes:
        document["scopes_supported"] = sorted(set(settings.scopes.values()))

    async def metadata(_: Request) -> Response:
        return JSONResponse(document)

    return metadata
