"""What callers do is counted with the record of it, in one place for all processes, over windows that slide."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.audit import usage
from mcp_gateway.audit.schema import USAGE_TABLES
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.audit.usage import Added, UsageStore
from mcp_gateway.calls import Caller
from mcp_gateway.errors import StoreError
from mcp_gateway.usage import COUNTED, WINDOWS, History, Spent, Usage, imagined_usage
from tests.approval.tickets import a_caller
from tests.audit.records import opened_store

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
ALICE = a_caller()
CLASSES = frozenset({"pii.email", "pii.phone"})


async def spend(store: AuditStore, spent: Spent, *, at: datetime, caller: Caller = ALICE) -> None:
    await store.transact(lambda tx: usage.add(tx.execute, [Added(caller=caller, spent=spent, at=at)]))


async def history(store: AuditStore, now: datetime, caller: Caller = ALICE) -> History:
    return await UsageStore(store).of(caller, now=now, classes=CLASSES)


async def test_windows_slide(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await spend(store, Spent(calls=1, rows=5, bytes=70), at=NOON)
        await spend(store, Spent(calls=1, refusals=2), at=NOON + timedelta(seconds=30))

        counts = (await history(store, NOON + timedelta(seconds=59))).person.counts
        assert [counts[f"{name}_1m"] for name in COUNTED] == [2, 5, 70, 2]
        assert [counts[f"{name}_24h"] for name in COUNTED] == [2, 5, 70, 2]
        counts = (await history(store, NOON + timedelta(seconds=62))).person.counts
        assert [counts[f"{name}_1m"] for name in COUNTED] == [1, 0, 0, 2]
        counts = (await history(store, NOON + timedelta(minutes=62))).person.counts
        assert (counts["calls_1m"], counts["calls_1h"], counts["calls_24h"]) == (0, 0, 2)
        counts = (await history(store, NOON + timedelta(hours=24, minutes=2))).person.counts
        assert set(counts.values()) == {0}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 9)), max_size=30), st.integers(0, 90_000))
def test_no_window_holds_less_than_what_happened_in_it(spent: list[tuple[int, int]], now: int) -> None:
    """And more only by what happened in the second or minute at its beginning."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(USAGE_TABLES)
    spent = [(offset, rows) for offset, rows in spent if offset <= now]
    for offset, rows in sorted(spent):
        one = Added(caller=ALICE, spent=Spent(calls=1, rows=rows), at=NOON + timedelta(seconds=offset))
        usage.add(connection.execute, [one])
    moment = NOON + timedelta(seconds=now)
    found = usage.read_history(connection, ALICE, now=moment, classes=()).person.counts
    for window, length in WINDOWS.items():
        seconds, unit = length.total_seconds(), usage.UNITS[window]
        inside = [rows for offset, rows in spent if offset > now - seconds]
        around = [rows for offset, rows in spent if offset > now - seconds - 2 * unit]
        assert sum(inside) <= found[f"rows_{window}"] <= sum(around)
        assert len(inside) <= found[f"calls_{window}"] <= len(around)
    connection.close()


async def test_persons_and_agents_are_counted_apart(tmp_path: Path) -> None:
    other_agent, other_person = replace(ALICE, actor="cleaner"), replace(ALICE, subject="bob")
    same_names = replace(ALICE, issuer="https://elsewhere.example.com")
    async with opened_store(tmp_path / "data") as store:
        await spend(store, Spent(calls=1), at=NOON)
        await spend(store, Spent(calls=1), at=NOON, caller=other_agent)
        await spend(store, Spent(calls=1), at=NOON, caller=other_person)

        def calls(found: History) -> tuple[int, int]:
            return found.person.counts["calls_1h"], found.agent.counts["calls_1h"]

        assert calls(await history(store, NOON)) == (2, 2)
        assert calls(await history(store, NOON, other_agent)) == (2, 1)
        assert calls(await history(store, NOON, other_person)) == (1, 2)
        assert calls(await history(store, NOON, same_names)) == (0, 0)


async def test_classes_that_came_back_are_known_for_a_day(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await spend(store, Spent(touched=frozenset({"pii.email", "of.an.old.configuration"})), at=NOON)
        await spend(store, Spent(touched=frozenset({"pii.phone"})), at=NOON + timedelta(minutes=50))

        def touched(found: History) -> list[list[str]]:
            return [sorted(of) for of in found.person.touched.values()]

        assert touched(await history(store, NOON)) == [["pii.email", "pii.phone"]] * 2
        late = await history(store, NOON + timedelta(minutes=61))
        assert touched(late) == [["pii.phone"], ["pii.email", "pii.phone"]]
        assert touched(await history(store, NOON + timedelta(hours=25))) == [[], []]


async def test_several_processes_count_together_and_a_restart_forgets_nothing(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as one, opened_store(tmp_path / "data") as two:
        for number in range(20):
            await spend((one, two)[number % 2], Spent(calls=1, rows=number), at=NOON)
        for store in (one, two):
            assert (await history(store, NOON)).person.counts["rows_1h"] == sum(range(20))
    async with opened_store(tmp_path / "data") as again:
        assert (await history(again, NOON)).person.counts["calls_24h"] == 20


async def test_what_is_dated_later_counts_too(tmp_path: Path) -> None:
    """A clock that was set back must not make anybody's past go away."""
    async with opened_store(tmp_path / "data") as store:
        await spend(store, Spent(calls=1), at=NOON)
        assert (await history(store, NOON - timedelta(hours=3))).person.counts["calls_1m"] == 1


async def test_what_is_not_recorded_is_not_counted(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:

        def broken(tx: object) -> None:
            usage.add(tx.execute, [Added(caller=ALICE, spent=Spent(calls=1), at=NOON)])  # type: ignore[attr-defined]
            raise StoreError("refused")

        with pytest.raises(StoreError):
            await store.transact(broken)
        assert (await history(store, NOON)).person.counts["calls_1h"] == 0


@pytest.mark.requirement("I8")
@pytest.mark.parametrize("second", [0, 17])
async def test_old_counts_are_dropped_at_whatever_second_somebody_calls(tmp_path: Path, second: int) -> None:
    async with opened_store(tmp_path / "data") as store:
        for hour in range(30):
            await spend(store, Spent(calls=1), at=NOON + timedelta(hours=hour, seconds=second))

        def rows() -> object:
            return store.read(
                lambda connection: connection.execute("SELECT unit, count(*) FROM usage GROUP BY unit").fetchall()
            )

        assert dict(await rows()) == {1: 2, 60: 2 * 26}  # type: ignore[misc]


def test_imagined_usage_knows_its_names() -> None:
    assert imagined_usage({"rows_1h": 7, "touched_24h": frozenset({"pii.email"})}).context()["rows_1h"] == 7
    assert imagined_usage({}).context() == Usage().context()
    for wrong in (
        {"rows_1h": 7, "rows_24h": 6},
        {"calls_1m": 2, "calls_24h": 1},
        {"rows": 7},
        {"rows_1h": -1},
        {"rows_1h": frozenset({"a"})},
        {"touched_1h": 3},
    ):
        with pytest.raises(ValueError, match=r"usage|rows_1h|touched_1h|rows_24h|calls_24h"):
            imagined_usage(wrong)


def test_what_is_imagined_of_a_window_is_in_longer_ones() -> None:
    found = imagined_usage(
        {"calls_1m": 3, "calls_24h": 9, "rows_1h": 7, "touched_1h": frozenset({"pii.email"})}
    ).context()
    assert [found[f"calls_{window}"] for window in WINDOWS] == [3, 3, 9]
    assert [found[f"rows_{window}"] for window in WINDOWS] == [0, 7, 7]
    assert (found["touched_1h"], found["touched_24h"]) == (["pii.email"], ["pii.email"])
