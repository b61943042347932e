"""A gateway under mixed load for as long as one likes: nothing that it holds grows with what was done.

`make soak` runs it for half an hour (`SOAK_MINUTES`). With every commit it is a few rounds of the same load.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import anyio
import pytest

from tests.faults import watched
from tests.faults.gateways import Gateway, Targets, standing
from tests.faults.load import Load
from tests.faults.soak import Growth, Rest, Sample, rest, sampling, slope_per_hour
from tests.invariants.world import HAS_PROC, World
from tests.peers.api import running_api
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer

MINUTES = float(os.environ.get("SOAK_MINUTES", "0"))
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(300 + int(MINUTES * 120)),
    pytest.mark.skipif(not HAS_PROC or watched.native_bytes() is None, reason="needs /proc, and glibc's mallinfo2"),
]

MIB = 1024 * 1024
CLIENTS = 3
ROUNDS = 3
"""With every commit: how often each client does everything. After the first the caches are full."""
RESTS = 12
"""In a soak of minutes: how often the load stops. In the first third caches fill."""
FILLING = {"statements": 600, "tokens": 1200}
"""More than the gateway remembers of either."""
BLOCKS_ASIDE = 2500
"""Objects of idle sessions in a pool: how many there are depends on how calls met."""
IDLE = 8
"""Such sessions that may have come, and threads that wait for work; a leak is one for each of hundreds of things."""
BLOCKS_PER_CALL = 0.05
"""Objects that may stay beside: fewer than if one of the rarer kinds of thing left one each time."""
NATIVE_GROWTH = 4 * MIB
"""Of what malloc has given out: SQLite keeps pages of a file that grows."""
LIVE_PER_HOUR = 1 * MIB
RESIDENT_GROWTH = 8 * MIB
LOG_BYTES = 32 * MIB
"""A checkpoint follows on every 16 MiB; what comes meanwhile, and while an auditor reads, goes on top."""
AUDIT_SECONDS = 20.0


@pytest.mark.requirement("R41", "I8")
@pytest.mark.early
async def test_nothing_grows_with_what_was_done(
    tmp_path: Path, world: World, postgres_database: PostgresDatabase, ssh_server: SSHServer
) -> None:
    folder, report = tmp_path / "gateway", tmp_path / "report"
    samples: list[Sample] = []
    async with running_api(log=tmp_path / "api.api.log", store=folder / "data") as api:
        targets = Targets(database=postgres_database, host=ssh_server, api=api)
        async with standing(folder, targets, world=world, wait="1s") as gateway:
            gateway.program = (watched.__file__, str(report))
            await gateway.start()
            async with gateway.client() as http:
                load = Load(gateway=gateway, http=http, random=random.Random(7), sql_texts=None if MINUTES else 4)
                async with anyio.create_task_group() as group:
                    group.start_soon(sampling, gateway, samples)
                    group.start_soon(auditing, gateway)
                    rests = await soaked(gateway, load, report)
                    group.cancel_scope.cancel()
            assert await gateway.end() == 0

    warm = rests[len(rests) // 3]
    growth = Growth(first=warm, last=rests[-1])
    told = figures(growth, rests, samples, load)
    print(told)
    assert growth.last.blocks - growth.first.blocks < BLOCKS_ASIDE + BLOCKS_PER_CALL * growth.done, told
    assert growth.last.native - growth.first.native < NATIVE_GROWTH, told
    assert rests[-1].seen.descriptors <= warm.seen.descriptors + IDLE, told
    assert rests[-1].seen.threads <= warm.seen.threads + IDLE, told
    assert rests[-1].tasks <= warm.tasks, told
    assert max(one.log for one in samples) < LOG_BYTES, told
    if MINUTES:
        assert growth.live_per_hour < LIVE_PER_HOUR, told
        assert rests[-1].seen.resident - warm.seen.resident < RESIDENT_GROWTH, told


async def soaked(gateway: Gateway, load: Load, report: Path) -> list[Rest]:
    """Load and rest in turns."""
    rests: list[Rest] = []
    if MINUTES:
        await load.fill(**FILLING)
    for _ in range(RESTS if MINUTES else ROUNDS):
        until = None
        if MINUTES:
            until = time.monotonic() + MINUTES * 60 / RESTS
        async with anyio.create_task_group() as group:
            for _ in range(CLIENTS):
                group.start_soon(deal, load, until)
        rests.append(await rest(gateway, report, done=load.calls))
    return rests


async def auditing(gateway: Gateway) -> None:
    """Somebody who verifies the record again and again while it is written."""
    while True:
        verified = await anyio.run_process(
            [sys.executable, "-I", "-m", "mcp_gateway", "--config", str(gateway.config), "audit", "verify"], check=False
        )
        assert verified.returncode == 0, verified.stderr.decode()
        await anyio.sleep(AUDIT_SECONDS)


async def deal(load: Load, until: float | None) -> None:
    """One client's part of a phase."""
    await load.deal()
    while until is not None and time.monotonic() < until:
        await load.deal()


def figures(growth: Growth, rests: list[Rest], samples: list[Sample], load: Load) -> str:
    """What was measured, to be read."""
    first, last = growth.first, growth.last
    later = [one for one in samples if one.at >= first.seen.at]
    return "\n".join(
        [
            f"{load.calls:,} things done: {dict(load.done)}",
            f"{growth.blocks_per_call:.4f} blocks and {growth.native_per_call:.1f} bytes of malloc stay for each of the last "
            f"{last.done - first.done:,}; {growth.live_per_hour / MIB:.2f} MiB in use per hour",
            f"in use at each rest, MiB: {', '.join(f'{one.live / MIB:.2f}' for one in rests)}; of it malloc's "
            f"{', '.join(f'{one.native / MIB:.2f}' for one in rests)}",
            f"resident {first.seen.resident / MIB:.1f} -> {last.seen.resident / MIB:.1f} MiB at rest, slope "
            f"{slope_per_hour(later) / MIB:.1f} MiB/h; children {first.seen.children / MIB:.1f} -> "
            f"{last.seen.children / MIB:.1f} MiB",
            f"descriptors {first.seen.descriptors} -> {last.seen.descriptors}, threads {first.seen.threads} -> "
            f"{last.seen.threads}, tasks {first.tasks} -> {last.tasks}; log at most "
            f"{max(one.log for one in samples) / MIB:.1f} MiB",
            f"more of {growth.grown}",
        ]
    )
