"""One session with a PostgreSQL server: statements prepared and run on it, every value as text.

Below it, `postgres_driver` connects; above it, `postgres_pool` keeps sessions and `postgres` runs calls on them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import asyncpg

from mcp_gateway.calls import Secret
from mcp_gateway.targets.postgres_address import Address
from mcp_gateway.targets.postgres_driver import PROTOCOL_ERRORS, ConnectionLost, GuardedDriver, as_text, connect
from mcp_gateway.targets.postgres_errors import condition
from mcp_gateway.targets.postgres_preface import AtOnce, Check, described
from mcp_gateway.targets.postgres_wire import Origin

CLOSE_SECONDS = 3.0
CONTROL_ROWS = 1000
CONTROL_BYTES = 64 * 1024
CATALOG_BYTES = 256 * 1024 * 1024
"""A snapshot of a big catalog is one value of some megabytes; this bounds what a hostile server can make of it."""

UNNAMED = ""
"""A named statement would stay in the session and show its text to the next call (`pg_prepared_statements`)."""

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


class BeginRefused(Exception):
    """The server would not begin the transaction; the cause is what it said."""


class SessionSpent(Exception):
    """The session had to be closed, through no fault of the server's: another one will do."""


class NotAccepted(Exception):
    """The server does not accept a statement; nothing of it has run, and its transaction is rolled back."""

    def __init__(self, error: asyncpg.PostgresError) -> None:
        super().__init__(str(error))
        self.error = error


class NotAtOnce(Exception):
    """A statement could not be run in one exchange, and nothing is known of it by that: it is to be run step by step."""

    def __init__(self, *, differs: bool) -> None:
        super().__init__("the statement is described in another way" if differs else "something before it failed")
        self.differs = differs
        """Whether its description is not the one that was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A statement as the server describes it, before it has run."""

    columns: tuple[tuple[str, int], ...]
    """Name and type oid of each column of the result, in order, duplicates included."""
    origins: tuple[Origin, ...]
    parameters: tuple[int, ...]
    described: bytes
    """The same in the server's own bytes: the messages that describe parameters and columns."""
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


class Session:
    """An open session."""

    def __init__(self, connection: Any, driver: GuardedDriver, *, search_path: str = "") -> None:
        """`search_path` is that of agents' statements, as a setting."""
        self._connection = connection
        self._driver = driver
        self._guard = driver.guard
        self._began_as = self._reported()
        self._reports = self._guard.reports
        self.opened_at = asyncio.get_running_loop().time()
        self.known: dict[str, Prepared] = {}
        """Statements of the gateway's own that stay prepared; none where agents' statements run."""
        self.at_once = AtOnce(search_path=search_path)

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

    @property
    def may_have_run(self) -> bool:
        """Whether all that precedes the statement of the last `run_at_once` has been answered."""
        return self._guard.preface_over

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
                as_text(self._driver.get_settings(), oid)
            state._init_codecs()  # noqa: SLF001
            parameters = tuple(item.oid for item in state._get_parameters() or ())  # noqa: SLF001
            found = Prepared(
                columns=tuple((item.name, item.type.oid) for item in state._get_attributes()),  # noqa: SLF001
                origins=self._guard.origins,
                parameters=parameters,
                described=described(parameters, bytes(self._guard.description)),
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
        return self._fetched(rows, tag)

    async def run_at_once(
        self,
        sql: str,
        prepared: Prepared,
        values: Sequence[str | None],
        *,
        limits: tuple[str, str],
        check: Check | None,
        max_rows: int,
        max_bytes: int,
    ) -> Fetched:
        """Run a statement that only reads in one exchange, transaction and all, as `fetch` does.

        `prepared` is an earlier statement of its shape, on this session or another one; `limits` are `statement_timeout` and
        `application_name`; nothing runs unless `check` holds.

        Raises:
            NotAtOnce: it has to be done step by step. The transaction is rolled back, or the session closed.
            NotAccepted: the server does not accept the statement.
            asyncpg.PostgresError: the statement failed.
            ConnectionLost: the session is gone; `begun` and `may_have_run` tell when.
        """
        preface = self.at_once.preface(sql, prepared, limits=limits, check=check)
        guard, way = self._guard, self._driver.way
        guard.expect(max_rows=max_rows, max_bytes=max_bytes, drain=False, rolls_back=True, preface=preface)
        way.before, way.behind = preface.message, _query("ROLLBACK")
        try:
            rows, tag, _ = await self._driver.bind_execute(prepared.state, values, "", max_rows, True, None)  # noqa: FBT003
        except PROTOCOL_ERRORS as error:
            raise ConnectionLost(self._why(error)) from error
        except asyncpg.PostgresError as error:
            self.at_once.learn(preface, check, timeout=limits[0], error=None if preface.over else error)
            if not preface.over:
                self._raise_if_lost(error, closed=self._connection.is_closed())
                if preface.step == "parse":
                    raise NotAccepted(error) from error
            if not preface.over or preface.differs:
                raise NotAtOnce(differs=preface.differs) from error
            self._raise_if_lost(error)
            raise
        finally:
            way.before = way.behind = b""
        self.at_once.learn(preface, check, timeout=limits[0], error=None)
        if preface.differs:
            raise NotAtOnce(differs=True)
        return self._fetched(rows, tag)

    def _fetched(self, rows: list[tuple[str | None, ...]], tag: bytes | None) -> Fetched:
        said = tag.decode("ascii", "replace") if tag else ""
        return Fetched(rows=rows, tag=said, cut=self._guard.cut, size=self._guard.size)

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
        if self._driver.failure is not None:
            return str(self._driver.failure)
        match error.__cause__ or error:
            case OSError(strerror=str(said)):
                return said
            case asyncpg.PostgresConnectionError() | OSError():
                return "the server closed it"
            case asyncpg.PostgresError() as told:
                return f"the server ended it: {condition(told)}"
            case _:
                return "what the server says is not PostgreSQL's protocol"

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
    """Connect and log in; raises what `connect` does."""
    connected = await connect(address, password=password, settings=settings)
    return Session(*connected, search_path=settings.get("search_path", ""))
