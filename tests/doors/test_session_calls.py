"""Plain calls of a session, carried before the SDK: the same answers and records, and the session's own ways to end them."""

from __future__ import annotations

import base64
import gc
import json
import math
import weakref
import zlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mcp_gateway.approval import holding
from mcp_gateway.doors import fast_path
from mcp_gateway.doors.sessions import Sessions
from tests.corpora import cases
from tests.doors.odd_requests import PLAIN, changed, odd_requests
from tests.doors.test_two_doors import CALLS, EDITS, LINES, PATHS, RESULTS, STILL_PLAIN, VALUES
from tests.doors.two_doors import (
    IN_SESSION,
    OWN_SESSION,
    SESSION_HEADER,
    OneDoor,
    Request,
    TwoDoors,
    in_session,
    message,
    meta,
    request,
    two_doors,
)
from tests.faults.sizes import times
from tests.invariants.world import World, read_store
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R21")]

CANCELLED = {"code": -32800, "message": "Request cancelled"}
CALL = in_session(request(message()))
ODD = {name: asked for name, asked in odd_requests().items() if name != "the method GET"}
"""All but the one that opens a stream without an end."""
HERE_ONLY = {
    "mcp-protocol-version: 2025-11-25", "no mcp-method", "no mcp-name", "two of mcp-method", "two of mcp-name",
    "the body: no meta", "the body: two metas",
}  # fmt: skip
"""What is plain in a session: what is odd about it does not come into a session's request, or is at home there."""
NOT_HERE = {
    "mcp-method with spaces", "mcp-name with spaces", "the body: URLs alone", "the body: a client with a big number",
    "the body: a client with a title", "the body: a client with another's name", "the body: a client with more",
    "the body: elicitation", "the body: forms", "the body: no client info", "the body: null client info",
    "the body: null elicitation", "the body: sampling", "the body: unknown capabilities",
}  # fmt: skip
"""What says of its client in a call what is said in the handshake."""


def kinds(door: OneDoor) -> list[str]:
    return [row.kind for row in read_store(door.bench.store.data_dir).rows]


def stalling(door: OneDoor) -> Callable[[], bool]:
    return lambda: door.bench.api.stalling > 0


def cancelled(door: OneDoor) -> Callable[[], bool]:
    return lambda: kinds(door)[-2:] == ["Cancelled", "Answered"]


def said_in(parts: list[bytes], text: bytes) -> Callable[[], bool]:
    return lambda: text in b"".join(parts[-1:])


def sessions_of(door: OneDoor) -> Sessions:
    """The SDK's table behind a door."""
    found = [one for one in gc.get_objects() if isinstance(one, Sessions) and door.session in one._server_instances]
    (table,) = found
    return table


def notice(number: int | str) -> Request:
    """What a client sends to give a request up."""
    said = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
    return in_session(request(said))


@pytest.fixture
async def doors(tmp_path: Path, world: World) -> AsyncIterator[TwoDoors]:
    async with two_doors(tmp_path, world) as found:
        await found.open_sessions()
        yield found
        found.same_record()


async def test_every_odd_request_of_a_session_has_one_answer_and_one_record(doors: TwoDoors) -> None:
    plain = set()
    for name, asked in ODD.items():
        answered, fast = await doors.same(in_session(asked))
        if fast and answered.is_result:
            plain.add(name)
        if name == "the method DELETE":
            await doors.open_sessions()

    assert plain == (STILL_PLAIN | HERE_ONLY) - NOT_HERE


async def test_every_malformed_toldof_the_corpus_has_one_answer_in_a_session(doors: TwoDoors) -> None:
    for case in cases("jsonrpc.jsonl"):
        sent = case["input"]
        body = base64.b64decode(sent.get("body_b64") or sent["body_zlib_b64"])
        if "body_zlib_b64" in sent:
            body = zlib.decompress(body)
        if body:
            answered, _ = await doors.same(in_session(request(body)))
            assert not answered.is_result, case["id"]


async def test_every_result_is_the_same_value_in_a_session(doors: TwoDoors) -> None:
    for name, said in RESULTS.items():
        doors.let_answer(said)
        answered, fast = await doors.same(CALL)
        assert fast == answered.is_result, name


async def test_every_end_of_a_call_is_the_same_in_a_session(doors: TwoDoors) -> None:
    for name, (arguments, code, fast) in CALLS.items():
        answered, was_fast = await doors.same(
            in_session(request(json.dumps(message(arguments), separators=(",", ":")).encode()))
        )
        if "result" not in answered.body:  # the decoder of sessions takes no lone surrogate
            assert "surrogate" in name
            continue
        found = answered.body["result"]
        assert ("ok" if not found["isError"] else found["structuredContent"]["error"]["code"]) == code, name
        assert was_fast == fast, name


BOUNDED = settings(
    max_examples=times(commit=60, full=2_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)


@pytest.mark.timeout(times(commit=300, full=3600))
@BOUNDED
@given(path=PATHS, value=VALUES)
async def test_whatever_stands_in_a_toldof_a_session_has_one_answer(
    doors: TwoDoors, path: list[str], value: Any
) -> None:
    await doors.same(in_session(request(changed(path, value).replace(b", ", b",").replace(b": ", b":"))))


@pytest.mark.timeout(times(commit=300, full=3600))
@BOUNDED
@given(edits=st.lists(EDITS, min_size=1, max_size=3))
async def test_whatever_bytes_a_toldof_a_session_has_it_has_one_answer(
    doors: TwoDoors, edits: list[tuple[int, int, bytes]]
) -> None:
    body = CALL.body
    for at, cut, more in edits:
        at %= len(body)  # noqa: PLW2901 - made for the longer body of the newer era
        body = body[:at] + more + body[at + cut :]
    await doors.same(in_session(request(body)))


@pytest.mark.timeout(times(commit=300, full=3600))
@BOUNDED
@given(lines=st.lists(LINES, min_size=1, max_size=3), instead=st.booleans())
async def test_whatever_headers_a_toldof_a_session_has_it_has_one_answer(
    doors: TwoDoors, lines: list[tuple[str, str]], instead: bool
) -> None:
    kept = [line for line in CALL.headers if not instead or line[0] not in dict(lines)]
    await doors.same(Request(body=CALL.body, headers=(*kept, *lines)))


# Which session.


async def test_a_session_is_known_once_the_sdk_has_handled_a_call_of_it(tmp_path: Path, world: World) -> None:
    async with two_doors(tmp_path, world) as doors:
        await doors.open_sessions()
        assert doors.plain.watch.requests == 3
        _, fast = await doors.same(CALL)
        assert fast
        doors.same_record()


@pytest.mark.parametrize(
    ("version", "said", "fast"),
    [
        ("2025-11-25", "2025-11-25", True),
        ("2025-06-18", "2025-06-18", True),
        ("2025-11-25", "2025-06-18", False),
        ("2025-06-18", "2025-11-25", False),
        ("2025-03-26", "2025-03-26", False),
        ("2024-11-05", "2024-11-05", False),
        ("2025-03-26", "2025-11-25", False),
    ],
)
async def test_a_call_is_read_in_the_revision_of_its_session_alone(
    tmp_path: Path, world: World, version: str, said: str, fast: bool
) -> None:
    async with two_doors(tmp_path, world) as doors:
        await doors.open_sessions(version=version)
        answered, was_fast = await doors.same(CALL.with_headers(mcp_protocol_version=said))
        assert (answered.is_result, was_fast) == (True, fast)
        doors.same_record()


@pytest.mark.requirement("R32")
async def test_a_stolen_session_runs_nothing(doors: TwoDoors) -> None:
    for thief in ("sam", "dana"):
        answered, fast = await doors.same(CALL, person=thief)
        assert (answered.status, fast) == (404, False)
    assert len(doors.plain.bench.api.requests) == 1


async def test_what_is_revoked_runs_nothing_in_a_session(doors: TwoDoors) -> None:
    for door in (doors.plain, doors.sdk):
        await door.bench.revocations.revoke(what="subject", value="alex", by="test")
    answered, _ = await doors.same(CALL)
    assert answered.status == 401
    assert len(doors.plain.bench.api.requests) == 1


async def test_what_a_client_says_in_another_handshake_counts(tmp_path: Path, world: World) -> None:
    """The SDK lets a session shake hands again; whoever could not show a form can then, or speaks another revision."""
    async with two_doors(tmp_path, world) as doors:
        await doors.open_sessions()
        for version in ("2025-06-18", "2025-03-26", "2025-11-25"):
            hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": version, "version": "2"}}
            said = {"jsonrpc": "2.0", "id": 9, "method": "initialize", "params": hello}
            await doors.same(in_session(request(said)))
            _, fast = await doors.same(CALL)
            assert fast == (version == "2025-11-25")
        doors.same_record()


async def test_nothing_is_kept_of_a_session_that_has_ended(doors: TwoDoors) -> None:
    table = sessions_of(doors.plain)
    transport = weakref.ref(table._server_instances[doors.plain.session])
    await doors.same(in_session(request(PLAIN, method="DELETE")))

    answered, _ = await doors.same(CALL)
    assert answered.status == 404
    await until(lambda: gc.collect() >= 0 and transport() is None)
    assert len(table._sessions) == 0


async def test_a_session_is_not_idle_while_a_call_is_carried(doors: TwoDoors) -> None:
    door, table = doors.plain, sessions_of(doors.plain)
    transport = table._server_instances[door.session]
    assert transport.idle_scope is not None
    before = transport.idle_scope.deadline
    held = door.bench.api.held = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(door.ask, CALL)
        await until(lambda: len(door.bench.api.requests) == 2)
        assert transport.idle_scope.deadline == math.inf
        assert not table._is_idle(door.session)
        held.set()

    assert before < transport.idle_scope.deadline < math.inf
    assert table._is_idle(door.session)
    await doors.sdk.ask(CALL)


async def test_of_two_requests_at_once_with_one_id_the_second_is_refused(doors: TwoDoors) -> None:
    door = doors.plain
    held = door.bench.api.held = anyio.Event()
    found = []
    async with anyio.create_task_group() as group:

        async def first() -> None:
            found.append(await door.ask(CALL))

        group.start_soon(first)
        await until(lambda: len(door.bench.api.requests) == 2)
        for number in (1, "1"):
            second = await door.ask(in_session(request(message() | {"id": number})))
            assert (second.status, second.body["error"]["code"]) == (400, -32600)
        held.set()
    assert found[0].is_result
    assert (await door.ask(CALL)).is_result
    for _ in range(2):
        await doors.sdk.ask(CALL)


# How it ends.


@pytest.mark.requirement("R9")
@pytest.mark.parametrize("number", [1, "1"])
@pytest.mark.parametrize("handed_over", [False, True])
async def test_a_call_that_its_client_gives_up_ends_at_the_target_and_is_not_answered(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, number: int | str, handed_over: bool
) -> None:
    monkeypatch.setattr(fast_path, "TAKE_OVER_SECONDS", 0.05 if handed_over else 60.0)
    async with two_doors(tmp_path, world) as doors:
        await doors.open_sessions()
        before = doors.plain.watch.requests
        for door in (doors.plain, doors.sdk):
            door.bench.api.stall = True
            async with anyio.create_task_group() as group:
                said: list[Any] = []

                async def call(door: OneDoor = door, said: list[Any] = said) -> None:
                    said.append(await door.exchange(CALL))

                group.start_soon(call)
                await until(stalling(door))
                await until(lambda: not handed_over or doors.plain.watch.requests > before)
                for stranger in (2, "x", None, True):
                    await door.exchange(notice(stranger))  # type: ignore[arg-type]  # what is no id, too
                await door.exchange(notice(1), person="sam")
                assert kinds(door)[-1] == "Started"
                assert (await door.exchange(notice(number))).start["status"] == 202
            assert kinds(door)[-2:] == ["Cancelled", "Answered"]
            (answered,) = said
            assert answered.start["status"] == 200
            told = answered.body.removeprefix(b"event: message\r\ndata: ")
            assert orjson.loads(told) == {"jsonrpc": "2.0", "id": 1, "error": CANCELLED}
            door.bench.api.stall = False
            assert (await door.ask(CALL)).is_result
        doors.same_record()


@pytest.mark.requirement("R9")
async def test_a_session_that_its_client_ends_ends_its_calls(doors: TwoDoors) -> None:
    for door in (doors.plain, doors.sdk):
        door.bench.api.stall = True
        async with anyio.create_task_group() as group:
            group.start_soon(door.exchange, CALL)
            await until(stalling(door))
            with capture_logs() as logs:
                said = await door.exchange(in_session(request(PLAIN, method="DELETE")))
                await until(cancelled(door))
            assert said.start["status"] == 200
            assert [entry for entry in logs if entry["log_level"] == "critical"] == []
        await until(cancelled(door))
        assert door.bench.road.calls_under_way == 0


@pytest.mark.requirement("R9")
async def test_a_client_that_goes_away_ends_its_call_in_a_session(doors: TwoDoors) -> None:
    for door in (doors.plain, doors.sdk):
        door.bench.api.stall = True
        gone = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(partial(door.exchange, CALL, gone=gone))
            await until(stalling(door))
            gone.set()
        await until(cancelled(door))


# What the SDK has to bring.


@pytest.mark.parametrize(
    ("action", "ends"), [("accept", "ok"), ("decline", "approval_denied"), ("cancel", "approval_pending")]
)
async def test_a_form_is_asked_by_the_sdk_on_the_stream_of_the_call(
    tmp_path: Path, world: World, action: str, ends: str
) -> None:
    put = in_session(request(message({"target": "api", "path": "x", "method": "PUT"})))
    async with two_doors(tmp_path, world, wait=timedelta(seconds=20)) as doors:
        await doors.open_sessions(elicitation={"form": {}})
        found = []
        for door in (doors.plain, doors.sdk):
            forms: list[bytes] = []
            async with anyio.create_task_group() as group:

                async def call(door: OneDoor = door, forms: list[bytes] = forms) -> None:
                    found.append(await door.exchange(put, told=forms.append))

                group.start_soon(call)
                await until(said_in(forms, b"elicitation/create"))
                form = next(orjson.loads(line[6:]) for line in forms[-1].splitlines() if line.startswith(b"data: {"))
                chosen: dict[str, Any] = {"action": action} | ({"content": {}} if action == "accept" else {})
                answer = {"jsonrpc": "2.0", "id": form["id"], "result": chosen}
                assert (await door.exchange(in_session(request(answer)))).start["status"] == 202
        for said in found:
            last = orjson.loads([line for line in said.body.splitlines() if line.startswith(b"data: {")][-1][6:])
            content = last["result"]
            assert ("ok" if not content["isError"] else content["structuredContent"]["error"]["code"]) == ends
        assert doors.same_record().count("Asked") == 1


@pytest.mark.parametrize("modern", [True, False])
async def test_a_call_that_waits_tells_how_far_by_the_sdk(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, modern: bool
) -> None:
    monkeypatch.setattr(holding, "PROGRESS_SECONDS", 0.05)
    said = meta(progressToken="p") if modern else {"progressToken": "p"}
    asked = request(message({"target": "api", "path": "x", "method": "POST"}, _meta=said))
    async with two_doors(tmp_path, world, wait=timedelta(seconds=30)) as doors:
        await doors.open_sessions()
        for door in (doors.plain, doors.sdk):
            parts: list[bytes] = []
            async with anyio.create_task_group() as group:

                async def call(door: OneDoor = door, parts: list[bytes] = parts) -> None:
                    await door.exchange(asked if modern else in_session(asked), told=parts.append)

                group.start_soon(call)
                await until(said_in(parts, b"notifications/progress"))
                (pending,) = await door.bench.live()
                await door.bench.vote(pending.id)
            assert b'"progressToken":"p"' in parts[-1]
            assert b'"isError":false' in parts[-1]
        doors.same_record()


def test_the_plain_call_of_a_session_is_what_clients_send() -> None:
    body = orjson.loads(CALL.body)
    assert body["params"].keys() == {"name", "arguments"}
    assert dict(CALL.headers)["mcp-protocol-version"] == IN_SESSION
    assert dict(CALL.headers)[SESSION_HEADER] == OWN_SESSION
