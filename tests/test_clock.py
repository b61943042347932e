"""The clock is in UTC and ids sort by time."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from mcp_gateway.clock import BOOT_CLOCK, SteadyClock, boot_seconds, new_id, time_limit, utc_now

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Machine:
    """A machine whose wall clock a test sets."""

    def __init__(self) -> None:
        self.boot = 1000.0
        self.off = timedelta(0)
        self.clock = SteadyClock(wall=self.wall, boot=lambda: self.boot)

    def wall(self) -> datetime:
        return self.true() + self.off

    def true(self) -> datetime:
        return NOON + timedelta(seconds=self.boot - 1000)

    def reads(self, *, after: float = 0, off: timedelta | None = None) -> timedelta:
        """How far the clock is from the true time, `after` seconds and a change of the wall clock."""
        self.boot += after
        self.off = self.off if off is None else off
        return self.clock() - self.true()


def test_the_time_is_aware_and_in_utc() -> None:
    assert utc_now().utcoffset() == timedelta(0)


def test_ids_are_uuid_version_7() -> None:
    assert uuid.UUID(new_id()).version == 7


def test_ids_made_later_sort_later() -> None:
    ids = [new_id() for _ in range(1000)]

    assert sorted(set(ids)) == ids


def test_the_boot_clock_counts_seconds() -> None:
    before = boot_seconds()

    assert before > 0
    assert boot_seconds() >= before
    assert isinstance(BOOT_CLOCK, int)


@pytest.mark.anyio
async def test_a_time_limit_ends_what_waits_too_long_and_nothing_else() -> None:
    with time_limit(60) as not_reached:
        await anyio.sleep(0)
    with time_limit(0) as reached:
        await anyio.sleep_forever()

    assert (not_reached.cancelled_caught, reached.cancelled_caught) == (False, True)


@pytest.mark.requirement("R16")
def test_a_clock_that_is_set_back_does_not_bring_time_back() -> None:
    machine = Machine()

    assert machine.reads(after=3600) == timedelta(0)
    assert machine.reads(off=timedelta(hours=-1)) == timedelta(0)
    assert machine.reads(after=3600) == timedelta(0)
    assert machine.reads(off=timedelta(hours=-5)) == timedelta(0)
    assert machine.reads(off=timedelta(seconds=-2)) == timedelta(0)
    assert machine.reads(after=5, off=timedelta(0)) == timedelta(0)


@pytest.mark.requirement("R16")
def test_a_clock_that_is_set_forward_counts_and_can_be_set_right_again() -> None:
    machine = Machine()
    hour = timedelta(hours=1)

    assert machine.reads(off=hour) == hour
    assert machine.reads(after=300, off=timedelta(0)) == timedelta(0)
    assert machine.clock.set_back() is None
    assert machine.reads(off=hour) == hour
    assert machine.reads(after=601) == hour
    assert machine.reads(off=timedelta(0)) == hour  # It was believed by then: only a restart takes it back.
    assert machine.clock.set_back() == hour


@pytest.mark.requirement("R16")
def test_small_adjustments_are_no_steps() -> None:
    machine = Machine()

    for count in range(1, 500):
        off = timedelta(seconds=-0.5 * count)
        assert machine.reads(after=10, off=off) == off
        assert machine.clock.set_back() is None


@pytest.mark.requirement("R16")
def test_each_step_back_of_more_than_a_minute_is_told_once() -> None:
    machine = Machine()

    assert machine.clock.set_back() is None
    machine.off = timedelta(seconds=-60)
    assert machine.clock.set_back() is None
    machine.off = timedelta(seconds=-61)
    assert machine.clock.set_back() == timedelta(seconds=61)
    assert machine.clock.set_back() is None
    machine.off = timedelta(seconds=-150)
    assert machine.clock.set_back() == timedelta(seconds=150)
    machine.off = timedelta(0)
    assert machine.clock.set_back() is None
    machine.off = timedelta(seconds=-61)
    assert machine.clock.set_back() == timedelta(seconds=61)
