"""R5: the files of the audit store are unlinked, replaced, closed to everybody or locked under a gateway that serves.

Each is noticed by the next call at the latest, everything is refused as long as it lasts, and calls run again when it is
over, without a restart. The times that the store refused are on record.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from tests.audit.programs import line, running
from tests.audit.records import rows
from tests.faults.gateways import REQUEST, Gateway
from tests.faults.sizes import long, times
from tests.faults.stores import recovered, set_up
from tests.invariants.world import World
from tests.peers.api import API
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800), pytest.mark.requirement("R5", "I1")]

LOCK_WAIT_SECONDS = 2.0
SLOW_MACHINE_SECONDS = 3.0
"""What a call may take beside the wait for a lock."""
FILES = ("audit.db", "audit.db-wal", "audit.db-shm", "audit.lock")
Ailment = Callable[[Path], Callable[[], None]]
"""Does something to a data folder, and gives what mends it."""


def gone(name: str) -> Ailment:
    def do(data: Path) -> Callable[[], None]:
        aside = data.parent / "aside"
        (data / name).rename(aside)

        def mend() -> None:
            aside.replace(data / name)

        return mend

    return do


def unlinked(name: str) -> Ailment:
    """A side file that is gone for good; SQLite makes another one."""

    def do(data: Path) -> Callable[[], None]:
        (data / name).unlink()
        return lambda: None

    return do


def replaced(name: str) -> Ailment:
    """Another file of the same content in its place."""

    def do(data: Path) -> Callable[[], None]:
        aside = data.parent / "aside"
        (data / name).rename(aside)
        shutil.copy2(aside, data / name)

        def mend() -> None:
            aside.replace(data / name)

        return mend

    return do


def closed(name: str) -> Ailment:
    def do(data: Path) -> Callable[[], None]:
        path = data / name
        before = path.stat().st_mode & 0o777
        path.chmod(0)
        return lambda: path.chmod(before)

    return do


AILMENTS = {
    **{f"{name} is gone": gone(name) for name in FILES},
    **{f"{name} is unlinked": unlinked(name) for name in FILES[1:]},
    **{f"{name} is replaced": replaced(name) for name in FILES},
    **{f"{name or 'the folder'} has the mode 000": closed(name) for name in ("", *FILES)},
}


LOCKS = ("lock_file", "lock_database")


@long(minutes=3)
@pytest.mark.early
async def test_what_happens_to_the_files_is_noticed_by_the_next_call(
    tmp_path: Path, world: World, postgres_database: PostgresDatabase, ssh_server: SSHServer
) -> None:
    """Several gateways at once, each with its own files: nearly all of the time is spent on waiting for a store to reopen."""
    world.expected_errors = frozenset({"audit_unavailable"})
    count = times(commit=1, full=len(LOCKS) * 2)

    async def ail(number: int) -> None:
        folder = tmp_path / f"{number}"
        folder.mkdir()
        async with set_up(folder, world, postgres_database, ssh_server) as (gateway, api):
            await gateway.start()
            await files_ail(gateway, api, rounds=times(commit=1, full=20 // count))
            for how in LOCKS[number::count]:
                await waits_two_seconds(gateway, api, how=how)
            assert await gateway.end() == 0

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(ail, number)


async def files_ail(gateway: Gateway, api: API, *, rounds: int) -> None:
    """Do everything that can be done to them, in any order."""
    done = 0
    for _ in range(rounds):
        chosen = random.sample(sorted(AILMENTS), times(commit=6, full=len(AILMENTS)))
        done += len(chosen)
        for name, ailment in ((name, AILMENTS[name]) for name in chosen):
            assert await gateway.code(*REQUEST) == "ok", name
            requests = len(api.requests)
            mend = ailment(gateway.data)
            assert await gateway.code(*REQUEST) == "audit_unavailable", name
            assert len(api.requests) == requests, name
            mend()
            await recovered(gateway)
        reopened = rows(gateway.data, "SELECT body FROM events WHERE kind = 'StoreReopened'")
        assert len(reopened) == done


@contextmanager
def locked(gateway: Gateway, how: str) -> Iterator[None]:
    """Another process holds a lock of the store."""
    with running(how, gateway.data) as process:
        assert line(process) == "ready"
        yield


async def waits_two_seconds(gateway: Gateway, api: API, *, how: str) -> None:
    """However long another process holds a lock."""
    held_seconds = times(commit=1, full=60)
    assert await gateway.code(*REQUEST) == "ok"
    requests = len(api.requests)
    with locked(gateway, how):
        until = time.monotonic() + held_seconds
        while time.monotonic() < until:
            begin = time.monotonic()
            assert await gateway.code(*REQUEST) == "audit_unavailable"
            assert time.monotonic() - begin < LOCK_WAIT_SECONDS + SLOW_MACHINE_SECONDS
            await anyio.sleep(0.2)
        assert len(api.requests) == requests
    await recovered(gateway)
