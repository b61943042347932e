from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.peers.moved_clock import MovedClock, clock_library, moved_clock

__all__ = ["clock_library", "moved_clock"]

CLOCKS = "import time; print(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic())"


def clocks(moved: MovedClock) -> list[float]:
    """By how much a process's wall, boot and monotonic clock are ahead of this one's, in whole minutes."""
    own = [time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()]
    ran = subprocess.run(
        [sys.executable, "-I", "-c", CLOCKS], env={**os.environ, **moved.environ}, capture_output=True, check=True
    )
    return [round((float(text) - here) / 60) for text, here in zip(ran.stdout.split(), own, strict=True)]


def test_each_clock_is_moved_as_it_would_be(moved_clock: MovedClock) -> None:
    assert clocks(moved_clock) == [0, 0, 0]
    moved_clock.set(-3600.25)
    assert clocks(moved_clock) == [-60, 0, 0]
    moved_clock.sleep(600)
    assert clocks(moved_clock) == [-50, 10, 0]
    moved_clock.set(3600)
    assert clocks(moved_clock) == [60, 10, 0]
