"""A client that speaks to the ASGI application itself, without a socket between."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.types import ASGIApp, Scope
from starlette.types import Message as ASGIMessage

from tests.fuzz.messages import Message

ANSWER_SECONDS = 30.0
"""More is a hang."""
STREAM_SECONDS = 0.02
"""How long a stream that may stand is listened to, once it has begun."""


@dataclass(slots=True)
class Answer:
    """What came back."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    hung: bool = False


async def ask(
    app: ASGIApp,
    message: Message,
    *,
    stands: bool = False,
    hear: Callable[[bytes], Any] | None = None,
    gone: anyio.Event | None = None,
) -> Answer:
    """Send one request and give its answer. A stream that `stands` is left soon, or when `gone` is set."""
    answer = Answer()
    gone = gone or anyio.Event()
    begun = anyio.Event()
    pieces = iter(_pieces(message))

    async def receive() -> ASGIMessage:
        piece = next(pieces, None)
        if piece is not None:
            return piece
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(sent: ASGIMessage) -> None:
        if sent["type"] == "http.response.start":
            answer.status, answer.headers = sent["status"], dict(sent.get("headers", ()))
            begun.set()
        else:
            body = sent.get("body", b"")
            if hear is not None:
                hear(body)
            else:
                answer.body += body
            if not sent.get("more_body"):
                answer.complete = True
                gone.set()
        await anyio.lowlevel.checkpoint()

    async def leave() -> None:
        await begun.wait()
        with anyio.move_on_after(STREAM_SECONDS):
            await gone.wait()
        gone.set()

    with anyio.move_on_after(ANSWER_SECONDS if hear is None else None) as limit:
        if stands:
            async with anyio.create_task_group() as group:
                group.start_soon(leave)
                await app(_scope(message), receive, send)
                begun.set()
                gone.set()
        else:
            await app(_scope(message), receive, send)
    answer.hung = limit.cancelled_caught
    return answer


def _scope(message: Message) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2),
        "scheme": "http",
        "root_path": "",
        "headers": list(message.headers),
        "state": {},
        "method": message.verb,
        "path": message.path,
        "raw_path": message.path.encode("utf-8", "replace"),
        "query_string": message.query,
    }


def _pieces(message: Message) -> list[ASGIMessage]:
    edges = [0, *message.cuts, len(message.body)]
    bodies = [message.body[start:end] for start, end in itertools.pairwise(edges)]
    if message.breaks_off:
        bodies = bodies[:-1] or [message.body[: len(message.body) // 2]]
    last = len(bodies) - 1
    found: list[ASGIMessage] = [
        {"type": "http.request", "body": body, "more_body": message.breaks_off or index < last}
        for index, body in enumerate(bodies)
    ]
    return [*found, {"type": "http.disconnect"}] if message.breaks_off else found
