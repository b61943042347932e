"""The clocks of a process that a test starts, moved while it runs: `moved_clock.c`, compiled and preloaded."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.parts import missing

SOURCE = Path(__file__).with_suffix(".c")
NANOSECONDS = 1_000_000_000
MOVED = "the gateway's clock is not the witnesses'"
"""For the `moved` of a world."""


class MovedClock:
    """What a process that is started with `environ` takes for the time."""

    def __init__(self, library: Path, file: Path) -> None:
        file.write_bytes(bytes(16))
        self.environ = {"LD_PRELOAD": str(library), "MOVED_CLOCK": str(file)}
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), 16)
        self.wall = 0.0
        """Seconds that the wall clock is ahead."""
        self._slept = 0.0

    def set(self, wall: float) -> None:
        """Set the wall clock so many seconds ahead of the right time, or behind it."""
        self.wall = wall
        self._write()

    def sleep(self, seconds: float) -> None:
        """Let the machine have slept for so long: wall and boot clock have gone on, the monotonic one has not."""
        self.wall += seconds
        self._slept += seconds
        self._write()

    def close(self) -> None:
        """Let go of the file."""
        self._shared.close()

    def _write(self) -> None:
        # One aligned word after the other, each at once.
        for at, seconds in enumerate((self.wall, self._slept)):
            self._shared[8 * at : 8 * at + 8] = struct.pack("=q", int(seconds * NANOSECONDS))


@pytest.fixture(scope="session")
def clock_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        missing("there is no C compiler on Linux", hint="apt-get install gcc libc6-dev")
    library = tmp_path_factory.mktemp("clock") / "moved_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE], check=True)
    return library


@pytest.fixture
def moved_clock(clock_library: Path, tmp_path: Path) -> Iterator[MovedClock]:
    """Clocks of one test's processes."""
    clock = MovedClock(clock_library, tmp_path / "clock")
    yield clock
    clock.close()
