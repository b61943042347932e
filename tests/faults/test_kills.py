"""R1, R31: gateways are killed at random moments, paused, and started beside and right after each other.

The targets' own logs are the witnesses: nothing reached them without an intent, nothing was sent again by itself. What was
answered is on record, and what was interrupted is closed as unknown within seconds of the next start, or by a neighbour.
"""

from __future__ import annotations

import itertools
import random
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.audit.verify import verify
from tests.audit.records import rows
from tests.faults.gateways import BrokenOffError, Gateway, Targets, standing
from tests.faults.sizes import FULL, long, times
from tests.faults.stores import settled
from tests.invariants.world import World, open_intents

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3500)]

KILLS = 200
CALLERS = 3
PAUSE_SECONDS = 0.01
"""Between two calls of one caller."""
LONGEST_LIFE_SECONDS = 0.4
MARKS = itertools.count(7_000_000)
MARKED = re.compile(r"(?:x/|id <> )(\d+)")
CLOSED_SECONDS = 5.0
"""After a start, or a neighbour's death."""
SLOW_MACHINE_SECONDS = 3.0
CANCELLED_SECONDS = 2.0
"""How long PostgreSQL may go on with a statement whose gateway is gone."""
SLEEP = "SELECT pg_sleep(60), 'a statement that outlives its gateway'"


@dataclass(slots=True)
class Load:
    """Callers who go on calling one tool each, each time with something of its own, and put up with broken connections."""

    answered: set[str] = field(default_factory=set)
    """Calls that were answered `ok`."""
    marks: list[int] = field(default_factory=list)
    """What each call can be told by at its target."""
    codes: Counter[str] = field(default_factory=Counter)
    over: bool = False

    async def caller(self, gateway: Gateway, *, which: int) -> None:
        """Call until it is over or the gateway is gone."""
        try:
            async with gateway.client() as http:
                while not self.over:
                    await anyio.sleep(PAUSE_SECONDS)
                    tool, arguments = self._next(which)
                    found = await gateway.call(tool, arguments, http=http)
                    self.codes[found.get("code", "ok")] += 1
                    if "code" not in found:
                        self.answered.add(found["call_id"])
        except BrokenOffError:
            self.codes["broken off"] += 1

    def _next(self, which: int) -> tuple[str, dict[str, Any]]:
        mark = next(MARKS)
        self.marks.append(mark)
        match which % 3:
            case 0:
                return "query_database", {"target": "db", "sql": f"SELECT id, text FROM notes WHERE id <> {mark}"}
            case 1:
                return "run_ssh_command", {"target": "host", "argv": ["echo", str(mark)]}
            case _:
                return "call_api", {"target": "api", "path": f"x/{mark}", "method": "GET"}


@asynccontextmanager
async def under_load(load: Load, *gateways: Gateway) -> AsyncIterator[None]:
    """Call until the block ends; what runs then is answered."""
    load.over = False
    async with anyio.create_task_group() as group:
        for which in range(CALLERS):
            for gateway in gateways:
                group.start_soon(lambda gateway=gateway, which=which: load.caller(gateway, which=which))  # type: ignore[misc]  # mypy infers no default of a lambda
        yield
        load.over = True


def kept(gateway: Gateway, load: Load) -> None:
    """What was answered is on record."""
    recorded = {call_id for (call_id,) in rows(gateway.data, "SELECT call_id FROM events WHERE kind = 'Answered'")}
    assert load.answered <= recorded


def sent_once(targets: Targets, load: Load) -> None:
    """Nothing was sent to a target twice. A mark is told by what stands before it: the id of a call may hold the same digits."""
    requests = (request.partition(b"\r\n")[0].decode() for request in targets.api.requests)
    statements = (line for line in targets.database.log_lines() if "execute" in line)
    seen = Counter(int(mark) for line in (*requests, *statements) for mark in MARKED.findall(line))
    assert seen.keys() & set(load.marks)
    assert [mark for mark in load.marks if seen[mark] > 1] == []


def running_statements(targets: Targets) -> list[Any]:
    return targets.database.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = %s AND query LIKE %s AND state = 'active'",
        [targets.database.name, "SELECT pg_sleep(60)%"],
    )


@pytest.mark.skipif(not FULL, reason="`make faults`; with every commit the test below kills, too")
@pytest.mark.requirement("R1", "I1", "I3", "I6")
@long(minutes=7)
async def test_a_gateway_killed_at_any_moment_leaves_a_record_of_everything(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    load = Load()
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        for _ in range(KILLS):
            await gateway.start()
            await settled(lambda: not open_intents(gateway.data), seconds=CLOSED_SECONDS)
            kept(gateway, load)
            async with under_load(load, gateway):
                await settled(lambda: load.codes["ok"], seconds=30)
                await killed_in_a_statement(gateway, targets)
        await gateway.start()
        await settled(lambda: not open_intents(gateway.data), seconds=CLOSED_SECONDS)
        kept(gateway, load)
        sent_once(targets, load)
        assert await gateway.end() == 0
    assert load.codes["ok"]
    assert load.codes["broken off"] >= CALLERS


async def killed_in_a_statement(gateway: Gateway, targets: Targets) -> None:
    """Kill it at a random moment while the database works on a statement, which then ends soon."""

    async def call() -> None:
        with pytest.raises(BrokenOffError):
            await gateway.call("query_database", {"target": "db", "sql": SLEEP})

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await settled(lambda: running_statements(targets), seconds=30)
        await anyio.sleep(random.random() * LONGEST_LIFE_SECONDS)
        await gateway.kill()
    await settled(lambda: not running_statements(targets), seconds=CANCELLED_SECONDS + SLOW_MACHINE_SECONDS)


class Neighbour(Gateway):
    """Another gateway process on the same configuration and the same store."""

    @property
    def log(self) -> Path:
        """Its own, so that its lines are not taken for the other's."""
        return self.folder / "neighbours-log"


@asynccontextmanager
async def neighbours(folder: Path, targets: Targets, *, world: World) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two of them, set up and not started."""
    async with standing(folder, targets, world=world) as one:
        other = Neighbour(folder=one.folder, issuer=one.issuer, world=world)
        try:
            yield one, other
        finally:
            with anyio.CancelScope(shield=True):
                if other.process is not None:
                    await other.kill()


async def both_started(one: Gateway, other: Gateway) -> None:
    """At the same moment."""
    async with anyio.create_task_group() as group:
        group.start_soon(one.start)
        group.start_soon(other.start)


@pytest.mark.requirement("R31", "R1", "R5", "R29", "I3", "I6")
@long(minutes=8)
@pytest.mark.early
async def test_two_gateways_on_one_store_outlive_each_other(tmp_path: Path, world: World, targets: Targets) -> None:
    world.expected_errors = frozenset({"audit_unavailable"})
    load, beside = Load(), Load()
    async with neighbours(tmp_path / "gateway", targets, world=world) as (one, other):
        for _ in range(times(commit=1, full=20)):
            await both_started(one, other)
            for _ in range(times(commit=1, full=5)):
                await paused(one, other, load, beside)
            # Both die, and one starts while the other recovers what they left.
            async with under_load(load, one), under_load(beside, other):
                await killed_in_a_statement(one, targets)
                await other.kill()
            await both_started(one, other)
            await settled(lambda: not open_intents(one.data), seconds=CLOSED_SECONDS)
            kept(one, load)
            kept(one, beside)
            # One dies: its intents are closed by its neighbour, which goes on.
            async with under_load(load, one):
                async with under_load(beside, other):
                    await settled(lambda: open_intents(one.data), seconds=10)
                    await other.kill()
                dead = open_intents(one.data)
                await settled(lambda left=dead: not left & open_intents(one.data), seconds=CLOSED_SECONDS)  # type: ignore[misc]  # mypy infers no default of a lambda
                # A new one comes before the old one goes in good order: a rolling restart.
                await other.start()
                load.over = True
            assert await one.end() == 0
            assert await other.code("call_api", {"target": "api", "path": "after", "method": "GET"}) == "ok"
            assert await other.end() == 0
        kept(one, load)
        sent_once(targets, load)
        sent_once(targets, beside)
        assert verify(one.data).flaw is None


async def paused(one: Gateway, other: Gateway, load: Load, beside: Load) -> None:
    """Stop one at any moment: it may hold the store's lock, for which the other waits no longer than its time."""
    async with under_load(load, one), under_load(beside, other):
        await anyio.sleep(random.random() * LONGEST_LIFE_SECONDS)
        one.signal(signal.SIGSTOP)
        await anyio.sleep(random.choice([0.1, 0.5, 2.6]))
        before = sum(beside.codes.values())
        await settled(lambda: sum(beside.codes.values()) > before, seconds=10)
        one.signal(signal.SIGCONT)
        ok = load.codes["ok"], beside.codes["ok"]
        await settled(lambda: load.codes["ok"] > ok[0] and beside.codes["ok"] > ok[1], seconds=15)
