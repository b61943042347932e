"""A million mutated messages, most of them through the HTTP doors' own application: streamable HTTP in both eras, SSE.

What may come of one: an answer below 500 in time, at most the one call at the target that it validly is, and nothing
that stays behind.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcp_gateway.doors.app import http_app
from tests.doors.servers import Served, standing
from tests.fuzz.asgi import Answer, ask
from tests.fuzz.findings import MODEST_GROWTH, Findings, Held, held, watched
from tests.fuzz.messages import INITIALIZED, LEGACY, Era, Message, corpus, dumps, headers_for, initialize, request
from tests.fuzz.mutations import Mutator
from tests.fuzz.oracle import effect_of_request_line, may_do
from tests.fuzz.sizes import FULL, PATIENT, generator, messages
from tests.invariants.checks import judge
from tests.invariants.world import World

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.requirement("R21", "R22", "I7", "I8"),
    pytest.mark.timeout(3600),
    pytest.mark.usefixtures("tasks_return"),
    # The SDK leaves a stream of its own to the collector when a request is cancelled before its handler has begun.
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
]
LANES = 4
"""Clients at once."""
SHARDS = 12 if FULL else 1
WARM = 0.3
"""The part of a run after which memory has to stay as it is."""
POOLED = 2 * LANES
"""Descriptors that the store's readers and connections to the API (both ends are in here) may open after that."""
RENEW_SECONDS = 60.0
STILL_EVERY = 100
"""Messages, after which a session has to answer a valid one."""


@dataclass(slots=True, kw_only=True)
class Lane:
    """One client with its session."""

    run: Run
    session: str = ""
    endpoint: tuple[str, bytes] | None = None
    heard: bytearray = field(default_factory=bytearray)
    gone: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True, kw_only=True)
class Run:
    """What all lanes share."""

    app: Any
    era: Era
    server: Served
    mutator: Mutator
    findings: Findings
    errors: list[str]
    numbers: Iterator[int]
    sessions: set[str] = field(default_factory=set)

    minted: float = field(default_factory=monotonic)

    @property
    def token(self) -> str:
        return self.mutator.token

    def renew(self) -> None:
        """A token lives for some minutes, and a run may take longer."""
        if monotonic() - self.minted > RENEW_SECONDS:
            self.mutator.token, self.minted = self.server.token(), monotonic()

    @property
    def host(self) -> str:
        return self.server.url.removeprefix("http://")

    def valid(
        self, decoded: dict[str, Any], *, session: str = "", endpoint: tuple[str, bytes] | None = None
    ) -> Message:
        found = Message(
            headers=headers_for(self.era, decoded, token=self.token, host=self.host, session=session),
            body=dumps(decoded),
        )
        if endpoint is not None:
            found.path, found.query = endpoint
        return found

    async def lane(self, group: Any) -> None:
        lane = Lane(run=self)
        await self.open(lane, group)
        for count, number in enumerate(self.numbers):
            await self.one(lane, number)
            if count % STILL_EVERY == STILL_EVERY - 1:
                await self.still(lane, number, group)
        await self.close(lane)

    async def one(self, lane: Lane, number: int) -> None:
        random = generator(self.era, number)
        message = self.mutator.message(random, number, session=lane.session, endpoint=lane.endpoint)
        allowed = may_do(
            self.era, message, token=self.token, hosts={self.host}, origins={self.server.url}, sessions=self.sessions
        )
        if allowed is not None:
            self.findings.possible[allowed] += 1
        stands = message.verb != "POST" or b"subscriptions/listen" in message.body
        self.errors.clear()
        try:
            answer = await ask(self.app, message, stands=stands)
        except Exception as error:  # noqa: BLE001 - any of them is a finding
            self.findings.add(f"raised {error!r}", number=number, message=message)
            return
        self.look(answer, number, message)
        await self.forget(answer, message, lane)

    def look(self, answer: Answer, number: int, message: Message) -> None:
        if answer.hung:
            self.findings.add(f"no answer, {answer.status} {bytes(answer.body)!r}", number=number, message=message)
        if not message.breaks_off:
            self.findings.answered(answer.status, bytes(answer.body), number=number, message=message)
        requests, self.server.bench.api.requests[:] = list(self.server.bench.api.requests), []
        effects = [effect_of_request_line(one.partition(b"\r\n")[0].decode("latin-1")) for one in requests]
        self.findings.effects(effects, number=number, message=message)
        for error in self.errors:
            self.findings.add(error, number=number, message=message)
        self.errors.clear()

    async def forget(self, answer: Answer, message: Message, lane: Lane) -> None:
        """End a session that a message opened beside the lane's own."""
        session = answer.headers.get(b"mcp-session-id", b"").decode()
        if session and session != lane.session and answer.status < 400:
            ended = self.valid({}, session=session)
            ended.verb = "DELETE"
            await ask(self.app, ended)

    async def still(self, lane: Lane, number: int, group: Any) -> None:
        """Whatever was sent, a valid message of the same client is answered."""
        self.renew()
        ping = request("ping", None, f"still-{number}")
        match self.era:
            case "modern":
                answer = await ask(self.app, self.valid(_modern_list(number)))
                assert b'"tools"' in answer.body, answer
            case "legacy":
                answer = await ask(self.app, self.valid(ping, session=lane.session))
                if answer.status == 404:  # A mutated message was the DELETE of this session.
                    await self.open(lane, group)
                else:
                    assert f"still-{number}".encode() in answer.body, answer
            case _:
                lane.heard.clear()
                answer = await ask(self.app, self.valid(ping, endpoint=lane.endpoint))
                assert answer.status == 202, answer
                with anyio.fail_after(30):
                    while f'"id":"still-{number}"'.encode() not in lane.heard:
                        await anyio.sleep(0.001)
                self.findings.answered(200, bytes(lane.heard), number=number, message=b"on the stream")
                lane.heard.clear()

    async def open(self, lane: Lane, group: Any) -> None:
        if self.era == "legacy":
            answer = await ask(self.app, self.valid(initialize(0)))
            lane.session = answer.headers[b"mcp-session-id"].decode()
            self.sessions.add(lane.session)
            await ask(self.app, self.valid(INITIALIZED, session=lane.session))
        elif self.era == "sse":
            await self.open_stream(lane, group)
            lane.heard.clear()
            for decoded in (initialize(0, LEGACY), INITIALIZED):
                assert (await ask(self.app, self.valid(decoded, endpoint=lane.endpoint))).status == 202

    async def open_stream(self, lane: Lane, group: Any) -> None:
        get = self.valid({})
        get.verb, get.path, get.body = "GET", "/sse", b""

        async def listen() -> None:
            await ask(self.app, get, hear=lane.heard.extend, gone=lane.gone)

        group.start_soon(listen)
        with anyio.fail_after(30):
            while not (found := re.search(rb"data: (/messages/)\?(session_id=([0-9a-f]+))\r", bytes(lane.heard))):
                await anyio.sleep(0.001)
        lane.endpoint = (found[1].decode(), found[2])
        self.sessions.add(found[3].decode())

    async def close(self, lane: Lane) -> None:
        lane.gone.set()
        if lane.session:
            ended = self.valid({}, session=lane.session)
            ended.verb = "DELETE"
            await ask(self.app, ended)


def _modern_list(number: int) -> dict[str, Any]:
    from tests.fuzz.messages import modern

    return modern(request("tools/list", {}, number))


@asynccontextmanager
async def running(folder: Path, era: Era, numbers: Iterator[int], world: World) -> AsyncIterator[Run]:
    folder.mkdir(mode=0o700, exist_ok=True)
    async with standing(folder, world=world, pace=PATIENT) as found, http_app(found.settings, found.parts) as app:
        token = found.served.token()
        findings = Findings(door=era)
        with watched(findings) as errors:
            yield Run(
                app=app,
                era=era,
                server=found.served,
                mutator=Mutator(era, token=token, host=found.served.url.removeprefix("http://"), corpus=corpus()),
                findings=findings,
                errors=errors,
                numbers=numbers,
            )


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("era", ["modern", "legacy", "sse"])
async def test_mutated_messages_do_nothing_but_what_they_validly_ask(tmp_path: Path, era: Era, shard: int) -> None:
    mine = messages(commit=800, full=300_000)[shard::SHARDS]
    world = World(folders=[tmp_path])
    warm: list[Held] = []

    def numbers() -> Iterator[int]:
        for index, number in enumerate(mine):
            if index == int(len(mine) * WARM):
                warm.append(held())
            yield number

    started = monotonic()
    async with running(tmp_path / "gateway", era, numbers(), world) as run:
        async with anyio.create_task_group() as group, anyio.create_task_group() as lanes:
            for _ in range(LANES):
                lanes.start_soon(run.lane, group)
        with anyio.move_on_after(10):
            while (after := held()).tasks > warm[0].tasks or after.descriptors > warm[0].descriptors + POOLED:
                await anyio.sleep(0.05)
        rate = len(mine) / (monotonic() - started)
        print(f"{era}: {len(mine):,} messages, {rate:,.0f}/s, {run.findings.done:,} calls, {run.findings.statuses}")
        print(f"{era}: after {WARM:.0%} {warm[0]}; at the end {after}")
    assert run.findings.done >= len(mine) // 100, "hardly anything was a call: the messages are not what they were"
    assert after.resident - warm[0].resident <= MODEST_GROWTH, f"{warm[0]} and then {after}"
    assert after.descriptors <= warm[0].descriptors + POOLED, f"{warm[0]} and then {after}"
    assert after.tasks <= warm[0].tasks, f"{warm[0]} and then {after}"
    violations = judge(world)
    assert not violations, "\n".join(violations[:20])
