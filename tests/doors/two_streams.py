"""The same messages over two pairs of streams, with and without the fast path, each before a road and a store of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import orjson
from mcp.shared.message import SessionMessage

from mcp_gateway.calls import Secret
from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.doors.standard_streams import Incoming, Outgoing
from mcp_gateway.doors.stdio import StdioParts, serve_streams
from mcp_gateway.identity.local import open_local_issuer
from tests.doors.servers import PEOPLE
from tests.doors.two_doors import IN_SESSION, Numbered, message, same_events, with_and_without
from tests.invariants.world import World, read_store
from tests.roads import Bench
from tests.waiting import until

BARRIER = "barrier"


@dataclass
class StreamClient:
    """The other end of the streams: what it writes, line by line, and what it is told."""

    bench: Bench
    modern: bool
    said: list[bytes] = field(default_factory=list)
    """Lines that it has read."""
    by_sdk: int = 0
    """How many of them the SDK has written."""
    _lines: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    ended = False
    kept = 0
    broken = False

    # What the door has of it.

    async def next(self) -> bytes:
        line = await self._lines.get()
        self.ended = not line
        return line

    async def write(self, line: Sequence[bytes]) -> None:
        if self.broken:
            raise BrokenPipeError
        self.said += b"".join(line).split(b"\n")[:-1]

    # What a test has.

    async def send(self, body: bytes | dict[str, Any]) -> None:
        """Write one line."""
        self.send_now(body)
        await anyio.lowlevel.checkpoint()

    def send_now(self, body: bytes | dict[str, Any]) -> None:
        """Write one line before anybody else does anything."""
        self._lines.put_nowait((body if isinstance(body, bytes) else orjson.dumps(body)) + b"\n")

    def leave(self) -> None:
        """Say nothing more."""
        self._lines.put_nowait(b"")

    async def ask(self, body: bytes | dict[str, Any], *, number: Any = 1) -> Any:
        """Write one line and take its answer: the one with this id, or the one without."""
        before = len(self.said)
        await self.send(body)
        return await self.answer(before, number=number)

    async def answer(self, before: int, *, number: Any = 1) -> Any:
        """The answer to a request, once it has come."""
        found: list[Any] = []

        def came() -> bool:
            ids = (number,) if number == BARRIER else (number, None)
            found[:] = [
                one for one in map(json.loads, self.said[before:]) if one.get("id") in ids and "method" not in one
            ]
            return bool(found)

        await until(came)
        (last,) = found
        last["id"] = str(last.get("id"))  # may look like what is numbered
        return json.loads(Numbered().numbered(json.dumps(last, sort_keys=True)))

    async def settle(self) -> None:
        """Wait until the SDK has dealt with everything that was sent."""
        arguments: dict[str, Any] = {}
        await self.ask(self.call(arguments, tool="list_targets") | {"id": BARRIER}, number=BARRIER)

    def call(self, arguments: Any = None, **more: Any) -> dict[str, Any]:
        """A plain call of its era."""
        said = message(arguments, **more)
        if not self.modern and "_meta" not in more:
            del said["params"]["_meta"]
        return said

    async def open(self, **capabilities: Any) -> None:
        """Shake hands where the era does, and call once."""
        if not self.modern:
            hello = {
                "protocolVersion": IN_SESSION,
                "capabilities": capabilities,
                "clientInfo": {"name": "test", "version": "1"},
            }
            await self.ask({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}, number=0)
            await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        await self.ask(self.call())

    def kinds(self) -> list[str]:
        """The kinds of its recorded events."""
        return [row.kind for row in read_store(self.bench.store.data_dir).rows]


@dataclass
class TwoStreams:
    """The two. `plain` has the fast path."""

    plain: StreamClient
    sdk: StreamClient

    def __iter__(self) -> Any:
        return iter((self.plain, self.sdk))

    async def same(self, body: bytes | dict[str, Any], *, number: Any = 1) -> tuple[Any, bool]:
        """The answer that both give, and whether it came without the SDK. Fails where the two differ."""
        before = self.plain.by_sdk
        one, other = [await client.ask(body, number=number) for client in self]
        assert one == other, f"{body!r}\nwith the fast path: {one}\nwithout: {other}"
        return one, self.plain.by_sdk == before

    def same_record(self) -> list[str]:
        """The kinds of events that both stores have. Fails where the two differ."""
        return same_events(self.plain.bench, self.sdk.bench)


@asynccontextmanager
async def two_streams(folder: Path, world: World, *, modern: bool, **more: Any) -> AsyncIterator[TwoStreams]:
    """Two clients, each of its own door; `more` is for their roads."""
    async with with_and_without(partial(served, modern=modern), folder, world, **more) as (plain, sdk):
        yield TwoStreams(plain, sdk)


@asynccontextmanager
async def served(folder: Path, bench: Bench, *, modern: bool, fast_path: bool) -> AsyncIterator[StreamClient]:
    """One client and its door."""
    issuer = open_local_issuer(folder / "data", audience="x", clock=utc_now, new_id=new_id, people=PEOPLE)
    source = _Source(issuer.mint("alex", client_id="agent", actor="agent"))
    client = StreamClient(bench, modern)
    parts = StdioParts(
        road=bench.road,
        registry=bench.registry,
        name="test",
        verifier=issuer.verifier(revoked=bench.revocations.refuses),
        tokens=lambda: source,
        state_key=Secret(bytes(32)),
        answer_within=timedelta(seconds=50),
        clock=bench.clock,
        fast_path=fast_path,
    )
    outgoing = _Watched(client)
    async with anyio.create_task_group() as group:
        group.start_soon(serve_streams, parts, Incoming(client, outgoing), outgoing)
        yield client
        client.leave()


class _Watched(Outgoing):
    def __init__(self, client: StreamClient) -> None:
        super().__init__(client)
        self._client = client

    async def send(self, item: SessionMessage) -> None:
        self._client.by_sdk += 1
        await super().send(item)


class _Source:
    def __init__(self, token: Secret) -> None:
        self._token = token

    def token(self) -> Secret:
        return self._token
