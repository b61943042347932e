"""Revoking one person, one target or everything while calls run, wait for people and come in all the time (R42)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.faults.gateways import QUERY, REQUEST, BrokenOffError, Gateway, Targets, standing
from tests.faults.sizes import FULL, times
from tests.invariants.world import Store, World

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800)]

EFFECTIVE, CANCELLED = timedelta(seconds=1), timedelta(seconds=2)
SLACK = timedelta(0) if FULL else timedelta(seconds=8)
"""For a busy machine: with every commit it is shown that calls end, in full that they end in time."""
FLOODING = times(commit=2, full=32)
STANDING = """
SELECT count(*) FROM events AS r WHERE r.kind = 'Received' AND r.body ->> '$.reason' = ?
AND EXISTS (SELECT 1 FROM events AS e WHERE e.call_id = r.call_id AND e.kind IN ('Started', 'Asked'))
AND NOT EXISTS (SELECT 1 FROM events AS e WHERE e.call_id = r.call_id AND e.kind = 'Answered')
"""


class Call:
    """A call as the store has it."""

    def __init__(self, store: Store, call_id: str) -> None:
        self.rows = store.of(call_id)
        received = store.of(call_id, "Received")[0].body
        self.who = store.of(call_id, "Identified")[0].body["subject"]
        self.target, self.reason = received["target"], received["reason"]

    def at(self, *kinds: str) -> datetime | None:
        return next((datetime.fromisoformat(row.at) for row in self.rows if row.kind in kinds), None)


Reaches = Callable[[Call], bool]
SWITCHES: Mapping[str, tuple[tuple[str, ...], Reaches]] = {
    "person": (("subject", "alex"), lambda call: call.who == "alex"),
    "target": (("target", "api"), lambda call: call.target == "api"),
    "all": (("all",), lambda call: True),
}
"""What is revoked, and which calls that reaches."""


def long_calls(number: int) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Three that run until they are ended, and two that wait for an approval; no others than in another round."""
    return (
        ("query_database", {"target": "db", "sql": "SELECT pg_sleep(19)"}),
        ("run_ssh_command", {"target": "host", "argv": ["sleep", "19"]}),
        ("call_api", {"target": "api", "path": "x"}),
        ("query_database", {"target": "db", "sql": f"DELETE FROM notes WHERE id = -{number}"}),
        ("call_api", {"target": "api", "path": f"{number}", "method": "POST"}),
    )


LEFT = {"person": 5, "target": 6, "all": 0}
"""How many of both people's long calls a switch does not reach."""


async def until_standing(gateway: Gateway, enough: Callable[[int], bool], *, reason: str) -> None:
    """Wait until enough calls with this reason run or wait for people, or few enough."""
    with anyio.fail_after(60), closing(sqlite3.connect(f"file:{gateway.data / 'audit.db'}?mode=ro", uri=True)) as rows:
        while not enough(rows.execute(STANDING, (reason,)).fetchone()[0]):
            await anyio.sleep(0.1)


async def flood(gateway: Gateway, person: str) -> None:
    """Call without a pause."""
    async with gateway.client(person) as http:
        while True:
            try:
                await gateway.call(*QUERY, http=http)
            except BrokenOffError:
                return


async def long_call(gateway: Gateway, tool: str, arguments: dict[str, Any], person: str) -> None:
    await gateway.call(tool, arguments, person=person)


@pytest.mark.requirement("R42")
async def test_a_kill_switch_ends_what_runs_and_what_waits_under_load(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    patient = 'answer_within = "10m"'
    async with standing(tmp_path / "gateway", targets, world=world, wait="9m", server=patient) as gateway:
        await gateway.start()
        for number, switch in enumerate([*SWITCHES] * times(commit=1, full=3)):
            what, reaches = SWITCHES[switch]
            reason = f"round {number}"
            targets.api.stall = True
            async with anyio.create_task_group() as group:
                for person in ("alex", "sam"):
                    for tool, arguments in long_calls(number):
                        group.start_soon(long_call, gateway, tool, {**arguments, "reason": reason}, person)
                await until_standing(gateway, lambda count: count == 10, reason=reason)
                for each in range(FLOODING):
                    group.start_soon(flood, gateway, ("alex", "sam")[each % 2])

                ran = await gateway.command("revoke", *what, "--note", reason)

                assert (ran.status, ran.err) == (0, "")
                await until_standing(gateway, lambda count, switch=switch: count <= LEFT[switch], reason=reason)  # type: ignore[misc]  # mypy infers no default of a lambda
                check(gateway.store(), reason=reason, reaches=reaches)
                group.cancel_scope.cancel()
            targets.api.stall = False
            await gateway.command("revoke", *what, "--lift")
            assert [await gateway.code(*call, person="alex") for call in (QUERY, REQUEST)] == ["ok", "ok"]


def check(store: Store, *, reason: str, reaches: Reaches) -> None:
    """What was reached ended in time, nothing of it started later, and the rest went on."""
    (revoked,) = [row for row in store.rows if row.kind == "Revoked" and row.body["note"] == reason]
    assert revoked.body["by"]
    since = datetime.fromisoformat(revoked.at)
    calls = [Call(store, call_id) for call_id in store.calls() if store.of(call_id, "Identified")]
    ends = [(call.at("Cancelled") or call.at("Refused"), call) for call in calls if call.reason == reason]
    late = {
        kind: max([end - since for end, call in ends if end and (call.at("Started") is None) is kind], default=None)
        for kind in (True, False)
    }
    print(f"{reason}: what waited ended within {late[True]}, what ran within {late[False]}")
    for call in calls:
        started = call.at("Started")
        if call.reason == reason:
            ended = call.at("Cancelled") if started is not None else call.at("Refused")
            assert (ended is not None) is reaches(call), call.rows
            if ended is not None:
                assert ended - since <= (EFFECTIVE if started is None else CANCELLED) + SLACK, call.rows
        elif reaches(call) and started is not None and not call.reason:
            assert started - since <= EFFECTIVE + SLACK, call.rows
