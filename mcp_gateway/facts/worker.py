"""Examining SQL in a process of its own, so that a statement that breaks or stalls the parser harms nothing else.

A child is asked one thing at a time and has a second for it; one that is late, dies or answers nonsense is killed, that
one call is refused, and the next call gets a new child. When the first is busy a second one is started beside it, so that
somebody whose statements take their whole second does not make everybody wait: the road examines one call of a caller at
a time. Above are the database tool and `inspect`; `facts.worker_process` is the child,
`facts.frames` what they say to each other.

The exchange with the child belongs to a task of its own: a caller that is cancelled leaves it to finish, so that no
answer is ever read by the wrong caller.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

import orjson
import structlog

from mcp_gateway.errors import RequestError
from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.frames import LENGTH, MAX_FRAME_BYTES, FrameError, framed, restore
from mcp_gateway.facts.parser import SQLSyntaxError, encode_sql
from mcp_gateway.facts.sql import SQLExamination
from mcp_gateway.masking.lineage import Lineage

COMMAND = (sys.executable, "-I", "-m", "mcp_gateway.facts.worker_process")
"""`-I`: no current directory, no PYTHON* variables, no user's site-packages (a module of an agent's workspace)."""
ONE_STATEMENT = timedelta(seconds=1)
START_OR_LOAD = timedelta(seconds=30)
CHILDREN = 2
MAX_SNAPSHOTS = 64
MAX_ANSWERS = 512

TOO_COMPLEX = "the statement is too complex to examine"
TRY_SIMPLER = "write a shorter or less deeply nested statement"
NOT_NOW = "the statement could not be examined"
TRY_AGAIN = "call again; if it stays so, the operator has to look at the gateway's log"

T = TypeVar("T")
Answer = tuple[SQLExamination, Lineage | None]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    """What the child is told once. A number is never used again, so a late answer cannot be about another one."""

    number: int
    catalog: Catalog
    classify: Mapping[str, str]

    def holds(self, catalog: Catalog, classify: Mapping[str, str]) -> bool:
        same = catalog is self.catalog or (bool(catalog.version) and catalog.version == self.catalog.version)
        return same and (classify is self.classify or classify == self.classify)


@dataclass(slots=True, kw_only=True)
class _Child:
    """A running process and the numbers of the snapshots that it holds."""

    process: Process
    requests: asyncio.StreamWriter
    answers: asyncio.StreamReader
    held: set[int] = field(default_factory=set)

    async def ask(self, *request: Any) -> Any:
        """Send one request and read its answer."""
        self.requests.write(framed(pickle.dumps(request, protocol=pickle.HIGHEST_PROTOCOL)))
        await self.requests.drain()
        return await self.hear()

    async def hear(self) -> Any:
        """Read one answer."""
        (length,) = LENGTH.unpack(await self.answers.readexactly(LENGTH.size))
        if length > MAX_FRAME_BYTES:
            raise FrameError(f"an answer of {length:,} bytes is too long")
        return orjson.loads(await self.answers.readexactly(length))


@dataclass(slots=True)
class _Place:
    """Where a child may run. Whoever has taken it is alone with the child."""

    child: _Child | None = None


class SQLWorker:
    """Examines SQL for any number of callers. Belongs to one event loop; close it with `aclose`."""

    def __init__(
        self, *, limit: timedelta = ONE_STATEMENT, command: Sequence[str] = COMMAND, children: int = CHILDREN
    ) -> None:
        self._limit = limit
        self._command = tuple(command)
        self._children = children
        self._places = [_Place()]
        self._free = list(self._places)
        self._any_free = asyncio.Semaphore(1)
        self._numbers = count(1)
        self._snapshots: OrderedDict[str, _Snapshot] = OrderedDict()
        self._answers: OrderedDict[tuple[int, str], Answer] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The process ids of the children."""
        return [place.child.process.pid for place in self._places if place.child]

    async def start(self) -> None:
        """Have a child ready before the first call. Without this the first call waits for it."""
        await self._in_own_task(self._start())

    async def examine(
        self,
        sql: str,
        *,
        catalog_key: str = "",
        catalog: Catalog | None = None,
        classify: Mapping[str, str] | None = None,
    ) -> Answer:
        """What a text would do and, with a catalog, which columns its result derives from.

        `catalog_key` names the target; the catalog is sent to the child when it is new or differs from the one
        that was sent under the same key. Raises `SQLSyntaxError` for what is no SQL, and `RequestError` where the
        text cannot be examined in time.
        """
        encode_sql(sql)
        snapshot = None if catalog is None else self._snapshot(catalog_key, catalog, classify or {})
        key = (snapshot.number if snapshot else 0, sql)
        known = self._answers.get(key)
        if known is not None:
            self._answers.move_to_end(key)
            return known
        answer = await self._in_own_task(self._exchange(sql, snapshot))
        self._answers[key] = answer
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    async def aclose(self) -> None:
        """End the child. What is still waiting is refused."""
        self._closed = True
        for place in self._places:
            if place.child is not None:
                place.child.process.kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for place in self._places:
            await _drop_child(place)

    async def _in_own_task(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.shield(self._own(work))

    def _own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone: then nobody else asks

    def _snapshot(self, key: str, catalog: Catalog, classify: Mapping[str, str]) -> _Snapshot:
        known = self._snapshots.get(key)
        if known is None or not known.holds(catalog, classify):
            known = _Snapshot(number=next(self._numbers), catalog=catalog, classify=dict(classify))
            self._snapshots[key] = known
            if len(self._snapshots) > MAX_SNAPSHOTS:
                self._snapshots.popitem(last=False)
        self._snapshots.move_to_end(key)
        return known

    async def _exchange(self, sql: str, snapshot: _Snapshot | None) -> Answer:
        """Ask a child about one text, alone with it."""
        async with self._place() as place:
            child = await self._ready_child(place)
            if snapshot is not None and snapshot.number not in child.held:
                await self._load(place, child, snapshot)
            async with _within(place, self._limit, "sql_not_examined", message=TOO_COMPLEX):
                return _answer(await child.ask("examine", snapshot.number if snapshot else None, sql))

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[_Place]:
        """A place of one's own; one with a child that is ready, if there is one."""
        if self._any_free.locked() and len(self._places) < self._children and not self._closed:
            self._places.append(place := _Place())
            self._own(self._add(place))
        async with self._any_free:
            place = max(self._free, key=lambda place: place.child is not None)
            self._free.remove(place)
            try:
                yield place
            finally:
                self._free.append(place)

    async def _add(self, place: _Place) -> None:
        """Make a place available once its child is ready; if that does not come, whoever takes it tries again."""
        try:
            await self._ready_child(place)
        finally:
            self._free.append(place)
            self._any_free.release()

    async def _load(self, place: _Place, child: _Child, snapshot: _Snapshot) -> None:
        """Give the child a snapshot, and take back those that no key has any more."""
        current = {one.number for one in self._snapshots.values()}
        async with _within(place, START_OR_LOAD, "sql_catalog_not_loaded", message=NOT_NOW):
            for number in child.held - current:
                await child.ask("drop", number)
                child.held.discard(number)
            if await child.ask("load", snapshot.number, snapshot.catalog, dict(snapshot.classify)) != {"done": True}:
                raise FrameError("the catalog was not taken")
            child.held.add(snapshot.number)

    async def _start(self) -> None:
        async with self._place() as place:
            await self._ready_child(place)

    async def _ready_child(self, place: _Place) -> _Child:
        """The running child, or a new one that has said that it is ready."""
        if place.child is not None and place.child.process.returncode is None:
            return place.child
        await _drop_child(place)
        if self._closed:
            raise RequestError(NOT_NOW, next_step=TRY_AGAIN, code="internal")
        async with _within(place, START_OR_LOAD, "sql_worker_not_started", message=NOT_NOW):
            # Nothing of our environment, directory, terminal or streams reaches it.
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}, cwd="/", start_new_session=True
            )
            if process.stdin is None or process.stdout is None:
                raise FrameError("the process has no streams")
            child = place.child = _Child(process=process, requests=process.stdin, answers=process.stdout)
            if await child.hear() != {"ready": True}:
                raise FrameError("the process did not say that it is ready")
            return child


@asynccontextmanager
async def _within(place: _Place, limit: timedelta, event: str, *, message: str) -> AsyncIterator[None]:
    """A time with the child. Unless it ends well the child is dropped: what it would say next is not known."""
    try:
        async with asyncio.timeout(limit.total_seconds()):
            yield
    except SQLSyntaxError:
        raise
    except BaseException as error:
        log.warning(event, cause=type(error).__name__)
        await _drop_child(place)
        if isinstance(error, Exception):
            next_step, code = (TRY_SIMPLER, "invalid_arguments") if message == TOO_COMPLEX else (TRY_AGAIN, "internal")
            raise RequestError(message, next_step=next_step, code=code) from None
        raise


async def _drop_child(place: _Place) -> None:
    """Kill and reap the child, if there is one."""
    child, place.child = place.child, None
    if child is None:
        return
    with suppress(ProcessLookupError):
        child.process.kill()
    child.requests.close()
    await child.process.wait()


def _answer(found: Any) -> Answer:
    match found:
        case {"syntax": str(message), "position": int(position)}:
            raise SQLSyntaxError(message, position=position)
        case {"examination": dict(examination), "lineage": None}:
            return restore(SQLExamination, examination), None
        case {"examination": dict(examination), "lineage": dict(lineage)}:
            return restore(SQLExamination, examination), restore(Lineage, lineage)
        case {"failed": str(cause)}:
            raise FrameError(f"the examination failed with {cause}")
        case _:
            raise FrameError("the answer has none of the agreed forms")
