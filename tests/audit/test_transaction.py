from __future__ import annotations

import contextlib
import dataclasses
import itertools
from datetime import timedelta
from pathlib import Path

import pytest

from mcp_gateway.audit.recordings import pack
from mcp_gateway.audit.store import Transaction
from mcp_gateway.audit.transaction import EVENT_MAX_BYTES, OUTCOMES
from mcp_gateway.audit.verify import verify
from mcp_gateway.errors import StoreError
from mcp_gateway.events import Cancelled, Denied, Event, Failed, OutcomeUnknown, Started, TimedOut
from tests.audit.records import AT, finished, kinds, loaded, opened_store, received, rows, started

pytestmark = pytest.mark.anyio

ENDINGS: list[Event] = [
    finished("c"),
    Failed(at=AT, call_id="c", code="failed", cause="x"),
    TimedOut(at=AT, call_id="c", after=timedelta(seconds=1)),
    Cancelled(at=AT, call_id="c"),
    OutcomeUnknown(at=AT, call_id="c", cause="x"),
    Denied(at=AT, call_id="c", code="denied"),
]


def test_the_endings_of_these_tests_are_all_there_are() -> None:
    assert tuple(sorted(event.kind for event in ENDINGS)) == OUTCOMES


@pytest.mark.requirement("I3")
async def test_a_call_ends_once(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        for first, second in itertools.product(ENDINGS, ENDINGS):
            call_id = f"{first.kind}-{second.kind}"
            await store.append(started(call_id), dataclasses.replace(first, call_id=call_id))

            with pytest.raises(StoreError) as raised:
                await store.append(dataclasses.replace(second, call_id=call_id))
            assert str(raised.value) == (
                f"call {call_id!r} has {first.kind!r} on record already; report this, with the call's record"
            )
        assert store.failure is None

    assert len(kinds(tmp_path / "data")) == 2 * len(ENDINGS) ** 2


@pytest.mark.requirement("I3")
async def test_a_call_that_never_started_ends_once_too(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(Denied(at=AT, call_id="c", code="denied"))

        with pytest.raises(StoreError, match="has 'Denied' on record already"):
            await store.append(Denied(at=AT, call_id="c", code="denied"))


@pytest.mark.requirement("I4")
async def test_a_call_starts_once(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("c"))

        with pytest.raises(StoreError, match="has 'Started' on record already"):
            await store.append(started("c"))


@pytest.mark.requirement("I4")
async def test_a_call_that_has_ended_does_not_start_again(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("c"), finished("c"))

        with pytest.raises(StoreError, match="has 'Finished' on record already"):
            await store.append(started("c"))


async def test_an_intent_without_a_call_is_refused(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        with pytest.raises(StoreError, match="an intent needs its call's id"):
            await store.append(Started(at=AT, target="orders", tool="t", instance="i"))


@pytest.mark.requirement("I3")
async def test_intents_are_open_until_their_call_ends(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("a"), started("b"), finished("a"))

    assert rows(tmp_path / "data", "SELECT call_id, instance, sequence FROM intents") == [("b", "here", 2)]


async def test_an_append_gives_the_numbers_of_its_events(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        assert await store.append(loaded(), loaded()) == (1, 2)
        assert await store.append(loaded()) == (3,)
        assert await store.append() == ()


async def test_a_transaction_is_of_no_use_after_its_unit(tmp_path: Path) -> None:
    kept: list[Transaction] = []
    async with opened_store(tmp_path / "data") as store:
        await store.transact(kept.append)

        with pytest.raises(StoreError, match="a transaction was used after its unit had returned"):
            await store.transact(lambda _: kept[0].append(loaded()))


async def test_an_event_that_cannot_be_written_refuses_its_call_alone(tmp_path: Path) -> None:
    """An agent that sends such arguments closes the store for nobody else."""
    async with opened_store(tmp_path / "data") as store:
        with pytest.raises(StoreError, match="cannot be written as JSON"):
            await store.append(received("c", arguments={"n": 10**5000}))

        assert store.failure is None
        await store.append(loaded())


async def test_a_call_id_that_is_no_text_refuses_its_call_alone(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        with pytest.raises((StoreError, ValueError, TypeError)):
            await store.append(received("\ud800"))

        assert store.failure is None
        await store.append(loaded())


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (received("c", arguments={"text": "x" * (EVENT_MAX_BYTES + 1)}), "bytes, more than 33554432"),
        (dataclasses.replace(received("c"), call_id=5), "a call's id is text, got int"),  # type: ignore[arg-type]
    ],
)
async def test_an_event_that_would_spoil_its_group_is_refused_by_itself(
    tmp_path: Path, event: Event, message: str
) -> None:
    async with opened_store(tmp_path / "data") as store:
        with pytest.raises(StoreError, match=message):
            await store.append(event)

        assert store.failure is None
        await store.append(loaded())


async def test_a_unit_s_statements_find_its_events_written(tmp_path: Path) -> None:
    def work(tx: Transaction) -> list[int]:
        counts = []
        for number in range(3):
            tx.append(loaded(number))
            counts.append(tx.execute("SELECT count(*) FROM events").fetchone()[0])
        return counts

    async with opened_store(tmp_path / "data") as store:
        await store.append(loaded())
        assert await store.transact(work) == [2, 3, 4]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 63, 64, 65, 200])
async def test_any_number_of_events_is_written_at_once(tmp_path: Path, count: int) -> None:
    async with opened_store(tmp_path / "data") as store:
        assert await store.append(*(loaded(number) for number in range(count))) == tuple(range(1, count + 1))

    found = verify(tmp_path / "data")
    assert (found.events, found.flaw) == (count, None)


async def test_a_result_is_kept_once_for_a_call(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        digest = await store.transact(lambda tx: tx.save_result("c", b"abc"))

        assert digest == pack(b"abc").digest
        with pytest.raises(StoreError, match=r"refuses this record: UNIQUE constraint failed: results.call_id"):
            await store.transact(lambda tx: tx.save_result("c", pack(b"other")))


@pytest.mark.requirement("I3", "I7")
async def test_an_outcome_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(started("c"))

        def swallows(tx: Transaction) -> None:
            with contextlib.suppress(StoreError):
                tx.append(Failed(at=AT, call_id="c", code="failed", cause="x" * EVENT_MAX_BYTES))

        await store.transact(swallows)
        await store.append(finished("c"))

    assert kinds(tmp_path / "data") == ["Started", "Finished"]
