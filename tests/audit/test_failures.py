"""The store when its disk, its files or their modes fail under it: refused at once, open again when the cause is gone."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from mcp_gateway.audit.database import TAIL_ROWS
from mcp_gateway.audit.verify import verify
from mcp_gateway.errors import StoreError
from tests.audit.full_disk import survive
from tests.audit.records import (
    ROOT,
    kinds,
    loaded,
    opened_store,
    reopened,
    rows,
    run_call,
    tampering,
    tried_again,
)

pytestmark = pytest.mark.anyio


@contextlib.contextmanager
def mounted(tmp_path: Path, *, options: str) -> Iterator[Path]:
    """A small file system in memory; skips where this process may not mount one, as in most containers."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"no right to mount a file system here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# R4: no space.


@pytest.mark.requirement("R4", "I1", "I2")
@pytest.mark.parametrize("left_bytes", [0, 200_000, 2_900_000])
async def test_a_full_disk_closes_the_store_until_there_is_space(tmp_path: Path, left_bytes: int) -> None:
    with mounted(tmp_path, options="size=48m,mode=0700") as disk:
        filler = disk / "filler"

        def fill() -> None:
            free = os.statvfs(disk)
            filler.write_bytes(bytes(free.f_bavail * free.f_bsize - left_bytes))

        await survive(disk / "data", fill=fill, free=filler.unlink)


@pytest.mark.requirement("R4", "I1", "I2")
@pytest.mark.parametrize("allowed_bytes", [1, 5000, 100_000, 2_900_000])
def test_a_write_that_fails_half_way_closes_the_store_until_it_can_write(tmp_path: Path, allowed_bytes: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.audit.full_disk", str(tmp_path / "data"), str(allowed_bytes)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr


# R5: files that are gone, replaced or no longer ours alone.


@pytest.mark.requirement("R5")
@pytest.mark.parametrize("name", ["audit.db", "audit.db-wal", "audit.db-shm", "audit.lock"])
async def test_a_file_that_is_gone_is_noticed_at_the_next_call(tmp_path: Path, name: str) -> None:
    data_dir, aside = tmp_path / "data", tmp_path / "aside"
    async with opened_store(data_dir) as store:
        await store.append(loaded(1))
        (data_dir / name).rename(aside)

        with pytest.raises(StoreError) as raised:
            await store.append(loaded(2))
        assert str(data_dir / name) in str(raised.value)
        # SQLite makes a log of its own when anybody opens the database meanwhile.
        replaced = name == "audit.db-wal" and "was replaced by another file; put the file back" in str(raised.value)
        assert replaced or "is gone; put the file back" in str(raised.value)


@pytest.mark.requirement("R5")
async def test_a_store_that_is_put_back_goes_on(tmp_path: Path) -> None:
    data_dir, aside = tmp_path / "data", tmp_path / "aside"
    async with opened_store(data_dir) as store:
        await store.append(loaded(1))
        (data_dir / "audit.db").rename(aside)
        with pytest.raises(StoreError):
            await store.append(loaded(2))
        await tried_again(store)
        with pytest.raises(StoreError, match="is gone"):
            await store.read(lambda connection: connection.total_changes)
        assert not (data_dir / "audit.db").exists()

        aside.rename(data_dir / "audit.db")
        await reopened(store)
        await store.append(loaded(3))

    found = rows(data_dir, "SELECT kind, json_extract(body, '$.refused') FROM events")
    assert [kind for kind, _ in found] == ["PolicyLoaded", "StoreReopened", "PolicyLoaded"]
    assert found[1][1] >= 2
    assert verify(data_dir).flaw is None


@pytest.mark.requirement("R5")
@pytest.mark.parametrize("name", ["audit.db-wal", "audit.db-shm", "audit.lock"])
async def test_a_lost_side_file_costs_no_event(tmp_path: Path, name: str) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded(1))
        (tmp_path / "data" / name).unlink()
        with pytest.raises(StoreError):
            await store.append(loaded(2))
        await reopened(store)
        await store.append(loaded(3))

    assert kinds(tmp_path / "data") == ["PolicyLoaded", "StoreReopened", "PolicyLoaded"]
    assert verify(tmp_path / "data").flaw is None


@pytest.mark.requirement("R5", "R7")
async def test_a_replaced_store_is_refused_as_long_as_it_lacks_an_acknowledged_event(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with opened_store(data_dir) as store:
        await store.append(loaded(1))
    shutil.copytree(data_dir, tmp_path / "old")
    async with opened_store(data_dir) as store:
        await store.append(loaded(2))
        for name in ("audit.db", "audit.db-wal", "audit.db-shm"):
            (data_dir / name).unlink()
        shutil.copy2(tmp_path / "old" / "audit.db", data_dir / "audit.db")

        with pytest.raises(StoreError, match="was replaced by another file"):
            await store.append(loaded(3))
        await tried_again(store)
        assert store.failure is not None


@pytest.mark.requirement("R5")
async def test_a_copy_with_every_acknowledged_event_is_accepted(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with opened_store(data_dir) as store:
        await store.append(loaded(1))
        with contextlib.closing(sqlite3.connect(data_dir / "audit.db")) as connection:
            connection.execute("VACUUM INTO ?", (str(tmp_path / "copy"),))
        (tmp_path / "copy").chmod(0o600)
        for name in ("audit.db", "audit.db-wal", "audit.db-shm"):
            (data_dir / name).unlink()
        (tmp_path / "copy").rename(data_dir / "audit.db")
        with pytest.raises(StoreError):
            await store.append(loaded(2))
        await reopened(store)
        await store.append(loaded(3))

    assert kinds(data_dir) == ["PolicyLoaded", "StoreReopened", "PolicyLoaded"]
    assert verify(data_dir).flaw is None


@pytest.mark.requirement("R5", "R7")
async def test_a_file_that_was_rolled_back_in_place_is_refused(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with opened_store(data_dir) as store:
        await store.append(loaded(1))
    old = (data_dir / "audit.db").read_bytes()
    async with opened_store(data_dir) as store:
        await store.append(loaded(2))
        with tampering(data_dir) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (data_dir / "audit.db").write_bytes(old)

        with pytest.raises(StoreError):
            await store.append(loaded(3))
            await store.append(loaded(3))
        await tried_again(store)
        assert store.failure is not None


@pytest.mark.requirement("R5")
async def test_a_row_that_disappears_under_a_running_store_is_noticed(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded(1), loaded(2))
        with tampering(tmp_path / "data") as connection:
            connection.execute("DELETE FROM events WHERE sequence = 2")

        with pytest.raises(StoreError, match="no longer holds event 2 as it was recorded"):
            await store.append(loaded(3))
        await tried_again(store)
        with pytest.raises(StoreError, match="no longer holds event 2"):
            await store.append(loaded(3))


@pytest.mark.requirement("R5")
@pytest.mark.parametrize("name", ["", "audit.db", "audit.db-wal", "audit.lock"])
@pytest.mark.parametrize("mode", [0o000, 0o644, 0o400])
async def test_a_changed_mode_is_noticed_at_the_next_call(tmp_path: Path, name: str, mode: int) -> None:
    path = tmp_path / "data" / name
    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded(1))
        before = path.stat().st_mode & 0o777
        path.chmod(mode)
        try:
            with pytest.raises(StoreError, match=r"has the mode|cannot be used"):
                await store.append(loaded(2))
        finally:
            path.chmod(before)
        await reopened(store)
        await store.append(loaded(3))

    assert kinds(tmp_path / "data") == ["PolicyLoaded", "StoreReopened", "PolicyLoaded"]


@pytest.mark.requirement("R5")
async def test_a_store_on_a_read_only_disk_is_refused(tmp_path: Path) -> None:
    with mounted(tmp_path, options="size=48m,mode=0700") as disk:
        async with opened_store(disk / "data") as store:
            await store.append(loaded(1))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

        with pytest.raises(StoreError, match="Read-only file system"):
            async with opened_store(disk / "data"):
                pass
        assert verify(disk / "data").events == 1


# R6: damage, at the start and while it runs.


@pytest.mark.requirement("R6")
async def test_a_missing_store_is_not_made_anew(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded())
    (tmp_path / "data" / "audit.db").unlink()

    with pytest.raises(StoreError, match=r"audit.db' is gone; put the file back.*to begin anew, remove .*audit.lock"):
        async with opened_store(tmp_path / "data"):
            pass
    assert not (tmp_path / "data" / "audit.db").exists()


@pytest.mark.requirement("R6")
async def test_an_emptied_store_is_refused(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded())
    (tmp_path / "data" / "audit.db").write_bytes(b"")

    with pytest.raises(StoreError, match=r"audit\.db' is empty"):
        async with opened_store(tmp_path / "data"):
            pass


@pytest.mark.requirement("R6", "R7")
async def test_the_store_of_another_gateway_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        async with opened_store(tmp_path / name) as store:
            await store.append(loaded())
    shutil.copy2(tmp_path / "other" / "audit.db", tmp_path / "one" / "audit.db")

    with pytest.raises(StoreError, match=r"audit\.db' is another store's"):
        async with opened_store(tmp_path / "one"):
            pass


@pytest.mark.requirement("R6")
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded())
    (tmp_path / "data" / "audit.db").write_bytes(os.urandom(20_000))

    with pytest.raises(StoreError, match=r"it is not a database \(SQLITE_NOTADB\); keep the files as evidence"):
        async with opened_store(tmp_path / "data"):
            pass


@pytest.mark.requirement("R6", "I6")
async def test_a_store_that_does_not_verify_is_refused_and_the_event_named(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        for number in range(5):
            await store.append(loaded(number))
    with tampering(tmp_path / "data") as connection:
        connection.execute("UPDATE events SET body = replace(body, 'v2', 'v7') WHERE sequence = 3")

    with pytest.raises(StoreError, match="the audit store does not verify: event 3 does not fit its hash"):
        async with opened_store(tmp_path / "data"):
            pass


@pytest.mark.requirement("R6", "I6")
async def test_damage_beyond_the_tail_closes_a_running_store_for_good(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(*(loaded(number) for number in range(TAIL_ROWS + 10)))
    with tampering(tmp_path / "data") as connection:
        connection.execute("UPDATE events SET body = '{}' WHERE sequence = 2")

    async with opened_store(tmp_path / "data") as store:
        with anyio.fail_after(5):
            while store.failure is None:
                await anyio.sleep(0.01)
        with pytest.raises(StoreError, match="the audit store does not verify: event 2 does not fit its hash"):
            await store.append(loaded())


def test_the_tail_that_is_verified_at_the_start_is_worth_the_name() -> None:
    assert TAIL_ROWS >= 10_000


@pytest.mark.requirement("R6")
async def test_flipped_bytes_never_lead_to_a_chain_that_does_not_verify(tmp_path: Path) -> None:
    """Whatever is flipped: the store is refused, or its chain fits; results and indexes are `verify`'s to look at."""
    async with opened_store(tmp_path / "whole") as store:
        for number in range(15):
            await run_call(store, f"c-{number}", result=os.urandom(300))
    for round_ in range(25):
        data_dir = tmp_path / f"data-{round_}"
        shutil.copytree(tmp_path / "whole", data_dir)
        data = bytearray((data_dir / "audit.db").read_bytes())
        for _ in range(random.choice([1, 1, 2, 5, 200])):
            data[random.randrange(len(data))] ^= random.randrange(1, 256)
        (data_dir / "audit.db").write_bytes(data)

        written = await try_to_write(data_dir)

        try:
            found = verify(data_dir)
        except StoreError:
            assert not written
        else:
            assert not written or found.flaw is None or "result" in str(found.flaw) or found.flaw.sequence is None


@pytest.mark.requirement("R6")
async def test_a_wal_that_was_cut_leaves_a_chain_that_verifies(tmp_path: Path) -> None:
    """What was cut off is a missing tail, which shows against a head that is kept elsewhere."""
    async with opened_store(tmp_path / "live") as store:
        for number in range(8):
            await run_call(store, f"c-{number}")
        shutil.copytree(tmp_path / "live", tmp_path / "whole")
    whole = verify(tmp_path / "whole")
    size = (tmp_path / "whole" / "audit.db-wal").stat().st_size

    for number in range(12):
        data_dir = tmp_path / f"data-{number}"
        shutil.copytree(tmp_path / "whole", data_dir)
        (data_dir / "audit.db-shm").unlink()
        os.truncate(data_dir / "audit.db-wal", size * number // 12)

        if await try_to_write(data_dir):
            assert verify(data_dir).flaw is None
            assert verify(data_dir, expected=whole.head).flaw is not None


@pytest.mark.requirement("R6", "R7")
async def test_the_wal_of_another_store_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        async with opened_store(tmp_path / name) as store:
            for number in range(3):
                await run_call(store, f"{name}-{number}")
            shutil.copytree(tmp_path / name, tmp_path / f"{name}-live")
    shutil.copy2(tmp_path / "other-live" / "audit.db-wal", tmp_path / "one" / "audit.db-wal")

    assert not await try_to_write(tmp_path / "one")


@pytest.mark.requirement("R6")
async def test_a_page_of_zeros_is_found(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "whole") as store:
        for number in range(20):
            await run_call(store, f"c-{number}", result=os.urandom(500))
    data = (tmp_path / "whole" / "audit.db").read_bytes()
    used = [page for page in range(len(data) // 4096) if any(data[page * 4096 : page * 4096 + 4096])]
    for page in used:
        data_dir = tmp_path / f"data-{page}"
        shutil.copytree(tmp_path / "whole", data_dir)
        (data_dir / "audit.db").write_bytes(data[: page * 4096] + bytes(4096) + data[page * 4096 + 4096 :])

        with contextlib.suppress(StoreError):
            assert verify(data_dir).flaw is not None


async def try_to_write(data_dir: Path) -> bool:
    try:
        async with opened_store(data_dir) as store:
            await store.append(loaded(99))
    except StoreError:
        return False
    return True
