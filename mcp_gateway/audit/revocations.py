"""Revocations: tokens, subjects and agents that are refused from now on, in every process of this store.

They are the `Revoked` events themselves, found by an index of their own: there is no second list that could be edited
or lag behind. Each check looks whether there is a newer one, which is a read of shared memory and takes microseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar

import anyio

from mcp_gateway.audit import health
from mcp_gateway.audit.chain import decode_body
from mcp_gateway.audit.database import connect
from mcp_gateway.audit.files import Paths
from mcp_gateway.audit.schema import Migration
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.calls import Caller
from mcp_gateway.errors import RevokedError, StoreError
from mcp_gateway.events import Revoked

T = TypeVar("T")
What: TypeAlias = Literal["token", "subject", "agent"]
POLL_SECONDS = 0.5
BUSY_SECONDS = 0.05
"""The event loop waits for it; readers are held up only while another process recovers or closes the WAL."""
NEWEST = "SELECT max(sequence) FROM events WHERE kind = 'Revoked'"
NEWER = "SELECT sequence, body FROM events WHERE kind = 'Revoked' AND sequence > ? ORDER BY sequence"
MIGRATIONS = (
    Migration(name="revocations-1", script="CREATE INDEX events_revoked ON events (sequence) WHERE kind = 'Revoked';"),
)


class Revocations:
    """What is revoked. Used by the thread of the event loop; opens a reading connection of its own."""

    def __init__(self, store: AuditStore, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._path = Paths(store.data_dir).database
        self._connection: sqlite3.Connection | None = None
        self._opening = 0
        self._known = 0
        self._revoked: set[tuple[str, str]] = set()
        self._addresses: set[tuple[str, str]] = set()

    async def revoke(self, *, what: What, value: str, by: str, note: str = "") -> None:
        """Refuse a token id, a subject (or `issuer|subject`, or e-mail address) or an agent from now on; durable on return."""
        if not value:
            raise ValueError("there is nothing to revoke in an empty value")
        await self._store.append(Revoked(at=self._clock(), what=what, value=value, by=by, note=note))

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
        return self._first_revoked(
            ("token", caller.token_id),
            ("subject", caller.key),
            ("subject", caller.subject),
            ("subject", caller.email or caller.unverified_email),
            ("agent", caller.actor),
            ("agent", caller.client_id),
        )

    def refuses_vote(self, *, person: str, email: str | None, actor: str, token_id: str) -> str | None:
        """What of a person who decided is revoked since; `person` is `issuer|subject`. Raises `StoreError`."""
        return self._first_revoked(
            ("token", token_id),
            ("subject", person),
            ("subject", person.partition("|")[2]),
            ("subject", email),
            ("agent", actor),
        )

    async def until_revoked(self, caller: Caller) -> str:
        """Return what of a running call's caller was revoked, as soon as it is; wait as long as it is not.

        While the store does not say, the call goes on: nothing of it is released before the store works again.
        """
        while True:
            with suppress(StoreError):
                what = self.refuses(caller)
                if what is not None:
                    return what
            await anyio.sleep(POLL_SECONDS)  # Another process may be the one that revokes.

    async def unless_revoked(self, caller: Caller, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` for `caller` and return what it gave; cancel it as soon as the caller is revoked.

        A result that came in the same moment is dropped as well: who is revoked gets nothing any more.

        Raises:
            RevokedError: the caller was revoked before or while it ran. Otherwise whatever `work` raises.
        """
        what = self.refuses(caller)
        if what is not None:
            raise RevokedError(what)
        done: list[T] = []
        failed: list[Exception] = []
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                nonlocal what
                what = await self.until_revoked(caller)
                group.cancel_scope.cancel()

            group.start_soon(watch)
            try:
                done.append(await work())
            except Exception as error:  # noqa: BLE001 - raised again below; from inside it would come in a group
                failed.append(error)
            group.cancel_scope.cancel()
        if what is not None:
            raise RevokedError(what)
        if failed:
            raise failed[0]
        return done[0]

    def _first_revoked(self, *names: tuple[What, str | None]) -> str | None:
        self._refresh()
        return next(
            (
                what
                for what, value in names
                if value and ((what, value) in self._revoked or (what, value.casefold()) in self._addresses)
            ),
            None,
        )

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _refresh(self) -> None:
        """Take in what any process has revoked since the last look."""
        failure = self._store.failure
        if failure is not None:
            raise StoreError(failure.message, next_step=failure.next_step)
        with health.translated(self._path):
            connection = self._connected()
            newest = connection.execute(NEWEST).fetchone()[0] or 0
            if newest == self._known:
                return
            if newest < self._known:
                raise StoreError(
                    f"the audit store lost the revocation in event {self._known}", next_step=health.EVIDENCE
                )
            for sequence, body in connection.execute(NEWER, (self._known,)).fetchall():
                self._remember(sequence, body)

    def _remember(self, sequence: int, body: str) -> None:
        try:
            found = decode_body(body)
            what, value = str(found["what"]), str(found["value"])
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"the revocation in event {sequence} cannot be read", next_step=health.EVIDENCE) from error
        self._known = sequence
        self._revoked.add((what, value))
        if what == "subject" and "@" in value:
            self._addresses.add((what, value.casefold()))  # an address, which people write in either case

    def _connected(self) -> sqlite3.Connection:
        """A connection to the files that are open now."""
        opening = self._store.openings
        if self._connection is None or self._opening != opening:
            self.close()
            self._connection = connect(self._path, read_only=True, busy_seconds=BUSY_SECONDS)
            self._opening = opening
        return self._connection
