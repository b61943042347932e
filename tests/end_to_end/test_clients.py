"""Real clients against the real process: `fastmcp` and the SDK's own, on every transport, in both eras."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import orjson
import pytest

from tests.end_to_end.agents import LEGACY, MODERN, Action, Said, Way, connected
from tests.end_to_end.gateways import ADA, DBA, Backends, Gateway, backends, running_gateway, world
from tests.peers.oidc_provider import APPROVER
from tests.plain_http import plain_client
from tests.waiting import until

__all__ = ["backends", "world"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

FASTMCP = [
    Way(client="fastmcp", transport="http", protocol=MODERN),
    Way(client="fastmcp", transport="http", protocol=LEGACY),
    Way(client="fastmcp", transport="sse", protocol=LEGACY),
    Way(client="fastmcp", transport="stdio", protocol=MODERN),
    Way(client="fastmcp", transport="stdio", protocol=LEGACY),
]
SDK = [
    Way(client="sdk", transport="sse", protocol=MODERN),
    Way(client="sdk", transport="http", protocol=MODERN),
    Way(client="sdk", transport="http", protocol=LEGACY),
    Way(client="sdk", transport="sse", protocol=LEGACY),
    Way(client="sdk", transport="stdio", protocol=MODERN),
]
every_way = pytest.mark.parametrize("way", FASTMCP + SDK, ids=str)

MAX_LIST_BYTES = 4096


@pytest.fixture(scope="module")
def gateway(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose calls wait long enough to be decided meanwhile."""
    folder: Path = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, backends, wait="100s") as found:
        yield found


def approver(gateway: Gateway) -> httpx2.AsyncClient:
    """What the DBA decides with."""
    token = gateway.backends.token(DBA, client=APPROVER)
    return plain_client(base_url=gateway.url, headers={"authorization": f"Bearer {token}"})


@every_way
async def test_an_agent_lists_calls_and_is_refused(gateway: Gateway, way: Way) -> None:
    async with connected(gateway, way) as agent:
        tools = await agent.list_tools()
        targets = await agent.call("list_targets")
        found = await agent.call("query_database", target="orders", sql="SELECT name, email FROM customers ORDER BY id")
        wrong = await agent.call("query_database", target="orders", sql="SELECT 1; DROP TABLE customers")

    assert agent.protocol == way.protocol
    assert [tool.name for tool in tools] == ["list_targets", "call_api", "query_database", "run_ssh_command"]
    listed = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
    assert len(orjson.dumps(listed)) < MAX_LIST_BYTES
    assert [target["name"] for target in targets.content["targets"]] == ["metrics", "orders", "scratch", "web1"]
    assert (found.code, [row[0] for row in found.content["rows"]]) == ("ok", ["Ada", "Ben"])
    assert found.content["masked"] == {"pii.email": 2}
    assert ADA[0] not in found.text
    assert wrong.code == "invalid_arguments"
    error = wrong.content["error"]
    assert wrong.text == f"{error['message']}. Next: {error['next']}"


@pytest.mark.parametrize("way", [way for way in FASTMCP if way.transport == "stdio"], ids=str)
async def test_without_a_token_everything_is_listed_and_nothing_answers(gateway: Gateway, way: Way) -> None:
    async with connected(gateway, way, person=None) as agent:
        tools = await agent.list_tools()
        answers = [
            await agent.call("list_targets"),
            await agent.call("query_database", target="orders", sql="SELECT 1"),
        ]

    assert len(tools) == 4
    assert [answer.code for answer in answers] == ["identity_required", "identity_required"]
    assert [gateway.kinds(answer.call_id) for answer in answers] == [["Received", "Refused", "Answered"]] * 2


@every_way
async def test_the_callers_human_confirms_in_a_form(gateway: Gateway, way: Way) -> None:
    asked: list[str] = []

    def confirm(message: str) -> Action:
        asked.append(message)
        return "accept" if "yes, please" in message else "decline"

    async with connected(gateway, way, confirm=confirm) as agent:
        accepted = await agent.call(
            "query_database", target="scratch", sql=f"UPDATE notes SET done = 'yes, please, {way}'"
        )
        declined = await agent.call("query_database", target="scratch", sql=f"UPDATE notes SET done = 'no, {way}'")

    assert (accepted.code, declined.code) == ("ok", "approval_denied")
    assert len(asked) == 2
    assert f"UPDATE notes SET done = 'yes, please, {way}'" in asked[0]
    done = gateway.backends.scratch.execute("SELECT DISTINCT done FROM notes")
    assert done == [(f"yes, please, {way}",)]


async def test_a_call_that_waits_tells_its_progress_and_runs_at_the_yes(gateway: Gateway) -> None:
    """All ways at once: progress comes some seconds apart."""
    told: dict[Way, list[tuple[float, float | None, str | None]]] = {way: [] for way in FASTMCP + SDK}
    answers: dict[Way, Said] = {}

    async def wait(way: Way) -> None:
        async def note(progress: float, total: float | None, message: str | None) -> None:
            told[way].append((progress, total, message))

        async with connected(gateway, way) as agent:
            sql = f"INSERT INTO refunds VALUES (1, 0.5) RETURNING '{way}'"
            answers[way] = await agent.call("query_database", progress=note, target="orders", sql=sql)

    with anyio.fail_after(150):
        async with anyio.create_task_group() as group, approver(gateway) as dana:
            for way in told:
                group.start_soon(wait, way)
            while not all(told.values()):
                await anyio.sleep(0.05)
            listed = (await dana.get("/api/approvals")).json()
            for held in listed:
                assert (await dana.post(f"/api/approvals/{held['id']}/approve")).status_code == 200

    assert len(listed) == len(told)
    for way, ((done, total, message), *_) in told.items():
        assert 0 < done < 100 == total, way
        assert message == "waiting for approval: 1 of dba"
        assert (answers[way].code, answers[way].content["rows"]) == ("ok", [[str(way)]])
    assert gateway.backends.orders.execute("SELECT count(*) FROM refunds") == [(len(told),)]


@pytest.mark.requirement("R9")
@every_way
async def test_a_call_that_the_client_cancels_ends_at_the_target(gateway: Gateway, way: Way) -> None:
    scratch = gateway.backends.scratch
    sleep = f'SELECT pg_sleep(600) AS "{way}"'

    def running() -> list[Any]:
        return scratch.execute(
            "SELECT application_name FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'active' AND query = %s",
            [sleep],
        )

    async with connected(gateway, way) as agent, anyio.create_task_group() as group:

        async def call() -> None:
            await agent.call("query_database", target="scratch", sql=sleep)

        group.start_soon(call)
        ((name,),) = await until(running)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await until(lambda: not running())
            call_id = name.removeprefix("mcp-gateway/")
            await until(lambda: gateway.kinds(call_id)[-1] == "Answered")

    assert gateway.kinds(call_id)[-3:] == ["Started", "Cancelled", "Answered"]
