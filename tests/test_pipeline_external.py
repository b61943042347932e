"""What policy does not deny, an external decision point may: asked at every decision, and nothing runs without its word."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from mcp_gateway.calls import JSONObject
from mcp_gateway.policy.external import Opinion, OpinionError
from tests.invariants.fixtures import tasks_return, world
from tests.invariants.world import World
from tests.roads import POLICIES, POST, Bench, asked, laid, refusal, result

__all__ = ["tasks_return", "world"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("I1", "I7", "R28")]


@dataclass
class Point:
    """A decision point that a test speaks for."""

    says: Callable[[JSONObject], Opinion] = lambda _: Opinion(said="allow")
    asked: list[JSONObject] = field(default_factory=list)

    async def ask(self, document: JSONObject) -> Opinion:
        self.asked.append(document)
        return self.says(document)


@asynccontextmanager
async def bench(
    tmp_path: Path, says: Callable[[JSONObject], Opinion], **more: Any
) -> AsyncIterator[tuple[Bench, Point]]:
    point = Point(says=says)
    async with laid(tmp_path, decision_point=point, **more) as found:
        yield found, point


async def decided(bench: Bench, call_id: str) -> list[dict[str, Any]]:
    query = "SELECT body FROM events WHERE call_id = ? AND kind = 'Decided' ORDER BY sequence"
    rows = await bench.store.read(lambda connection: connection.execute(query, (call_id,)).fetchall())
    return [orjson.loads(row[0]) for row in rows]


async def test_its_no_counts_and_is_recorded(tmp_path: Path) -> None:
    async with bench(tmp_path, lambda _: Opinion(said="deny", reason="not on Sundays")) as (road, point):
        found = await road.call()
        assert refusal(found).message == "policy does not allow this call: not on Sundays"
        (body,) = await decided(road, found.call_id)
        assert (body["decision"], body["policies"], body["external"]) == (
            "deny",
            ["opa:external"],
            {
                "decision": "deny",
                "reason": "not on Sundays",
                "cedar": {"decision": "allow", "policies": ["reads"]},
            },
        )
        assert road.api.requests == []
    assert point.asked[0]["facts"]["method"] == "GET"


async def test_its_yes_opens_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path, lambda _: Opinion(said="allow")) as (road, point):
        assert result(await road.call())["text"] == "ok"
        assert await road.code({"method": "DELETE"}) == "denied"
        assert await road.code(POST) == "approval_pending"
    assert [document["cedar"]["decision"] for document in point.asked] == ["allow", "ask"]


@pytest.mark.parametrize(
    ("says", "would"),
    [("allow", {"decision": "deny", "policies": ["later"]}), ("deny", {"decision": "deny", "policies": ["later"]})],
)
async def test_what_shadows_would_come_to_is_told_beside_its_word(
    tmp_path: Path, says: Any, would: dict[str, Any]
) -> None:
    later = '@id("later") @mode("shadow") forbid (principal, action, resource) when { context has http && context.http.path like "*y" };'
    async with bench(tmp_path, lambda _: Opinion(said=says), policies=POLICIES + later) as (road, _):
        found = [await road.call(), await road.call({"path": "y"})]
        bodies = [(await decided(road, one.call_id))[0] for one in found]
    assert [body["decision"] for body in bodies] == [says, says]
    assert [body["shadow"] for body in bodies] == [None, would]


async def test_whom_it_asks_for_has_to_agree(tmp_path: Path) -> None:
    async with bench(tmp_path, lambda _: Opinion(said="ask", reason="hm", approvers={"ops": 1})) as (road, point):
        pending = refusal(await road.call())
        assert pending.code == "approval_pending"
        assert pending.approval is not None
        assert pending.approval.approvers == ("ops",)
        await road.vote(pending.approval.id, "olga", "ops")
        assert await road.code() == "ok"
    assert point.asked[-1]["approval"] == {"by": ["ops"], "approvers": 1}


async def test_one_that_changes_its_mind_after_the_approval_is_heard(tmp_path: Path) -> None:
    def says(document: JSONObject) -> Opinion:
        return Opinion(said="deny" if document["approval"]["by"] else "ask", approvers={"ops": 1})

    async with bench(tmp_path, says) as (road, _):
        pending = refusal(await road.call())
        assert pending.approval is not None
        await road.vote(pending.approval.id, "olga", "ops")
        assert await road.code() == "denied"
        assert road.api.requests == []


@pytest.mark.parametrize("observed", [False, True])
async def test_without_its_word_nothing_runs_even_where_policy_is_observed(tmp_path: Path, observed: bool) -> None:
    def says(_: JSONObject) -> Opinion:
        raise OpinionError("the decision point did not answer within 1 s")

    async with bench(tmp_path, says, observed=observed) as (road, _):
        found = await road.call()
        assert refusal(found).code == "denied"
        (body,) = await decided(road, found.call_id)
        assert body["error"] == body["external"]["error"] == "the decision point did not answer within 1 s"
        assert road.api.requests == []


async def test_policies_that_come_into_force_while_it_is_asked_decide(tmp_path: Path) -> None:
    later = '@id("later") forbid (principal, action == Action::"call_api", resource);'
    loaded: list[str] = []

    def says(_: JSONObject) -> Opinion:
        if not loaded:
            loaded.append(POLICIES + later)
            road.load(loaded[0])
        return Opinion(said="allow")

    async with bench(tmp_path, says) as (road, point):
        found = await road.call()
        assert refusal(found).code == "denied"
        (body,) = await decided(road, found.call_id)
        assert (body["policies"], body["policy_version"]) == (["later"], road.engines[-1].version)
        assert (len(point.asked), road.api.requests) == (1, [])


async def test_policies_that_never_hold_still_let_nothing_run(tmp_path: Path) -> None:
    def says(_: JSONObject) -> Opinion:
        road.load(POLICIES + f'@id("n{len(road.engines)}") forbid (principal == Caller::"x", action, resource);')
        return Opinion(said="allow")

    async with bench(tmp_path, says) as (road, _):
        found = refusal(await road.call())
        assert (found.code, found.message) == (
            "limit_exceeded",
            "policies kept changing while this call was decided on",
        )
        assert road.api.requests == []


async def test_one_that_breaks_refuses_the_call(tmp_path: Path, world: World) -> None:
    world.expected_errors = frozenset({"internal"})

    def says(_: JSONObject) -> Opinion:
        raise RuntimeError("broken")

    async with bench(tmp_path, says) as (road, _):
        assert await road.code() == "internal"
        assert road.api.requests == []


@pytest.mark.requirement("R42")
async def test_an_approver_who_is_revoked_while_it_is_asked_counts_no_more(tmp_path: Path) -> None:
    async with bench(tmp_path, lambda _: Opinion(said="allow")) as (road, point):
        approval = await asked(road)
        await road.vote(approval)

        class Slow(Point):
            async def ask(self, document: JSONObject) -> Opinion:
                if document["approval"]["by"]:
                    await road.revocations.revoke(what="subject", value="dana", by="ops")
                return await super().ask(document)

        point.__class__ = Slow
        assert await road.code(POST) == "approval_stale"
        assert road.api.requests == []


async def test_it_is_told_what_was_done_before_though_no_policy_looks_at_it(tmp_path: Path) -> None:
    def says(document: JSONObject) -> Opinion:
        return Opinion(said="deny" if document["usage"]["calls_1h"] >= 2 else "allow")

    async with bench(tmp_path, says) as (road, point):
        assert not road.engines[-1].looks_at_history
        assert [await road.code() for _ in range(3)] == ["ok", "ok", "denied"]
    assert [document["agent_usage"]["calls_1m"] for document in point.asked] == [0, 1, 2]
    assert point.asked[-1]["usage"]["bytes_24h"] > 0
