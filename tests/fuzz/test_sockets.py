"""Mutated requests and framing on real connections: split, pipelined, cut off, contradictory.

What may reach the target is what a strict reader finds in the same bytes: where two read a connection in different
ways, a request could be smuggled past whatever stands before the gateway.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic

import anyio
import pytest

from tests.doors.servers import Served, served
from tests.fuzz.findings import MODEST_GROWTH, Findings, held, watched
from tests.fuzz.framing import framed, requests_in
from tests.fuzz.messages import MARK, corpus
from tests.fuzz.mutations import Mutator
from tests.fuzz.oracle import effect_of_request_line, may_do
from tests.fuzz.sizes import PATIENT, generator, messages
from tests.invariants.checks import judge
from tests.invariants.world import World

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.requirement("R21", "R22", "R38", "I7", "I8"),
    pytest.mark.timeout(3600),
    pytest.mark.usefixtures("tasks_return"),
    # The SDK leaves a stream of its own to the collector when a request is cancelled before its handler has begun.
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
]
CLIENTS = 16
POOLED = 16
"""Descriptors that the store's readers may have opened meanwhile; of connections that stay there would be hundreds."""
IDLE_SECONDS = 0.05
"""After so long without a byte a request that is not whole gets no answer."""
ANSWER_SECONDS = 30.0
RENEW_SECONDS = 60.0
"""A token lives for some minutes, and a run may take longer."""
STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
SESSION = re.compile(rb"\r\nmcp-session-id: ([0-9a-f]+)\r\n")
WATCHERS = 1
"""A task that watches all event streams from the first one on, while there is an event loop."""


@dataclass(slots=True, kw_only=True)
class Run:
    """What all clients share."""

    server: Served
    mutator: Mutator
    findings: Findings
    errors: list[str]
    numbers: Iterator[int]
    minted: float = field(default_factory=monotonic)
    sessions: set[str] = field(default_factory=set)
    """Opened by mutated messages that are valid in the older era."""

    async def client(self) -> None:
        for number in self.numbers:
            if monotonic() - self.minted > RENEW_SECONDS:
                self.mutator.token, self.minted = self.server.token(), monotonic()
            data, random = self.written(number)
            expected = requests_in(data)
            for message in expected:
                allowed = may_do(
                    "modern",
                    message,
                    token=self.mutator.token,
                    hosts={self.server.url.removeprefix("http://")},
                    origins={self.server.url},
                    sessions=(),
                )
                if allowed is not None:
                    self.findings.possible[allowed] += 1
            answer = await self.exchange(data, random, whole=bool(expected))
            if answer is None:
                self.findings.add("no answer to a whole request", number=number, message=data)
                continue
            self.sessions.update(session.decode() for session in SESSION.findall(answer))
            for status in STATUS.findall(answer):
                self.findings.answered(int(status), answer, number=number, message=data)
            self.look(number, data)

    async def end_sessions(self) -> None:
        """What was opened lives on for its time, as it should."""
        async with self.server.client() as http:
            for session in self.sessions:
                headers = {"mcp-session-id": session, "mcp-protocol-version": "2025-06-18"}
                ended = await http.delete(f"{self.server.url}/mcp", headers=headers)
                assert ended.status_code in {200, 404}, ended  # 404: ended by another message

    def written(self, number: int) -> tuple[bytes, Random]:
        """The bytes of one connection."""
        random = generator("sockets", number)
        many = random.choice((1, 1, 1, 2, 4))
        parts = []
        for index in range(many):
            message = self.mutator.message(random, number * 10 + index)
            message.headers = [(name, value.replace(b"\r\n", b"")) for name, value in message.headers]
            parts.append(framed(random, message))
        if random.random() < 0.05:
            parts.insert(
                random.randrange(len(parts) + 1), random.choice((b"\r\n\r\n", b"\x00" * 50, random.randbytes(200)))
            )
        data = b"".join(parts)
        return (data[: random.randrange(len(data))] if random.random() < 0.05 else data), random

    async def exchange(self, data: bytes, random: Random, *, whole: bool) -> bytes | None:
        """Send these bytes in pieces; what comes back, or None where a whole request is not answered in time."""
        port = int(self.server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        found = bytearray()
        try:
            cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((0, 0, 1, 5))))
            for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                writer.write(data[start:end])
                await writer.drain()
                await asyncio.sleep(0)
            with anyio.move_on_after(ANSWER_SECONDS) as limit:
                while True:
                    patient = whole and not found
                    with anyio.move_on_after(ANSWER_SECONDS if patient else IDLE_SECONDS) as idle:
                        piece = await reader.read(65536)
                        if not piece:
                            break
                        found += piece
                    if idle.cancelled_caught:
                        break
            if limit.cancelled_caught or (whole and not found and idle.cancelled_caught):
                return None
        except ConnectionError:
            pass  # It hung up before it had all.
        finally:
            writer.transport.abort()
        return bytes(found)

    def look(self, number: int, data: bytes) -> None:
        requests, self.server.bench.api.requests[:] = list(self.server.bench.api.requests), []
        effects = [effect_of_request_line(one.partition(b"\r\n")[0].decode("latin-1")) for one in requests]
        for effect in effects:
            # Others' calls end meanwhile, too: the number in a path says whose it was.
            mark = re.search(rf"{MARK}([0-9]+)", effect[1])
            owner = int(mark[1]) // 10 if mark else number
            self.findings.effects([effect], number=owner, message=self.written(owner)[0])
        for error in self.errors:
            self.findings.add(error, number=number, message=data)
        self.errors.clear()


async def test_mutated_framing_smuggles_nothing_and_every_connection_ends(tmp_path: Path) -> None:
    mine = messages(commit=400, full=40_000)
    world = World(folders=[tmp_path])
    folder = tmp_path / "gateway"
    folder.mkdir(mode=0o700)
    findings = Findings(door="sockets")
    started = monotonic()
    async with served(folder, world=world, pace=PATIENT) as server:
        token = server.token()
        mutator = Mutator("modern", token=token, host=server.url.removeprefix("http://"), corpus=corpus())
        with watched(findings) as errors:
            run = Run(server=server, mutator=mutator, findings=findings, errors=errors, numbers=iter(mine))
            before = held()
            async with anyio.create_task_group() as group:
                for _ in range(CLIENTS):
                    group.start_soon(run.client)
            await run.end_sessions()
            most = before.tasks + WATCHERS
            with anyio.move_on_after(10):
                while (after := held()).descriptors > before.descriptors + POOLED or after.tasks > most:
                    await anyio.sleep(0.1)
            rate = len(mine) / (monotonic() - started)
            print(f"sockets: {len(mine):,}, {rate:,.0f}/s, {findings.done:,} calls, {findings.statuses}")
            print(f"sockets: {before} and then {after}; {len(run.sessions)} sessions were opened")
        async with server.client() as http:
            assert (await http.get(f"{server.url}/healthz")).status_code == 200
    assert after.resident - before.resident <= 2 * MODEST_GROWTH, f"{before} and then {after}"
    assert after.descriptors <= before.descriptors + POOLED, f"{before} and then {after}"
    assert after.tasks <= most, f"{before} and then {after}"
    violations = judge(world)
    assert not violations, "\n".join(violations[:20])
