"""The driver of a session with a PostgreSQL server: connected and logged in, the wire filter in front, every value as text.

Built on asyncpg's parts in place of its `connect`, which takes what it is not told from PG* variables, `~/.pgpass`,
service files and `~/.postgresql`. Nothing here reads the environment. asyncpg is pinned for this; what is used of
its inside stands here and in `postgres_session`, which runs statements by it.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import asyncpg
from asyncpg import connect_utils, serverversion
from asyncpg.pgproto import pgproto
from asyncpg.protocol import Protocol as Driver
from asyncpg.protocol.protocol import BUILTIN_TYPE_OID_MAP, PreparedStatementState

from mcp_gateway.calls import Secret
from mcp_gateway.targets.postgres_address import Address, tls_context
from mcp_gateway.targets.postgres_wire import Filter, WireError

PROTOCOL_ERRORS = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    WireError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    ArithmeticError,
    MemoryError,
    TypeError,
    AttributeError,
    AssertionError,
    BufferError,
    pgproto.BufferError,
    SystemError,
    struct.error,
)
"""What the driver raises when a server breaks the protocol or goes away; beside `asyncpg.PostgresError`, which is
what an honest server says."""

DEMANDED_REPORTS: Mapping[str, str | None] = {
    "server_version": None,
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
}
"""What a server has to have said of itself before a statement is sent to it. With other values of the last two it
would read another statement than the one that was examined."""

OTHER_PROTOCOLS = {
    b"HTTP/": "as an HTTP server",
    b"SSH-": "as an SSH server",
    b"\x15\x03": "as a server that speaks TLS from the beginning, such as one of HTTPS",
}
"""How the answers of others begin, to a request for TLS or to any connection."""


class ConnectionLost(Exception):
    """The session is gone, or can no longer be trusted to be what it says."""


class NotPostgres(ConnectionLost):
    """What answers is something else; the text says what it answered, as far as that tells."""


def missing_driver_parts() -> list[str]:
    """What of the driver's inside is used and is not as it was when this was written.

    Without one of them a row description would go unread or bytes pass by the filter, and not all of that would raise.
    """
    wanted: dict[Any, tuple[str, ...]] = {
        Driver: ("prepare", "bind_execute", "data_received", "abort", "get_settings", "set_connection"),
        connect_utils: ("_ConnectionParameters", "_ClientConfiguration", "_create_ssl_connection", "SSLMode"),
        PreparedStatementState: ("_init_types", "_init_codecs", "_get_attributes", "_get_parameters"),
    }
    missing = [f"{of.__name__}.{name}" for of, names in wanted.items() for name in names if not hasattr(of, name)]
    if hasattr(Driver, "get_buffer"):  # then the event loop would no longer call data_received
        missing.append("Protocol reads without data_received")
    return missing


class _AskingForTLS:
    """The event loop as the driver uses it to ask for TLS, and how the answer began: the driver says only that it is no yes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.answer = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, build: Callable[[], Any], host: str, port: int) -> Any:
        """The driver's own connection, whose first bytes are seen on the way."""

        def listening() -> Any:
            protocol = build()
            hand_on = protocol.data_received

            def data_received(data: bytes) -> None:
                self.answer = self.answer or bytes(data[:8])
                hand_on(data)

            protocol.data_received = data_received
            return protocol

        return await self._loop.create_connection(listening, host, port)

    def refuse_others(self, error: BaseException) -> None:
        """Raise `NotPostgres` where the answer is none that PostgreSQL gives: yes, no, or the beginning of an error."""
        if self.answer and self.answer not in {b"S", b"N"} and not self.answer.startswith(b"E"):
            looks = next((what for begins, what in OTHER_PROTOCOLS.items() if self.answer.startswith(begins)), "")
            raise NotPostgres(looks or "with what PostgreSQL never says there") from error


class _Way:
    """A transport on which something of the gateway's own goes out with the driver's next message. Whatever is not here is
    the transport's.

    The event loop writes at once what is written to an idle connection: in two writes the server would be woken twice.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.before = self.behind = b""

    def write(self, data: Any) -> None:
        """Send a message of the driver's, which has all of an operation in one."""
        if self.before or self.behind:
            data, self.before, self.behind = b"".join((self.before, data, self.behind)), b"", b""
        self._transport.write(data)

    def writelines(self, data: Iterable[Any]) -> None:
        """The same of one that is in several pieces."""
        self.write(b"".join(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class GuardedDriver(Driver):
    """The driver's protocol with the wire filter in front."""

    guard: Filter
    failure: WireError | None = None
    way: _Way

    def connection_made(self, transport: Any) -> None:
        """Begin on a transport, on which what the gateway adds can go out too."""
        self.way = _Way(transport)
        super().connection_made(self.way)

    def data_received(self, data: Any) -> None:
        """Hand on what the filter lets through; what breaks the protocol ends the connection."""
        if self.failure is not None:
            return
        try:
            kept = self.guard.feed(data)
            if kept:
                super().data_received(kept)
        except WireError as error:
            self._fail(error)
        except PROTOCOL_ERRORS:  # for whoever waits the driver keeps it; it is raised where nobody does
            self._fail(WireError("the server said what nobody had asked for"))

    def _fail(self, why: WireError) -> None:
        self.failure = why
        self.way.abort()  # not the driver's own `abort`, which fails before the log-in has ended


def as_text(settings: Any, oid: int) -> None:
    """Have the driver leave values of a type as the server writes them."""
    settings.set_builtin_type_codec(oid, str(oid), "pg_catalog", "scalar", "text", "text")


async def connect(
    address: Address, *, password: Secret | None, settings: Mapping[str, str]
) -> tuple[Any, GuardedDriver]:
    """Connect and log in; gives the driver's connection and its protocol.

    Raises:
        asyncpg.PostgresError: the server refuses.
        OSError, ConnectionLost, ssl.SSLError: it is not there, or not what it should be.
    """
    if missing := missing_driver_parts():
        raise ConnectionLost(f"asyncpg {asyncpg.__version__} is not the release that is needed: {', '.join(missing)}")
    loop = asyncio.get_running_loop()
    context = tls_context(address)
    parameters = connect_utils._ConnectionParameters(  # noqa: SLF001
        user=address.user,
        password=password.reveal_text() if password else "",
        database=address.database,
        ssl=context,
        sslmode=connect_utils.SSLMode.parse(address.tls if context else "disable"),
        ssl_negotiation=connect_utils.SSLNegotiation.postgres,
        server_settings=dict(settings),
        target_session_attrs=connect_utils.SessionAttribute.any,
        krbsrvname=None,
        gsslib="gssapi",
    )
    config = connect_utils._ClientConfiguration(  # noqa: SLF001
        command_timeout=None,
        statement_cache_size=0,
        max_cached_statement_lifetime=0,
        max_cacheable_statement_size=0,
    )
    where = f"{address.host}/.s.PGSQL.{address.port}" if address.is_socket else (address.host, address.port)
    connected: asyncio.Future[bool] = loop.create_future()
    driver: GuardedDriver | None = None

    def build() -> GuardedDriver:
        nonlocal driver
        driver = GuardedDriver(where, connected, parameters, asyncpg.Record, loop)
        driver.guard = Filter(verified=address.verified)
        return driver

    transport: Any = None
    try:
        if isinstance(where, str):
            transport, driver = await loop.create_unix_connection(build, where)
        elif context is None:
            transport, driver = await loop.create_connection(build, *where)
        else:
            asking = _AskingForTLS(loop)
            try:
                transport, driver = await connect_utils._create_ssl_connection(  # type: ignore[attr-defined]  # noqa: SLF001
                    build, *where, loop=asking, ssl_context=context, ssl_is_advisory=not address.demands_tls
                )
            except ConnectionError as error:
                asking.refuse_others(error)
                raise
        await connected
        for name, wanted in DEMANDED_REPORTS.items():
            said = getattr(driver.get_settings(), name, None)
            if said is None:
                raise ConnectionLost(f"the server does not report {name}, as every PostgreSQL server does")
            if wanted is not None and said != wanted:
                raise ConnectionLost(
                    f"the server does not accept {name} = {wanted!r}; if a connection pooler stands before it, "
                    "set the target's host and port to those of PostgreSQL itself"
                )
        serverversion.split_server_version_string(driver.get_settings().server_version)
        # What the connection keeps is for cancel requests alone: those need no password.
        connection = asyncpg.Connection(driver, transport, loop, where, config, parameters._replace(password=None))
    except BaseException as error:
        if transport is not None:
            transport.abort()
        connected.cancel()
        if driver is not None and driver.failure is not None:
            raise ConnectionLost(str(driver.failure)) from error
        raise
    driver.set_connection(connection)
    for oid in BUILTIN_TYPE_OID_MAP:
        as_text(driver.get_settings(), oid)
    return connection, driver
