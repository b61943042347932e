"""What is written for many units at once is what each would have written by itself."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.audit import usage
from mcp_gateway.audit.database import Database, Outcome, Pace, connect
from mcp_gateway.audit.files import Paths
from mcp_gateway.audit.transaction import ROWS_AT_ONCE, Transaction
from mcp_gateway.audit.usage import Added
from mcp_gateway.audit.verify import verify
from mcp_gateway.errors import StoreError
from mcp_gateway.events import Denied, OutcomeUnknown
from mcp_gateway.usage import Spent
from tests.approval.tickets import a_caller
from tests.audit.no_memory import LARGE, acknowledged_with
from tests.audit.records import AT, finished, received, started
from tests.faults.sizes import times

Step = Callable[[Transaction], object]
TABLES = {
    "events": "sequence, at, call_id, kind, body",
    "intents": "call_id, instance, sequence",
    "results": "call_id, size, data",
    "usage": "who, unit, slot, calls, rows, bytes, refusals",
    "touched": "who, class, slot",
}


class RefusedError(Exception):
    """What a unit raises."""


def appends(*events: Any) -> Step:
    return lambda tx: tuple(tx.append(event) for event in events)


def fails_after(step: Step) -> Step:
    def work(tx: Transaction) -> object:
        step(tx)
        raise RefusedError

    return work


def looks(step: Step) -> Step:
    """What it adds, and how many events and intents it then finds."""

    def work(tx: Transaction) -> object:
        step(tx)
        return tx.execute("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM intents)").fetchone()

    return work


def both(first: Step, second: Step) -> Step:
    return lambda tx: (first(tx), second(tx))


def keeps(call_id: str) -> Step:
    return lambda tx: tx.save_result(call_id, call_id.encode())


def spends(who: str, calls: int, seconds: int) -> Step:
    added = Added(
        caller=a_caller(subject=who),
        spent=Spent(calls=calls, rows=seconds, touched=frozenset({"pii.email"})),
        at=AT + timedelta(seconds=seconds),
    )
    return lambda tx: tx.later(usage.add, added)


CALLS = st.sampled_from("abc")
SIMPLE = st.one_of(
    CALLS.map(lambda call: appends(received(call), started(call))),
    CALLS.map(lambda call: appends(finished(call))),
    CALLS.map(lambda call: appends(Denied(at=AT, call_id=call, code="denied"))),
    CALLS.map(lambda call: appends(started(call), OutcomeUnknown(at=AT, call_id=call, cause="x"))),
    CALLS.map(lambda call: appends(received(call))),
    CALLS.map(keeps),
    st.builds(spends, st.sampled_from(["alex", "sam"]), st.integers(0, 1), st.sampled_from([0, 1, 59, 60, 61])),
)
STEPS = st.one_of(
    SIMPLE,
    SIMPLE.map(looks),
    SIMPLE.map(fails_after),
    st.builds(both, SIMPLE, SIMPLE),
    st.builds(both, SIMPLE.map(looks), SIMPLE),
)


@contextmanager
def opened(folder: Path) -> Iterator[Database]:
    database = Database(Paths(folder), migrations=(), pace=Pace())
    database.open()
    try:
        yield database
    finally:
        database.close()


def content(folder: Path) -> dict[str, list[Any]]:
    with closing(connect(Paths(folder).database, read_only=True)) as connection:
        return {
            table: connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table, columns in TABLES.items()
        }


def said(outcomes: Sequence[Outcome]) -> list[Any]:
    """What each came to; not why it failed, since one may fail in two ways, of which one shows sooner."""
    return [(one.value, one.error is None) for one in outcomes]


@pytest.mark.requirement("I3", "I4", "R1")
@pytest.mark.timeout(times(commit=120, full=1800))
@settings(max_examples=times(commit=150, full=5_000), deadline=None)
@given(groups=st.lists(st.lists(STEPS, min_size=1, max_size=8), min_size=1, max_size=3))
def test_units_written_together_are_those_written_one_by_one(groups: list[list[Step]]) -> None:
    with TemporaryDirectory() as folder:
        together, apart = Path(folder, "together"), Path(folder, "apart")
        with opened(together) as one, opened(apart) as other:
            for steps in groups:
                at_once = said(one.run(steps))
                by_itself = [found for step in steps for found in said(other.run([step]))]
                assert at_once == by_itself
        assert content(together) == content(apart)
        flaw = verify(together).flaw
        assert flaw is None or flaw.sequence is None  # a result that no event names, which these units keep


@pytest.mark.requirement("I3", "I4")
def test_of_a_group_whose_units_clash_with_the_record_the_bad_ones_alone_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as database:
        database.run([appends(received("a"), started("a")), keeps("k")])
        before = database.commits
        good = [appends(received(f"g{number}"), started(f"g{number}")) for number in range(3 * ROWS_AT_ONCE)]

        found = database.run([*good, appends(started("a")), keeps("k"), appends(finished("a")), appends(finished("a"))])

        assert database.commits == before + 1
        refused = [(number, str(one.error)) for number, one in enumerate(found[len(good) :]) if one.error is not None]
        assert refused == [
            (0, "call 'a' has 'Started' on record already; report this, with the call's record"),
            (1, "the audit store refuses this record: UNIQUE constraint failed: results.call_id"),
            (3, "call 'a' has 'Finished' on record already; report this, with the call's record"),
        ]
        assert all(one.error is None for one in found[: len(good)])
    assert len(content(tmp_path / "data")["intents"]) == len(good)
    assert verify(tmp_path / "data").events == 2 + 2 * len(good) + 1


@pytest.mark.requirement("I7")
def test_what_cannot_be_written_at_all_closes_the_store_for_the_whole_group(tmp_path: Path) -> None:
    def breaks(_: Any, __: Any) -> None:
        raise _full()

    with opened(tmp_path / "data") as database:
        database.run([appends(received("a"))])
        with pytest.raises(StoreError, match="no space left"):
            database.run([appends(received("b")), lambda tx: tx.later(breaks, 1)])
        database.run([appends(received("c"))])
    assert [call for _, _, call, _, _ in content(tmp_path / "data")["events"]] == ["a", "c"]


@pytest.mark.requirement("I3", "I7")
def test_what_cannot_be_written_together_refuses_the_one_alone_whose_fault_it_is(tmp_path: Path) -> None:
    def breaks(_: Any, items: Sequence[int]) -> None:
        if 2 in items:
            raise TypeError("2")

    def adds(number: int) -> Step:
        return lambda tx: tx.later(breaks, number)

    steps = [both(appends(received(f"c{n}")), adds(n)) for n in range(4)]
    for reads in ([], [lambda tx: tx.execute("SELECT count(*) FROM events").fetchone()]):
        folder = tmp_path / str(len(reads))
        with opened(folder) as database:
            found = database.run([*steps, *reads, appends(received("last"))])
        assert [str(one.error) for one in found if one.error is not None] == ["2"]
        assert [call for _, _, call, _, _ in content(folder)["events"]] == ["c0", "c1", "c3", "last"]
        assert verify(folder).flaw is None


@pytest.mark.requirement("I3", "I7", "R1")
def test_what_a_unit_could_not_write_refuses_it_even_if_it_does_not_say_so(tmp_path: Path) -> None:
    def swallows(tx: Transaction) -> str:
        tx.append(started("a"))
        with contextlib.suppress(StoreError):
            tx.execute("SELECT 1")
        tx.append(received("a"))
        return "done"

    with opened(tmp_path / "data") as database:
        database.run([appends(started("a"))])
        (found,) = database.run([swallows])
        database.run([appends(received("b"))])

    assert "on record already" in str(found.error)
    assert verify(tmp_path / "data").events == 2


@pytest.mark.requirement("I3", "I7", "R3")
@pytest.mark.parametrize("limit", [1_000_000, 3_000_000, 6_000_000, 8_000_000, 10_000_000, 40_000_000])
def test_without_memory_nothing_is_acknowledged_that_is_not_written(tmp_path: Path, limit: int) -> None:
    """Python tells as its own what SQLite tells it."""
    acknowledged = acknowledged_with(limit, tmp_path / "data")

    written = [call for _, _, call, _, _ in content(tmp_path / "data")["events"]]
    assert written == ["before"] + ["large"] * 2 * ("large" in acknowledged) + ["small"] * ("small" in acknowledged)
    assert verify(tmp_path / "data").flaw is None
    assert acknowledged or limit < LARGE * 4


def test_a_group_of_units_takes_a_few_statements(tmp_path: Path) -> None:
    with opened(tmp_path / "data") as database:
        statements: list[str] = []
        connection = database._connection
        assert connection is not None
        steps = [both(appends(received(f"c{n}"), started(f"c{n}")), spends("alex", 1, 1)) for n in range(8)]
        ends = [both(both(keeps(f"c{n}"), appends(finished(f"c{n}"))), spends("alex", 0, 1)) for n in range(8)]
        database.run([appends(received("first")), spends("alex", 1, 0)])
        connection.set_trace_callback(statements.append)
        database.run(steps)
        database.run(ends)

    assert len(statements) <= 2 * 9, statements


def _full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error
