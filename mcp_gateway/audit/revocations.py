"""Revocations: tokens, subjects and agents, targets or everything, refused from now on in every process of this store.

They are the `Revoked` events themselves, found by an index of their own: there is no second list that could be edited
or lag behind. Who revokes changes a mark that all processes share (`mark`), and a check looks for newer events when the
mark is another one, or when the last look was some time ago, as after a process that died before it changed the mark.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar

import anyio

from mcp_gateway.audit import health
from mcp_gateway.audit.database import connect
from mcp_gateway.audit.files import Paths
from mcp_gateway.audit.mark import Mark
from mcp_gateway.audit.revoked import decoded
from mcp_gateway.audit.schema import Migration
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.calls import Caller
from mcp_gateway.clock import time_limit
from mcp_gateway.errors import RevokedError, StoreError
from mcp_gateway.events import Revoked

T = TypeVar("T")
What: TypeAlias = Literal["token", "subject", "agent", "target", "all"]
ALL = "all"
"""The value of a revocation of everything."""
LOOK_SECONDS = 0.25
"""For how long a look at the events counts while the mark stays the same."""
POLL_SECONDS = 0.25
"""How often it is looked for calls that run. With the above: none outlives a revocation by more than half a second."""
STEP_SECONDS = 0.001
"""What was looked for holds for so long: whoever revokes waits for that, so it counts everywhere once that is done."""
BUSY_SECONDS = 0.05
"""The event loop waits for it; readers are held up only while another process recovers or closes the WAL."""
NEWEST = "SELECT max(sequence) FROM events WHERE kind = 'Revoked'"
NEWER = "SELECT sequence, body FROM events WHERE kind = 'Revoked' AND sequence > ? ORDER BY sequence"
MIGRATIONS = (
    Migration(name="revocations-1", script="CREATE INDEX events_revoked ON events (sequence) WHERE kind = 'Revoked';"),
)


@dataclass(slots=True, kw_only=True, eq=False)
class _Running:
    """Work that ends when its caller or its target is revoked."""

    caller: Caller
    target: str
    scope: anyio.CancelScope
    what: What | None = None
    """What was revoked."""


class Revocations:
    """What is revoked. Used by the thread of the event loop; opens a reading connection of its own."""

    def __init__(self, store: AuditStore, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._path = Paths(store.data_dir).database
        self._mark = Mark(Paths(store.data_dir).revoked)
        self._seen: bytes | None = None
        """The mark at the last look; None where there has to be another one."""
        self._look_by = 0.0
        self._step_ends = 0.0
        """Until then what was found holds."""
        self._running: set[_Running] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._connection: sqlite3.Connection | None = None
        self._guard = threading.Lock()
        """Of the connection, which the writer's thread closes before it opens the files anew."""
        self._opening = 0
        self._known = 0
        self._revoked: set[tuple[str, str]] = set()
        self._addresses: set[tuple[str, str]] = set()
        store.closes_before_opening(self._disconnect)

    async def revoke(self, *, what: What, value: str, by: str, note: str = "") -> None:
        """Refuse a token id, a subject (or `issuer|subject`, or e-mail address), an agent, a target or `ALL` from now on.

        Durable on return.
        """
        if not value:
            raise ValueError("there is nothing to revoke in an empty value")
        await self._record(Revoked(at=self._clock(), what=what, value=value, by=by, note=note))

    async def lift(self, *, what: What, value: str, by: str, note: str = "") -> bool:
        """Refuse exactly this no longer; False where it is not revoked. What ended by it stays ended."""
        self._refresh()
        if (what, value) not in self._revoked:
            return False
        await self._record(Revoked(at=self._clock(), what=what, value=value, by=by, note=note, lifted=True))
        return True

    async def _record(self, event: Revoked) -> None:
        await self._store.append(event)
        changed, self._step_ends = self._mark.change(), 0.0
        # By then everybody has looked: those who are not told, too, where the mark could not be changed.
        await _outlast(STEP_SECONDS if changed else LOOK_SECONDS)

    def is_revoked(self, *, what: What, value: str) -> bool:
        """Whether a token id, a subject (or `issuer|subject`) or an agent is revoked.

        Raises `StoreError` when that cannot be known; the caller is to be refused then.
        """
        self._refresh()
        if (what, value) in self._revoked:
            return True
        issuer, bar, subject = value.partition("|")
        return what == "subject" and bool(issuer and bar) and (what, subject) in self._revoked

    def refuses(self, caller: Caller) -> str | None:
        """What of a caller is revoked: `token`, `subject` or `agent`; None if nothing is. Raises `StoreError`."""
        self._refresh()
        return self._found(caller)

    def stops(self, target: str) -> What | None:
        """`target` where calls on this target are revoked, `all` where all calls are. Raises `StoreError`."""
        self._refresh()
        return self._stops(target)

    def refuses_vote(self, *, person: str, email: str | None, actor: str, token_id: str) -> str | None:
        """What of a person who decided is revoked since; `person` is `issuer|subject`. Raises `StoreError`."""
        self._refresh()
        return self._first_revoked(
            ("token", token_id),
            ("subject", person),
            ("subject", person.partition("|")[2]),
            ("subject", email),
            ("agent", actor),
        )

    async def unless_revoked(
        self, caller: Caller, work: Callable[[], Awaitable[T]], *, target: str, seconds: float = math.inf
    ) -> T:
        """Do `work` on a target for `caller` and return what it gave; cancel it as soon as either is revoked, or its time over.

        A result that came in the same moment is dropped as well: who is revoked gets nothing any more. While the store
        does not say, the work goes on: nothing of it is released before the store works again.

        Raises:
            RevokedError: either was revoked before or while it ran.
            TimeoutError: the time was over. Otherwise whatever `work` raises.
        """
        self._refresh()
        what = self._found(caller) or self._stops(target)
        if what is not None:
            raise RevokedError(what)
        scope = time_limit(seconds)
        running = _Running(caller=caller, target=target, scope=scope)
        self._running.add(running)
        done: list[T] = []
        try:
            if self._timer is None:
                self._watch()
            with scope:
                done.append(await work())
        except Exception:
            if running.what is None:
                raise
        finally:
            self._running.discard(running)
        if running.what is not None:
            raise RevokedError(running.what)
        if scope.cancelled_caught:
            raise TimeoutError
        return done[0]

    def _watch(self) -> None:
        """Look now, and again and again as long as anything runs: another process may be the one that revokes."""
        self._timer = None
        if self._running:
            self._timer = asyncio.get_running_loop().call_later(POLL_SECONDS, self._watch)
            with suppress(StoreError):
                self._refresh()

    def _cancel_revoked(self) -> None:
        for running in tuple(self._running):
            if running.what is None:
                running.what = self._found(running.caller) or self._stops(running.target)
                if running.what is not None:
                    running.scope.cancel()

    def _found(self, caller: Caller) -> What | None:
        if not self._revoked:
            return None
        return self._first_revoked(
            ("token", caller.token_id),
            ("subject", caller.key),
            ("subject", caller.subject),
            ("subject", caller.email or caller.unverified_email),
            ("agent", caller.actor),
            ("agent", caller.client_id),
        )

    def _stops(self, target: str) -> What | None:
        return self._first_revoked(("target", target), ("all", ALL))

    def _first_revoked(self, *names: tuple[What, str | None]) -> What | None:
        if not self._revoked:
            return None
        return next(
            (
                what
                for what, value in names
                if value and ((what, value) in self._revoked or (what, value.casefold()) in self._addresses)
            ),
            None,
        )

    def close(self) -> None:
        """Let go of the files and of the watch."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._mark.close()
        self._disconnect()

    def _disconnect(self) -> None:
        with self._guard:
            self._close_connection()

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _refresh(self) -> None:
        """Take in what any process has revoked since the last look."""
        failure = self._store.failure
        if failure is not None:
            raise StoreError(failure.message, next_step=failure.next_step)
        now, same_file = time.monotonic(), self._opening == self._store.openings
        if now < self._step_ends and same_file:
            return
        # Read before the events: a mark that changes while they are looked at makes the next check look again.
        mark = self._mark.read()
        if mark is not None and mark == self._seen and now < self._look_by and same_file:
            self._step_ends = now + STEP_SECONDS
            return
        self._seen, self._step_ends = None, 0.0
        if self._look():
            self._cancel_revoked()
        self._seen, self._look_by = mark, now + LOOK_SECONDS

    def _look(self) -> bool:
        """Whether there is a revocation that was not known."""
        with health.translated(self._path), self._guard:
            connection = self._connected()
            newest = connection.execute(NEWEST).fetchone()[0] or 0
            if newest == self._known:
                return False
            if newest < self._known:
                raise StoreError(
                    f"the audit store lost the revocation in event {self._known}", next_step=health.EVIDENCE
                )
            for sequence, body in connection.execute(NEWER, (self._known,)).fetchall():
                self._remember(sequence, body)
            return True

    def _remember(self, sequence: int, body: str) -> None:
        found = decoded(sequence, body)
        what, value = found.what, found.value
        self._known = sequence
        if not found.lifted:
            self._revoked.add((what, value))
            self._addresses |= _addresses([(what, value)])
            return
        self._revoked.discard((what, value))
        self._addresses = _addresses(self._revoked)

    def _connected(self) -> sqlite3.Connection:
        """A connection to the files that are open now."""
        opening = self._store.openings
        if self._connection is None or self._opening != opening:
            self._close_connection()
            self._connection = connect(self._path, read_only=True, busy_seconds=BUSY_SECONDS)
            self._opening = opening
        return self._connection


async def _outlast(seconds: float) -> None:
    """Wait until so much time has passed, by the clock that looks go by: timers go by milliseconds, and may be early."""
    over = time.monotonic() + seconds
    while (left := over - time.monotonic()) > 0:  # noqa: ASYNC110 - it is a time that is waited for
        await anyio.sleep(left)


def _addresses(revoked: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those that are e-mail addresses, which people write in either case."""
    return {(what, value.casefold()) for what, value in revoked if what == "subject" and "@" in value}
