"""What the planner expects is a fact where a policy looks at it, and is asked only where asking runs nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import pytest
from mcp_gateway_tools.query_database import QueryDatabase

from mcp_gateway.audit.decided import DecidedCall, decided_since
from mcp_gateway.audit.search import opened
from mcp_gateway.masked_facts import MaskedFacts
from tests.roads import Bench, refusal, result
from tests.test_pipeline_inference import bench, examined, query

__all__ = ["bench"]

pytestmark = pytest.mark.anyio

LOOKING = """
@id("reads") permit (principal, action == Action::"query_database", resource);
@id("huge") @approval("dba") @reason("this reads very much")
forbid (principal, action == Action::"query_database", resource)
when { context.sql.planned_rows > 500 || context.sql.planned_rows < 0 }
unless { context.approval.by.contains("dba") };
"""
ASKED_FOR = """
@id("reads") permit (principal, action == Action::"query_database", resource);
@id("ask") @approval("dba") forbid (principal, action == Action::"query_database", resource)
unless { context.approval.by.contains("dba") };
"""
HUGE = "SELECT n FROM generate_series(1, 1000) AS g(n)"


async def inspected(bench: Bench, call_id: str) -> list[Any]:
    rows = await bench.store.read(
        lambda connection: connection.execute(
            "SELECT json_extract(body, '$.what') FROM events WHERE call_id = ? AND kind = 'Inspected'", (call_id,)
        ).fetchall()
    )
    return [row[0] for row in rows]


async def test_estimates_decide_and_are_recorded(bench: Bench) -> None:
    bench.load(LOOKING)
    small = await query(bench, "SELECT id FROM people WHERE id = 1")
    assert result(small)["rows"] == [[1]]
    facts = await examined(bench, small.call_id)
    assert (0 <= facts["planned_rows"] <= 500, facts["planned_cost"] > 0) == (True, True)
    assert "plan" in await inspected(bench, small.call_id)
    assert refusal(await query(bench, HUGE)).code == "approval_pending"


async def test_no_approval_is_bound_to_an_estimate(bench: Bench) -> None:
    bench.load(LOOKING)
    sql = "SELECT a.id FROM people a CROSS JOIN people b CROSS JOIN people c"
    pending = refusal(await query(bench, sql))
    assert pending.approval is not None
    await bench.vote(pending.approval.id)
    bench.load(LOOKING.replace("> 500", "> 400"))
    assert result(await query(bench, sql))["row_count"] == 8


@pytest.mark.parametrize(
    "sql", ["SELECT lo_get(1)", "SELECT nextval('s')", "SELECT id FROM people FOR UPDATE; SELECT 1"]
)
async def test_what_is_not_safe_to_plan_is_not_planned(bench: Bench, sql: str) -> None:
    bench.load(LOOKING)
    answer = await query(bench, sql)
    assert refusal(answer).code in {"approval_pending", "invalid_arguments"}
    assert "plan" not in await inspected(bench, answer.call_id)


async def test_nobody_is_asked_where_no_policy_looks(bench: Bench) -> None:
    ran = await query(bench, HUGE)
    assert result(ran)["row_count"] == 100
    assert "plan" not in await inspected(bench, ran.call_id)
    assert (await examined(bench, ran.call_id))["planned_rows"] == -1


async def test_a_planner_that_refuses_leaves_the_estimates_unknown(bench: Bench) -> None:
    bench.load(LOOKING)
    answer = await query(bench, "SELECT id FROM people WHERE id = $1")  # and no value for it
    assert refusal(answer).code == "approval_pending"
    assert (await examined(bench, answer.call_id))["planned_rows"] == -1


def reloading_after(
    monkeypatch: pytest.MonkeyPatch, owner: type[Any], name: str, bench: Bench, policies: str
) -> list[str]:
    """Put other policies into force right after the next time that `owner.name` has found something out."""
    untouched = getattr(owner, name)
    done: list[str] = []

    async def found_out(*arguments: Any, **named: Any) -> Any:
        found = await untouched(*arguments, **named)
        if not done:
            done.append(name)
            bench.load(policies)
        return found

    monkeypatch.setattr(owner, name, found_out)
    return done


async def events_of(bench: Bench, call_id: str) -> list[str]:
    return [kind for kind in await bench.kinds(call_id) if kind in {"Examined", "Decided", "Asked", "Started"}]


SEES_ESTIMATES = LOOKING.replace("> 500", "> 5000")
"""Asks where nothing is known, and not for what the statements here expect."""


async def test_policies_that_come_into_force_during_an_examination_have_the_estimates(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = reloading_after(monkeypatch, QueryDatabase, "examine", bench, SEES_ESTIMATES)
    small = await query(bench, "SELECT id FROM people WHERE id = 1")
    assert (done, result(small)["rows"]) == (["examine"], [[1]])
    assert await events_of(bench, small.call_id) == ["Examined", "Decided", "Started"]


async def test_policies_that_come_into_force_before_the_decision_have_the_estimates(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = reloading_after(monkeypatch, MaskedFacts, "of", bench, SEES_ESTIMATES)
    small = await query(bench, "SELECT id FROM people WHERE id = 1")
    assert (done, result(small)["rows"]) == (["of"], [[1]])
    assert await events_of(bench, small.call_id) == ["Examined", "Examined", "Decided", "Started"]
    assert (await inspected(bench, small.call_id)).count("plan") == 1
    with opened(bench.folder / "data") as connection:
        (call,) = [found for found in decided_since(connection, bench.clock.now) if isinstance(found, DecidedCall)]
    assert call.examined["facts"]["planned_rows"] >= 0, "what was decided by is what a replay decides by"


async def test_an_approver_is_shown_the_estimates_that_asked_for_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloading_after(monkeypatch, MaskedFacts, "of", bench, LOOKING)
    pending = refusal(await query(bench, HUGE))
    assert pending.approval is not None
    (ticket,) = await bench.live()
    assert ticket.facts["planned_rows"] > 500


async def test_policies_that_come_into_force_before_an_approval_is_used_have_the_estimates(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.load(ASKED_FOR)
    sql = "SELECT id FROM people WHERE id = 2"
    pending = refusal(await query(bench, sql))
    assert pending.approval is not None
    await bench.vote(pending.approval.id)
    unknown = (
        '@id("unknown") forbid (principal, action == Action::"query_database", resource)'
        " when { context.sql.planned_rows < 0 };"
    )
    done = reloading_after(monkeypatch, QueryDatabase, "preview", bench, ASKED_FOR + unknown)
    assert (result(await query(bench, sql))["rows"], done) == ([[2]], ["preview"])


async def test_an_estimate_that_cannot_be_had_in_time_refuses_the_call(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloading_after(monkeypatch, MaskedFacts, "of", bench, SEES_ESTIMATES)

    async def hangs(*_: Any, **__: Any) -> Any:
        await anyio.sleep_forever()

    monkeypatch.setattr(QueryDatabase, "plan", hangs)
    bench.road._parts = replace(bench.road._parts, examine_within=timedelta(seconds=2))
    answer = await query(bench, "SELECT id FROM people WHERE id = 1")
    assert refusal(answer).code == "limit_exceeded"
    assert "Started" not in await bench.kinds(answer.call_id)
