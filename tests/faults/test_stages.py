"""R28: whatever goes wrong in whichever operation of a call, it is refused, recorded, and ends once.

Like SQLite's own tests: the first operation goes wrong, then the second, and so on to the last that a call does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_gateway_tools.call_api import CallAPI

from mcp_gateway.admission import Request
from mcp_gateway.answers import Answer
from mcp_gateway.audit.leases import Lease, close_abandoned
from mcp_gateway.calls import Caller
from mcp_gateway.errors import TargetError
from tests.audit.records import reopened
from tests.faults.sizes import times
from tests.faults.stages import ERRORS, Faults, faulty_road
from tests.invariants.world import World
from tests.roads import POST, Bench, asked, laid, nothing_held

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1200), pytest.mark.requirement("R28", "I3", "I7")]

GIVE_UP_SECONDS = 0.005
SPARED_OF_NOTHING = (
    "clock",  # some times are not recorded
    "token_clock",
    "scope_of",  # nothing is what it says of a tool that demands no scope
    "shares.",
    "masker.json",  # whatever it gives is what is left of a value
    "holder.check_repeat",  # says no by raising
    "store.",
    "tool.preview",  # a target that cannot tell a plan costs the call nothing
    "policies.decide_shadowed",  # nothing where no policy is only tried out
    "revocations.refuses",  # nothing is what it says of a caller who is not revoked
    "revocations.stops",  # nor of a target that is not
)
"""Operations that may give nothing, or of which nothing that they give leaves or is recorded."""


class Bystanders:
    """A road, and calls on it of which one operation goes wrong."""

    def __init__(self, bench: Bench, lease: Lease) -> None:
        self.bench = bench
        self._lease = lease
        self._number = 0

    async def call(self, faults: Faults, arguments: dict[str, Any]) -> str:
        """Make a call; its code, or `cancelled`. Whatever happened to it, nothing is held or left open."""
        road = faulty_road(self.bench.road, faults)

        async def identify() -> Caller:
            return self.bench.caller()

        request = Request(
            door="http",
            tool=CallAPI.name,
            arguments={"target": "api", "path": "x"} | arguments,
            identify=faults.counted(identify, name="identify"),
        )
        code = "cancelled"

        async def give_up() -> None:
            await faults.hanging.wait()
            await anyio.sleep(GIVE_UP_SECONDS)
            faults.scope.cancel()

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(give_up)
                with faults.scope:
                    answer = await road.call(request)
                    code = answer.code if isinstance(answer, Answer) else "input_required"
                group.cancel_scope.cancel()
        road.close()
        assert nothing_held(road)
        if self.bench.store.failure is not None:  # what goes wrong inside a unit may look like damage
            await reopened(self.bench.store)
        await close_abandoned(self.bench.store, lease=self._lease, clock=self.bench.clock)
        return code

    async def outcomes(self) -> tuple[int, int, int]:
        """How many intents there were, how many are open, and how many results were recorded."""
        query = (
            "SELECT (SELECT count(*) FROM events WHERE kind = 'Started'), (SELECT count(*) FROM intents),"
            " (SELECT count(*) FROM events WHERE kind = 'Finished')"
        )
        started, still_open, finished = await self.bench.store.read(lambda found: found.execute(query).fetchone())
        return started, still_open, finished


@asynccontextmanager
async def bystanders(folder: Path) -> AsyncIterator[Bystanders]:
    async with laid(folder) as bench:
        lease = Lease.acquire(folder / "data", instance="test")
        try:
            yield Bystanders(bench, lease)
        finally:
            lease.release()


def may_run(faults: Faults, name: str) -> bool:
    """Cancelled once its result is on record a call has it; and a plan is not worth a call."""
    return faults.way == "cancel" or (name == "tool.preview()" and isinstance(faults.error(), TargetError))


def ways(operations: Sequence[str], *, each: int) -> Iterator[Faults]:
    """Each operation in each way, with so many classes of exceptions, and the next ones for the next operation."""
    for at, name in enumerate(operations, 1):
        for number in range(each):
            yield Faults(at=at, way="raise", error=ERRORS[(at * each + number) % len(ERRORS)])
        if not name.startswith(SPARED_OF_NOTHING):
            yield Faults(at=at, way="none")
            yield Faults(at=at, way="garbage")
        # The store bounds its own waiting.
        if name.endswith("()") and not name.startswith("store."):
            yield Faults(at=at, way="hang")
        yield Faults(at=at, way="cancel")


async def test_a_call_of_which_one_operation_goes_wrong_is_refused(tmp_path: Path, world: World) -> None:
    world.expected_errors = frozenset({"internal", "audit_unavailable"})
    async with bystanders(tmp_path) as found:
        whole = Faults()
        assert await found.call(whole, {}) == "ok"
        assert len(whole.done) > 30
        for faults in ways(whole.done, each=times(commit=2, full=len(ERRORS))):
            before = await found.outcomes()
            code = await found.call(faults, {})
            what = (name := whole.done[faults.at - 1], faults.way, faults.error(), code)
            after = await found.outcomes()
            assert code != "ok" or may_run(faults, name), what
            assert (after[2] > before[2]) == (code == "ok"), what
            assert after[1] == 0, what
        assert await found.call(Faults(), {}) == "ok"
        assert len(found.bench.api.requests) <= (await found.outcomes())[0]


async def test_an_approved_call_of_which_one_operation_goes_wrong_runs_at_most_once(
    tmp_path: Path, world: World
) -> None:
    world.expected_errors = frozenset({"internal", "audit_unavailable"})
    async with bystanders(tmp_path) as found:

        async def approved(number: int) -> dict[str, Any]:
            arguments = POST | {"path": f"x/{number}"}
            await found.bench.vote(await asked(found.bench, arguments))
            return arguments

        whole = Faults()
        assert await found.call(whole, await approved(0)) == "ok"
        assert len(whole.done) > 50
        for number, faults in enumerate(ways(whole.done, each=times(commit=1, full=len(ERRORS))), 1):
            arguments = await approved(number)
            before, requests = await found.outcomes(), len(found.bench.api.requests)
            code = await found.call(faults, arguments)
            what = (name := whole.done[faults.at - 1], faults.way, faults.error(), code)
            started, still_open, finished = await found.outcomes()
            assert code != "ok" or may_run(faults, name), what
            assert (finished > before[2]) == (code == "ok"), what
            assert still_open == 0, what
            again = await found.call(Faults(), arguments)
            assert again in ({"already_run"} if started > before[0] else {"ok", "approval_pending"}), (what, again)
            assert len(found.bench.api.requests) <= requests + 1, what
