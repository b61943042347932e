"""The HTTP door: streamable HTTP at `/mcp`, the deprecated SSE transport at `/sse`, metadata, health, approvals.

An OAuth 2.1 protected resource (RFC 9728). `guard` stands before every route; the SDK's transports come after it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import anyio
import uvicorn
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware, get_access_token
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_gateway.approval.desk import Desk
from mcp_gateway.calls import Caller, Door, Secret
from mcp_gateway.doors.approvals_api import approval_routes
from mcp_gateway.doors.carrying import Carrier
from mcp_gateway.doors.connections import ConnectionBounds, Connections
from mcp_gateway.doors.departures import Watched
from mcp_gateway.doors.ending import GRACE_SECONDS, RECORD_SECONDS, close_connections, end_in_order
from mcp_gateway.doors.fast_path import FastPath
from mcp_gateway.doors.guard import CALLER_KEY, METADATA_PATH, Guard, Reachable
from mcp_gateway.doors.intake import Intake
from mcp_gateway.doors.mcp import Identify, MCPDoor, declared
from mcp_gateway.doors.plain_calls import Reader
from mcp_gateway.doors.sessions import Sessions, met
from mcp_gateway.doors.splice import Splicer
from mcp_gateway.doors.unread import Unread
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
    fast_path: bool = True
    """Whether plain calls are answered before the SDK."""
    tls: ssl.SSLContext | None = None
    """Of `doors.tls.server_context`; None where something before this ends TLS, or nobody else listens."""
    connections: ConnectionBounds = field(default_factory=ConnectionBounds)


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
    door = _door(settings, parts, "http")
    manager = Sessions(door.server)
    routes: list[Route | Mount] = [
        Route("/healthz", _healthy),
        Route("/readyz", _ready(parts)),
        Route(METADATA_PATH, _metadata(settings)),
        Route("/mcp", Watched(Splicer(StreamableHTTPASGIApp(manager)))),
        *approval_routes(parts.desk),
    ]
    if settings.sse:
        routes += _sse_routes(_door(settings, parts, "sse"), calls=parts.road.max_calls_per_caller)
    app: ASGIApp = AuthContextMiddleware(Starlette(routes=routes))
    if settings.fast_path:
        app = FastPath(
            app,
            carrier=Carrier(
                parts.road,
                door="http",
                result_meta=door.result_meta,
                answer_within=settings.answer_within,
                clock=parts.clock,
            ),
            reader=Reader(door.plain_tools, declared=declared),
            sessions=manager,
            identify_by=_identify_by_request(parts.verifier),
        )
    async with manager.run():
        yield Guard(
            app,
            names=settings.names,
            verifier=parts.verifier,
            scope_of=settings.scopes.get,
            scoped=bool(settings.scopes),
            metadata_url=f"{settings.public_url.rstrip('/')}{METADATA_PATH}",
            requests_each=max(8, settings.connections.most // 4),
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
    connections = Connections(settings.connections, tls=settings.tls)
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
                http=connections.connection,  # type: ignore[arg-type]  # it is called as a class would be
                timeout_graceful_shutdown=grace_seconds + RECORD_SECONDS,
                timeout_keep_alive=30,
            )
        )
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # the command has its own
        async with anyio.create_task_group() as group:
            group.start_soon(connections.watch)
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
        met=met,
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


def _identify_by_request(verifier: TokenVerifier) -> Callable[[Scope], Callable[[], Awaitable[Caller]]]:
    """The caller of each request is who the guard has let in, verified anew whenever that is asked."""

    def identify_by(scope: Scope) -> Callable[[], Awaitable[Caller]]:
        token: str = scope["user"].access_token.token
        return lambda: verifier.verify(token)

    return identify_by


def _sse_routes(door: MCPDoor, *, calls: int) -> list[Route | Mount]:
    transport, unread, intake = SseServerTransport("/messages/"), Unread(), Intake(calls=calls)

    async def connect(request: Request) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as (read, write):  # noqa: SLF001
            key = request.scope[CALLER_KEY].key
            async with intake.bounded(read, unread.counted(write, key=key), key=key) as (asked, answered):
                await door.server.run(asked, answered, door.server.create_initialization_options())
        return Response()

    async def post(scope: Scope, receive: Receive, send: Send) -> None:
        if not await unread.has_room(scope[CALLER_KEY].key):
            error = {"error": "too many answers of this person wait to be read on their streams"}
            await JSONResponse(error, status_code=429, headers={"retry-after": "1"})(scope, receive, send)
            return
        # The SDK answers 202 before it hands the message on, and finds only then that the stream has ended.
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            await transport.handle_post_message(scope, receive, send)

    return [Route("/sse", connect, methods=["GET"]), Mount("/messages/", app=post)]


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
