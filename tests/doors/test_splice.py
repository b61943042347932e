from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from mcp_types import CLIENT_CAPABILITIES_META_KEY, PROTOCOL_VERSION_META_KEY
from starlette.types import Message, Receive, Scope, Send

from mcp_gateway.doors.splice import (
    BIG_BYTES,
    MARK,
    SPLICES_KEY,
    SpliceError,
    Splicer,
    Splices,
    filled,
    prepare,
    structured,
)
from tests.doors.servers import Served, served
from tests.doors.test_mcp import LEGACY, MODERN, SSE, connected
from tests.invariants.world import World
from tests.peers.api import answer

pytestmark = pytest.mark.anyio

MODERN_REVISION = "2026-07-28"
READY = b'{"rows":[[1,"\xe2\x80\xa8 and {} and \\" and \xc3\xbc"]]}'
JSON_HEAD = {b"content-type": b"application/json", b"x-more": b"kept"}
EVENTS_HEAD = {b"content-type": b"text/event-stream; charset=utf-8"}

Respond = Callable[[Splices, Send], Any]


async def respond(handler: Respond) -> list[Message]:
    """What leaves a `Splicer` around an application that answers so."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await handler(scope[SPLICES_KEY], send)

    async def receive() -> Message:
        raise AssertionError("nothing is read here")

    async def send(message: Message) -> None:
        sent.append(message)

    await Splicer(app)({"type": "http"}, receive, send)
    return sent


def start(head: dict[bytes, bytes], *, length: int | None = None) -> Message:
    counted = [] if length is None else [(b"content-length", str(length).encode())]
    return {"type": "http.response.start", "status": 200, "headers": [*head.items(), *counted]}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def around(placeholder: object) -> bytes:
    return b'{"result":%s,"id":1}' % orjson.dumps(placeholder)


async def test_a_json_response_has_the_bytes_and_their_length() -> None:
    async def handler(splices: Splices, send: Send) -> None:
        content = around(splices.placeholder(READY))
        await send(start(JSON_HEAD, length=len(content)))
        await send(body(content))

    head, content = await respond(handler)

    assert content["body"] == around(0).replace(b"0", READY, 1)
    assert dict(head["headers"]) == JSON_HEAD | {b"content-length": str(len(content["body"])).encode()}


async def test_a_response_in_parts_is_put_together_first() -> None:
    async def handler(splices: Splices, send: Send) -> None:
        content = around(splices.placeholder(READY))
        await send(start(JSON_HEAD, length=len(content)))
        for place in range(len(content)):
            await send(body(content[place : place + 1], more=place + 1 < len(content)))

    assert (await respond(handler))[1]["body"] == around(0).replace(b"0", READY, 1)


async def test_an_event_stays_on_its_line() -> None:
    async def handler(splices: Splices, send: Send) -> None:
        await send(start(EVENTS_HEAD))
        await send(body(b": ping\r\n\r\n", more=True))
        placeholder = splices.placeholder(READY)
        await send(body(b"data: " + around(placeholder) + b"\r\n\r\n", more=True))
        await send(body(b""))

    head, ping, event, last = await respond(handler)

    assert (head, ping, last) == (start(EVENTS_HEAD), body(b": ping\r\n\r\n", more=True), body(b""))
    data = event["body"].decode().removeprefix("data: ").removesuffix("\r\n\r\n")
    assert len(data.splitlines()) == 1
    assert orjson.loads(data) == {"result": orjson.loads(READY), "id": 1}


async def test_several_results_find_their_own_places() -> None:
    async def handler(splices: Splices, send: Send) -> None:
        second, first = splices.placeholder(b'{"n":2}'), splices.placeholder(b'{"n":1}')
        await send(start(EVENTS_HEAD))
        await send(body(orjson.dumps([first, second]), more=True))

    assert (await respond(handler))[1]["body"] == b'[{"n":1},{"n":2}]'


async def test_a_response_without_the_placeholder_is_left_as_it_is() -> None:
    async def handler(splices: Splices, send: Send) -> None:
        splices.placeholder(READY)
        await send(start(JSON_HEAD, length=2))
        await send(body(b"{}"))

    assert await respond(handler) == [start(JSON_HEAD, length=2), body(b"{}")]


@pytest.mark.parametrize("kind", [JSON_HEAD, EVENTS_HEAD])
async def test_a_big_result_is_a_part_of_its_own_and_not_copied(kind: dict[bytes, bytes]) -> None:
    big = b'{"text":"' + b"x" * BIG_BYTES + b'"}'

    async def handler(splices: Splices, send: Send) -> None:
        content = around(splices.placeholder(big))
        await send(start(kind, length=len(content) if kind is JSON_HEAD else None))
        await send(body(content))

    head, *parts = await respond(handler)

    assert any(part["body"] is big for part in parts)
    assert [part["more_body"] for part in parts] == [True, True, False]
    whole = b"".join(part["body"] for part in parts)
    assert whole == around(0).replace(b"0", big, 1)
    assert kind is EVENTS_HEAD or dict(head["headers"])[b"content-length"] == str(len(whole)).encode()


async def test_a_placeholder_that_stands_twice_around_another_breaks_the_response_off() -> None:
    async def handler(splices: Splices, send: Send) -> None:
        inner, outer = splices.placeholder(b'{"n":1}'), splices.placeholder(b'{"n":2}')
        await send(start(EVENTS_HEAD))
        await send(body(orjson.dumps([outer, inner, outer])))

    with pytest.raises(SpliceError):
        await respond(handler)


@pytest.mark.parametrize(
    "broken",
    [
        lambda placeholder: orjson.dumps({**placeholder, "more": 1}),
        lambda placeholder: orjson.dumps({MARK: f" {placeholder[MARK]}"}),
        lambda placeholder: orjson.dumps([placeholder, placeholder]),
        lambda placeholder: orjson.dumps(placeholder).replace(b":", b": "),
    ],
)
async def test_a_placeholder_that_stands_otherwise_breaks_the_response_off(broken: Callable[[Any], bytes]) -> None:
    sent: list[bytes] = []

    async def handler(splices: Splices, send: Send) -> None:
        content = broken(splices.placeholder(READY))
        await send(start(JSON_HEAD, length=len(content)))
        await send(body(content))
        sent.append(content)

    with pytest.raises(SpliceError):
        await respond(handler)
    assert sent == []


async def test_another_requests_placeholder_is_only_text() -> None:
    other = Splices()
    placeholder = other.placeholder(READY)

    async def handler(splices: Splices, send: Send) -> None:
        splices.placeholder(b'{"mine":1}')
        content = around(placeholder)
        await send(start(JSON_HEAD, length=len(content)))
        await send(body(content))

    assert (await respond(handler))[1]["body"] == around(placeholder)


def test_a_transport_that_cannot_splice_gets_the_value() -> None:
    class Post:
        scope: dict[str, Any] = {}  # noqa: RUF012 - of a request

    assert structured(READY, None) == structured(READY, Post()) == orjson.loads(READY)


def test_a_line_has_the_bytes_of_its_own_request_and_stays_one_line() -> None:
    mine, others, unprepared = copy_context(), copy_context(), copy_context()
    prepare(mine)
    prepare(others)
    placeholder = mine.run(structured, READY, None)
    line = around(placeholder) + b"\n"

    assert others.run(filled, line) == unprepared.run(filled, line) == [line]
    whole = b"".join(mine.run(filled, line))
    assert len(whole.decode().splitlines()) == 1
    assert orjson.loads(whole) == {"result": orjson.loads(READY), "id": 1}
    assert mine.run(filled, line) == [line], "once"


def test_a_line_with_a_placeholder_elsewhere_is_not_sent() -> None:
    context = copy_context()
    prepare(context)
    placeholder = context.run(structured, READY, None)

    with pytest.raises(SpliceError):
        context.run(filled, orjson.dumps([placeholder, placeholder]))


# Through the real door, with the SDK's own client.


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


BIG = ('{"spliced":"00112233445566778899aabbccddeeff"} \u2028\x85 ü "quoted" \\ ' + "x" * 300) * 60
"""What a target can say to look like a placeholder, to end a line, and to be escaped."""


@pytest.mark.parametrize("era", [MODERN, LEGACY])
async def test_a_spliced_result_is_the_unspliced_one(server: Served, era: str) -> None:
    found = []
    for transport in (era, SSE):  # the deprecated transport has no splicer
        server.bench.api.answers = [answer(BIG.encode(), headers="content-type: text/plain; charset=utf-8")]
        async with connected(server, transport) as client:
            found.append(await client.call_tool("call_api", {"target": "api", "path": "x"}))
    spliced, plain = found

    assert spliced.structured_content["text"] == BIG
    assert spliced.structured_content.keys() == plain.structured_content.keys()
    without_id = {"call_id": ""}
    assert spliced.structured_content | without_id == plain.structured_content | without_id
    assert (spliced.content, spliced.is_error) == (plain.content, plain.is_error)


async def test_a_big_result_leaves_as_it_was_recorded(server: Served) -> None:
    server.bench.api.answers = [answer("größer ".encode() * 5000)]
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "call_api",
            "arguments": {"target": "api", "path": "x"},
            "_meta": {PROTOCOL_VERSION_META_KEY: MODERN_REVISION, CLIENT_CAPABILITIES_META_KEY: {}},
        },
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MODERN_REVISION,
        "mcp-method": "tools/call",
        "mcp-name": "call_api",
    }
    async with server.client() as http:
        response = await http.post(f"{server.url}/mcp", json=message, headers=headers)
    rows = await server.bench.store.read(
        lambda connection: connection.execute("SELECT body FROM events WHERE kind = 'Finished'").fetchall()
    )

    left = response.text.partition('"structuredContent":')[2]
    found, end = json.JSONDecoder().raw_decode(left)
    assert response.json()["result"]["structuredContent"] == found
    assert hashlib.sha256(left[:end].encode()).hexdigest() == orjson.loads(rows[0][0])["result_hash"]


@pytest.mark.parametrize("era", [MODERN, LEGACY])
async def test_calls_side_by_side_get_their_own_results(server: Served, era: str) -> None:
    server.bench.api.answers = [answer(b"%d " % number * 10_000) for number in range(8)]
    texts: list[str] = []
    async with connected(server, era) as client, anyio.create_task_group() as group:

        async def call() -> None:
            found = await client.call_tool("call_api", {"target": "api", "path": "x"})
            texts.append(found.structured_content["text"])

        for _ in range(8):
            group.start_soon(call)

    assert sorted(texts) == sorted(f"{number} " * 10_000 for number in range(8))
