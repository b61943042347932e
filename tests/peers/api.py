"""A small HTTP API for tests, on loopback: it writes down what arrives and answers what a test tells it to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import anyio
import orjson
from anyio.abc import SocketAttribute, SocketStream

from tests.invariants.world import intents_before


@dataclass(slots=True)
class API:
    """A running peer. `answers` are raw responses, the next one for each request; the last one stays."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=lambda: [answer(b"ok")])
    endless: bytes = b""
    """Sent again and again after an answer, until the other side has enough."""
    stall: bool = False
    """Take the request and never answer."""
    stalling: int = 0
    """Requests that are not answered, and whose client is still there."""
    log: Path | None = None
    """Where a witness reads later what arrived; credentials are left out, as an API's own log leaves them."""
    store: Path | None = None
    """The gateway's data folder: which intents are durable there is looked up when a request's first byte arrives."""
    echo: bool = False
    """Answer with what was asked for."""
    held: anyio.Event | None = None
    """Answer no request before this is set."""

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, stream: SocketStream) -> None:
        """One connection, one request; one that ends before it is whole is none."""
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            await self._serve(stream)

    async def _serve(self, stream: SocketStream) -> None:
        async with stream:
            data = await stream.receive()
            arrived = datetime.now(UTC), None if self.store is None else sorted(intents_before(self.store))
            while b"\r\n\r\n" not in data:
                data += await stream.receive()
            head, _, rest = data.partition(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            while len(rest) < length:
                rest += await stream.receive()
            self.requests.append(head + b"\r\n\r\n" + rest)
            self._write_down(head.partition(b"\r\n")[0].decode("latin-1"), *arrived)
            if self.stall:
                self.stalling += 1
                try:
                    while True:
                        await stream.receive()
                finally:
                    self.stalling -= 1
            if self.held is not None:
                await self.held.wait()
            try:
                await stream.send(self._answer(head))
                while self.endless:
                    await stream.send(self.endless)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    def _answer(self, head: bytes) -> bytes:
        if self.echo:
            return answer(head.split(b" ", 2)[1])
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _write_down(self, request: str, at: datetime, intents: list[str] | None) -> None:
        if self.log is not None:
            with self.log.open("ab") as file:
                file.write(orjson.dumps({"at": at.isoformat(), "request": request, "intents": intents}) + b"\n")


def answer(
    body: bytes, *, status: str = "200 OK", headers: str = "content-type: text/plain", length: int = -1
) -> bytes:
    """A raw response; a `length` of its own makes it lie."""
    size = len(body) if length < 0 else length
    return f"HTTP/1.1 {status}\r\ncontent-length: {size}\r\n{headers}\r\n\r\n".encode() + body


@asynccontextmanager
async def running_api(*, log: Path | None = None, store: Path | None = None) -> AsyncIterator[API]:
    """Serve on a free loopback port."""
    api = API(log=log, store=store)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        api.port = listener.extra(SocketAttribute.local_port)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, api.serve)
            yield api
            group.cancel_scope.cancel()
