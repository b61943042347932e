"""Tampering with a store that nobody has open, and what verifying says of it (R7)."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from mcp_gateway.audit.chain import Head, entry_hash
from mcp_gateway.audit.health import CHUNK_ROWS
from mcp_gateway.audit.recordings import pack
from mcp_gateway.audit.verify import Verification, verify
from mcp_gateway.errors import StoreError
from tests.audit.records import loaded, opened_store, run_call, tampering

pytestmark = pytest.mark.anyio
CALLS = 4
EVENTS = 6 * CALLS
"""`Received`, `Identified`, `Decided`, `Started`, `Finished`, `Answered`, for each call."""


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    async with opened_store(tmp_path / "data") as store:
        for number in range(CALLS):
            await run_call(store, f"c-{number}", result=f'{{"rows":[[{number}]]}}'.encode())
    return tmp_path / "data"


@pytest.mark.requirement("I6")
async def test_a_whole_store_verifies(data_dir: Path) -> None:
    found = verify(data_dir)

    assert (found.events, found.results, found.flaw) == (EVENTS, CALLS, None)
    assert found.to_json() == {
        "id": found.store_id,
        "ok": True,
        "events": EVENTS,
        "results": CALLS,
        "head": {"sequence": EVENTS, "hash": found.head.hash.hex()},
        "flaw": None,
    }


async def test_an_empty_store_verifies(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data"):
        pass

    found = verify(tmp_path / "data")
    assert (found.events, found.head.sequence, found.flaw) == (0, 0, None)


async def test_a_store_can_be_verified_while_it_is_written(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        for number in range(3):
            await run_call(store, f"c-{number}")
            assert verify(tmp_path / "data").flaw is None


def edit(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE events SET body = replace(body, 'dana', 'eve') WHERE sequence = 8")


def edit_time(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE events SET at = replace(at, '2026', '2025') WHERE sequence = 8")


def edit_call(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE events SET call_id = 'c-0' WHERE sequence = 8")


def drop_call(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE events SET call_id = NULL WHERE sequence = 8")


def edit_kind(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE events SET kind = 'Refused' WHERE sequence = 8")


def edit_hash(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE events SET hash = zeroblob(32) WHERE sequence = 8")


def remove(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM events WHERE sequence = 8")


def remove_and_close_up(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM events WHERE sequence = 8")
    connection.execute("UPDATE events SET sequence = -sequence + 1 WHERE sequence > 8")
    connection.execute("UPDATE events SET sequence = -sequence WHERE sequence < 0")


def insert(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE events SET sequence = -sequence - 1 WHERE sequence >= 8")
    connection.execute("UPDATE events SET sequence = -sequence WHERE sequence < 0")
    connection.execute("INSERT INTO events SELECT 8, at, call_id, kind, body, hash FROM events WHERE sequence = 7")


def exchange(connection: sqlite3.Connection) -> None:
    for old, new in ((8, -1), (14, 8), (-1, 14)):
        connection.execute("UPDATE events SET sequence = ? WHERE sequence = ?", (new, old))


@pytest.mark.requirement("R7", "I6")
@pytest.mark.parametrize(
    "tamper",
    [edit, edit_time, edit_call, drop_call, edit_kind, edit_hash, remove, remove_and_close_up, insert, exchange],
)
async def test_tampering_is_found_and_the_first_bad_event_named(
    data_dir: Path, tamper: Callable[[sqlite3.Connection], None]
) -> None:
    with tampering(data_dir) as connection:
        tamper(connection)

    found = verify(data_dir)

    assert found.flaw is not None
    assert found.flaw.sequence == 8
    assert found.head.sequence == 7
    with pytest.raises(StoreError, match="the audit store does not verify: event 8 "):
        async with opened_store(data_dir):
            pass


@pytest.mark.requirement("R7")
@pytest.mark.parametrize("sequence", [0, -3])
async def test_a_row_before_the_first_event_is_found(data_dir: Path, sequence: int) -> None:
    """Whoever walks from event 1 would never meet it, and a search would show it."""
    with tampering(data_dir) as connection:
        connection.execute(
            "INSERT INTO events SELECT ?, at, call_id, kind, body, hash FROM events WHERE sequence = 1", (sequence,)
        )

    assert str(verify(data_dir).flaw) == f"event {sequence} is not in the chain, which begins with event 1"
    with pytest.raises(StoreError, match="is not in the chain"):
        async with opened_store(data_dir):
            pass


@pytest.mark.requirement("R7")
async def test_an_event_that_was_appended_with_any_hash_is_found(data_dir: Path) -> None:
    with tampering(data_dir) as connection:
        connection.execute(
            "INSERT INTO events SELECT ?, at, call_id, kind, body, randomblob(32) FROM events WHERE sequence = 1",
            (EVENTS + 1,),
        )

    flaw = verify(data_dir).flaw
    assert flaw is not None
    assert flaw.sequence == EVENTS + 1


# What it takes a head that was kept elsewhere to see.


def hash_anew(connection: sqlite3.Connection, *, after: int) -> None:
    """What somebody does who can write the file and read this project's source."""
    previous = connection.execute("SELECT hash FROM events WHERE sequence = ?", (after,)).fetchone()[0]
    rows = connection.execute("SELECT * FROM events WHERE sequence > ? ORDER BY sequence", (after,)).fetchall()
    for sequence, at, call_id, kind, body, _ in rows:
        previous = entry_hash(
            sequence=sequence, at=at, call_id=call_id, kind=kind, body=body.encode(), previous=previous
        )
        connection.execute("UPDATE events SET hash = ? WHERE sequence = ?", (previous, sequence))


@pytest.mark.requirement("R7")
async def test_a_suffix_hashed_anew_shows_against_a_head_kept_elsewhere(data_dir: Path) -> None:
    kept = verify(data_dir).head
    with tampering(data_dir) as connection:
        edit(connection)
        hash_anew(connection, after=7)

    assert verify(data_dir).flaw is None, "by the rows alone nobody can tell; docs say so"
    assert (
        str(verify(data_dir, expected=kept).flaw) == f"event {EVENTS} is not the one that a head kept elsewhere knows"
    )


@pytest.mark.requirement("R7")
async def test_a_tail_that_was_cut_shows_against_a_head_kept_elsewhere(data_dir: Path) -> None:
    kept = verify(data_dir).head
    with tampering(data_dir) as connection:
        connection.execute("DELETE FROM events WHERE sequence > 18")
        connection.execute("DELETE FROM results WHERE call_id = 'c-3'")

    assert verify(data_dir).flaw is None
    assert str(verify(data_dir, expected=kept).flaw) == "event 19 is missing: a head kept elsewhere is of 24 events"


@pytest.mark.requirement("R7", "R40")
async def test_a_rollback_to_an_old_copy_shows_against_a_head_kept_elsewhere(data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir, tmp_path / "old")
    async with opened_store(data_dir) as store:
        await store.append(loaded())
    kept = verify(data_dir).head

    assert verify(tmp_path / "old").flaw is None
    assert verify(tmp_path / "old", expected=kept).flaw is not None


@pytest.mark.requirement("R40")
async def test_a_head_kept_elsewhere_holds_while_the_store_grows(data_dir: Path) -> None:
    kept = verify(data_dir).head
    async with opened_store(data_dir) as store:
        await store.append(loaded())

    assert verify(data_dir, expected=kept).flaw is None
    assert verify(data_dir, expected=Head(sequence=kept.sequence, hash=bytes(32))).flaw is not None


# Results.


@pytest.mark.requirement("R7")
@pytest.mark.parametrize(
    ("tamper", "why"),
    [
        ("UPDATE results SET data = ? WHERE call_id = 'c-1'", "names a result that was changed"),
        ("UPDATE results SET size = 5, data = ? WHERE call_id = 'c-1'", "names a result that was changed"),
        ("DELETE FROM results WHERE call_id = 'c-1' AND ? IS NOT NULL", "names a result that is missing"),
    ],
)
@pytest.mark.parametrize("data", [b"", b"junk", pack(b'{"rows":[[7]]}').data, bytes(range(156, 256))])
async def test_a_changed_result_is_found_at_its_event(data_dir: Path, tamper: str, why: str, data: bytes) -> None:
    with tampering(data_dir) as connection:
        connection.execute(tamper, (data,))

    flaw = verify(data_dir).flaw

    assert flaw is not None
    assert flaw.sequence == 11
    assert why in flaw.why


@pytest.mark.requirement("R7")
async def test_results_that_change_places_are_found(data_dir: Path) -> None:
    with tampering(data_dir) as connection:
        for old, new in (("c-1", "x"), ("c-2", "c-1"), ("x", "c-2")):
            connection.execute("UPDATE results SET call_id = ? WHERE call_id = ?", (new, old))

    assert str(verify(data_dir).flaw) == "event 11 names a result that was changed"


@pytest.mark.requirement("R7")
async def test_a_result_that_no_event_names_is_found(data_dir: Path) -> None:
    recording = pack(b"slipped in")
    with tampering(data_dir) as connection:
        connection.execute("INSERT INTO results VALUES ('c-9', ?, ?)", (recording.size, recording.data))

    assert str(verify(data_dir).flaw) == "the store holds a result of call 'c-9' that no event names"


@pytest.mark.requirement("R7")
async def test_an_event_hidden_from_the_index_is_found(data_dir: Path) -> None:
    """A search goes by the index; an index that lacks a call hides it."""
    with tampering(data_dir) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'IS NOT NULL', 'IS NULL') WHERE name = 'events_by_call'"
        )
        connection.execute("PRAGMA writable_schema = RESET")
        connection.execute("REINDEX events_by_call")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'IS NULL', 'IS NOT NULL') WHERE name = 'events_by_call'"
        )
        connection.execute("PRAGMA writable_schema = RESET")

    assert str(verify(data_dir).flaw).startswith("the store is inconsistent: ")


# What there is to verify.


async def test_there_has_to_be_a_store(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"there is no audit store in .*; nothing was recorded yet, or data_dir is wrong$"
    ):
        verify(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_an_empty_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "audit.db").touch()

    with pytest.raises(StoreError, match="is empty"):
        verify(tmp_path)


async def test_how_far_it_is_is_told(data_dir: Path) -> None:
    told: list[tuple[int, int]] = []

    verify(data_dir, progress=lambda done, all_: told.append((done, all_)))

    assert told == [(EVENTS, EVENTS)]


@pytest.mark.requirement("R41")
async def test_a_long_verification_keeps_nobody_from_resetting_the_wal(tmp_path: Path) -> None:
    checkpoints: list[tuple[int, int, int]] = []
    async with opened_store(tmp_path / "data") as store:
        await store.append(*(loaded(number) for number in range(5 * CHUNK_ROWS)))
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "audit.db", isolation_level=None)) as other:

            def between(_done: int, _all: int) -> None:
                other.execute("INSERT INTO probes (data) VALUES (x'00')")
                checkpoints.append(other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())

            assert verify(tmp_path / "data", progress=between).flaw is None

    assert checkpoints == [(0, 0, 0)] * 5


async def test_verifying_changes_nothing(data_dir: Path) -> None:
    before = (data_dir / "audit.db").read_bytes()

    found: Verification = verify(data_dir)

    assert found.flaw is None
    assert (data_dir / "audit.db").read_bytes() == before
