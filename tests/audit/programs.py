"""Other processes for the tests of the audit package: `python -m tests.audit.programs NAME DATA_DIR [ARGUMENT ...]`.

Each says on standard output how far it is, one line a step, and ends when its standard input does, or is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio

from mcp_gateway.audit.leases import Lease
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.clock import utc_now
from tests.audit.records import FAST, ROOT, loaded, run_call, started


@contextlib.contextmanager
def running(name: str, data_dir: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program of this module; it is killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.audit.programs", name, str(data_dir), *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    """The next thing that a program says."""
    assert process.stdout is not None
    found = process.stdout.readline()
    assert found, "the program ended early"
    return found.strip()


def rest(process: subprocess.Popen[str]) -> list[str]:
    """What a killed program said beyond the lines that were read, but for a line that its death cut short.

    Not by `communicate`: it reads past what `readline` has buffered, and would begin in the middle of a line.
    """
    assert process.stdout is not None
    return process.stdout.read().split("\n")[:-1]


def end(process: subprocess.Popen[str]) -> None:
    """Let a program go on to its end."""
    process.communicate(timeout=30)
    assert process.returncode == 0


def say(text: object) -> None:
    """At once, and in one piece whoever else writes."""
    os.write(1, f"{text}\n".encode())


async def write(data_dir: Path, label: str, callers: str = "8") -> None:
    """Append from several tasks for ever; say the number of each event once it is acknowledged."""
    store = await AuditStore.open(data_dir, clock=utc_now)

    async def caller(first: int) -> None:
        for number in range(first, first + 1_000_000):
            await store.append(loaded(number))
            say(number)

    async with anyio.create_task_group() as group:
        for index in range(int(callers)):
            group.start_soon(caller, (int(label) * 100 + index) * 1_000_000)


async def call(data_dir: Path, label: str, calls: str, callers: str) -> None:
    """Run whole calls from several tasks, then end."""
    store = await AuditStore.open(data_dir, clock=utc_now)

    async def caller(index: int) -> None:
        for number in range(int(calls) // int(callers)):
            await run_call(store, f"c-{label}-{index}-{number}", instance=f"i-{label}")

    say("ready")
    sys.stdin.readline()
    async with anyio.create_task_group() as group:
        for index in range(int(callers)):
            group.start_soon(caller, index)
    await store.aclose()


async def make(data_dir: Path) -> None:
    """Make a store, and never close it."""
    say("begin")
    store = await AuditStore.open(data_dir, clock=utc_now)
    await store.append(loaded())
    sys.stdin.readline()


async def live(data_dir: Path, instance: str, *call_ids: str) -> None:
    """Hold a lease and some open intents, until the input ends."""
    store = await AuditStore.open(data_dir, clock=utc_now, pace=FAST)
    lease = Lease.acquire(data_dir, instance=instance)
    for call_id in call_ids:
        await store.append(started(call_id, instance=instance))
    say("ready")
    sys.stdin.readline()
    lease.release()
    await store.aclose()


async def lock_file(data_dir: Path) -> None:
    """Hold the side file's lock."""
    with (data_dir / "audit.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        say("ready")
        sys.stdin.readline()


async def lock_database(data_dir: Path) -> None:
    """Hold SQLite's own lock, as an operator's shell in a transaction does."""
    with contextlib.closing(sqlite3.connect(data_dir / "audit.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        say("ready")
        sys.stdin.readline()


if __name__ == "__main__":
    programs: dict[str, Callable[..., Awaitable[None]]] = {
        found.__name__: found for found in (write, call, make, live, lock_file, lock_database)
    }
    anyio.run(programs[sys.argv[1]], Path(sys.argv[2]), *sys.argv[3:], backend_options={"use_uvloop": True})
