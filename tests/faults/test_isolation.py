"""Many clients with the same JSON-RPC ids and progress tokens at once, over every HTTP transport (R32).

Each person's calls ask for a path that is theirs, and the API answers with the path: whatever a client is told has to be
its own. What one of them cancels, another has under the same id.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.abc
import httpx2
import orjson
import pytest

from mcp_gateway.approval import holding
from mcp_gateway.doors.connections import ConnectionBounds
from mcp_gateway.identity.local import LocalPerson
from mcp_gateway.turns import Shares
from tests.doors.servers import PEOPLE, Served, served
from tests.faults.sizes import long, times
from tests.fuzz.messages import INITIALIZED, LEGACY, Era, headers_for, initialize, modern, request
from tests.invariants.world import World
from tests.plain_http import plain_client

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R32"), pytest.mark.timeout(3600)]
CLIENTS = 100
ERAS: tuple[Era, ...] = ("modern", "legacy", "sse")
AT_ONCE = 3
"""Calls of one client."""
TOGETHER = 12
"""Calls of all: gateway, target and clients share one event loop here."""
HELD_ID = 7
"""Of each client's call that is held, cancelled by some."""


@dataclass(slots=True, kw_only=True)
class Client:
    """One person's client, over one transport."""

    server: Served
    era: Era
    person: str
    http: httpx2.AsyncClient
    session: str = ""
    endpoint: str = ""
    heard: dict[Any, dict[str, Any]] = field(default_factory=dict)
    """Over SSE: answers by their ids."""
    arrived: anyio.Event = field(default_factory=anyio.Event)
    progress: list[dict[str, Any]] = field(default_factory=list)
    token: str = ""

    async def send(self, message: dict[str, Any]) -> httpx2.Response:
        """Send one message as this era has it."""
        message = modern(message) if self.era == "modern" else message
        host = self.server.url.removeprefix("http://")
        headers = headers_for(self.era, message, token=self.token, host=host, session=self.session)
        where = f"{self.server.url}{self.endpoint or '/mcp'}"
        return await self.http.post(where, content=orjson.dumps(message), headers=headers)

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and give the answer with its id."""
        response = await self.send(message)
        if self.era != "sse":
            for found in messages_of(response):
                self.keep(found)
        with anyio.fail_after(120):
            while message["id"] not in self.heard:
                assert self.era == "sse", f"{response.status_code} {response.text[:500]}"
                await self.arrived.wait()
        return self.heard.pop(message["id"])

    def keep(self, message: dict[str, Any]) -> None:
        """Take a message of the gateway's."""
        if message.get("method") == "notifications/progress":
            self.progress.append(message["params"])
        elif "id" in message:
            assert message["id"] not in self.heard, f"answered twice: {message}"
            self.heard[message["id"]] = message
        self.arrived.set()
        self.arrived = anyio.Event()

    async def call(self, number: int, path: str, **arguments: Any) -> dict[str, Any]:
        """Call the API with an id and a progress token that every client uses."""
        given = {"target": "api", "path": path, **arguments}
        params = {"name": "call_api", "arguments": given, "_meta": {"progressToken": number}}
        return await self.ask(request("tools/call", params, number))

    async def own(self, number: int, path: str) -> None:
        """Call, and be told one's own."""
        answer = await self.call(number, path)
        assert answer["id"] == number
        content = answer["result"]["structuredContent"]
        assert content.get("text") == f"/{path}", f"{self.person} asked for {path}: {answer}"

    async def listen(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Hear what comes over SSE."""
        headers = {"authorization": f"Bearer {self.token}", "accept": "text/event-stream"}
        async with self.http.stream("GET", f"{self.server.url}/sse", headers=headers) as events:
            async for line in events.aiter_lines():
                if line.startswith("data: /messages/"):
                    self.endpoint = line.removeprefix("data: ").strip()
                    task_status.started()
                elif line.startswith("data: "):
                    self.keep(json.loads(line.removeprefix("data: ")))

    async def open(self, group: anyio.abc.TaskGroup) -> None:
        """Open a session, where the era has them."""
        self.token = self.server.token(self.person)
        if self.era == "modern":
            return
        if self.era == "sse":
            await group.start(lambda *, task_status: self.listen(task_status=task_status))
            await self.ask(initialize("open", LEGACY))
        else:
            response = await self.send(initialize("open", LEGACY))
            self.session = response.headers["mcp-session-id"]
        await self.send(INITIALIZED)


def messages_of(response: httpx2.Response) -> list[dict[str, Any]]:
    """The messages of an answer, which may be a stream of events."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        return [json.loads(data) for data in re.findall(r"^data: (\{.*)$", response.text, re.MULTILINE)]
    return [json.loads(response.text)] if response.text else []


@asynccontextmanager
async def clients(folder: Path, world: World, **more: Any) -> AsyncIterator[list[Client]]:
    """A hundred people with a client each, a third over each transport."""
    people = {f"p{number}": LocalPerson(groups=frozenset({"dev"})) for number in range(CLIENTS)}
    async with (
        served(
            folder,
            world=world,
            people=PEOPLE | people,
            max_calls=20,
            shares=Shares(each=100),
            longest_queue=timedelta(minutes=2),
            connections=ConnectionBounds(most=4000, most_per_address=4000),
            **more,
        ) as server,
        AsyncExitStack() as stack,
        anyio.create_task_group() as group,
    ):
        server.bench.api.echo = True
        found = []
        limits = httpx2.Limits(max_connections=2 * CLIENTS * AT_ONCE)
        http = await stack.enter_async_context(plain_client(timeout=300, limits=limits))
        for number, person in enumerate(people):
            client = Client(server=server, era=ERAS[number % len(ERAS)], person=person, http=http)
            await client.open(group)
            found.append(client)
        yield found
        group.cancel_scope.cancel()


async def each(found: list[Client], work: Any) -> None:
    async with anyio.create_task_group() as group:
        for client in found:
            group.start_soon(work, client)


@long(minutes=6)
async def test_every_answer_is_the_askers_own(tmp_path: Path, world: World) -> None:
    rounds = times(commit=1, full=100)
    async with clients(tmp_path, world) as found:
        numbers = range(1, 1 + rounds * AT_ONCE)
        turns = anyio.CapacityLimiter(TOGETHER)

        async def own(client: Client, number: int) -> None:
            async with turns:
                await client.own(number, f"{client.person}-{number}")

        async def some(client: Client, start: int) -> None:
            client.token = client.server.token(client.person)
            client.progress.clear()
            order = list(range(start, start + AT_ONCE))
            Random(f"{client.person} {start}").shuffle(order)
            async with anyio.create_task_group() as group:
                for number in order:
                    group.start_soon(own, client, number)

        for start in numbers[::AT_ONCE]:
            await each(found, lambda client, start=start: some(client, start))
            found[0].server.bench.api.requests.clear()

        rows = await found[0].server.bench.store.read(
            lambda connection: connection.execute(
                "SELECT r.body ->> '$.arguments.path', i.body ->> '$.subject' FROM events r JOIN events i"
                " ON i.call_id = r.call_id AND i.kind = 'Identified' WHERE r.kind = 'Received'"
            ).fetchall()
        )
    assert len(rows) == CLIENTS * rounds * AT_ONCE
    assert [row for row in rows if row[0].partition("-")[0] != row[1]] == []


async def test_what_one_cancels_goes_on_for_everybody_else_with_the_same_id(tmp_path: Path, world: World) -> None:
    async with clients(tmp_path, world) as found:
        mine = found[:18]
        api = mine[0].server.bench.api
        api.held = anyio.Event()
        cancelled = {client.person for client in mine[::2]}
        answers: dict[str, dict[str, Any]] = {}
        scopes = {client.person: anyio.CancelScope() for client in mine}

        async def held(client: Client) -> None:
            with scopes[client.person]:
                answers[client.person] = await client.call(HELD_ID, client.person)

        async with anyio.create_task_group() as group:
            for client in mine:
                group.start_soon(held, client)
            with anyio.fail_after(60):
                while len(api.requests) < len(mine):
                    await anyio.sleep(0.02)
            for client in mine:
                if client.person not in cancelled:
                    continue
                if client.era == "modern":
                    scopes[client.person].cancel()  # Its way to cancel is to hang up.
                else:
                    told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": HELD_ID}}
                    assert (await client.send(told)).status_code == 202
            with anyio.fail_after(60):
                while mine[0].server.bench.road.calls_under_way > len(mine) - len(cancelled):
                    await anyio.sleep(0.02)
            api.held.set()
            with anyio.fail_after(60):
                while len(answers.keys() - cancelled) < len(mine) - len(cancelled):
                    await anyio.sleep(0.02)
            group.cancel_scope.cancel()

    for person, answer in answers.items():
        if person in cancelled:
            assert "result" not in answer
        else:
            assert answer["result"]["structuredContent"]["text"] == f"/{person}"


async def test_progress_reaches_only_whoever_waits_for_it(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "PROGRESS_SECONDS", 0.1)
    async with clients(tmp_path, world, wait=timedelta(seconds=60)) as found, found[0].server.approver() as dana:
        mine = found[:12]
        answers: dict[str, dict[str, Any]] = {}

        async def held(client: Client) -> None:
            answers[client.person] = await client.call(HELD_ID, client.person, method="POST")

        async with anyio.create_task_group() as group:
            for client in mine:
                group.start_soon(held, client)
            with anyio.fail_after(60):
                while len(listed := (await dana.get("/api/approvals")).json()) < len(mine):
                    await anyio.sleep(0.05)
            with anyio.fail_after(60):
                while not any(client.progress for client in mine):
                    await anyio.sleep(0.05)
            for ticket in listed:
                assert (await dana.post(f"/api/approvals/{ticket['id']}/approve")).status_code == 200

        for client in mine:
            assert answers[client.person]["result"]["structuredContent"]["text"] == f"/{client.person}"
            assert {told["progressToken"] for told in client.progress} <= {HELD_ID}
        told = [client.progress for client in mine]
        assert any(told), "nobody was told of progress"
        assert not any(client.progress for client in found[12:])
