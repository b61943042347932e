"""New policies, OpenAPI documents and tables of programs without a restart: when their files have changed and hold still, or at once when asked (SIGHUP).

1. The files are looked at each second. A change counts when the next look finds the same: an editor that writes a file
   in two steps must not put the half of it into force, whose forbids are not there yet.
2. They are read and compiled beside the event loop, and looked at once more: what changed meanwhile is read again.
3. What cannot be used is recorded with what is wrong, and what is in force stays.
4. Anything else is recorded, and only then decides: every decision names a version that the store knows.

Calls that are under way are decided by whatever is in force when they come to their decision, and examined with the
documents and tables that are known when they are examined.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio
import structlog

from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.events import DocumentsLoaded, Event, PolicyLoaded, ProgramsLoaded
from mcp_gateway.facts.programs import Knowledge
from mcp_gateway.facts.requests import Interface, digests
from mcp_gateway.held import Held
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.files import Stamp, stamp_of
from mcp_gateway.policy.loader import SUFFIX
from mcp_gateway.trouble import Trouble

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
MAX_PROBLEMS = 50
"""Of what was refused that are recorded."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T]):
    """What can be reloaded: how it is named, told apart and recorded."""

    name: str
    suffix: str
    """Of files in folders."""
    version: Callable[[T], Any]
    """The same for what decides alike."""
    event: Callable[[datetime, T, tuple[str, ...]], Event]
    """What is recorded of what is in force, and of the problems of what is not."""

    def said(self, outcome: str) -> str:
        """What the log calls it."""
        return f"{self.name}_{outcome}"


def policy_loaded(at: datetime, engine: PolicyEngine, problems: tuple[str, ...] = ()) -> PolicyLoaded:
    """The record of the policies in force."""
    return PolicyLoaded(at=at, version=engine.version, policies=len(engine.policies), problems=problems)


def documents_loaded(
    at: datetime, interfaces: Mapping[str, Interface], problems: tuple[str, ...] = ()
) -> DocumentsLoaded:
    """The record of the OpenAPI documents in force."""
    return DocumentsLoaded(at=at, documents=digests(interfaces), problems=problems)


def programs_loaded(at: datetime, knowledge: Knowledge, problems: tuple[str, ...] = ()) -> ProgramsLoaded:
    """The record of the tables of programs in force."""
    return ProgramsLoaded(at=at, version=knowledge.version, files=dict(knowledge.files), problems=problems)


POLICIES: Kind[PolicyEngine] = Kind(
    name="policies", suffix=SUFFIX, version=lambda engine: engine.version, event=policy_loaded
)
DOCUMENTS: Kind[Mapping[str, Interface]] = Kind(name="documents", suffix="", version=digests, event=documents_loaded)
PROGRAMS: Kind[Knowledge] = Kind(
    name="programs", suffix="", version=lambda knowledge: knowledge.version, event=programs_loaded
)


class Reloading(Generic[T]):
    """Keeps what is in force as its files are."""

    def __init__(
        self,
        held: Held[T],
        *,
        kind: Kind[T],
        paths: Sequence[Path],
        seen: Stamp,
        record: Callable[[Event], Awaitable[object]],
        clock: Callable[[], datetime],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`seen` is what the files looked like before those that are in force were read."""
        self._held = held
        self._kind = kind
        self._paths = paths
        self._seen = self._before = seen
        self._record = record
        self._clock = clock
        self._look_seconds = look_seconds
        self._asked = anyio.Event()

    def ask(self) -> None:
        """Read the files now, changed or not."""
        self._asked.set()

    async def keep(self) -> None:
        """Look and reload until cancelled. What could not be done is tried again at the next look."""
        trouble = Trouble(self._kind.said("not_reloaded"))
        settled = True
        while True:
            with anyio.move_on_after(self._look_seconds):
                await (self._asked.wait() if settled else anyio.sleep_forever())
            settled = False
            with trouble.outlived():
                settled = await self._round()

    async def _round(self) -> bool:
        """Look, and put into force what is there if it is time to; whether that is done."""
        asked, stamp = self._asked.is_set(), await self._look()
        # 1.
        held_still, self._before = stamp == self._before, stamp
        if not asked and (stamp == self._seen or not held_still):
            return True
        if asked:
            self._asked = anyio.Event()  # who asks from now on may have changed something since
        settled = False
        try:
            # 2.
            loaded = await anyio.to_thread.run_sync(self._read)
            if await self._look() == stamp:
                await self._settle(loaded)
                self._seen, settled = stamp, True
        finally:
            if asked and not settled:
                self._asked.set()
        return settled

    def _read(self) -> T | ConfigError:
        try:
            return self._held.read()
        except Exception as error:  # no file may end a gateway that has what it needs
            log.exception(self._kind.said("broken"), error=type(error).__name__)
            return ConfigError([Problem(message=f"the {self._kind.name} could not be read: {type(error).__name__}")])

    async def _settle(self, loaded: T | ConfigError) -> None:
        kind, current, now = self._kind, self._held.current, self._clock()
        version = kind.version(current)
        # 3.
        if isinstance(loaded, ConfigError):
            problems = tuple(str(problem) for problem in loaded.problems[:MAX_PROBLEMS])
            await self._record(kind.event(now, current, problems))
            log.error(kind.said("refused"), problems=problems, in_force=version)
        # 4.
        elif kind.version(loaded) != version:
            event = kind.event(now, loaded, ())
            await self._record(event)
            self._held.replace(loaded)
            log.info(kind.said("loaded"), **event.values())
        else:
            log.info(kind.said("unchanged"), version=version)

    async def _look(self) -> Stamp:
        return await anyio.to_thread.run_sync(lambda: stamp_of(self._paths, suffix=self._kind.suffix))
