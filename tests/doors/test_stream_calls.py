"""Plain calls over standard streams, carried before the SDK: the same answers, the same records, the same ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from mcp_gateway.approval import holding
from mcp_gateway.doors import intake
from mcp_gateway.doors.splice import LINE_ENDS
from mcp_gateway.doors.stream_calls import Rest
from mcp_gateway.pipeline import Road
from tests.doors.odd_requests import BODIES, changed
from tests.doors.test_two_doors import CALLS, FORMS, PATHS, RESULTS, VALUES
from tests.doors.two_doors import meta
from tests.doors.two_streams import BARRIER, StreamClient, TwoStreams, two_streams
from tests.faults.sizes import times
from tests.invariants.world import World
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R21")]

ERAS = pytest.mark.parametrize("modern", [True, False])
NEWER = b',"_meta":' + orjson.dumps(meta())


@pytest.fixture
async def streams(tmp_path: Path, world: World, modern: bool) -> AsyncIterator[TwoStreams]:
    async with two_streams(tmp_path, world, modern=modern) as found:
        for client in found:
            await client.open()
        yield found
        found.same_record()


def stalling(client: StreamClient) -> Callable[[], bool]:
    return lambda: client.bench.api.stalling > 0


def cancelled(client: StreamClient) -> Callable[[], bool]:
    return lambda: client.kinds()[-2:] == ["Cancelled", "Answered"]


def notice(number: int | str) -> dict[str, Any]:
    """What a client sends to give a request up."""
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}


def asks(body: bytes) -> Any:
    """The id that the answer to a line has; `...` where there is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, dict) and isinstance(found.get("method"), str) and found.get("jsonrpc") == "2.0":
        number = found.get("id", ...)
        return number if isinstance(number, int | str) and not isinstance(number, bool) else ...
    return ...


@ERAS
async def test_every_odd_message_has_one_answer_and_one_record(streams: TwoStreams, modern: bool) -> None:
    fast_ones = set()
    for name, body in BODIES.items():
        sent = body if modern else body.replace(NEWER, b"").replace(NEWER[10:-1], b"").replace(b"{,", b"{")
        number = asks(sent)
        if b"\n" in sent or not sent.strip():
            continue
        if number is ...:  # no request, to which there may be no answer
            for client in streams:
                await client.send(sent)
                await client.settle()
            continue
        answered, fast = await streams.same(sent, number=number)
        if fast and "result" in answered:
            fast_ones.add(name)

    assert {"two names", "null arguments", "a further parameter", "input responses", "the id 1.5"}.isdisjoint(fast_ones)
    assert {"an escaped tool", "a trace", "NUL", "60,000 bytes", "a progress token"} <= fast_ones


BOUNDED = settings(
    max_examples=times(commit=60, full=2_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)


@ERAS
@pytest.mark.timeout(times(commit=300, full=3600))
@BOUNDED
@given(path=PATHS, value=VALUES)
async def test_whatever_stands_in_a_message_it_has_one_answer(
    streams: TwoStreams, modern: bool, path: list[str], value: Any
) -> None:
    sent = changed(["params", *path], value)
    sent = sent if modern else compact(sent).replace(NEWER, b"")
    if (number := asks(sent)) is not ...:
        await streams.same(sent, number=number)


def compact(body: bytes) -> bytes:
    """JSON of the standard library without its spaces between members."""
    return json.dumps(json.loads(body), separators=(",", ":")).encode()


@ERAS
async def test_every_result_is_the_same_line(streams: TwoStreams) -> None:
    for name, said in RESULTS.items():
        for client in streams:
            client.bench.api.answers = [said]
        answered, fast = await streams.same(streams.plain.call())
        assert fast == (answered["result"]["isError"] is False), name
        assert not any(odd in line for line in streams.plain.said for odd in LINE_ENDS), name


@ERAS
async def test_every_end_of_a_call_is_the_same(streams: TwoStreams) -> None:
    for name, (arguments, code, fast) in CALLS.items():
        sent = json.dumps(streams.plain.call(arguments)).encode()
        answered, was_fast = await streams.same(sent, number=1 if "surrogate" not in name else None)
        if "surrogate" in name:  # no message
            continue
        found = answered["result"]
        assert ("ok" if not found["isError"] else found["structuredContent"]["error"]["code"]) == code, name
        assert was_fast == fast, name


@ERAS
async def test_nothing_is_carried_before_the_sdk_has_handled_a_call(tmp_path: Path, world: World, modern: bool) -> None:
    async with two_streams(tmp_path, world, modern=modern) as streams:
        for client in streams:
            await client.open()
        assert streams.plain.by_sdk == streams.sdk.by_sdk == (1 if modern else 2)
        _, fast = await streams.same(streams.plain.call())
        assert fast


@ERAS
async def test_a_call_of_the_other_era_is_refused_as_the_sdk_refuses_it(streams: TwoStreams, modern: bool) -> None:
    other = StreamClient(streams.plain.bench, not modern).call()
    answered, fast = await streams.same(other)
    assert "error" in answered
    assert not fast
    assert streams.same_record().count("Started") == 1


# How it ends.


@ERAS
@pytest.mark.requirement("R9")
@pytest.mark.parametrize("number", [1, "1"])
async def test_a_call_that_its_client_gives_up_ends_at_the_target_and_is_not_answered(
    streams: TwoStreams, number: int | str
) -> None:
    for client in streams:
        client.bench.api.stall = True
        await client.send(client.call())
        await until(stalling(client))
        await client.send(notice(2))
        await client.settle()
        assert client.kinds()[-1] != "Cancelled"
        before = len(client.said)
        await client.send(notice(number))
        await until(cancelled(client))
        client.bench.api.stall = False
        assert (await client.ask(client.call()))["result"]["isError"] is False
        assert len(client.said) == before + 1


@pytest.mark.requirement("R9")
async def test_a_call_that_is_given_up_as_it_is_handed_over_is_not_answered(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_streams(tmp_path, world, modern=False) as streams:
        client = streams.plain
        await client.open()
        push = Rest.push
        given_up: list[object] = []

        def pushed(rest: Rest, item: Any, context: Any) -> None:
            push(rest, item, context)
            if getattr(item.message, "method", "") == "tools/call" and not given_up:
                given_up.append(item)
                client.send_now(notice(1))

        monkeypatch.setattr(Rest, "push", pushed)
        before = len(client.said)
        await client.send(client.call({"target": "none", "path": "x"}))
        await client.settle()

    assert given_up
    assert [one for one in map(json.loads, client.said[before:]) if "error" in one] == []


@pytest.mark.requirement("R9")
async def test_a_call_that_is_given_up_before_its_form_is_asked_is_not_answered(tmp_path: Path, world: World) -> None:
    async with two_streams(tmp_path, world, modern=False, wait=timedelta(seconds=20)) as streams:
        for client in streams:
            await client.open(elicitation={"form": {}})
            before = len(client.said)
            await client.send(client.call({"target": "api", "path": "x", "method": "PUT"}))
            await client.send(notice(1))
            await until(lambda client=client: client.kinds()[-1] == "Answered" and client.kinds()[-2] != "Finished")  # type: ignore[misc]
            await client.settle()
            assert [one for one in map(json.loads, client.said[before:]) if one.get("id") != BARRIER] == []


@ERAS
@pytest.mark.requirement("R9")
@pytest.mark.parametrize("how", ["leaves", "breaks"])
async def test_the_end_of_a_client_ends_its_calls(tmp_path: Path, world: World, modern: bool, how: str) -> None:
    for name in ("plain", "sdk"):
        with anyio.fail_after(60):
            (tmp_path / name).mkdir()
            async with two_streams(tmp_path / name, world, modern=modern) as streams:
                client: StreamClient = getattr(streams, name)
                await client.open()
                client.bench.api.stall = True
                for number in (1, 2, 3):
                    await client.send(client.call() | {"id": number})
                await until(lambda client=client: client.bench.api.stalling == 3)  # type: ignore[misc]  # bound here
                client.broken = how == "breaks"
                client.leave()
                await until(lambda client=client: client.kinds().count("Cancelled") == 3)  # type: ignore[misc]
                await until(lambda client=client: client.bench.road.calls_under_way == 0)  # type: ignore[misc]


@ERAS
async def test_a_result_that_nobody_reads_any_more_is_recorded(tmp_path: Path, world: World, modern: bool) -> None:
    async with two_streams(tmp_path, world, modern=modern) as streams:
        client = streams.plain
        await client.open()
        held = client.bench.api.held = anyio.Event()
        await client.send(client.call())
        await until(lambda: len(client.bench.api.requests) == 2)
        client.broken = True
        held.set()
        await until(lambda: client.kinds()[-2:] == ["Finished", "Answered"])


@ERAS
@pytest.mark.requirement("R20", "R23", "I8")
async def test_every_end_of_a_call_leaves_its_place(
    tmp_path: Path, world: World, modern: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Road, "max_calls_per_caller", 1)
    monkeypatch.setattr(intake, "MORE", 0)
    async with two_streams(tmp_path, world, modern=modern) as streams:
        client = streams.plain
        await client.open()
        client.bench.api.stall = True
        await client.send(client.call())
        await until(stalling(client))
        refused = await client.ask(client.call() | {"id": 2}, number=2)
        assert refused["error"]["data"]["code"] == "limit_exceeded"
        await client.send(notice(1))
        await until(cancelled(client))
        client.bench.api.stall = False
        for name, (arguments, _, _) in CALLS.items():
            if "surrogate" in name:  # no message
                continue
            assert "result" in await client.ask(json.dumps(client.call(arguments)).encode())


# What the SDK has to bring.


@pytest.mark.parametrize(
    ("action", "ends"), [("accept", "ok"), ("decline", "approval_denied"), ("cancel", "approval_pending")]
)
async def test_a_form_is_asked_by_the_sdk(tmp_path: Path, world: World, action: str, ends: str) -> None:
    async with two_streams(tmp_path, world, modern=False, wait=timedelta(seconds=20)) as streams:
        for client in streams:
            await client.open(elicitation={"form": {}})
            before = len(client.said)
            await client.send(client.call({"target": "api", "path": "x", "method": "PUT"}))
            await until(lambda client=client, before=before: b"elicitation/create" in b"".join(client.said[before:]))  # type: ignore[misc]
            form = orjson.loads(client.said[-1])
            chosen: dict[str, Any] = {"action": action} | ({"content": {}} if action == "accept" else {})
            await client.send({"jsonrpc": "2.0", "id": form["id"], "result": chosen})
            found = (await client.answer(before + 1))["result"]
            assert ("ok" if not found["isError"] else found["structuredContent"]["error"]["code"]) == ends
            assert (await client.ask(client.call()))["result"]["isError"] is False
        assert streams.same_record().count("Asked") == 1


async def test_a_form_of_the_newer_era_is_the_sdks_to_ask(tmp_path: Path, world: World) -> None:
    capable = meta(**{"io.modelcontextprotocol/clientCapabilities": FORMS})
    async with two_streams(tmp_path, world, modern=True) as streams:
        for client in streams:
            await client.open()
            asked = await client.ask(client.call({"target": "api", "path": "x", "method": "PUT"}, _meta=capable))
            assert asked["result"]["resultType"] == "input_required"
        streams.same_record()


@ERAS
async def test_a_call_that_waits_tells_how_far_by_the_sdk(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, modern: bool
) -> None:
    monkeypatch.setattr(holding, "PROGRESS_SECONDS", 0.05)
    said = meta(progressToken="p") if modern else {"progressToken": "p"}
    async with two_streams(tmp_path, world, modern=modern, wait=timedelta(seconds=30)) as streams:
        for client in streams:
            await client.open()
            before = len(client.said)
            await client.send(client.call({"target": "api", "path": "x", "method": "POST"}, _meta=said))
            await until(lambda client=client: b"notifications/progress" in b"".join(client.said))  # type: ignore[misc]
            (pending,) = await client.bench.live()
            await client.bench.vote(pending.id)
            assert (await client.answer(before))["result"]["isError"] is False
        streams.same_record()
