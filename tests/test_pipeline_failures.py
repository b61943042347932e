"""What a target says of a failure is bounded, and counts: a statement can make what it reads the text of its error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mcp_gateway_tools.query_database import QueryDatabase

from mcp_gateway.errors import TargetFailed
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.refusals import MAX_SAID, shortened
from mcp_gateway.registry import Registered
from mcp_gateway.targets.postgres import PostgresConnector
from tests.invariants.fixtures import tasks_return, world
from tests.invariants.world import World
from tests.peers.postgres import PostgresDatabase
from tests.roads import Bench, laid, refusal
from tests.targets.postgres_settings import connector_for, orders_target

__all__ = ["tasks_return", "world"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("I3")]

POLICIES = """
@id("reads") @max_rows("1") permit (principal, action == Action::"query_database", resource);
@id("too-much") forbid (principal, action, resource) when { context.usage.bytes_1h > 5000 };
"""
ROWS = 2000
DUMP = "SELECT string_agg(note, ',')::int FROM notes"


@pytest.fixture
async def bench(tmp_path: Path, postgres_database: PostgresDatabase) -> AsyncIterator[Bench]:
    postgres_database.execute(
        f"""
        CREATE TABLE notes (note text);
        INSERT INTO notes SELECT 'note ' || i FROM generate_series(1, {ROWS}) i;
        GRANT SELECT ON notes TO PUBLIC;
        """
    )
    worker, connector = SQLWorker(), connector_for(postgres_database)
    registered = Registered(
        target=orders_target({}),
        connector=connector,
        timeout=timedelta(seconds=20),
        max_rows=100,
        max_bytes=100_000,
        detectors=("default",),
    )
    try:
        async with laid(
            tmp_path, policies=POLICIES, beside=[registered], tools=[QueryDatabase(worker=worker)]
        ) as found:
            yield found
    finally:
        await connector.aclose()
        await worker.aclose()


async def query(bench: Bench, sql: str) -> Any:
    return await bench.call({"target": "orders", "sql": sql}, tool="query_database")


async def test_an_error_holds_no_more_than_its_beginning(bench: Bench) -> None:
    told = refusal(await query(bench, DUMP))
    assert told.code == "failed"
    assert "note 1,note 2," in told.message and f"note {ROWS}" not in told.message
    assert len(told.message) < MAX_SAID + 100
    failed = await bench.store.read(
        lambda connection: connection.execute("SELECT body FROM events WHERE kind = 'Failed'").fetchone()[0]
    )
    assert f"note {ROWS}" not in str(failed)


async def test_what_errors_hold_counts_like_results(bench: Bench) -> None:
    codes = [refusal(await query(bench, f"{DUMP} -- {number}")).code for number in range(4)]
    assert codes == ["failed", "failed", "failed", "denied"]


async def test_an_error_that_cannot_be_written_as_utf_8_is_recorded_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object, **__: object) -> None:
        raise TargetFailed("no row \ud800 of that name")

    monkeypatch.setattr(PostgresConnector, "run", failing)
    told = refusal(await query(bench, "SELECT 1"))
    assert told.code == "failed"
    kinds = await bench.store.read(
        lambda connection: [kind for (kind,) in connection.execute("SELECT kind FROM events ORDER BY sequence")]
    )
    assert kinds[-3:] == ["Started", "Failed", "Answered"]


def test_how_much_was_left_out_is_said() -> None:
    assert shortened("x" * MAX_SAID) == "x" * MAX_SAID
    assert shortened("x" * MAX_SAID + "y" * 1234) == "x" * MAX_SAID + " [... 1,234 characters left out ...]"


@pytest.mark.parametrize(
    ("step", "kind", "words"),
    [
        ("execute", "OutcomeUnknown", "while the call ran; whether it took effect is not known"),
        ("mask", "Failed", "after the call was sent, so its result is withheld"),
    ],
)
async def test_what_breaks_before_the_target_has_answered_leaves_the_outcome_unknown(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch, step: str, kind: str, words: str
) -> None:
    world.expected_errors = frozenset({"internal"})

    def breaks(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(QueryDatabase, step, breaks)

    told = refusal(await query(bench, "SELECT count(*) FROM notes"))
    assert (told.code, words in told.message) == ("internal", True)
    ends = await bench.store.read(
        lambda connection: connection.execute(
            "SELECT kind, body FROM events WHERE kind IN ('Failed', 'OutcomeUnknown')"
        ).fetchall()
    )
    ((ended, body),) = ends
    assert ended == kind
    assert "RuntimeError" in body and "broken" not in body
