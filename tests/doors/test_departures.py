"""A block ends with the client of its request, and with nobody else's."""

from __future__ import annotations

import anyio
import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from mcp_gateway.doors.departures import Departure, Watched, ending_with_its_client

pytestmark = pytest.mark.anyio


async def nothing(_: Message) -> None:
    """Send nowhere."""


@pytest.mark.requirement("R9")
async def test_what_runs_is_cancelled_when_the_client_goes_away() -> None:
    went, seen = anyio.Event(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def work() -> None:
            with ending_with_its_client(Request(scope)):
                try:
                    went.set()
                    await anyio.sleep_forever()
                finally:
                    seen.append("cancelled")
            seen.append("left")

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await receive()

    async def receive() -> Message:
        await went.wait()
        return {"type": "http.disconnect"}

    with anyio.fail_after(10):
        await Watched(app)({"type": "http"}, receive, nothing)
    assert seen == ["cancelled", "left"]


async def test_a_message_is_no_departure() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with ending_with_its_client(Request(scope)):
            await receive()
            await anyio.sleep(0)
            scope["finished"] = True

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope: Scope = {"type": "http"}
    await Watched(app)(scope, receive, nothing)
    assert scope["finished"]


async def test_a_client_that_went_away_before_starts_nothing() -> None:
    departure, ran = Departure(), False
    departure.happen()
    with departure.ending():
        await anyio.sleep(0)
        ran = True
    assert not ran


async def test_a_departure_after_the_end_cancels_nothing() -> None:
    departure = Departure()
    with departure.ending():
        pass
    departure.happen()
    await anyio.sleep(0)


@pytest.mark.parametrize("request_", [None, Request({"type": "http"}), object()])
async def test_what_is_no_watched_request_never_departs(request_: object) -> None:
    with ending_with_its_client(request_):
        await anyio.sleep(0)
