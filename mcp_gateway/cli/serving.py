"""Running a gateway behind its doors: `stdio` for one client, `serve` for the network."""

from __future__ import annotations

import errno
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from mcp_gateway.approval.desk import Desk
from mcp_gateway.cli import collector
from mcp_gateway.cli.assemble import Gateway, running
from mcp_gateway.cli.issuing import approver_policy, token_environment
from mcp_gateway.cli.keys import STATE_KEY, open_key
from mcp_gateway.cli.output import print_warning
from mcp_gateway.cli.room import check_room
from mcp_gateway.clock import steady_now, utc_now
from mcp_gateway.config import Settings
from mcp_gateway.doors.app import HTTPParts, HTTPSettings, serve_http
from mcp_gateway.doors.connections import ConnectionBounds
from mcp_gateway.doors.descriptors import connections_within
from mcp_gateway.doors.guard import reachable
from mcp_gateway.doors.stdio import StdioParts, serve_stdio
from mcp_gateway.doors.tls import server_context
from mcp_gateway.errors import ConfigError, Problem, StoreError
from mcp_gateway.identity.sources import LocalTokenSource, TokenSource, token_source
from mcp_gateway.policy.statement import why_nothing_is_permitted

READY_BYTES = 1024 * 1024
"""Free on the disk of the audit store; some calls may still be recorded in less, but not for long."""
STDIO_CLIENT = "mcp-gateway-stdio"
"""The agent's name in tokens that the local issuer signs for the stdio door."""


async def run_stdio(settings: Settings) -> None:
    """Serve the process that started us until it goes away."""
    async with running(settings, doors=["stdio"]) as gateway:
        _warn_of_policies(gateway)
        collector.settle()
        await serve_stdio(
            StdioParts(
                road=gateway.road,
                registry=gateway.registry,
                name=settings.gateway.name,
                verifier=gateway.identity.verifier,
                tokens=_stdio_tokens(gateway),
                state_key=open_key(settings.gateway.data_dir / STATE_KEY),
                answer_within=settings.server.answer_within,
                clock=utc_now,
                fast_path=settings.server.fast_path,
            )
        )


def _stdio_tokens(gateway: Gateway) -> Callable[[], TokenSource]:
    issuer = gateway.identity.local
    local = LocalTokenSource(issuer, client_id=STDIO_CLIENT, clock=steady_now) if issuer is not None else None
    environment = token_environment()
    return lambda: token_source(environment, local=local)


async def run_serve(settings: Settings, *, started: Callable[[str], None]) -> None:
    """Serve the network until SIGTERM or SIGINT, or its terminal closes; `started` gets the URL that was bound.

    What runs then is finished, and what waits for people is answered; a second signal ends it at once. SIGHUP has
    policies and OpenAPI documents read anew.
    """
    listener = bind(settings.server.listen)
    stop = anyio.Event()
    try:
        async with anyio.create_task_group() as group:
            signals = Signals(stop=stop, at_once=group.cancel_scope)
            group.start_soon(signals.heed)
            async with serving(settings, listener=listener, started=started, stop=stop) as gateway:
                signals.reload = gateway.reload
                collector.settle()
                await stop.wait()
            group.cancel_scope.cancel()
    finally:
        listener.close()


@asynccontextmanager
async def serving(
    settings: Settings,
    *,
    listener: socket.socket,
    started: Callable[[str], None] = lambda _: None,
    stop: anyio.Event | None = None,
) -> AsyncIterator[Gateway]:
    """A gateway that serves HTTP on a bound socket until the block ends: in good order after `stop`, else at once."""
    stop = stop or anyio.Event()
    server = settings.server
    tls = server_context(server.tls_cert, server.tls_key) if server.tls_cert and server.tls_key else None
    doors = ["http", "sse"] if settings.server.sse else ["http"]
    async with running(settings, doors=doors) as gateway:
        _warn_of_policies(gateway)
        ready = anyio.Event()
        url = bound_url(settings, listener)
        if gateway.identity.keys is not None:
            gateway.identity.keys.renew()  # an issuer that does not answer is in the log now, not at the first call

        def announce() -> None:
            ready.set()
            started(url)

        async with anyio.create_task_group() as group:
            group.start_soon(_serve, gateway, listener, tls, announce, stop)
            await ready.wait()
            try:
                yield gateway
            finally:
                if not stop.is_set():
                    group.cancel_scope.cancel()


def _warn_of_policies(gateway: Gateway) -> None:
    """Say that every call will be denied, where it will; policies may still come while the gateway runs."""
    if (why := why_nothing_is_permitted(gateway.policies.current.compiled)) is not None:
        print_warning(why)


async def _serve(
    gateway: Gateway,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    announce: Callable[[], None],
    stop: anyio.Event,
) -> None:
    settings = gateway.settings
    host, port = listener.getsockname()[:2]
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    url = bound_url(settings, listener)
    await serve_http(
        HTTPSettings(
            name=settings.gateway.name,
            public_url=url,
            audience=settings.identity.audience,
            issuer=settings.identity.issuer,
            scopes=dict(settings.identity.scopes),
            names=reachable(public_url=url, listen=listen, allowed_origins=settings.server.allowed_origins),
            sse=settings.server.sse,
            answer_within=settings.server.answer_within,
            fast_path=settings.server.fast_path,
            tls=tls,
            connections=ConnectionBounds(
                most=connections_within(settings.server.max_connections),
                most_per_address=settings.server.max_connections_per_address,
                request_within=settings.server.request_within,
                read_within=settings.server.read_within,
            ),
        ),
        HTTPParts(
            road=gateway.road,
            registry=gateway.registry,
            verifier=gateway.identity.verifier,
            desk=build_desk(gateway),
            state_key=open_key(settings.gateway.data_dir / STATE_KEY),
            problem=lambda: _problem(gateway),
            clock=utc_now,
        ),
        listener=listener,
        started=announce,
        stop=stop,
    )


def build_desk(gateway: Gateway) -> Desk:
    """The desk over a running gateway's approvals."""
    return Desk(gateway.records.approvals, policy=approver_policy(gateway.settings), clock=steady_now)


def _problem(gateway: Gateway) -> str | None:
    if gateway.records.store.failure is not None:
        return "the audit store refuses"
    try:
        # A gateway that is idle writes nothing, and would learn of a full disk from the first call that it refuses.
        check_room(gateway.settings.gateway.data_dir, least_bytes=READY_BYTES)
    except StoreError:
        return "the audit store has no room"
    keys = gateway.identity.keys
    if keys is not None:
        # A balancer sends no call, and so no token, to a gateway that is not ready: being asked has to be enough.
        keys.renew()
        if not keys.status().ready:
            return "the issuer's keys are not at hand"
    return None


def bind(listen: str) -> socket.socket:
    """Bind the configured address. Raises `ConfigError` if it cannot be had."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(port)), family=family, backlog=512)
    except OSError as error:
        problem = Problem(path="server.listen", message=f"cannot listen on {listen!r}: {_why(error)}")
        raise ConfigError([problem]) from None


def _why(error: OSError) -> str:
    """The system's words alone; asyncio and socket add what is said already."""
    if error.errno == errno.EADDRINUSE:
        return "another program does already"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def bound_url(settings: Settings, listener: socket.socket) -> str:
    """The public URL; for port 0 the one that was bound."""
    host, port = listener.getsockname()[:2]
    public = str(settings.server.public_url)
    if not public.endswith(":0"):
        return public
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.server.tls_cert else 'http'}://{name}:{port}"


def heeded_signals() -> list[signal.Signals]:
    """What `serve` listens for; not for SIGHUP where `nohup` has told us to outlive our terminal."""
    always = [signal.SIGTERM, signal.SIGINT]
    return always if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [*always, signal.SIGHUP]


class Signals:
    """What signals do to a gateway that serves."""

    def __init__(self, *, stop: anyio.Event, at_once: anyio.CancelScope) -> None:
        self._stop = stop
        self._at_once = at_once
        self._had_terminal = has_terminal()
        self.reload: Callable[[], None] = lambda: None

    async def heed(self) -> None:
        """Listen until cancelled."""
        with anyio.open_signal_receiver(*heeded_signals()) as received:
            async for sent in received:
                if sent == signal.SIGHUP and not (self._had_terminal and not has_terminal()):
                    self.reload()
                    continue
                if self._stop.is_set():
                    self._at_once.cancel()
                self._stop.set()


def has_terminal() -> bool:
    """Whether there is a terminal that this process was started from. It is gone by the time that its SIGHUP comes."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def run_loop(main: Callable[[], object]) -> bool:
    """Run an async command to its end; an interrupt ends it without a traceback. Whether it came to its own end."""
    try:
        anyio.run(main, backend_options={"use_uvloop": sys.platform != "win32"})  # type: ignore[arg-type]
    except KeyboardInterrupt:
        return False
    return True
