"""Counts of what persons and agents do, kept in the store: one truth for all processes, and for those that start later.

What a call adds is written in the transaction that records it, so a count is never ahead of the record or behind it. It
is kept by the second for the last minute and by the minute for a day; a window holds what began within it and the whole
of the second or minute at its beginning. The counts are no part of the chain: they can be told from its events.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime

from mcp_gateway.audit.store import AuditStore
from mcp_gateway.audit.transaction import Execute, Statement
from mcp_gateway.calls import Caller
from mcp_gateway.turns import Turns
from mcp_gateway.usage import BEGUN, COUNTED, HISTORY, TOUCHED_WINDOWS, WINDOWS, Count, History, Spent, Usage

MAX_BEGINNING = 1000
"""Callers of whom one call begins at once."""

SECOND, MINUTE = 1, 60
KEPT = {SECOND: 2 * MINUTE, MINUTE: 25 * 60 * MINUTE}
"""For how many seconds counts by each unit are kept."""
UNITS = {"1m": SECOND, "1h": MINUTE, "24h": MINUTE}
_COLUMNS = ", ".join(COUNTED)
_ADDED = ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTED)
ADD = Statement(
    f"INSERT INTO usage (who, unit, slot, {_COLUMNS}) VALUES ",  # noqa: S608 - constants
    f"({', '.join('?' * (3 + len(COUNTED)))})",
    f" ON CONFLICT (who, unit, slot) DO UPDATE SET {_ADDED} RETURNING who, unit, slot, calls",
)
TOUCH = Statement(
    "INSERT INTO touched (who, class, slot) VALUES ",
    "(?, ?, ?)",
    " ON CONFLICT (who, class) DO UPDATE SET slot = max(slot, excluded.slot)",
)
FORGET = "DELETE FROM usage WHERE who = ? AND unit = ? AND slot < ?"
FORGET_ALL = "DELETE FROM usage WHERE unit = ? AND slot < ?"
_SUMS = ", ".join(f"coalesce(sum({name}), 0)" for name in COUNTED)
READ = f"SELECT {_SUMS} FROM usage WHERE who = ? AND unit = ? AND slot >= ?"  # noqa: S608 - constants
READ_TOUCHED = "SELECT class, slot FROM touched WHERE who = ? AND slot >= ?"


class UsageStore:
    """Counts and asks. One for each store that is open."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store
        self._beginning = {record: Turns(total=MAX_BEGINNING, each=1) for record in HISTORY}

    async def of(self, caller: Caller, *, now: datetime, classes: Collection[str]) -> History:
        """What this caller has done until now; `classes` are those that policies know. Raises `StoreError`."""
        return await self._store.read(lambda connection: read_history(connection, caller, now=now, classes=classes))

    def in_order(self, caller: Caller, *, counted: Collection[Count]) -> AbstractAsyncContextManager[bool]:
        """Let calls of this process that are decided on by the same counts begin one after another.

        Gives whether it had to wait. The person's turn always comes before the agent's, so that no two wait for each other.
        """
        return self._in_order(caller, counted=counted) if counted else nullcontext(enter_result=False)

    @asynccontextmanager
    async def _in_order(self, caller: Caller, *, counted: Collection[Count]) -> AsyncIterator[bool]:
        records, waited = {record for record, _ in counted}, False
        async with AsyncExitStack() as held:
            for record, who in zip(HISTORY, names_of(caller), strict=True):
                if record in records:
                    waited |= not self._beginning[record].free(who)
                    await held.enter_async_context(self._beginning[record].turn(who))
            yield waited


def names_of(caller: Caller) -> tuple[str, str]:
    """By what the person and the agent are counted."""
    return f"person:{caller.key}", f"agent:{caller.issuer}|{caller.actor}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What one call adds to the counts of its person and its agent."""

    caller: Caller
    spent: Spent
    at: datetime


def add(execute: Execute, added: Sequence[Added]) -> None:
    """Count what calls add, in the transaction that records them."""
    sums: dict[tuple[str, int, int], list[int]] = {}
    touched: dict[tuple[str, str], int] = {}
    for one in added:
        seconds = int(one.at.timestamp())
        counts = [getattr(one.spent, name) for name in COUNTED]
        for who in names_of(one.caller):
            for unit in (SECOND, MINUTE):
                place = who, unit, seconds // unit
                sums[place] = list(map(int.__add__, sums[place], counts)) if place in sums else counts
            for name in one.spent.touched:
                touched[who, name] = max(seconds, touched.get((who, name), 0))
    began: set[str] = set()
    for counted in ADD.run(execute, [(*place, *counts) for place, counts in sums.items()]):
        for who, unit, slot, calls in counted.fetchall():
            if unit == MINUTE and 0 < calls == sums[who, unit, slot][COUNTED.index("calls")]:
                began.add(who)  # the first call of its minute
    for written in TOUCH.run(execute, [(*pair, seconds) for pair, seconds in touched.items()]):
        written.close()
    if began:
        _forget(execute, began, seconds=int(added[-1].at.timestamp()))


def more_began(execute: Execute, caller: Caller, *, known: History, counted: Collection[Count], now: datetime) -> bool:
    """Whether more calls have begun than was `known` when one was decided on, by the counts that it was decided by."""
    each = zip(HISTORY, names_of(caller), (known.person, known.agent), strict=True)
    return any(
        _sums(execute, who, window=window, now=now)["calls"] > usage.counts.get(name, 0)
        for record, who, usage in each
        for name, window in BEGUN.items()
        if (record, name) in counted
    )


def _forget(execute: Execute, began: Iterable[str], *, seconds: int) -> None:
    """Drop what no window reaches any more: of these with their first call of a minute, of everybody once in a while."""
    for unit, kept in KEPT.items():
        before = (seconds - kept) // unit
        for who in sorted(began):
            execute(FORGET, (who, unit, before))
        if seconds % MINUTE == 0:
            execute(FORGET_ALL, (unit, before))


def read_history(connection: sqlite3.Connection, caller: Caller, *, now: datetime, classes: Collection[str]) -> History:
    """What a caller has done until now."""
    person, agent = names_of(caller)
    return History(
        person=_usage(connection, person, now=now, classes=classes),
        agent=_usage(connection, agent, now=now, classes=classes),
    )


def _usage(connection: sqlite3.Connection, who: str, *, now: datetime, classes: Collection[str]) -> Usage:
    seconds = now.timestamp()
    counts: dict[str, int] = {}
    for window in WINDOWS:
        sums = _sums(connection.execute, who, window=window, now=now)
        counts |= {f"{name}_{window}": value for name, value in sums.items()}
    begin = {window: int(seconds - WINDOWS[window].total_seconds()) for window in TOUCHED_WINDOWS}
    rows = connection.execute(READ_TOUCHED, (who, min(begin.values()))).fetchall()
    touched = {
        window: frozenset(name for name, slot in rows if slot >= since and name in classes)
        for window, since in begin.items()
    }
    return Usage(counts=counts, touched=touched)


def _sums(execute: Execute, who: str, *, window: str, now: datetime) -> dict[str, int]:
    unit = UNITS[window]
    first = int((now.timestamp() - WINDOWS[window].total_seconds()) // unit)
    row = execute(READ, (who, unit, first)).fetchone()
    return dict(zip(COUNTED, map(int, row), strict=True))
