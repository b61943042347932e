"""`kill -9` while calls are held: a thousand that wait for people, and forms that somebody has open (R2)."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import httpx2
import orjson
import pytest
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from mcp_gateway.identity.local import LocalPerson
from tests.faults.gateways import PEOPLE, POLICY, BrokenOffError, Gateway, Targets, standing
from tests.faults.sizes import times
from tests.faults.wire import call_body, call_headers, said
from tests.invariants.world import World
from tests.private import write_private

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

EACH = 20
"""As many as one caller may have pending."""
CALLERS = times(commit=3, full=50)
CROWD = {f"dev{number}": LocalPerson(groups=frozenset({"dev"})) for number in range(CALLERS)}
OWN_POLICY = f"""{POLICY}
@id("puts-are-confirmed") @approval("caller")
forbid (principal, action == Action::"call_api", resource) when {{ context.http.method == "PUT" }}
unless {{ context.approval.by.contains("caller") }};
"""


def post(number: int) -> dict[str, Any]:
    return {"target": "api", "path": f"{number}", "method": "POST"}


async def wait_for_yes(gateway: Gateway, http: httpx2.AsyncClient, number: int, broken: list[int]) -> None:
    try:
        await gateway.call("call_api", post(number), http=http)
    except BrokenOffError:
        broken.append(number)


def pending(gateway: Gateway) -> dict[str, list[str]]:
    """The approvals that were asked, by the person who asked, in the order in which they were."""
    store = gateway.store()
    found: dict[str, list[str]] = {}
    for row in store.rows:
        if row.kind == "Asked":
            (identified,) = store.of(row.call_id, "Identified")
            found.setdefault(identified.body["subject"], []).append(row.body["approval_id"])
    return found


@pytest.mark.requirement("R2", "I4")
@pytest.mark.early
async def test_nothing_that_was_held_runs_after_a_kill_without_a_decision(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    count = CALLERS * EACH
    patient = 'answer_within = "10m"\nmax_connections = 4000\nmax_connections_per_address = 4000'
    people = {**PEOPLE, **CROWD}
    async with standing(
        tmp_path / "gateway", targets, world=world, people=people, server=patient, wait="9m"
    ) as gateway:
        await gateway.start()
        broken: list[int] = []
        async with anyio.create_task_group() as group:
            clients = {name: gateway.client(name) for name in CROWD}
            for http in clients.values():
                for number in range(EACH):
                    group.start_soon(wait_for_yes, gateway, http, number, broken)
            with anyio.fail_after(300):
                while sum(map(len, pending(gateway).values())) < count:
                    await anyio.sleep(0.5)
            await gateway.kill()
        assert len(broken) == count
        for http in clients.values():
            await http.aclose()
        assert targets.api.requests == []

        gateway.config.write_text(gateway.config.read_text().replace('wait = "9m"', 'wait = "0s"'))
        await gateway.start()
        held = pending(gateway)
        assert await again(gateway, held) == Counter({"approval_pending": count})
        assert targets.api.requests == []

        # A decision that is made now counts, for each its own.
        async with gateway.approver() as dana:
            for ids in held.values():
                for at, approval in enumerate(ids):
                    if at % 4 < 2:
                        move = ("approve", "deny")[at % 4]
                        assert (await dana.post(f"/api/approvals/{approval}/{move}")).status_code == 200
        quarter = count // 4
        expected = Counter({"ok": quarter, "approval_denied": quarter, "approval_pending": count - 2 * quarter})
        assert await again(gateway, held) == expected
        assert len(targets.api.requests) == quarter
        expected["already_run"] = expected.pop("ok")
        await gateway.kill()
        await gateway.start()
        assert await again(gateway, held) == expected
        assert len(targets.api.requests) == quarter
        await gateway.end()


async def again(gateway: Gateway, held: dict[str, list[str]]) -> Counter[str]:
    """What everybody is answered who calls again."""
    codes: list[str] = []

    async def call(name: str) -> None:
        async with gateway.client(name) as http:
            codes.extend([await gateway.code("call_api", post(number), http=http) for number in range(EACH)])

    async with anyio.create_task_group() as group:
        for name in held:
            group.start_soon(call, name)
    return Counter(codes)


@pytest.mark.requirement("R2", "R13")
async def test_a_form_that_was_open_at_the_kill_counts_with_its_key_and_not_without(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        write_private(gateway.folder / "policy.cedar", OWN_POLICY)
        await gateway.start()
        kept, lost = await form(gateway, "kept"), await form(gateway, "lost")
        await gateway.kill()
        await gateway.start()

        assert not (await confirm(gateway, "kept", kept))["isError"]
        assert code(await confirm(gateway, "kept", kept)) == "already_run"
        assert len(targets.api.requests) == 1

        await gateway.kill()
        (gateway.data / "state.key").write_bytes(os.urandom(32))
        await gateway.start()

        for state in (lost, kept):
            assert "error" in await confirm(gateway, "lost", state)
        assert len(targets.api.requests) == 1
        assert not (await confirm(gateway, "lost", await form(gateway, "lost")))["isError"]
        assert len(targets.api.requests) == 2
        await gateway.end()


async def form(gateway: Gateway, path: str) -> str:
    """The state of the form that a call opens."""
    opened = await confirm(gateway, path, None)
    assert opened["resultType"] == "input_required"
    return str(opened["requestState"])


def code(answered: dict[str, Any]) -> str:
    return str(answered["structuredContent"]["error"]["code"])


async def confirm(gateway: Gateway, path: str, state: str | None) -> dict[str, Any]:
    """Call as a client that shows forms, with a yes to one or without; its result, or the error of the protocol."""
    message = orjson.loads(call_body("call_api", {"target": "api", "path": path, "method": "PUT"}))
    if state is not None:
        message["params"] |= {"requestState": state, "inputResponses": {"confirm": {"action": "accept"}}}
    message["params"]["_meta"][CLIENT_CAPABILITIES_META_KEY] = {"elicitation": {"form": {}}}
    async with gateway.client() as http:
        answer = await http.post("/mcp", content=orjson.dumps(message), headers=call_headers("call_api"))
    found: dict[str, Any] = orjson.loads(said(answer.text, answer.headers.get("content-type", "")))
    result: dict[str, Any] = found.get("result", found)
    return result
