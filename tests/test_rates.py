"""How many calls come in a time: by a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as some

from mcp_gateway.calls import Caller
from mcp_gateway.errors import LimitError
from mcp_gateway.rates import Meter, Rate, Rates
from tests.faults.sizes import FULL, times
from tests.invariants.fixtures import tasks_return, world
from tests.roads import laid, refusal

__all__ = ["tasks_return", "world"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = Rate(count=60, per=timedelta(minutes=1))
SECOND = timedelta(seconds=1)


def taken(meter: Meter, key: str, *, now: datetime) -> bool:
    if meter.wait(key, now=now):
        return False
    meter.count(key, now=now)
    return True


def test_after_a_pause_all_come_at_once_and_then_one_by_one() -> None:
    meter = Meter(MINUTE)
    assert [taken(meter, "a", now=NOW) for _ in range(61)] == [True] * 60 + [False]
    assert meter.wait("a", now=NOW) == SECOND
    assert not taken(meter, "a", now=NOW + 0.9 * SECOND)
    assert taken(meter, "a", now=NOW + SECOND)
    assert not taken(meter, "a", now=NOW + SECOND)
    assert taken(meter, "b", now=NOW + SECOND)


@given(some.lists(some.floats(min_value=0, max_value=5), max_size=300))
def test_no_window_has_more_than_the_rate_twice_and_who_waits_as_told_is_let_in(pauses: list[float]) -> None:
    rate = Rate(count=5, per=timedelta(seconds=10))
    meter, now, came = Meter(rate), NOW, []
    for pause in pauses:
        now += timedelta(seconds=pause)
        if taken(meter, "a", now=now):
            came.append(now)
        else:
            wait = meter.wait("a", now=now)
            assert timedelta(0) < wait <= rate.per
            assert not meter.wait("a", now=now + wait)
    for index in range(len(came) - 2 * rate.count):
        assert came[index + 2 * rate.count] - came[index] >= rate.per


def test_whoever_is_quiet_is_forgotten() -> None:
    meter = Meter(MINUTE)
    for number in range(1000):
        meter.count(str(number), now=NOW)
    meter.count("x", now=NOW + timedelta(minutes=2))
    assert list(meter._due) == ["x"]


def test_without_a_rate_nothing_is_counted() -> None:
    rates = Rates(per_caller=None, targets={"api": None})
    for _ in range(1000):
        rates.take_call("a", now=NOW)
        rates.take_target("api", "a", now=NOW)


def test_one_caller_leaves_a_quarter_of_a_targets_rate_to_the_others() -> None:
    rates = Rates(per_caller=None, targets={"api": Rate(count=8, per=timedelta(minutes=1))})
    for _ in range(6):
        rates.take_target("api", "a", now=NOW)
    with pytest.raises(
        LimitError, match=r"^the target 'api' gets more calls than this caller's share of them, 8/1m in all$"
    ):
        rates.take_target("api", "a", now=NOW)
    for _ in range(2):
        rates.take_target("api", "b", now=NOW)
    with pytest.raises(LimitError, match=r"^the target 'api' gets more calls than its limit, 8/1m in all$"):
        rates.take_target("api", "b", now=NOW)


@pytest.mark.anyio
@pytest.mark.requirement("R23")
async def test_a_call_too_soon_is_refused_with_the_time_to_wait_and_on_record(tmp_path: Path) -> None:
    async with laid(tmp_path, rate_per_caller=Rate(count=2, per=timedelta(seconds=10))) as bench:
        bench.clock.now -= timedelta(minutes=1)  # what it says later is not ahead of what the target sees
        assert [await bench.code() for _ in range(2)] == ["ok"] * 2

        soon = await bench.call()

        found = refusal(soon)
        assert (found.code, found.detail) == ("limit_exceeded", {"retry_after_seconds": 5.0})
        assert found.message == "this caller makes more calls than 2/10s"
        assert found.next_step == "call again in 5 s; nothing has run"
        assert await bench.kinds(soon.call_id) == ["Received", "Identified", "Refused", "Answered"]
        assert await bench.code(caller=bench.caller(subject="bob")) == "ok"
        bench.clock.now += timedelta(seconds=5)
        assert await bench.code() == "ok"
        assert len(bench.api.requests) == 4


@pytest.mark.anyio
@pytest.mark.requirement("R23")
async def test_a_call_on_a_target_too_soon_asks_nothing_of_it_and_does_not_count(tmp_path: Path) -> None:
    async with laid(tmp_path, rate=Rate(count=4, per=timedelta(seconds=4))) as bench:
        bench.clock.now -= timedelta(minutes=1)
        assert [await bench.code() for _ in range(5)] == ["ok"] * 3 + ["limit_exceeded"] * 2
        assert await bench.code({"target": "nowhere"}) == "unknown_target"
        assert await bench.code(caller=bench.caller(subject="bob")) == "ok"
        bench.clock.now += timedelta(seconds=2)
        assert await bench.code() == "ok"
        assert len(bench.api.requests) == 5


@pytest.mark.anyio
@pytest.mark.requirement("R23")
async def test_who_calls_far_too_often_costs_the_others_little(tmp_path: Path) -> None:
    calls = times(commit=20, full=400)
    async with laid(tmp_path, rate_per_caller=Rate(count=calls * 4, per=timedelta(days=1))) as bench:
        bob, mallory = bench.caller(subject="bob"), bench.caller(subject="mallory")

        async def p99(who: Caller) -> float:
            found = []
            for _ in range(calls):
                started = monotonic()
                assert await bench.code(caller=who) == "ok"
                found.append(monotonic() - started)
            return sorted(found)[int(calls * 0.99)]

        for _ in range(calls * 4):
            bench.road._rates.take_call(mallory.key, now=bench.clock())
        alone = await p99(bob)
        refused = 0
        async with anyio.create_task_group() as group:

            async def flood() -> None:
                nonlocal refused
                while True:
                    assert await bench.code(caller=mallory) == "limit_exceeded"
                    refused += 1
                    await anyio.sleep(0.02)

            for _ in range(4):
                group.start_soon(flood)
            beside = await p99(bob)
            group.cancel_scope.cancel()
        print(f"{refused} refused; p99 alone {alone * 1000:.1f} ms, beside {beside * 1000:.1f} ms")
        assert refused
        if FULL:
            assert beside <= 2 * alone
