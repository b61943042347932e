"""What a statement tells about masked data, on the road: recorded, shown, approved, and found out again at the claim."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from mcp_gateway_tools.query_database import QueryDatabase

from mcp_gateway.approval.describe import describe
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.masked_facts import MaskedFacts
from mcp_gateway.registry import Registered
from tests.peers.postgres import PostgresDatabase
from tests.roads import Bench, laid, refusal, result
from tests.targets.postgres_settings import connector_for, orders_target

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("M1")]

CLASSIFY = {"public.people.ssn": "pii.national_id", "public.people.email": "pii.email"}
ASKING = """
@id("reads") @reason("reading is for everybody")
permit (principal, action == Action::"query_database", resource) when { context.sql.read_only };
@id("no-inference") @approval("dba") @reason("this tells what is masked")
forbid (principal, action == Action::"query_database", resource)
unless { context.sql.infers.isEmpty() } unless { context.approval.by.contains("dba") };
"""
SEEN_BY_DEV = """
@id("mail") permit (principal in Group::"dev", action == Action::"reveal", resource == DataClass::"pii.email");
"""
SEEN_IF_APPROVED = (
    SEEN_BY_DEV
    + """
@id("not-alone") @approval("dba")
forbid (principal, action == Action::"reveal", resource) unless { context.approval.by.contains("dba") };
"""
)
SQL = "SELECT id FROM people WHERE email < 'c'"


@pytest.fixture
async def bench(tmp_path: Path, postgres_database: PostgresDatabase) -> AsyncIterator[Bench]:
    postgres_database.execute(
        """
        CREATE TABLE people (id int PRIMARY KEY, ssn text, email text);
        INSERT INTO people VALUES (1, '123-45-6789', 'ada@example.com'), (2, '987-65-4329', 'zoe@example.com');
        GRANT SELECT ON people TO PUBLIC;
        """
    )
    worker = SQLWorker()
    connector = connector_for(postgres_database, classify=CLASSIFY)
    target = orders_target(CLASSIFY)
    registered = Registered(
        target=target,
        connector=connector,
        timeout=timedelta(seconds=20),
        max_rows=100,
        max_bytes=100_000,
        detectors=("default",),
    )
    try:
        tools = [QueryDatabase(worker=worker)]
        async with laid(tmp_path, policies=ASKING, beside=[registered], tools=tools) as found:
            yield found
    finally:
        await connector.aclose()
        await worker.aclose()


async def query(bench: Bench, sql: str, **more: Any) -> Any:
    return await bench.call({"target": "orders", "sql": sql}, tool="query_database", **more)


async def examined(bench: Bench, call_id: str) -> Any:
    """The facts that are on record."""
    rows = await bench.store.read(
        lambda connection: connection.execute(
            "SELECT body FROM events WHERE call_id = ? AND kind = 'Examined' ORDER BY sequence", (call_id,)
        ).fetchall()
    )
    return orjson.loads(rows[-1][0])["facts"]


async def test_it_is_asked_shown_and_runs_when_approved(bench: Bench) -> None:
    held = refusal(await query(bench, SQL)).approval
    assert held is not None
    ticket = await bench.approvals.get(held.id)
    assert ticket is not None
    text = describe(ticket)

    await bench.vote(held.id)
    ran = await query(bench, SQL)

    assert "inference: where range of pii.email" in text
    assert "infers: pii.email" in text
    assert "condition columns: public.people.email" in text
    assert "returned columns: public.people.id" in text
    assert "this tells what is masked" in text
    assert result(ran)["rows"] == [[1]]
    facts = await examined(bench, ran.call_id)
    assert (facts["inference"], facts["infers"]) == ({"where_range": ["pii.email"]}, ["pii.email"])
    assert (facts["returned_columns"], facts["condition_columns"]) == (["public.people.id"], ["public.people.email"])


async def test_a_class_that_the_caller_sees_is_no_matter_and_is_recorded_all_the_same(bench: Bench) -> None:
    bench.load(ASKING + SEEN_BY_DEV)

    ran = await query(bench, SQL)

    assert result(ran)["rows"] == [[1]]
    facts = await examined(bench, ran.call_id)
    assert (facts["inference"], facts["infers"]) == ({"where_range": ["pii.email"]}, [])


async def test_an_approval_does_not_hide_what_was_shown_for_it(bench: Bench) -> None:
    bench.load(ASKING + SEEN_IF_APPROVED)
    held = refusal(await query(bench, SQL)).approval
    assert held is not None
    await bench.vote(held.id)

    ran = await query(bench, SQL)

    assert result(ran)["rows"] == [[1]]
    assert (await examined(bench, ran.call_id))["infers"] == ["pii.email"]


async def test_an_approval_given_while_less_was_hidden_is_stale(bench: Bench) -> None:
    both = "SELECT id FROM people WHERE email < 'c' ORDER BY ssn"
    bench.load(ASKING + SEEN_BY_DEV)
    held = refusal(await query(bench, both)).approval
    assert held is not None
    await bench.vote(held.id)
    bench.load(ASKING)

    found = refusal(await query(bench, both))

    assert found.code == "approval_stale"
    assert found.approval is not None
    assert found.approval.id != held.id


async def test_an_approval_given_while_less_was_hidden_is_stale_if_the_policies_change_at_its_claim(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = "SELECT id FROM people WHERE email < 'c' ORDER BY ssn"
    bench.load(ASKING + SEEN_BY_DEV)
    held = refusal(await query(bench, both)).approval
    assert held is not None
    await bench.vote(held.id)
    examine = QueryDatabase.examine

    async def reloaded(self: QueryDatabase, *arguments: Any, fresh: bool = False, **named: Any) -> Any:
        if fresh:
            monkeypatch.setattr(MaskedFacts, "of", noting)
        return await examine(self, *arguments, fresh=fresh, **named)

    note = MaskedFacts.of

    async def noting(self: MaskedFacts, *arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(MaskedFacts, "of", note)
        bench.load(ASKING)
        return await note(self, *arguments, **named)

    monkeypatch.setattr(QueryDatabase, "examine", reloaded)
    found = refusal(await query(bench, both))

    assert found.code == "approval_stale"
    (ticket,) = await bench.live()
    assert ticket.id != held.id
    assert set(ticket.facts["infers"]) == {"pii.email", "pii.national_id"}


async def test_nothing_is_asked_where_nothing_is_told(bench: Bench) -> None:
    assert result(await query(bench, "SELECT count(*) FROM people WHERE id < 2"))["rows"] == [[1]]
