"""One session with a PostgreSQL server: the driver, its wire filter in front, every value as text.

Built on asyncpg's parts in place of its `connect`, which takes what it is not told from PG* variables, `~/.pgpass`,
service files and `~/.postgresql`. Nothing here reads the environment. asyncpg is pinned for this; what is used of
its inside stands in this file alone.

Above it: `postgres_pool` keeps sessions, `postgres` runs calls on them.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import asyncpg
from asyncpg import connect_utils, serverversion
from asyncpg.protocol import Protocol as Driver
from asyncpg.protocol.protocol import BUILTIN_TYPE_OID_MAP, PreparedStatementState

from mcp_gateway.calls import Secret
from mcp_gateway.targets.postgres_wire import Filter, Origin, WireError

CLOSE_SECONDS = 3.0
CONTROL_ROWS = 1000
CONTROL_BYTES = 64 * 1024
CATALOG_BYTES = 256 * 1024 * 1024
"""A snapshot of a big catalog is one value of some megabytes; this bounds what a hostile server can make of it."""

VERIFYING = frozenset({"verify-ca", "verify-full"})

UNNAMED = ""
"""A named statement would stay in the session and show its text to the next call (`pg_prepared_statements`)."""

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
    AssertionError,
    BufferError,
    SystemError,
    struct.error,
)
"""What the driver raises when a server breaks the protocol or goes away; beside `asyncpg.PostgresError`, which is
what an honest server says."""

WATCHED_SETTINGS = (
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "IntervalStyle",
    "is_superuser",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
)
"""Settings that the server reports when they change: a session that differs from how it began is not used again."""

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


class BeginRefused(Exception):
    """The server would not begin the transaction; the cause is what it said."""


class AuthorityUnreadable(OSError):
    """The configured certificates cannot be had, so no server can prove who it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server is and how it is spoken to. `host` may be the folder of a Unix socket."""

    host: str
    port: int
    database: str
    user: str
    tls: str
    tls_ca: Path | None = None

    @property
    def place(self) -> str:
        """Host and port, as messages have them."""
        return f"{self.host}:{self.port}"

    @property
    def verified(self) -> bool:
        """Whether the server has to prove who it is. As in libpq, a given authority makes `require` verify."""
        return not self.is_socket and (self.tls in VERIFYING or (self.tls == "require" and self.tls_ca is not None))

    @property
    def is_socket(self) -> bool:
        """Whether this is a Unix socket."""
        return self.host.startswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A statement as the server describes it, before it has run."""

    columns: tuple[tuple[str, int], ...]
    """Name and type oid of each column of the result, in order, duplicates included."""
    origins: tuple[Origin, ...]
    parameters: tuple[int, ...]
    state: Any
    """The driver's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a statement gave."""

    rows: list[tuple[str | None, ...]]
    tag: str
    """The command tag, `UPDATE 3`; empty where the server did not get to its end."""
    cut: bool
    """Whether rows were left out because they did not fit into the bytes."""
    size: int
    """Bytes of the rows."""


def missing_driver_parts() -> list[str]:
    """What of the driver's inside is used here and is not as it was when this was written.

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


class _GuardedDriver(Driver):
    """The driver's protocol with the wire filter in front."""

    guard: Filter
    failure: WireError | None = None
    way: _Way

    def connection_made(self, transport: Any) -> None:
        self.way = _Way(transport)
        super().connection_made(self.way)

    def data_received(self, data: Any) -> None:
        if self.failure is not None:
            return
        try:
            kept = self.guard.feed(data)
        except WireError as error:
            self.failure = error
            self.way.abort()  # not the driver's own `abort`, which fails before the log-in has ended
        else:
            if kept:
                super().data_received(kept)


def _as_text(settings: Any, oid: int) -> None:
    settings.set_builtin_type_codec(oid, str(oid), "pg_catalog", "scalar", "text", "text")


class Session:
    """An open session."""

    def __init__(self, connection: Any, driver: _GuardedDriver) -> None:
        self._connection = connection
        self._driver = driver
        self._guard = driver.guard
        self._began_as = self._reported()
        self._reports = self._guard.reports
        self.opened_at = asyncio.get_running_loop().time()
        self.known: dict[str, Prepared] = {}
        """Statements of the gateway's own that stay prepared; none where agents' statements run."""

    @property
    def connection(self) -> Any:
        """The driver's connection, for queries of the gateway's own."""
        return self._connection

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent on it any more."""
        return bool(self._connection.is_closed() or self._guard.closed)

    @property
    def unchanged(self) -> bool:
        """Whether every setting that the server reports is what it was at the beginning, outside any transaction."""
        if self._guard.reports != self._reports and self._reported() != self._began_as:
            return False
        return not self._connection.is_in_transaction()

    def _reported(self) -> tuple[str | None, ...]:
        settings = self._driver.get_settings()
        return tuple(getattr(settings, name, None) for name in WATCHED_SETTINGS)

    def allow(self, *, rows: int = CONTROL_ROWS, size: int = CATALOG_BYTES) -> None:
        """Let so much come in for queries of the gateway's own on `connection`."""
        self._guard.expect(max_rows=rows, max_bytes=size, drain=True)

    async def control(self, sql: str) -> str:
        """Run SQL of the gateway's own by the simple protocol and return the last command's tag."""
        self._guard.expect(max_rows=CONTROL_ROWS, max_bytes=CONTROL_BYTES, drain=True)
        try:
            return str(await self._connection.execute(sql))
        except PROTOCOL_ERRORS as error:
            raise ConnectionLost(self._why(error)) from error
        except asyncpg.PostgresError as error:
            self._raise_if_lost(error)
            raise

    @property
    def begun(self) -> bool:
        """Whether the server has begun the transaction that the last `prepare` asked for."""
        return self._guard.begun

    async def prepare(self, sql: str, *, name: str = UNNAMED, begin: str = "") -> Prepared:
        """Have the server parse one statement and describe it; in the same message, before, `begin` a transaction.

        Raises:
            BeginRefused: the server refuses the transaction. The session is closed.
            asyncpg.PostgresError: the server refuses the statement.
            ConnectionLost: the session is gone.
        """
        self._guard.expect(max_rows=0, max_bytes=0, drain=False, begins=bool(begin))
        self._driver.way.before = _query(begin) if begin else b""
        try:
            # What asyncpg's own `prepare` does but for two things: it would ask the server what unknown types are,
            # and it would send the statement once more to run it.
            state = await self._driver.prepare(name, sql, None, record_class=asyncpg.Record)
            for oid in state._init_types():  # noqa: SLF001
                _as_text(self._driver.get_settings(), oid)
            state._init_codecs()  # noqa: SLF001
            found = Prepared(
                columns=tuple((item.name, item.type.oid) for item in state._get_attributes()),  # noqa: SLF001
                origins=self._guard.origins,
                parameters=tuple(item.oid for item in state._get_parameters() or ()),  # noqa: SLF001
                state=state,
            )
        except PROTOCOL_ERRORS as error:
            raise ConnectionLost(self._why(error)) from error
        except asyncpg.PostgresError as error:
            if begin and not self.begun:
                self._raise_if_lost(error, closed=self._connection.is_closed())
                raise BeginRefused(str(error)) from error
            self._raise_if_lost(error)
            raise
        finally:
            self._driver.way.before = b""
        if len(found.origins) != len(found.columns):
            raise ConnectionLost("the row description was read in two ways")
        return found

    async def fetch(
        self,
        prepared: Prepared,
        values: Sequence[str | None],
        *,
        max_rows: int,
        max_bytes: int,
        drain: bool,
        roll_back: bool = False,
    ) -> Fetched:
        """Run a prepared statement once and return its rows; with `roll_back` its transaction is over then, too.

        At most `max_rows` and `max_bytes` of them; with `drain` the rest is read and dropped, otherwise the session
        is `closed` where the bytes were exceeded.

        Raises:
            asyncpg.PostgresError: the statement failed.
            ConnectionLost: the session is gone.
        """
        self._guard.expect(max_rows=max_rows, max_bytes=max_bytes, drain=drain, rolls_back=roll_back)
        self._driver.way.behind = _query("ROLLBACK") if roll_back else b""
        try:
            rows, tag, _ = await self._driver.bind_execute(prepared.state, values, "", max_rows, True, None)  # noqa: FBT003
        except PROTOCOL_ERRORS as error:
            raise ConnectionLost(self._why(error)) from error
        except asyncpg.PostgresError as error:
            self._raise_if_lost(error)
            raise
        finally:
            self._driver.way.behind = b""
        return Fetched(rows=rows, tag=tag.decode() if tag else "", cut=self._guard.cut, size=self._guard.size)

    async def value(self, sql: str, *values: str) -> str:
        """Run a query of the gateway's own and return its one value."""
        prepared = await self.prepare(sql)
        fetched = await self.fetch(prepared, values, max_rows=1, max_bytes=CATALOG_BYTES, drain=False)
        if not fetched.rows or fetched.rows[0][0] is None:
            raise ConnectionLost("a query of the gateway's own gave nothing")
        return fetched.rows[0][0]

    def _raise_if_lost(self, error: asyncpg.PostgresError, *, closed: bool | None = None) -> None:
        if (self.closed if closed is None else closed) or isinstance(error, asyncpg.PostgresConnectionError):
            raise ConnectionLost(self._why(error)) from error

    def _why(self, error: BaseException) -> str:
        failure = self._driver.failure
        return str(failure) if failure is not None else type(error.__cause__ or error).__name__

    async def close(self) -> None:
        """Cancel what runs, say goodbye, and wait until the server has let go; not for longer than some seconds."""
        if self._guard.closed:
            self._connection.terminate()
            return
        with anyio.CancelScope(shield=True):
            try:
                await self._connection.close(timeout=CLOSE_SECONDS)
            except (*PROTOCOL_ERRORS, asyncpg.PostgresError):
                self._connection.terminate()


def _query(sql: str) -> bytes:
    """A message of the simple protocol, beside what the driver sends."""
    body = sql.encode() + b"\0"
    return b"Q" + struct.pack("!i", 4 + len(body)) + body


async def open_session(address: Address, *, password: Secret | None, settings: Mapping[str, str]) -> Session:
    """Connect and log in.

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
    driver: _GuardedDriver | None = None

    def build() -> _GuardedDriver:
        nonlocal driver
        driver = _GuardedDriver(where, connected, parameters, asyncpg.Record, loop)
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
                    build, *where, loop=asking, ssl_context=context, ssl_is_advisory=not _demands_tls(address)
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
                raise ConnectionLost(f"the server does not accept {name} = {wanted!r}")
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
        _as_text(driver.get_settings(), oid)
    return Session(connection, driver)


def _demands_tls(address: Address) -> bool:
    return address.tls not in {"allow", "prefer"}


def tls_context(address: Address) -> ssl.SSLContext | None:
    """TLS by libpq's names. Without an authority of its own the system's are trusted; never files of the user's."""
    if address.tls == "disable" or address.is_socket:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = address.tls == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if address.verified else ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])
    if address.verified:
        if address.tls_ca is not None:
            try:
                context.load_verify_locations(cafile=address.tls_ca)
            except ssl.SSLError:
                raise AuthorityUnreadable("'tls_ca' holds no certificate that can be read") from None
            except OSError as error:
                raise AuthorityUnreadable(f"'tls_ca' cannot be read: {error.strerror}") from None
        else:
            context.load_default_certs()
    return context
