"""The way to a PostgreSQL database: catalog, statements and their transactions, previews, a check of the role.

An agent's statement runs unchanged, alone, in a transaction of its own. One that only reads ends in ROLLBACK
whatever happened, and its session is used again only if every function in it is known to leave nothing behind; all
other sessions are thrown away. What the gateway itself asks goes over sessions of their own
(`application_name = mcp-gateway/catalog`).

Whether a statement may run is decided before; what may be shown of its rows and errors afterwards, by the tool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import anyio
import asyncpg
import orjson

from mcp_gateway.calls import Secret
from mcp_gateway.errors import TargetFailed, TargetUnavailable
from mcp_gateway.facts.absent import Absent
from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.masking.lineage.origins import Origins, origins_of
from mcp_gateway.targets import postgres_errors
from mcp_gateway.targets.postgres_catalog import (
    Snapshot,
    Touched,
    Versions,
    catalog_stamp,
    load_snapshot,
    read_versions,
    text_array,
)
from mcp_gateway.targets.postgres_driver import PROTOCOL_ERRORS, ConnectionLost
from mcp_gateway.targets.postgres_opening import Opener, PostgresSettings, path_setting
from mcp_gateway.targets.postgres_pool import Pool
from mcp_gateway.targets.postgres_queries import ABSENT, BUILTIN_TYPES, RIGHTS, TYPES_BEHIND, VERSIONS
from mcp_gateway.targets.postgres_rights import Findings, read_findings
from mcp_gateway.targets.postgres_session import CATALOG_BYTES, BeginRefused, Fetched, Prepared, Session, SessionSpent
from mcp_gateway.targets.postgres_shapes import Shapes
from mcp_gateway.targets.postgres_statement import Execution, Result, ResultColumn, Statement
from mcp_gateway.targets.postgres_types import TypeInfo, Types

MAX_SESSIONS = 10
MAX_CATALOG_SESSIONS = 3
CATALOG_SECONDS = 15.0
PREVIEW_MILLISECONDS = 2000
STAMP_SECONDS = 1.0
STAMP_SHARE = 0.02
"""A snapshot counts as fresh for a while after it was checked, so that checking takes at most this share of time."""


EXPLAIN = "EXPLAIN (FORMAT JSON) "

T = TypeVar("T")


class PostgresConnector:
    """Holds the way to one database."""

    def __init__(self, settings: PostgresSettings, *, name: str, fetch: Callable[[Any], Awaitable[Secret]]) -> None:
        self._settings = settings
        self._name = name
        self._opener = Opener(settings, fetch=fetch, replaced=self.suspect)
        self._look_seconds = min(CATALOG_SECONDS, settings.timeout.total_seconds())
        self._sessions = Pool(self._opener.for_calls, size=max(MAX_SESSIONS, getattr(settings, "max_calls", 0)))
        self._catalog_sessions = Pool(self._opener.for_catalog, size=MAX_CATALOG_SESSIONS)
        self._snapshot: Snapshot | None = None
        self._origins: tuple[Snapshot, Origins] | None = None
        self._fresh_until = 0.0
        self._failed: tuple[float, str] = (0.0, "")
        """When the last look at the catalog failed, and what was said."""
        self._loading = anyio.Lock()
        self._builtin_types: tuple[TypeInfo, ...] = ()
        self._types = Types()
        self.shapes = Shapes()

    def secrets(self) -> Sequence[Secret]:
        """The passwords in use: the newest, and the one before it that older sessions were opened with."""
        return self._opener.secrets

    @property
    def classify(self) -> Mapping[str, str]:
        """`schema.table.column` to data class, as configured."""
        return self._settings.classify

    async def aclose(self) -> None:
        """Close every session."""
        await self._sessions.aclose()
        await self._catalog_sessions.aclose()

    # The catalog.

    async def catalog(self) -> Catalog:
        """The catalog as it is, or was at most a second ago."""
        snapshot, _ = await self.snapshot()
        return snapshot.catalog

    async def snapshot(self, *, beside: Snapshot | None = None) -> tuple[Snapshot, str]:
        """The snapshot in force, and what was done at the server to have it (empty: nothing).

        `beside` is one that was found not to hold any more: another one is loaded. Who waits for another's look shares
        its failure: a server that says nothing would take its time from each, one after another.

        Raises:
            TargetUnavailable: the server is away, or older than version 14.
        """
        if beside is None and self._snapshot is not None and self._now() < self._fresh_until:
            return self._snapshot, ""
        arrived = self._now()
        async with self._loading:
            failed_at, why = self._failed
            if failed_at > arrived:
                raise TargetUnavailable(why)
            try:
                return await self._renewed(beside)
            except TargetUnavailable as error:
                self._failed = (self._now(), error.message)
                raise

    async def _renewed(self, beside: Snapshot | None) -> tuple[Snapshot, str]:
        kept = self._snapshot
        if kept is not None and kept is not beside:
            if self._now() < self._fresh_until:
                return kept, ""
            if await self._stamp() == kept.stamp:
                return kept, "catalog checked"
        self._snapshot = await self._load()
        self._fresh_until = self._now() + STAMP_SECONDS
        return self._snapshot, "catalog loaded"

    def origins(self, snapshot: Snapshot) -> Origins:
        """The classes of stored columns, by what the server says a result column comes from."""
        if self._origins is None or self._origins[0] is not snapshot:
            self._origins = (snapshot, origins_of(snapshot.catalog, self._settings.classify))
        return self._origins[1]

    async def versions(self, touched: Touched) -> Versions:
        """What the objects that a statement touches are now; `Touched.expected` says what they should be."""

        async def ask(session: Session) -> Versions:
            known = session.known.get(VERSIONS)
            if known is None:
                known = session.known[VERSIONS] = await session.prepare(VERSIONS, name="versions")
            fetched = await session.fetch(known, touched.parameters, max_rows=1, max_bytes=CATALOG_BYTES, drain=False)
            said = fetched.rows[0][0] or "[]"
            found = read_versions(said)
            if found == touched.expected:
                self.shapes.hold(touched, said)
            return found

        return await self._look(ask)

    async def absent(self, names: Iterable[Absent]) -> list[Absent]:
        """Those that the server has nothing for now. Only the names are sent, as values."""
        asked = sorted(names)
        path = ("pg_catalog", *await self._opener.search_path())
        said = orjson.dumps([[one.kind, one.schema, one.name] for one in asked]).decode()

        async def ask(session: Session) -> list[int]:
            prepared = await session.prepare(ABSENT)
            fetched = await session.fetch(
                prepared, (said, text_array(path)), max_rows=1, max_bytes=CATALOG_BYTES, drain=False
            )
            return [int(number) for number in orjson.loads(fetched.rows[0][0] or "[]")]

        return [asked[number] for number in await self._look(ask)]

    async def _stamp(self) -> str:
        async def ask(session: Session) -> str:
            session.allow()
            return await catalog_stamp(session.connection)

        began = self._now()
        stamp = await self._look(ask)
        self._fresh_until = self._now() + max(STAMP_SECONDS, (self._now() - began) / STAMP_SHARE)
        return stamp

    async def _load(self) -> Snapshot:
        path = await self._opener.search_path()

        async def ask(session: Session) -> Snapshot:
            if not self._builtin_types:
                self._builtin_types = _type_infos(await session.value(BUILTIN_TYPES))
            session.allow()
            return await load_snapshot(session.connection, search_path=path)

        snapshot = await self._look(ask, seconds=CATALOG_SECONDS)
        self._types = Types(self._builtin_types)
        self.shapes = Shapes()
        return snapshot

    async def _look(self, ask: Callable[[Session], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Ask something of the gateway's own, in time."""
        seconds = seconds or self._look_seconds
        try:
            with anyio.move_on_after(seconds):
                return await self._asked(ask)
            raise TimeoutError
        except (ConnectionLost, TimeoutError, asyncpg.PostgresError, *PROTOCOL_ERRORS) as error:
            if isinstance(error, TimeoutError):
                self._catalog_sessions.purge()  # those that are idle may lead to a host that has vanished, too
            raise self._opener.unavailable(error, seconds=seconds) from error

    async def _asked(self, ask: Callable[[Session], Awaitable[T]]) -> T:
        """What a session says; asked once more if one had died in the pool."""
        while True:
            session, new = await self._catalog_sessions.acquire()
            reusable = False
            try:
                found = await ask(session)
                reusable = session.unchanged
            except ConnectionLost:
                if new:
                    raise
            else:
                return found
            finally:
                await self._catalog_sessions.release(session, reusable=reusable)
            self._catalog_sessions.purge()

    # Statements.

    async def run(self, statement: Statement) -> Result:
        """Run one statement, once; `Execution` says in which steps.

        Raises:
            TargetUnavailable: nothing ran.
            SnapshotStale: nothing ran, because the database is not what it was when the call was examined.
            TargetFailed: the statement was refused or failed, and left nothing behind.
            TargetTimeout: it took too long and was cancelled at the server.
            OutcomeLost: the connection was lost when a write was being committed, or ran code of its own.
        """
        return await Execution(statement, lender=self).run()

    async def explain(self, sql: str, parameters: Sequence[Any]) -> Any:
        """The plan of a statement as `EXPLAIN (FORMAT JSON)` has it; it is planned and not run.

        Planning evaluates functions: only for statements whose functions are all known to be harmless.

        Raises:
            NameUnknown: the server finds no table, column, function or type for a name in it, and so would not run it.
            TargetError: it cannot be planned, or there is no way to the server.
        """
        path = await self._opener.search_path()

        async def ask(session: Session) -> Any:
            await session.control(
                f"BEGIN READ ONLY; SET LOCAL statement_timeout = {PREVIEW_MILLISECONDS}; "
                f"SET LOCAL search_path = {path_setting(path)}; SELECT 1"
            )
            try:
                try:
                    prepared = await session.prepare(EXPLAIN + sql)
                except postgres_errors.NAMELESS as error:
                    raise postgres_errors.nameless(error, before=len(EXPLAIN)) from error
                values = await self.bind(prepared, parameters)
                fetched = await session.fetch(prepared, values, max_rows=1, max_bytes=CATALOG_BYTES, drain=False)
                return orjson.loads(fetched.rows[0][0] or "null")
            except asyncpg.PostgresError as error:
                raise postgres_errors.refused(error) from error
            finally:
                if not session.closed:
                    with anyio.CancelScope(shield=True):
                        await session.control("ROLLBACK")

        return await self._look(ask)

    async def check(self) -> Findings:
        """Connect and say who answers, what is wider than it need be, and what the configuration gets wrong."""
        snapshot, _ = await self.snapshot()

        async def ask(session: Session) -> Findings:
            rights = orjson.loads(await session.value(RIGHTS))
            return read_findings(
                rights, address=self._opener.address, catalog=snapshot.catalog, classify=self._settings.classify
            )

        return await self._look(ask)

    # What an `Execution` needs.

    @property
    def place(self) -> str:
        """Host and port."""
        return self._opener.address.place

    async def begin(self, start: Callable[[Session], Awaitable[None]]) -> Session:
        """A session on which `start` has begun a transaction: another one where that from the pool was dead by then.

        Until the transaction is begun nothing has an effect, so it may be begun again.
        """
        while True:
            session, new = await self._sessions.acquire()
            try:
                await start(session)
            except SessionSpent:
                await self._sessions.release(session, reusable=False)
            except (ConnectionLost, BeginRefused) as error:
                await self._sessions.release(session, reusable=False)
                cause = error if isinstance(error, ConnectionLost) else error.__cause__ or error
                if new or not isinstance(cause, (ConnectionLost, *postgres_errors.READ_ONLY_SERVER)):
                    raise self._opener.unavailable(cause) from error
                self.suspect()
            except BaseException:
                await self._sessions.release(session, reusable=False)
                raise
            else:
                return session

    def suspect(self) -> None:
        """The server behind the sessions was restarted or replaced: none of those that are idle is used again."""
        self._sessions.purge()
        self._catalog_sessions.purge()

    async def end(self, session: Session, *, reusable: bool) -> None:
        """Give a session back; that cannot be cancelled."""
        await self._sessions.release(session, reusable=reusable)

    async def bind(self, prepared: Prepared, values: Sequence[Any]) -> list[str | None]:
        """Learn the types of a statement, and give JSON values as texts for its parameters."""
        expected = len(prepared.parameters)
        if len(values) != expected:
            raise TargetFailed(f"the statement has {expected} parameters and {len(values)} values were given")
        missing = self._types.missing({oid for _, oid in prepared.columns} | set(prepared.parameters))
        if missing:
            wanted = "{" + ",".join(str(oid) for oid in sorted(missing)) + "}"

            async def ask(session: Session) -> tuple[TypeInfo, ...]:
                return _type_infos(await session.value(TYPES_BEHIND, wanted))

            self._types.add(await self._look(ask))
        return [self._types.parameter(oid, value) for oid, value in zip(prepared.parameters, values, strict=True)]

    def result(self, prepared: Prepared, fetched: Fetched, *, max_rows: int) -> Result:
        """Rows of texts as columns of JSON values."""
        rows, types, size = fetched.rows[:max_rows], self._types, fetched.size
        texts = list(zip(*rows, strict=True)) if rows else [() for _ in prepared.columns]
        columns = []
        for (name, oid), origin, values in zip(prepared.columns, prepared.origins, texts, strict=True):
            size += len(name)
            columns.append(
                ResultColumn(name=name, type=types.name(oid), origin=origin, values=types.column(oid, values))
            )
        return Result(
            columns=tuple(columns),
            rows=len(rows),
            affected=None if prepared.columns else _affected(fetched.tag),
            truncated=fetched.cut or len(fetched.rows) > max_rows,
            size=size,
        )

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _affected(tag: str) -> int | None:
    last = tag.rpartition(" ")[2]
    return int(last) if last.isascii() and last.isdigit() else None


def _type_infos(text: str) -> tuple[TypeInfo, ...]:
    return tuple(
        TypeInfo(
            oid=oid,
            name=name,
            kind=kind,
            element=element,
            delimiter=delimiter,
            base=base,
            fields=tuple((field, field_type) for field, field_type in fields or ()),
        )
        for oid, name, kind, element, delimiter, base, fields in orjson.loads(text)
    )
