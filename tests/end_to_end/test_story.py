"""The main story through the whole: an agent reads, wants to change things, a person decides, it runs once, all is on record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from mcp_gateway.audit.verify import verify
from tests.cli.running import Ran
from tests.end_to_end.agents import MODERN, Way, connected
from tests.end_to_end.gateways import ADA, DBA, HUMAN, Backends, Gateway, backends, running_gateway, world
from tests.invariants.world import read_store
from tests.peers.oidc_provider import AGENT, APPROVER, running_oidc_provider
from tests.plain_http import plain_client

__all__ = ["backends", "world"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

WAY = Way(client="fastmcp", transport="http", protocol=MODERN)


@pytest.fixture(scope="module")
def gateway(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that answers `approval_pending` at once."""
    folder: Path = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, backends, wait="0s") as found:
        yield found


async def command(gateway: Gateway, *arguments: str, person: str | None = None) -> Ran:
    """Run `mcp-gateway` in a thread: the agent stays connected meanwhile."""
    return await anyio.to_thread.run_sync(partial(gateway.command, *arguments, person=person))


async def test_an_operator_checks_the_configuration_and_what_stands_behind_it(gateway: Gateway) -> None:
    checked = await command(gateway, "check")
    tested = await command(gateway, "targets", "test", "--json")

    assert (checked.status, tested.status) == (0, 0), checked.err + tested.err
    answers = {target["id"]: target["answer"] for target in tested.json if target["ok"]}
    assert sorted(answers) == ["metrics", "orders", "scratch", "web1"]
    assert answers["web1"].startswith("SSH-2.0-OpenSSH")
    assert answers["scratch"].startswith("PostgreSQL 18")
    assert answers["orders"].startswith("PostgreSQL")


async def test_an_agent_reads_a_database_a_host_and_an_api(gateway: Gateway) -> None:
    await anyio.to_thread.run_sync(gateway.backends.metrics.until_up)
    sql = "SELECT id, lower(email) AS mail, reverse(ssn), city FROM customers ORDER BY id"
    async with connected(gateway, WAY) as agent:
        customers = await agent.call("query_database", target="orders", sql=sql)
        system = await agent.call("run_ssh_command", target="web1", argv=["uname", "-s"])
        up = await agent.call("call_api", target="metrics", path="/query", query={"query": "up"})

    columns = customers.content["columns"]
    assert [(column["name"], column["masked"]) for column in columns] == [
        ("id", []), ("mail", ["pii.email"]), ("reverse", ["pii.national_id"]), ("city", []),
    ]  # fmt: skip
    assert [(row[0], row[3]) for row in customers.content["rows"]] == [(1, "Oslo"), (2, "Busan")]
    for kept in (*ADA, ADA[1][::-1]):
        assert kept not in customers.text
    assert (system.content["exit_status"], system.content["stdout"]) == (0, "Linux\n")
    assert up.content["status"] == 200
    (sample,) = up.content["json"]["data"]["result"]
    assert (sample["metric"]["job"], sample["value"][1]) == ("itself", "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """A call that waits for a person, and how often it has taken effect."""

    tool: str
    arguments: dict[str, Any]
    group: str
    effects: Callable[[], int]


def refund(gateway: Gateway) -> Risk:
    def effects() -> int:
        ((count,),) = gateway.backends.orders.execute("SELECT count(*) FROM refunds WHERE amount = 12.5")
        return int(count)

    sql = "INSERT INTO refunds SELECT id, 12.50 FROM customers WHERE name = $1"
    arguments = {"target": "orders", "sql": sql, "params": ["Ada"]}
    return Risk(tool="query_database", arguments=arguments, group="dba", effects=effects)


def append(gateway: Gateway) -> Risk:
    path = gateway.folder / "appended"

    def effects() -> int:
        return len(path.read_text().splitlines()) if path.exists() else 0

    arguments = {"target": "web1", "command": f"echo ran >> {path}"}
    return Risk(tool="run_ssh_command", arguments=arguments, group="ops", effects=effects)


def snapshot(gateway: Gateway) -> Risk:
    metrics, before = gateway.backends.metrics, len(gateway.backends.metrics.snapshots())
    arguments = {"target": "metrics", "method": "POST", "path": "admin/tsdb/snapshot"}
    return Risk(tool="call_api", arguments=arguments, group="ops", effects=lambda: len(metrics.snapshots()) - before)


def kinds(events: Iterable[str]) -> list[str]:
    """What happened to a call; whether the catalog had to be looked at is a matter of time."""
    return [kind for kind in events if kind != "Inspected"]


@pytest.mark.requirement("I1", "I4", "R13")
@pytest.mark.parametrize("risky", [refund, append, snapshot])
async def test_a_risky_call_is_held_approved_by_a_person_and_runs_once(
    gateway: Gateway, risky: Callable[[Gateway], Risk]
) -> None:
    risk = risky(gateway)
    async with connected(gateway, WAY) as agent:
        held = await agent.call(risk.tool, **risk.arguments, reason="the customer asked")
        approval = held.content["error"]["approval"]["id"]
        where = (approval, "--url", gateway.url)
        own = await command(gateway, "approvals", "approve", *where, person=HUMAN)
        assert risk.effects() == 0
        shown = await command(gateway, "approvals", "show", *where, "--json", person=DBA)
        approved = await command(gateway, "approvals", "approve", *where, "--note", "go ahead", person=DBA)
        assert risk.effects() == 0
        ran = await agent.call(risk.tool, **risk.arguments, reason="the customer asked")
        again = await agent.call(risk.tool, **risk.arguments)

    assert (held.code, ran.code, again.code) == ("approval_pending", "ok", "already_run")
    assert risk.effects() == 1
    assert (own.status, own.err) == (1, "mcp-gateway: nobody approves their own call\n")
    assert (approved.status, approved.out) == (0, f"{approval} is approved\n")
    assert (shown.json["subject"], shown.json["agent"], shown.json["email"]) == (HUMAN, AGENT, "alex@example.com")
    assert (shown.json["needs"], shown.json["reason"]) == ({risk.group: 1}, "the customer asked")

    asked = await anyio.to_thread.run_sync(gateway.events, held.call_id)
    rows = read_store(gateway.data).of
    done, repeated = rows(ran.call_id), rows(again.call_id)
    begins = ["Received", "Identified", "Examined", "Decided"]
    assert kinds(event["kind"] for event in asked) == [*begins, "Asked", "Answered", "DecisionRefused", "Approved"]
    assert asked[-2]["body"]["cause"] == "nobody approves their own call"
    assert kinds(row.kind for row in done) == [
        *begins,
        "Examined",
        "Decided",
        "Claimed",
        "Started",
        "Finished",
        "Answered",
    ]
    assert kinds(row.kind for row in repeated) == [*begins, "Answered"]
    by, claimed = asked[-1]["body"], done[-4].body
    assert (by["approval_id"], claimed["approval_id"]) == (approval, approval)
    assert (by["approver_email"], by["groups"], by["channel"], by["note"]) == (
        "dana@example.com", [risk.group], "api", "go ahead",
    )  # fmt: skip
    assert f"has run already as call {ran.call_id} and ended: ok" in again.text
    assert verify(gateway.data).flaw is None


async def test_a_token_without_the_scope_is_told_which_one(gateway: Gateway) -> None:
    token = gateway.backends.token(scope="openid email db")
    call = {"name": "call_api", "arguments": {"target": "metrics", "path": "query"}}
    async with plain_client() as http:
        answer = await http.post(
            f"{gateway.url}/mcp",
            headers={"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"},
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
        )

    assert answer.status_code == 403
    assert answer.headers["www-authenticate"].startswith('Bearer error="insufficient_scope"')
    assert 'scope="api"' in answer.headers["www-authenticate"]


async def test_another_issuers_token_opens_no_door(gateway: Gateway) -> None:
    with running_oidc_provider() as other:
        token = other.sign_in("erin", client_id=APPROVER).access
    async with plain_client(headers={"authorization": f"Bearer {token}"}) as http:
        statuses = [
            (await http.request(method, f"{gateway.url}{path}")).status_code
            for method, path in (("POST", "/mcp"), ("GET", "/sse"), ("POST", "/messages/"), ("GET", "/api/approvals"))
        ]
        document = (await http.get(f"{gateway.url}/.well-known/oauth-protected-resource")).json()

    assert statuses == [401, 401, 401, 401]
    assert document["authorization_servers"] == [gateway.backends.provider.issuer]
