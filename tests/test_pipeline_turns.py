"""Calls that wait for their turn on a target."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.admission import Request
from mcp_gateway.approval.holding import Channels, InputRequired
from mcp_gateway.calls import Caller, JSONObject
from mcp_gateway.decisions import Decision
from mcp_gateway.errors import IdentityError
from mcp_gateway.policy.engine import PolicyEngine, Question
from mcp_gateway.policy.external import Opinion
from tests.invariants.fixtures import tasks_return, world
from tests.roads import POST, Bench, asked, laid, refusal

__all__ = ["tasks_return", "world"]

pytestmark = pytest.mark.anyio


async def stalled(bench: Bench, count: int, group: Any, **arguments: Any) -> None:
    """Have so many calls of Alice's run on the target without an end; those behind them wait."""
    bench.api.stall = True
    before = len(bench.api.requests)
    for _ in range(count):
        group.start_soon(bench.call, arguments)
    with anyio.fail_after(10):
        while len(bench.api.requests) < before + count:
            await anyio.sleep(0.005)
    bench.api.stall = False


async def queued(bench: Bench, count: int) -> None:
    """Wait until so many calls hold a turn on the target or wait for one."""
    with anyio.fail_after(10):
        while sum(lane.users for lane in bench.road._turns["api"]._lanes.values()) < count:
            await anyio.sleep(0.005)


async def test_a_caller_that_fills_a_target_waits_behind_itself_alone(tmp_path: Path) -> None:
    async with laid(tmp_path, max_calls=4) as bench, anyio.create_task_group() as group:
        await stalled(bench, 3, group)
        for _ in range(5):
            group.start_soon(bench.call)
        await queued(bench, 8)

        assert await bench.code(caller=bench.caller(subject="bob")) == "ok"
        assert len(bench.api.requests) == 4
        group.cancel_scope.cancel()


async def test_a_call_that_gets_no_turn_on_its_target_has_not_run(tmp_path: Path) -> None:
    impatient = timedelta(seconds=0.05)
    async with laid(tmp_path, max_calls=1, longest_queue=impatient) as bench, anyio.create_task_group() as group:
        approved = await asked(bench)
        await bench.vote(approved)
        await stalled(bench, 1, group)

        busy = await bench.call(POST)

        assert refusal(busy).code == "limit_exceeded"
        assert refusal(busy).message == "the target 'api' is busy with as many calls as may run on it at once"
        assert "Started" not in await bench.kinds(busy.call_id)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            while await bench.code(POST) == "limit_exceeded":
                await anyio.sleep(0.01)
            assert await bench.code(POST) == "already_run"


@pytest.mark.requirement("I3")
async def test_a_token_that_is_revoked_while_a_call_waits_for_its_turn_counts(tmp_path: Path) -> None:
    revoked = False
    async with laid(tmp_path, max_calls=1) as road, anyio.create_task_group() as group:
        codes: list[str] = []

        async def identify() -> Caller:
            if revoked:
                raise IdentityError("revoked")
            return road.caller()

        async def call() -> None:
            found = await road.road.call(
                Request(door="http", tool="call_api", arguments={"target": "api", "path": "y"}, identify=identify)
            )
            assert not isinstance(found, InputRequired)
            codes.append(found.code)

        async with anyio.create_task_group() as first:
            await stalled(road, 1, first)
            group.start_soon(call)
            await queued(road, 2)
            revoked = True
            first.cancel_scope.cancel()
        with anyio.fail_after(10):
            while not codes:
                await anyio.sleep(0.005)

        assert codes == ["identity_required"]
        assert len(road.api.requests) == 1


async def test_a_policy_that_changes_while_a_call_waits_for_its_turn_counts(tmp_path: Path) -> None:
    async with laid(tmp_path, max_calls=1) as bench, anyio.create_task_group() as group:
        codes: list[str] = []

        async def call() -> None:
            codes.append(await bench.code())

        async with anyio.create_task_group() as first:
            await stalled(bench, 1, first)
            group.start_soon(call)
            await queued(bench, 2)
            bench.load('@id("none") permit (principal == Caller::"x", action == Action::"call_api", resource);')
            first.cancel_scope.cancel()
        with anyio.fail_after(10):
            while not codes:
                await anyio.sleep(0.005)

        assert codes == ["denied"]


@pytest.mark.requirement("I3")
async def test_groups_that_a_token_has_lost_while_a_call_waits_for_its_turn_count_no_more(tmp_path: Path) -> None:
    async with laid(tmp_path, max_calls=1) as bench, anyio.create_task_group() as group:
        codes: list[str] = []
        tokens = [bench.caller(), bench.caller(token_id="t2", groups=frozenset({"interns"}))]

        async def identify() -> Caller:
            return tokens.pop(0)

        async def call() -> None:
            arguments = {"target": "api", "path": "x"}
            request = Request(
                door="stdio", tool="call_api", arguments=arguments, identify=identify, channels=Channels()
            )
            answer = await bench.road.call(request)
            codes.append(refusal(answer).code)

        async with anyio.create_task_group() as first:
            await stalled(bench, 1, first)
            group.start_soon(call)
            await queued(bench, 2)
            first.cancel_scope.cancel()
        with anyio.fail_after(10):
            while not codes:
                await anyio.sleep(0.005)

        assert codes == ["denied"]
        assert len(bench.api.requests) == 1


AGED = """
@id("young") permit (principal, action == Action::"call_api", resource) when { context.call.token_age < 600 };
"""
OLD = """
@id("everybody") permit (principal, action == Action::"call_api", resource);
@id("old") forbid (principal, action == Action::"call_api", resource) when { context.call.token_age > 3600 };
"""
TIMED = """
@id("everybody") permit (principal, action == Action::"call_api", resource);
@id("late") forbid (principal, action == Action::"call_api", resource)
when { context.call.time.toTime() == duration("0s") };
"""
COUNTED = """
@id("everybody") permit (principal, action == Action::"call_api", resource);
@id("many") forbid (principal, action == Action::"call_api", resource) when { context.usage.calls_1h > 1000 };
"""
EVERYBODY = '@id("everybody") permit (principal, action == Action::"call_api", resource);'


class Agreeing:
    """A decision point that agrees with whatever policy says."""

    async def ask(self, document: JSONObject) -> Opinion:
        del document
        return Opinion(said="allow")


@pytest.mark.requirement("I3")
@pytest.mark.parametrize(
    ("policy", "tokens", "point", "times", "code"),
    [
        pytest.param(EVERYBODY, ["t1", "t1"], None, 1, "ok", id="nothing that changes"),
        pytest.param(OLD, ["t1", "t1"], None, 1, "ok", id="an age that is not reached"),
        pytest.param(AGED, ["t1", "t1"], None, 2, "denied", id="an age that was reached"),
        pytest.param(TIMED, ["t1", "t1"], None, 2, "ok", id="the time of day"),
        pytest.param(COUNTED, ["t1", "t1"], None, 2, "ok", id="what the caller has done"),
        pytest.param(EVERYBODY, ["t1", "t2"], None, 2, "ok", id="a newer token"),
        pytest.param(EVERYBODY, ["t1", "t1"], Agreeing(), 2, "ok", id="a decision point"),
    ],
)
async def test_after_a_wait_a_call_is_decided_anew_where_that_can_make_a_difference(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
    tokens: list[str],
    point: Agreeing | None,
    times: int,
    code: str,
) -> None:
    decided: list[str] = []
    decide = PolicyEngine.decide

    def counted(engine: PolicyEngine, question: Question) -> Decision:
        decided.append(question.tool)
        return decide(engine, question)

    async with laid(tmp_path, max_calls=1, decision_point=point) as bench, anyio.create_task_group() as group:
        bench.load(policy)
        callers = [bench.caller(token_id=token) for token in tokens]
        found: list[str] = []

        async def identify() -> Caller:
            return callers.pop(0)

        async def call() -> None:
            arguments = {"target": "api", "path": "x"}
            answer = await bench.road.call(
                Request(door="http", tool="call_api", arguments=arguments, identify=identify)
            )
            assert not isinstance(answer, InputRequired)
            found.append(answer.code)

        async with anyio.create_task_group() as first:
            await stalled(bench, 1, first)
            monkeypatch.setattr(PolicyEngine, "decide", counted)
            group.start_soon(call)
            await queued(bench, 2)
            bench.clock.now += timedelta(minutes=15)
            first.cancel_scope.cancel()
        with anyio.fail_after(10):
            while not found:
                await anyio.sleep(0.005)

        assert found == [code]
        assert len(decided) == times
