"""What a gateway holds while it is under load, and whether that grows.

Two ways to look. `Sampler` sees every second what anybody sees: resident memory of the gateway and of its children,
descriptors, threads, the size of the write-ahead log. Allocators keep what they freed and give it back as they like, so
resident memory wanders by megabytes, and in half an hour a leak of a megabyte per hour cannot be told from that. So at
rests the load stops, and `rest` asks the gateway itself (`watched`) for what is in use: bytes given out by malloc and
blocks of Python's own allocator. Those return to the same figure, give or take what caches hold, so that their growth
over a phase, divided by what was done in it, is a leak for each call; `growth` is that.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import anyio
import orjson

from tests.faults.gateways import Gateway
from tests.invariants.world import descendants, footprint

KIB = 1024
SAMPLE_SECONDS = 1.0
QUIET_SECONDS = 1.5
"""Connections that clients closed, and what was cancelled for them, are gone after so long."""
BLOCK_BYTES = 64
"""About what one block of Python's allocator takes here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is seen from outside."""

    at: float
    """Seconds."""
    resident: int
    children: int
    """Resident memory of its children, bytes."""
    descriptors: int
    threads: int
    log: int
    """Bytes of the write-ahead log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What is in use when nothing runs."""

    seen: Sample
    done: int
    """Things that clients did until then."""
    blocks: int
    native: int
    tasks: int
    types: Counter[str] = field(repr=False)

    @property
    def live(self) -> int:
        """Bytes in use, about."""
        return self.native + self.blocks * BLOCK_BYTES


def sample(gateway: Gateway) -> Sample:
    """Look now."""
    pid = gateway.pid
    held = footprint(pid)
    log = gateway.data / "audit.db-wal"
    return Sample(
        at=time.monotonic(),
        resident=resident(pid),
        children=sum(resident(child) for child in descendants(pid)),
        descriptors=held.descriptors.total(),
        threads=held.threads,
        log=log.stat().st_size if log.exists() else 0,
    )


def resident(pid: int) -> int:
    """Resident memory of a process, bytes; none of one that is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGESIZE")


async def sampling(gateway: Gateway, samples: list[Sample]) -> None:
    """Look every second, until cancelled."""
    while True:
        samples.append(sample(gateway))
        await anyio.sleep(SAMPLE_SECONDS)


async def rest(gateway: Gateway, report: Path, *, done: int) -> Rest:
    """Let everything come to its end, and ask what is in use."""
    await anyio.sleep(QUIET_SECONDS)
    report.unlink(missing_ok=True)
    gateway.signal(signal.SIGUSR1)
    with anyio.fail_after(30):
        while not report.exists():
            await anyio.sleep(0.02)
    told = orjson.loads(report.read_bytes())
    return Rest(
        seen=sample(gateway),
        done=done,
        blocks=told["blocks"],
        native=told["native"] or 0,
        tasks=told["tasks"],
        types=Counter(dict(told["types"])),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """From one rest to a later one."""

    first: Rest
    last: Rest

    @property
    def blocks_per_call(self) -> float:
        """Objects that stay, for each thing that was done."""
        return (self.last.blocks - self.first.blocks) / self.done

    @property
    def native_per_call(self) -> float:
        """Bytes outside Python's allocator that stay, for each thing that was done."""
        return (self.last.native - self.first.native) / self.done

    @property
    def live_per_hour(self) -> float:
        """Bytes in use that come in an hour of such a load."""
        seconds = self.last.seen.at - self.first.seen.at
        return (self.last.live - self.first.live) * 3600 / seconds

    @property
    def grown(self) -> list[tuple[str, int]]:
        """Types of which there are more, most first."""
        return [one for one in (self.last.types - self.first.types).most_common(12) if one[1] > 0]

    @property
    def done(self) -> int:
        """Things that clients did between them."""
        return max(1, self.last.done - self.first.done)


def slope_per_hour(samples: Sequence[Sample]) -> float:
    """Theil and Sen's slope of resident memory: the median of the slopes between all pairs, in bytes per hour."""
    thin = samples[:: max(1, len(samples) // 300)]
    slopes = [
        (later.resident - earlier.resident) / (later.at - earlier.at)
        for number, earlier in enumerate(thin)
        for later in thin[number + 1 :]
        if later.at > earlier.at
    ]
    return median(slopes) * 3600 if slopes else 0.0
