"""Examining SQL in a process of its own, so that a statement that breaks or stalls the parser harms nothing else.

A child is asked one thing at a time and has a second of CPU for it, however busy the machine is, and five in all; one that
is late, dies or answers nonsense is killed, that one call is refused, and the next call gets a new child. When the first is
busy a second one is started beside it, so that somebody whose statements take their whole second does not make everybody
wait: the road examines one call of a caller at a time. Above are the database tool and `inspect`; `facts.worker_process` is the child,
`facts.child` the way to it, `facts.frames` what they say to each other.

A caller that is cancelled leaves the exchange with the child to a task that finishes it, so that no answer is ever read by
the wrong caller.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

import structlog
from pydantic import TypeAdapter, ValidationError

from mcp_gateway.errors import RequestError
from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.child import Child
from mcp_gateway.facts.examination import SQLExamination
from mcp_gateway.facts.frames import SHAPE, Answer, FrameError, encoded
from mcp_gateway.facts.parser import SQLSyntaxError, encode_sql
from mcp_gateway.facts.templates import Shape, Templates, cut
from mcp_gateway.masking.lineage import Lineage
from mcp_gateway.recent import Recent
from mcp_gateway.turns import Turns, working_for

COMMAND = (sys.executable, "-I", "-m", "mcp_gateway.facts.worker_process")
"""`-I`: no current directory, no PYTHON* variables, no user's site-packages (a module of an agent's workspace)."""
ONE_STATEMENT = timedelta(seconds=1)
"""Of CPU."""
PATIENCE = 5
"""So many times as long by the clock: a child that has to wait for a processor is not the statement's fault."""
START_OR_LOAD = timedelta(seconds=30)
CHILDREN = 2
EXAMINED_AT_ONCE = 8
"""Texts that are examined or wait for a child together; one of each caller, because children are few."""
MAX_SNAPSHOTS = 64
MAX_ANSWERS = 512

TOO_COMPLEX = "the statement is too complex to examine"
TRY_SIMPLER = "write a shorter or less deeply nested statement"
NOT_NOW = "the statement could not be examined"
TRY_AGAIN = "call again; if it stays so, the operator has to look at the gateway's log"

T = TypeVar("T")
Examined = tuple[SQLExamination, Lineage | None]
Found = tuple[Examined, tuple[int, ...]]
"""With the values of the text that are free."""

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

    process: Child
    held: set[int] = field(default_factory=set)

    async def ask(self, *request: Any, within: timedelta) -> bytes:
        """Send one request and read its answer."""
        content = pickle.dumps(request, protocol=pickle.HIGHEST_PROTOCOL)
        return await self.process.ask(content, within=within.total_seconds())


@dataclass(slots=True)
class _Place:
    """Where a child may run. Whoever has taken it is alone with the child."""

    child: _Child | None = None


class SQLWorker:
    """Examines SQL for any number of callers. Belongs to one event loop; close it with `aclose`."""

    def __init__(
        self, *, limit: timedelta = ONE_STATEMENT, command: Sequence[str] = COMMAND, children: int = CHILDREN
    ) -> None:
        seconds = limit.total_seconds()
        self._in_all = limit * PATIENCE
        self._command = (*command, f"{seconds:g}")
        self._children = children
        self._places = [_Place()]
        self._free = list(self._places)
        self._any_free = asyncio.Semaphore(1)
        self._turns = Turns(total=EXAMINED_AT_ONCE, each=1)
        self._numbers = count(1)
        self._snapshots: Recent[str, _Snapshot] = Recent(MAX_SNAPSHOTS)
        self._answers: Recent[tuple[int, str], Examined] = Recent(MAX_ANSWERS)
        self._templates: Templates[Examined] = Templates(MAX_ANSWERS)
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
    ) -> Examined:
        """What a text would do and, with a catalog, which columns its result derives from.

        `catalog_key` names the target; the catalog is sent to the child when it is new or differs from the one
        that was sent under the same key. Raises `SQLSyntaxError` for what is no SQL, and `RequestError` where the
        text cannot be examined in time.
        """
        encode_sql(sql)
        snapshot = None if catalog is None else self._snapshot(catalog_key, catalog, classify or {})
        number = snapshot.number if snapshot else 0
        known = self._answers.get((number, sql))
        if known is not None:
            return known
        alike = cut(sql)
        known = self._templates.find(number, alike)
        if known is not None:
            return known
        examined, free = await self._exchange(sql, snapshot, free=self._templates.expects(number, alike))
        self._answers.put((number, sql), examined)
        self._templates.keep(number, alike, free=free, value=examined)
        return examined

    def shape(self, sql: str, *, catalog_key: str) -> Shape | None:
        """What a text that was examined has in common with others of which the same is so; None where it is its like alone."""
        snapshot = self._snapshots.get(catalog_key)
        return None if snapshot is None else self._templates.shape(snapshot.number, sql)

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
            self._snapshots.put(key, known)
        return known

    async def _exchange(self, sql: str, snapshot: _Snapshot | None, *, free: bool) -> Found:
        """Ask a child about one text, alone with it."""
        caller = working_for.get()
        release = await self._turns.take(caller) if caller else None
        try:
            place = await self._take_place()
        except BaseException:
            if release is not None:
                release()
            raise

        def leave() -> None:
            self._give_back(place)
            if release is not None:
                release()

        child = place.child
        if child is None or not child.process.runs or (snapshot is not None and snapshot.number not in child.held):
            return await self._in_own_task(self._made_ready(place, sql, snapshot, leave, free=free))
        try:
            return await self._examined(place, child, sql, snapshot, free=free)
        except asyncio.CancelledError:
            if child.process.owes:
                self._own(self._heard_out(place, child, leave))
                leave = _nothing
            raise
        finally:
            leave()

    async def _made_ready(
        self, place: _Place, sql: str, snapshot: _Snapshot | None, leave: Callable[[], None], *, free: bool
    ) -> Found:
        """The same with a child that has to be started, or to be told of the catalog: in a task of its own."""
        try:
            child = await self._ready_child(place)
            if snapshot is not None and snapshot.number not in child.held:
                await self._load(place, child, snapshot)
            return await self._examined(place, child, sql, snapshot, free=free)
        finally:
            leave()

    async def _examined(
        self, place: _Place, child: _Child, sql: str, snapshot: _Snapshot | None, *, free: bool
    ) -> Found:
        try:
            number = snapshot.number if snapshot else None
            request = ("examine", number, sql, True) if free else ("examine", number, sql)
            return _examined(decoded(await child.ask(*request, within=self._in_all)))
        except (SQLSyntaxError, asyncio.CancelledError):
            raise
        except BaseException as error:
            # It did not get its CPU, or does not run: that says nothing of the statement.
            late = isinstance(error, TimeoutError)
            await _broken(place, error, "sql_not_examined", message=NOT_NOW if late else TOO_COMPLEX)
            raise

    async def _heard_out(self, place: _Place, child: _Child, leave: Callable[[], None]) -> None:
        """Let the child say what nobody waits for any more; one that does not say it is dropped."""
        try:
            await child.process.hear(within=self._in_all.total_seconds())
        except Exception as error:  # noqa: BLE001 - whatever it was, the next one gets a new child
            log.warning("sql_not_examined", cause=type(error).__name__)
            await _drop_child(place)
        finally:
            leave()

    async def _take_place(self) -> _Place:
        """A place of one's own; one with a child that is ready, if there is one."""
        if self._any_free.locked() and len(self._places) < self._children and not self._closed:
            self._places.append(place := _Place())
            self._own(self._add(place))
        await self._any_free.acquire()
        place = max(self._free, key=lambda place: place.child is not None)
        self._free.remove(place)
        return place

    def _give_back(self, place: _Place) -> None:
        self._free.append(place)
        self._any_free.release()

    async def _add(self, place: _Place) -> None:
        """Make a place available once its child is ready; if that does not come, whoever takes it tries again."""
        try:
            await self._ready_child(place)
        finally:
            self._give_back(place)

    async def _load(self, place: _Place, child: _Child, snapshot: _Snapshot) -> None:
        """Give the child a snapshot, and take back those that no key has any more."""
        current = {one.number for one in self._snapshots.values()}
        async with _within(place, "sql_catalog_not_loaded"):
            for number in child.held - current:
                await child.ask("drop", number, within=START_OR_LOAD)
                child.held.discard(number)
            content = snapshot.number, snapshot.catalog, dict(snapshot.classify)
            if await child.ask("load", *content, within=START_OR_LOAD) != encoded({"done": True}):
                raise FrameError("the catalog was not taken")
            child.held.add(snapshot.number)

    async def _start(self) -> None:
        place = await self._take_place()
        try:
            await self._ready_child(place)
        finally:
            self._give_back(place)

    async def _ready_child(self, place: _Place) -> _Child:
        """The running child, or a new one that has said that it is ready."""
        if place.child is not None and place.child.process.runs:
            return place.child
        await _drop_child(place)
        if self._closed:
            raise RequestError(NOT_NOW, next_step=TRY_AGAIN, code="internal")
        async with _within(place, "sql_worker_not_started"):
            child = place.child = _Child(process=await Child.start(self._command))
            said = await child.process.hear(within=START_OR_LOAD.total_seconds())
            if said != encoded({"ready": SHAPE}):
                raise FrameError("the process did not say that it is ready with answers of this form")
            return child


def settled(found: Examined, *, classes: frozenset[str]) -> tuple[SQLExamination, Lineage]:
    """What was found by a target's catalog, as it counts: `classes` are all of the target, and where it is not proved
    which of them the result has, it has them all. What must not run under masking must not run.
    """
    examination, lineage = found
    if lineage is None:
        lineage = Lineage(columns=None, opaque=True)
        examination = replace(examination, facts=replace(examination.facts, returns=classes))
    if examination.refusal is None and lineage.refusal is not None:
        examination = replace(examination, refusal=lineage.refusal)
    return examination, lineage


def _nothing() -> None:
    """What is left to do for a caller who has handed it on."""


@asynccontextmanager
async def _within(place: _Place, event: str) -> AsyncIterator[None]:
    """A longer time with the child, whose failure is no statement's. Unless it ends well the child is dropped."""
    try:
        async with asyncio.timeout(START_OR_LOAD.total_seconds()):
            yield
    except BaseException as error:
        await _broken(place, error, event, message=NOT_NOW)
        raise


async def _broken(place: _Place, error: BaseException, event: str, *, message: str) -> None:
    """Drop a child that did not do what it was asked, as what it would say next is not known.

    Raises what a caller is told of it, but for what is no `Exception`.
    """
    log.warning(event, cause=type(error).__name__)
    await _drop_child(place)
    if isinstance(error, Exception):
        next_step, code = (TRY_SIMPLER, "invalid_arguments") if message == TOO_COMPLEX else (TRY_AGAIN, "internal")
        raise RequestError(message, next_step=next_step, code=code) from None


async def _drop_child(place: _Place) -> None:
    """Kill and reap the child, if there is one."""
    child, place.child = place.child, None
    if child is not None:
        await child.process.end()


_ANSWER = TypeAdapter(Answer)


def decoded(content: bytes) -> Answer:
    """The answer that `frames.encoded` was given. Raises `FrameError` for anything else."""
    try:
        return _ANSWER.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise FrameError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _examined(answer: Answer) -> Found:
    match answer:
        case Answer(examination=SQLExamination() as examination, lineage=lineage):
            return (examination, lineage), answer.free
        case Answer(syntax=str(message), position=position):
            raise SQLSyntaxError(message, position=position)
        case _:
            raise FrameError(f"the examination failed with {answer.failed}")
