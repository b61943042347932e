"""What is done to the audit store of a running gateway, and how its end is waited for.

`serving` gives a gateway before all three targets; `small_disk` a file system of its own below a folder, whose content is
still there when it is gone, so that the store can be judged.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.faults.gateways import REQUEST, Gateway, Targets, standing
from tests.invariants.world import World
from tests.peers.api import API, running_api
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer

RECOVERY_SECONDS = 5.0
"""How long a store may refuse after what ailed it is gone."""
REFUSED_TO_START_SECONDS = 60.0


@asynccontextmanager
async def set_up(
    tmp_path: Path, world: World, database: PostgresDatabase, host: SSHServer, **more: Any
) -> AsyncIterator[tuple[Gateway, API]]:
    """A gateway before all three targets, not started."""
    folder = tmp_path / "gateway"
    async with running_api(log=tmp_path / "api.api.log", store=folder / "data") as api:
        targets = Targets(database=database, host=host, api=api)
        async with standing(folder, targets, world=world, **more) as gateway:
            yield gateway, api


@contextmanager
def small_disk(folder: Path, *, size: str) -> Iterator[Path]:
    """A small file system in memory at `folder`; skips where this process may not mount one, as in most containers."""
    folder.mkdir(mode=0o700, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(f"no right to mount a file system here: {done.stderr.strip()}")
    kept = folder.with_name(f"{folder.name}-kept")
    try:
        yield folder
    finally:
        shutil.copytree(folder, kept, symlinks=True)
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
        kept.rename(folder)


def fill(disk: Path, *, left_bytes: int = 0) -> Path:
    """Take all the space of a file system but a little; the file that has it."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(4096, free.f_bavail * free.f_bsize - left_bytes))
    return filler


async def recovered(gateway: Gateway, *, seconds: float = RECOVERY_SECONDS) -> None:
    """Wait until calls run again, without a restart."""
    with anyio.fail_after(seconds):
        while (code := await gateway.code(*REQUEST)) != "ok":
            assert code == "audit_unavailable", code
            await anyio.sleep(0.05)


async def settled(condition: Callable[[], object], *, seconds: float = RECOVERY_SECONDS) -> None:
    """Wait until something shows."""
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.02)


async def refused_to_start(gateway: Gateway) -> str:
    """Start it, and wait until it has ended instead of serving; what it said."""
    await gateway.launch()
    assert gateway.process is not None
    with anyio.fail_after(REFUSED_TO_START_SECONDS):
        status = await gateway.process.wait()
    said = gateway.said()
    assert status not in {0, None}, said
    assert "serving " not in said, said
    assert "Traceback" not in said, said
    return said
