"""A hundred people who approve and deny the same call at once, while its agent tries to run it (R11, R39)."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from mcp_gateway.identity.local import LocalPerson
from tests.faults.gateways import PEOPLE, Gateway, Targets, standing
from tests.faults.sizes import long, times
from tests.invariants.world import Store, World

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3600)]

DECISIONS = 100
APPROVERS = 10
"""Each of them clicks on both, and more than once."""
RETRIES = 3
SIGN_IN_AFTER = 20
"""Rounds: who decides has signed in within the last 5 minutes."""
DBAS = {f"dba{number}": LocalPerson(groups=frozenset({"dba"})) for number in range(APPROVERS)}


async def decide(
    http: httpx2.AsyncClient, approval: str, move: str, answers: list[tuple[str, httpx2.Response]]
) -> None:
    answers.append((move, await http.post(f"/api/approvals/{approval}/{move}")))


async def retry(gateway: Gateway, http: httpx2.AsyncClient, call: dict[str, Any], codes: list[str]) -> None:
    codes.append(await gateway.code("call_api", call, http=http))


@pytest.mark.requirement("R11", "R39", "I4")
@long(minutes=6)
async def test_one_decision_wins_whoever_clicks_and_the_rest_are_told_who(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    async with standing(tmp_path / "gateway", targets, world=world, people={**PEOPLE, **DBAS}) as gateway:
        await gateway.start()
        rounds = times(commit=2, full=1000)
        for first in range(0, rounds, SIGN_IN_AFTER):
            async with AsyncExitStack() as stack:
                people = [await stack.enter_async_context(gateway.approver(person)) for person in DBAS]
                for number in range(first, min(first + SIGN_IN_AFTER, rounds)):
                    await race(gateway, people, {"target": "api", "path": f"{number}", "method": "POST"})
        await gateway.end()
    store = gateway.store()
    asked = [row.body["approval_id"] for row in store.rows if row.kind == "Asked"]
    assert len(asked) == rounds
    for approval in asked:
        check(store, approval)
    assert len(targets.api.requests) == sum(row.kind == "Claimed" for row in store.rows)


async def race(gateway: Gateway, people: list[httpx2.AsyncClient], call: dict[str, Any]) -> None:
    """Decide in every way at once; what each was answered fits one order in which they came."""
    answers: list[tuple[str, httpx2.Response]] = []
    codes: list[str] = []
    async with gateway.client() as agent:
        held = await gateway.call("call_api", call, http=agent)
        approval = held["approval"]["id"]
        async with anyio.create_task_group() as group:
            for number in range(DECISIONS):
                http, move = people[number % len(people)], ("approve", "deny")[number // len(people) % 2]
                group.start_soon(decide, http, approval, move, answers)
                if number % (DECISIONS // RETRIES) == 0:
                    group.start_soon(retry, gateway, agent, call, codes)
    final = (await people[0].get(f"/api/approvals/{approval}")).json()
    won = Counter(move for move, answer in answers if answer.status_code == 200)
    lost = [answer.json() for _, answer in answers if answer.status_code == 409]
    assert len(lost) == DECISIONS - won.total()
    assert (won["approve"] <= 1, won["deny"] <= 1) == (True, True)
    assert codes.count("ok") == (final["state"] == "consumed")
    assert final["state"] in {"denied", "consumed"}, "a no wins, unless the call has run"
    for said in lost:
        assert said["state"] in {"approved", "denied", "consumed"}
        winner = "" if said["state"] == "consumed" else " by local|dba" if said["state"] == "denied" else " by "
        assert f"the approval is {said['state']}{winner}" in said["error"], said


def check(store: Store, approval: str) -> None:
    """Each decision is on record once, with who and when, whether it counted or not."""
    kinds = Counter(row.kind for row in store.history(approval))
    assert kinds["Approved"] <= 1
    assert kinds["ApprovalDenied"] + kinds["ApprovalRevoked"] + kinds["Claimed"] == 1
    counted = kinds["Approved"] + kinds["ApprovalDenied"] + kinds["ApprovalRevoked"]
    assert counted + kinds["DecisionRefused"] == DECISIONS
    for row in store.history(approval):
        if row.kind in {"Approved", "ApprovalDenied"}:
            assert row.body["approver"].partition("|")[2] in DBAS
        if row.kind in {"DecisionRefused", "ApprovalRevoked"}:
            assert row.body["by"].partition("|")[2] in DBAS
