"""How long records of many calls wait for each other: as long as that brings any, and never without end."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest

from mcp_gateway.audit.gathering import EXPECTED, RAREST, Gathering

LONG = 60.0
"""Seconds, which no test waits for."""


def gathering(*, seconds: float = LONG, under_way: int = 16) -> Gathering:
    one = Gathering(seconds=seconds)
    one.under_way = under_way
    return one


@pytest.mark.timeout(LONG / 2)
@pytest.mark.parametrize("under_way", range(-1, 3))
def test_where_few_are_under_way_nobody_is_waited_for(under_way: int) -> None:
    one = gathering(under_way=under_way)

    one.wait(lambda: 1)

    assert not waits(one, 1)


@pytest.mark.timeout(LONG / 2)
@pytest.mark.parametrize(("under_way", "units"), [(3, 2), (4, 3), (5, 3), (8, 6), (16, 12)])
def test_three_quarters_are_enough(under_way: int, units: int) -> None:
    one = gathering(under_way=under_way)

    one.wait(lambda: units)

    assert waits(one, 1)


@pytest.mark.timeout(LONG / 2)
def test_as_soon_as_enough_have_come_the_wait_is_over() -> None:
    one, units = gathering(), [0]
    thread = threading.Thread(target=one.wait, args=(lambda: len(units),))
    thread.start()
    for number in range(1, int(EXPECTED * 16)):
        assert thread.is_alive(), "it did not wait for the last"
        units.append(number)
        one.handed_in(len(units))
    thread.join()

    one.handed_in(len(units) + 1)  # nobody waits: nothing is left of it for the next group
    assert waits(one, 1)


def waits(one: Gathering, units: int) -> bool:
    """Whether it would wait for others, told by a clock that has run out."""
    one._seconds, before = 0.0, one._pause
    one.wait(lambda: units)
    return one._pause != before


def test_what_came_after_the_wait_does_not_end_the_next_one() -> None:
    one = gathering()
    one._enough.put(None)  # the event loop saw a wait that was over when it said so

    assert waits(one, 1)
    assert one._enough.empty()


@pytest.mark.parametrize("came", [1, int(EXPECTED * 16 / 3)])
def test_where_hardly_anybody_comes_it_is_tried_ever_more_rarely(came: int) -> None:
    one, tried = gathering(seconds=0.0), []
    for group in range(2000):
        asked = []

        def waiting() -> int:
            asked.append(group)  # noqa: B023 - called within the turn
            return came

        one.wait(waiting)
        tried += [group] if len(asked) > 1 else []
    gaps = [later - before for before, later in pairwise(tried)]

    assert gaps[:6] == [2, 4, 8, 16, 32, 64]
    assert set(gaps[6:]) == {RAREST}


def test_once_they_come_again_every_group_waits() -> None:
    one = gathering(seconds=0.0)
    for _ in range(10):
        one.wait(lambda: 1)
    while one._paused:
        one.wait(lambda: 1)
    one.wait(lambda: 11)

    assert not one._paused
    assert waits(one, 1)


@pytest.mark.timeout(LONG / 2)
def test_it_waits_as_long_as_it_may_and_no_longer() -> None:
    begin = time.monotonic()
    gathering(seconds=0.05).wait(lambda: 1)

    assert time.monotonic() - begin >= 0.05  # the other bound is the test's own time
