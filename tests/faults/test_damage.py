"""R6: the files of a store are damaged while no gateway runs. None serves on it, it says what is damaged, and changes nothing.

What is refused stays byte for byte as it was found, as evidence. What a gateway does serve on has a chain that fits.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mcp_gateway.approval.tables import MIGRATIONS as APPROVALS
from mcp_gateway.audit.revocations import MIGRATIONS as REVOCATIONS
from mcp_gateway.audit.revocations import Revocations
from mcp_gateway.audit.verify import verify
from mcp_gateway.clock import utc_now
from mcp_gateway.errors import StoreError
from mcp_gateway.events import Revoked
from tests.audit.records import AT, evidence, loaded, opened_store, run_call, tampering
from tests.faults.gateways import Targets, standing
from tests.faults.sizes import times
from tests.faults.stores import refused_to_start
from tests.invariants.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3000), pytest.mark.requirement("R6", "I6")]

PAGE_BYTES = 4096
CALLS = 15
MIGRATIONS = (*APPROVALS, *REVOCATIONS)


async def whole(folder: Path) -> Path:
    """A store with calls, results and a revocation: everything in the database, and the last call in the log only."""
    folder.mkdir(mode=0o700)
    async with opened_store(folder / "closed", migrations=MIGRATIONS) as store:
        for number in range(CALLS):
            await run_call(store, f"c-{number}", result=os.urandom(300))
        await store.append(Revoked(at=AT, what="subject", value="mallory", by="ops", note=""))
    async with opened_store(folder / "closed", migrations=MIGRATIONS) as store:
        await run_call(store, "c-last", result=os.urandom(300))
        shutil.copytree(folder / "closed", folder / "whole")
    (folder / "whole" / "audit.db-shm").unlink()
    return folder / "whole"


async def served(data: Path) -> bool:
    """Whether a store opens and takes a record; one that refuses at once has changed nothing, and says what to do."""
    before = evidence(data)
    opened = False
    try:
        async with opened_store(data, migrations=MIGRATIONS) as store:
            opened = True
            await store.append(loaded(99))
            revocations = Revocations(store, clock=utc_now)
            try:
                assert revocations.is_revoked(what="subject", value="mallory"), "a revocation is hidden"
            finally:
                revocations.close()
    except StoreError as error:
        assert error.next_step
        if not opened:
            assert evidence(data) == before
        return False
    return True


def flipped(data: Path, *, name: str) -> None:
    path = data / name
    found = bytearray(path.read_bytes())
    for _ in range(random.choice([1, 1, 2, 5, 20, 200])):
        found[random.randrange(len(found))] ^= random.randrange(1, 256)
    path.write_bytes(found)


def cut(data: Path) -> None:
    path = data / "audit.db-wal"
    os.truncate(path, random.randrange(path.stat().st_size))


def zeroed(data: Path) -> None:
    path = data / "audit.db"
    page = random.randrange(path.stat().st_size // PAGE_BYTES)
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))


DAMAGE: dict[str, tuple[Callable[[Path], None], int, int]] = {
    "bytes of the database are flipped": (lambda data: flipped(data, name="audit.db"), 40, 500),
    "bytes of the log are flipped": (lambda data: flipped(data, name="audit.db-wal"), 15, 500),
    "the log is cut": (cut, 10, 200),
    "a page is zeroed": (zeroed, 20, 200),
}


@pytest.mark.parametrize("name", DAMAGE)
async def test_no_damage_leads_to_a_chain_that_does_not_fit(tmp_path: Path, name: str) -> None:
    damage, commit, full = DAMAGE[name]
    intact = await whole(tmp_path / "made")
    known = verify(intact).head
    refused = 0
    for number in range(times(commit=commit, full=full)):
        data = tmp_path / f"data-{number}"
        shutil.copytree(intact, data)
        damage(data)
        if not await served(data):
            refused += 1
        else:
            # Results are looked at when they are shown, and by `verify`; a lost tail shows against a head kept elsewhere.
            flaw = verify(data).flaw
            assert flaw is None or flaw.sequence is None or "result" in flaw.why, flaw
            assert flaw is not None or "database" not in name or verify(data, expected=known).flaw is None
        shutil.rmtree(data)
    assert refused or "log" in name


async def test_the_log_of_another_store_is_refused_and_both_stay_as_they_are(tmp_path: Path) -> None:
    one, other = await whole(tmp_path / "one"), await whole(tmp_path / "other")
    shutil.copy2(other / "audit.db-wal", one / "audit.db-wal")

    assert not await served(one)
    shutil.rmtree(one)


async def test_an_index_that_lost_a_revocation_is_refused(tmp_path: Path) -> None:
    data = await whole(tmp_path / "made")
    async with opened_store(data, migrations=MIGRATIONS):
        pass
    with tampering(data) as connection:
        # As a lost page leaves it: the row is there, and the index does not know it.
        connection.execute("PRAGMA writable_schema = ON")
        (text,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'events_revoked'").fetchone()
        connection.execute("DROP INDEX events_revoked")
        connection.execute("CREATE INDEX events_revoked ON events (sequence) WHERE kind = 'Nothing'")
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'events_revoked'", (text,))

    with pytest.raises(
        StoreError, match=r"the audit store is inconsistent in 'events': .*missing from index events_revoked"
    ):
        async with opened_store(data, migrations=MIGRATIONS):
            pass
    shutil.rmtree(data)


async def test_a_gateway_says_which_record_is_damaged_and_does_not_serve(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        async with opened_store(gateway.data, migrations=MIGRATIONS) as store:
            for number in range(5):
                await store.append(loaded(number))
        with tampering(gateway.data) as connection:
            connection.execute("UPDATE events SET body = replace(body, 'v3', 'v7') WHERE sequence = 4")
        damaged = evidence(gateway.data)

        said = await refused_to_start(gateway)

        assert "event 4 does not fit its hash" in said
        assert evidence(gateway.data) == damaged
        shutil.rmtree(gateway.data)
        world.no_store = "it was damaged on purpose"
        world.data_dirs.clear()
