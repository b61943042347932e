"""How much memory a running gateway takes at its peak, while something is done to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.gateways import Gateway
from tests.memory import MIB

GROWTH = 64 * MIB


def resident(pid: int, name: str) -> int:
    """A figure of `/proc/PID/status`, bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def stays_small(gateway: Gateway, name: str) -> Iterator[None]:
    """At no time of the block the gateway is so much larger than before it."""
    pid = gateway.pid
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        pytest.skip("only Linux can tell the peak of a part of a process's life")
    before = resident(pid, "VmRSS")
    yield
    grown = resident(pid, "VmHWM") - before
    print(f"{name}: {grown / MIB:.1f} MiB more at the peak")
    assert grown <= GROWTH, f"{name}: {grown / MIB:.0f} MiB more at the peak"
