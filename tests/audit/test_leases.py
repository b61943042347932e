from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from mcp_gateway.audit.leases import Lease, close_abandoned, close_own, keep_closing
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.audit.verify import verify
from mcp_gateway.clock import utc_now
from mcp_gateway.errors import StoreError
from mcp_gateway.journal import Journal
from tests.audit.programs import end, line, running
from tests.audit.records import finished, kinds, opened_store, reopened, rows, started, tampering

pytestmark = pytest.mark.anyio


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[Lease]:
    found = Lease.acquire(tmp_path / "data", instance="here")
    yield found
    found.release()


async def sweep(store: AuditStore, lease: Lease) -> int:
    return await close_abandoned(store, lease=lease, clock=utc_now)


def outcomes(data_dir: Path) -> list[tuple[str, str, str]]:
    query = "SELECT call_id, kind, json_extract(body, '$.cause') FROM events WHERE kind <> 'Started' ORDER BY call_id"
    return [tuple(row) for row in rows(data_dir, query)]


@pytest.mark.requirement("I3", "R1")
async def test_the_calls_of_a_process_that_was_killed_are_closed_as_unknown(tmp_path: Path, lease: Lease) -> None:
    async with opened_store(tmp_path / "data") as store:
        with running("live", tmp_path / "data", "other", "a", "b") as process:
            assert line(process) == "ready"
            process.kill()
            process.wait()

        assert await sweep(store, lease) == 2
        assert await sweep(store, lease) == 0
        assert await store.outcome_of("a") == "unknown"

    cause = "the gateway process that ran it died"
    assert outcomes(tmp_path / "data") == [("a", "OutcomeUnknown", cause), ("b", "OutcomeUnknown", cause)]
    assert verify(tmp_path / "data").flaw is None


@pytest.mark.requirement("I3", "R31")
async def test_the_calls_of_a_living_neighbour_are_left_alone(tmp_path: Path, lease: Lease) -> None:
    async with opened_store(tmp_path / "data") as store:
        with running("live", tmp_path / "data", "other", "a") as process:
            assert line(process) == "ready"
            assert await sweep(store, lease) == 0
            assert (tmp_path / "data" / "leases" / "other.lease").exists()
            end(process)

        # It ended without an outcome for its call, and let go of its lease.
        assert await sweep(store, lease) == 1


@pytest.mark.requirement("I3")
async def test_calls_of_its_own_are_never_closed(tmp_path: Path, lease: Lease) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("a", instance="here"))

        assert await sweep(store, lease) == 0
        await store.append(finished("a"))


@pytest.mark.requirement("I3")
async def test_calls_of_an_instance_without_a_lease_are_closed(tmp_path: Path, lease: Lease) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("a", instance="gone"), started("b", instance="gone"), finished("b"))

        assert await sweep(store, lease) == 1
    assert kinds(tmp_path / "data") == ["Started", "Started", "Finished", "OutcomeUnknown"]


@pytest.mark.requirement("I3")
async def test_a_closed_call_cannot_end_again(tmp_path: Path, lease: Lease) -> None:
    """A process that was taken for dead, because somebody removed its lease, has to withhold its result."""
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("a", instance="gone"))
        await sweep(store, lease)

        with pytest.raises(StoreError, match="call 'a' has 'OutcomeUnknown' on record already"):
            await store.append(finished("a"))


@pytest.mark.requirement("I3", "R31")
async def test_neighbours_that_sweep_at_once_close_each_call_once(tmp_path: Path, lease: Lease) -> None:
    async with opened_store(tmp_path / "data") as one, opened_store(tmp_path / "data") as other:
        await one.append(*(started(f"c-{number}", instance=f"gone-{number % 3}") for number in range(30)))
        second = Lease.acquire(tmp_path / "data", instance="second")

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(sweep, one, lease)
                group.start_soon(sweep, other, second)
        second.release()

    assert kinds(tmp_path / "data").count("OutcomeUnknown") == 30


@pytest.mark.requirement("I3", "R1")
async def test_abandoned_calls_are_closed_while_the_gateway_runs(tmp_path: Path, lease: Lease) -> None:
    async with opened_store(tmp_path / "data") as store, anyio.create_task_group() as group:

        async def keep() -> None:
            await keep_closing(store, lease=lease, clock=utc_now, every_seconds=0.01)

        group.start_soon(keep)
        with running("live", tmp_path / "data", "other", "a") as process:
            assert line(process) == "ready"
            process.kill()
            process.wait()
            with anyio.fail_after(5):
                while await store.outcome_of("a") is None:
                    await anyio.sleep(0.01)
                while (tmp_path / "data" / "leases" / "other.lease").exists():
                    await anyio.sleep(0.01)
        group.cancel_scope.cancel()


@pytest.mark.requirement("I3", "R4")
async def test_sweeping_goes_on_when_a_closed_store_works_again(tmp_path: Path, lease: Lease) -> None:
    path = tmp_path / "data" / "audit.db"
    async with opened_store(tmp_path / "data") as store, anyio.create_task_group() as group:
        await store.append(started("a", instance="gone"))
        path.chmod(0o400)

        async def keep() -> None:
            await keep_closing(store, lease=lease, clock=utc_now, every_seconds=0.01)

        group.start_soon(keep)
        with anyio.fail_after(5):
            while store.failure is None:
                await anyio.sleep(0.01)
                with pytest.raises(StoreError):
                    await store.append(started("x"))
            path.chmod(0o600)
            while "OutcomeUnknown" not in kinds(tmp_path / "data"):
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()


@pytest.mark.requirement("I3", "R30")
async def test_sweeping_goes_on_where_there_was_no_thread_for_it(
    tmp_path: Path, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_store(tmp_path / "data") as store, anyio.create_task_group() as group:
        await store.append(started("a", instance="gone"))
        real, reads = store.read, 0

        async def no_thread(work: Callable[[sqlite3.Connection], object]) -> object:
            nonlocal reads
            reads += 1
            if reads <= 3:
                raise RuntimeError("can't start new thread")
            return await real(work)

        monkeypatch.setattr(store, "read", no_thread)
        with capture_logs() as logs:
            group.start_soon(partial(keep_closing, store, lease=lease, clock=utc_now, every_seconds=0.01))
            with anyio.fail_after(5):
                while "abandoned_calls_closed" not in [entry["event"] for entry in logs]:
                    await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert "OutcomeUnknown" in kinds(tmp_path / "data")
    assert [entry["event"] for entry in logs] == ["abandoned_calls_not_closed", "abandoned_calls_closed"]


# What this process has forsaken.


@pytest.mark.requirement("I3", "R4")
async def test_a_call_whose_outcome_could_not_be_recorded_is_closed_later(tmp_path: Path, lease: Lease) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("a", instance="here"), started("b", instance="here"))
        store.forsake("a", cause="its outcome could not be recorded: no space")

        assert await sweep(store, lease) == 1
        assert await sweep(store, lease) == 0
        assert await store.outcome_of("b") is None
    assert outcomes(tmp_path / "data") == [("a", "OutcomeUnknown", "its outcome could not be recorded: no space")]


@pytest.mark.requirement("I3", "R4")
async def test_a_call_that_lost_its_outcome_to_a_closed_store_does_not_dangle(tmp_path: Path, lease: Lease) -> None:
    path = tmp_path / "data" / "audit.db"
    async with opened_store(tmp_path / "data") as store:
        journal = Journal(call_id="a", store=store, clock=utc_now)
        journal.note(started("a", instance="here"))
        await journal.record()
        path.chmod(0o400)
        journal.note(finished("a"))
        with pytest.raises(StoreError):
            await journal.record()
        path.chmod(0o600)
        await reopened(store)

        assert await sweep(store, lease) == 1
        assert await store.outcome_of("a") == "unknown"


@pytest.mark.requirement("I3")
async def test_a_forsaken_call_that_never_started_or_has_ended_is_left_alone(tmp_path: Path, lease: Lease) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("a", instance="here"), finished("a"))
        store.forsake("a", cause="x")
        store.forsake("never", cause="x")

        assert await sweep(store, lease) == 0
        assert store.forsaken == {}


# The lease itself.


@pytest.mark.requirement("I3", "R30")
async def test_what_an_instance_leaves_open_is_closed_as_it_ends_and_no_neighbour_s(
    tmp_path: Path, lease: Lease
) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("a", instance="here"), started("b", instance="here"), started("c", instance="there"))
        await store.append(finished("b"))

        assert await close_own(store, instance=lease.instance, clock=utc_now) == 1
        assert await close_own(store, instance=lease.instance, clock=utc_now) == 0

    cause = "the gateway that ran it ended without a record of its outcome"
    assert [row for row in outcomes(tmp_path / "data") if row[1] == "OutcomeUnknown"] == [
        ("a", "OutcomeUnknown", cause)
    ]


def test_an_instance_has_one_lease(tmp_path: Path, lease: Lease) -> None:
    with pytest.raises(StoreError, match="exists already; each process needs an id of its own"):
        Lease.acquire(tmp_path / "data", instance="here")


@pytest.mark.parametrize("instance", ["", "../evil", "a/b", "a.b", "a\n", "x" * 65, "ü"])
def test_an_instance_id_names_a_file_and_nothing_else(tmp_path: Path, instance: str) -> None:
    with pytest.raises(ValueError, match="an instance id is 1 to 64 letters"):
        Lease.acquire(tmp_path / "data", instance=instance)


async def test_an_instance_id_from_the_store_is_not_trusted_to_name_a_file(tmp_path: Path, lease: Lease) -> None:
    (tmp_path / "victim.lease").touch()
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("a", instance="../../victim"))

        assert await sweep(store, lease) == 1
    assert (tmp_path / "victim.lease").exists()


def test_a_lease_is_its_owner_s_alone(tmp_path: Path, lease: Lease) -> None:
    directory = tmp_path / "data" / "leases"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [(path.name, path.stat().st_mode & 0o777) for path in directory.iterdir()] == [("here.lease", 0o600)]


def test_a_released_lease_leaves_nothing_behind(tmp_path: Path, lease: Lease) -> None:
    lease.release()
    lease.release()

    assert list((tmp_path / "data" / "leases").iterdir()) == []


async def test_a_lease_whose_file_was_removed_is_renewed(tmp_path: Path, lease: Lease) -> None:
    path = tmp_path / "data" / "leases" / "here.lease"
    path.unlink()
    lease.renew()
    lease.renew()

    async with opened_store(tmp_path / "data") as store:
        second = Lease.acquire(tmp_path / "data", instance="second")
        await store.append(started("a", instance="here"))
        assert await sweep(store, second) == 0
        second.release()
    lease.release()
    assert not path.exists()


def test_a_lease_that_somebody_else_took_over_is_not_renewed(tmp_path: Path, lease: Lease) -> None:
    path = tmp_path / "data" / "leases" / "here.lease"
    path.unlink()
    other = Lease.acquire(tmp_path / "data", instance="here")

    with pytest.raises(StoreError, match="exists already"):
        lease.renew()
    other.release()


async def test_a_forked_child_does_not_keep_its_parent_s_lease_alive(tmp_path: Path) -> None:
    lease = Lease.acquire(tmp_path / "data", instance="parent")
    (reader, writer), (begun, begins) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        os.close(writer)
        os.write(begins, b".")
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    os.close(begins)
    try:
        assert os.read(begun, 1), "the child, which lets go of the lease when it begins, has not begun"
        # What the kernel does when the parent dies: its descriptor is closed, and nothing else.
        os.close(lease._descriptor)
        lease._descriptor = -1
        async with opened_store(tmp_path / "data") as store:
            mine = Lease.acquire(tmp_path / "data", instance="mine")
            await store.append(started("a", instance="parent"))
            assert await sweep(store, mine) == 1
            mine.release()
    finally:
        os.close(writer)
        os.close(begun)
        os.waitpid(child, 0)


@pytest.mark.requirement("R7")
async def test_a_lease_that_is_a_link_is_not_followed(tmp_path: Path, lease: Lease) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "data" / "leases" / "gone.lease").symlink_to(tmp_path / "victim")
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("a", instance="gone"))
        with pytest.raises(StoreError, match="cannot be used"):
            await sweep(store, lease)
    with tampering(tmp_path / "data") as connection:
        assert connection.execute("SELECT count(*) FROM intents").fetchone() == (1,)
    assert (tmp_path / "victim").read_text() == "precious"


async def test_one_trouble_is_logged_once_and_the_next_one_again(tmp_path: Path, lease: Lease) -> None:
    """Every few seconds the same line would hide the rest of the log while a disk is full."""
    database = tmp_path / "data" / "audit.db"
    async with opened_store(tmp_path / "data") as store:
        with capture_logs() as logs:
            async with anyio.create_task_group() as group:
                group.start_soon(partial(keep_closing, store, lease=lease, clock=utc_now, every_seconds=0.001))
                with anyio.fail_after(30):
                    for mode in (0o640, 0o644):
                        database.chmod(mode)
                        while not any(f"{mode:04o}" in entry["cause"] for entry in logs):
                            await anyio.sleep(0.001)
                        await rounds(tmp_path / "data" / "leases" / "here.lease", count=5)
                group.cancel_scope.cancel()
        database.chmod(0o600)

    assert [entry["event"] for entry in logs] == ["abandoned_calls_not_closed"] * 2


async def rounds(lease_file: Path, *, count: int) -> None:
    """Wait for whole rounds: each begins by making the lease's file again."""
    for _ in range(count):
        lease_file.unlink()
        while not lease_file.exists():
            await anyio.sleep(0.001)
