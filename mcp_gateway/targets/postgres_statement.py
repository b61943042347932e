"""One statement of an agent's: its transaction, its limits, its end. What must never happen twice happens here once.

The connector (`postgres`) lends sessions and knows types and catalog; this file is the order in which things are
done to one of them, and what each way of ending means.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol

import anyio
import asyncpg

from mcp_gateway.clock import time_limit
from mcp_gateway.errors import OutcomeLost, TargetError, TargetFailed, TargetTimeout, TargetUnavailable
from mcp_gateway.targets import postgres_errors
from mcp_gateway.targets.postgres_catalog import Touched, Versions
from mcp_gateway.targets.postgres_driver import ConnectionLost
from mcp_gateway.targets.postgres_errors import SnapshotStale
from mcp_gateway.targets.postgres_session import Fetched, NotAccepted, NotAtOnce, Prepared, Session, SessionSpent
from mcp_gateway.targets.postgres_shapes import Shapes
from mcp_gateway.targets.postgres_wire import Origin

COMMIT_SECONDS = 10.0
OVERTIME_SECONDS = 0.3
"""The server gets this much to end a statement by itself at its timeout before it is cancelled from here."""
ALMOST = 0.95
"""Clocks differ: a cancellation after so much of the time was the time's."""

_CALL_ID = re.compile(r"[0-9A-Za-z-]{1,50}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One call, as it shall run."""

    sql: str
    """The agent's text, unchanged."""
    parameters: Sequence[Any]
    """JSON values for `$1`, `$2`, ..."""
    call_id: str
    read_only: bool
    harmless: bool
    """Whether everything it uses is known to leave nothing behind in a session."""
    quiet: bool
    """Whether what the server says while it runs may hold data that has to stay."""
    touched: Touched | None
    """What of it has to hold still when the statement is parsed; None = nothing of it matters any more."""
    timeout: timedelta
    max_rows: int
    max_bytes: int
    shape: Hashable | None = None
    """What it has in common with others that differ from it in values alone; None = not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultColumn:
    """One column of what came back, before any masking."""

    name: str
    type: str
    origin: Origin
    values: list[Any]
    """JSON values, one for each row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came back."""

    columns: tuple[ResultColumn, ...]
    rows: int
    """Rows that are here."""
    affected: int | None
    """Rows that a statement without a result changed."""
    truncated: bool
    size: int
    """Bytes of the rows and of what describes them, as the server sent them."""


class Lender(Protocol):
    """What a statement needs of its connector."""

    @property
    def place(self) -> str:
        """Host and port."""

    @property
    def shapes(self) -> Shapes:
        """What is known of statements that have run."""

    async def begin(self, start: Callable[[Session], Awaitable[None]]) -> Session:
        """A session on which `start` has begun a transaction."""

    async def end(self, session: Session, *, reusable: bool) -> None:
        """Give it back; that cannot be cancelled."""

    def suspect(self) -> None:
        """The server is not the one that it was: use no idle session again."""

    async def versions(self, touched: Touched) -> Versions:
        """What the objects that a statement touches are now."""

    async def bind(self, prepared: Prepared, values: Sequence[Any]) -> list[str | None]:
        """Learn the statement's types; give JSON values as texts for its parameters."""

    def result(self, prepared: Prepared, fetched: Fetched, *, max_rows: int) -> Result:
        """Rows of texts as columns of JSON values."""


class Execution:
    """One statement, once."""

    def __init__(self, statement: Statement, *, lender: Lender) -> None:
        if _CALL_ID.fullmatch(statement.call_id) is None:
            raise ValueError("the call id cannot be part of an application_name")
        self._statement = statement
        self._lender = lender
        self._phase: Literal["begin", "run", "commit"] = "begin"
        self._session: Session | None = None
        self._sent_at = 0.0
        self._prepared: Prepared | TargetError | None = None
        self._done: Fetched | TargetError | None = None
        """What the statement came to where it was run in one exchange."""
        self._rolled_back = False

    async def run(self) -> Result:
        """Run it.

        1. A session is taken, and a transaction begun: READ ONLY where the facts are. In the same message the server is
           asked to parse the agent's text, which locks the relations that it names.
        2. What it names is compared with the snapshot that the call was examined with.
        3. The statement runs, once, and its rows are taken up to the limits.
        4. A read is rolled back, by the same message, a write committed by one of its own.
        5. The session goes back, or is thrown away.

        1 to 4 are one exchange for a harmless read whose result is known from an earlier one that differs in values alone.
        """
        seconds = self._statement.timeout.total_seconds()
        with time_limit(seconds + OVERTIME_SECONDS):
            return await self._run()
        if self._session is None or (self._phase == "begin" and not self._session.begun):
            # An idle session to a host that has vanished says nothing; the next call shall not wait for another one.
            self._lender.suspect()
            raise TargetUnavailable(f"no session with PostgreSQL at {self._lender.place} within {seconds:g} s")
        raise self._timeout()

    async def _run(self) -> Result:
        statement, usable = self._statement, False
        session = await self._lender.begin(self._begin)  # 1.
        try:
            prepared = self._accepted()
            fetched = self._whole(self._done) if self._done else await self._step_by_step(session, prepared)  # 2., 3.
            usable = await self._finish(session)  # 4.
        except TargetFailed:
            usable = statement.read_only and await self._roll_back(session)
            raise
        finally:  # 5.
            # A write may fire triggers and draw from sequences: what they leave in a session is not looked for.
            kept = usable and statement.read_only and statement.harmless and session.unchanged
            await self._lender.end(session, reusable=kept)
        # From the commit to here nothing waits, so that a cancellation cannot take the outcome away.
        return self._lender.result(prepared, fetched, max_rows=statement.max_rows)

    async def _step_by_step(self, session: Session, prepared: Prepared) -> Fetched:
        statement = self._statement
        values = await self._lender.bind(prepared, statement.parameters)
        await self._compare()  # 2.
        fetched = await self._fetch(session, prepared, values)  # 3.
        if self._shape is not None:
            self._lender.shapes.learn(self._shape, prepared)
        return fetched

    @property
    def _shape(self) -> Hashable | None:
        """That of a harmless read: others are always run step by step."""
        statement = self._statement
        return statement.shape if statement.read_only and statement.harmless else None

    @property
    def _milliseconds(self) -> int:
        return max(1, int(self._statement.timeout.total_seconds() * 1000))

    @property
    def _name(self) -> str:
        """How the server shall know it."""
        return f"mcp-gateway/{self._statement.call_id}"

    def _begin_sql(self) -> str:
        """All in one message. In a read the query makes it too late to change the transaction's mode (25001)."""
        statement = self._statement
        mode, query = ("ONLY", "; SELECT 1") if statement.read_only else ("WRITE", "")
        return (
            f"BEGIN READ {mode}; SET LOCAL statement_timeout = {self._milliseconds}; "
            f"SET LOCAL application_name = '{self._name}'{query}"
        )

    async def _begin(self, session: Session) -> None:
        # The server's own time begins here too: with the first message, and not anew with the next.
        self._session, self._sent_at = session, asyncio.get_running_loop().time()
        if await self._at_once(session):
            return
        try:
            self._prepared = await session.prepare(self._statement.sql, begin=self._begin_sql())
        except ConnectionLost as lost:
            if not session.begun:
                raise
            raise self._lost_before(lost) from lost
        except asyncpg.PostgresError as error:
            self._prepared = self._refused(error)

    async def _at_once(self, session: Session) -> bool:
        """Run all of it in one exchange; whether that could be done."""
        statement, shape, shapes = self._statement, self._shape, self._lender.shapes
        if shape is None or not session.at_once.possible:
            return False
        known = shapes.find(shape, statement.parameters, touched=statement.touched)
        if known is None:
            return False
        prepared, check = known
        values = await self._lender.bind(prepared, statement.parameters)
        try:
            self._done = await session.run_at_once(
                statement.sql,
                prepared,
                values,
                limits=(str(self._milliseconds), self._name),
                check=check,
                max_rows=statement.max_rows + 1,
                max_bytes=statement.max_bytes,
            )
        except NotAtOnce as otherwise:
            if otherwise.differs:
                shapes.give_up(shape)
            if session.closed:
                raise SessionSpent from otherwise
            return False
        except NotAccepted as refused:
            self._prepared = self._refused(refused.error)
            self._rolled_back = True
            return True
        except ConnectionLost as lost:
            if not session.begun:
                raise
            if not session.may_have_run:
                raise self._lost_before(lost) from lost
            self._done = self._lost(lost)
            self._done.__cause__ = lost
        except asyncpg.PostgresError as error:
            self._done = self._if_late(error) or postgres_errors.failed(error, quiet=statement.quiet)
            self._done.__cause__ = error
        self._prepared, self._phase, self._rolled_back = prepared, "run", True
        return True

    def _accepted(self) -> Prepared:
        """The statement as the server has parsed it."""
        match self._prepared:
            case Prepared() as prepared:
                return prepared
            case TargetError() as refused:
                raise refused
            case None:
                raise AssertionError("no session was begun")

    async def _compare(self) -> None:
        statement = self._statement
        if statement.touched is None:
            return
        if await self._lender.versions(statement.touched) != statement.touched.expected:
            raise SnapshotStale("what the statement names changed while the call was examined; nothing has run")

    async def _fetch(self, session: Session, prepared: Prepared, values: Sequence[str | None]) -> Fetched:
        self._phase, statement = "run", self._statement
        try:
            fetched = await session.fetch(
                prepared,
                values,
                max_rows=statement.max_rows + 1,
                max_bytes=statement.max_bytes,
                drain=not statement.read_only,
                roll_back=statement.read_only,
            )
            self._rolled_back = statement.read_only
        except ConnectionLost as lost:
            raise self._lost(lost) from lost
        except asyncpg.PostgresError as error:
            self._rolled_back = statement.read_only
            if isinstance(error, postgres_errors.READ_ONLY_SERVER) and not statement.read_only:
                self._lender.suspect()
            raise self._if_late(error) or postgres_errors.failed(error, quiet=statement.quiet) from error
        return self._whole(fetched)

    def _whole(self, fetched: Fetched | TargetError) -> Fetched:
        """What was fetched, with at least one row if there are any."""
        if isinstance(fetched, TargetError):
            raise fetched
        if fetched.cut and not fetched.rows and self._statement.read_only:
            raise TargetFailed(
                f"the first row alone is larger than the {self._statement.max_bytes:,} bytes that one call may return; "
                "select fewer columns, or parts of them"
            )
        return fetched

    async def _finish(self, session: Session) -> bool:
        """End the transaction; whether the session may be used again, as far as that depends on this."""
        if self._statement.read_only:
            return await self._roll_back(session)
        await self._commit(session)
        return False

    async def _roll_back(self, session: Session) -> bool:
        """Whether the transaction is rolled back, and the session as good as before."""
        try:
            if self._rolled_back:
                return not session.closed
            if not session.closed:
                await session.control("ROLLBACK")
                return True
        except (ConnectionLost, asyncpg.PostgresError):
            pass  # what is lost or in doubt is thrown away, and with it the transaction
        return False

    async def _commit(self, session: Session) -> None:
        self._phase = "commit"
        try:
            with anyio.CancelScope(shield=True), anyio.fail_after(COMMIT_SECONDS):
                tag = await session.control("COMMIT")
        except (ConnectionLost, TimeoutError, asyncio.CancelledError) as lost:
            raise self._lost(lost) from lost
        except asyncpg.PostgresError as error:
            if not postgres_errors.is_verdict(error):
                raise self._lost(error) from error
            raise postgres_errors.failed(error, quiet=self._statement.quiet) from error
        if tag == "ROLLBACK":
            raise TargetFailed("the statement failed and was rolled back")
        if tag != "COMMIT":
            raise self._lost(ConnectionLost("the server answered something else than that it was done"))

    def _refused(self, error: asyncpg.PostgresError) -> TargetError:
        """The server does not accept the statement, or not in time."""
        refused = self._if_late(error) or postgres_errors.refused(error)
        refused.__cause__ = error
        return refused

    def _lost_before(self, lost: ConnectionLost) -> TargetUnavailable:
        return TargetUnavailable(
            f"the connection to PostgreSQL at {self._lender.place} was lost before the statement ran: {lost}"
        )

    def _lost(self, lost: BaseException) -> TargetError:
        """What is known of a statement whose connection is lost.

        A read changed nothing. A write without its COMMIT is rolled back by the server, and only code that it called
        may have acted outside of the transaction. A write whose COMMIT was sent may have been done.
        """
        statement, committing = self._statement, self._phase == "commit"
        when = "while the write was committed" if committing else "while the statement ran"
        why = f" ({lost})" if isinstance(lost, ConnectionLost) else ""
        said = f"the connection to PostgreSQL was lost {when}{why}"
        if statement.read_only:
            return TargetFailed(f"{said}; it changed nothing")
        if committing:
            return OutcomeLost(f"{said}; whether it took effect is not known")
        if statement.harmless:
            return TargetFailed(f"{said}; it was not committed and changed nothing")
        return OutcomeLost(f"{said}; it was not committed, and what the code it called did elsewhere is not known")

    def _if_late(self, error: asyncpg.PostgresError) -> TargetTimeout | None:
        """The server's own word that the time was over; its text depends on its language, so the time tells."""
        took = asyncio.get_running_loop().time() - self._sent_at
        late = took >= self._statement.timeout.total_seconds() * ALMOST
        return self._timeout() if late and isinstance(error, asyncpg.QueryCanceledError) else None

    def _timeout(self) -> TargetTimeout:
        seconds = self._statement.timeout.total_seconds()
        return TargetTimeout(f"the statement did not end within {seconds:g} s and was cancelled")
