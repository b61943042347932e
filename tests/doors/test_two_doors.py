"""With the fast path and without it every request has the same answer and leaves the same record."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.corpora import cases
from tests.doors.odd_requests import PLAIN, changed, odd_requests
from tests.doors.two_doors import LISTEN, TwoDoors, exchange, message, meta, request, two_doors
from tests.faults.sizes import times
from tests.invariants.world import World
from tests.peers.api import answer
from tests.peers.conformance_tools import POLICIES as FIXTURE_POLICIES
from tests.peers.conformance_tools import fixtures
from tests.roads import POLICIES

pytestmark = pytest.mark.anyio

RECORDED = Path(__file__).parent / "conformance_requests.jsonl"
"""What the MCP conformance suite has sent, without what belongs to a session and the streams that have no end."""
COMMON = (("host", LISTEN), ("user-agent", "node"), ("connection", "keep-alive"), ("accept-encoding", "gzip, deflate"))
FORMS: dict[str, Any] = {"elicitation": {"form": {}}}
ODD = odd_requests()
STILL_PLAIN = {
    "the body: an escaped method", "the body: an escaped tool", "the body: a trace", "the body: an empty trace",
    "the body: a long trace", "the body: a progress token", "the body: a progress token that is a number",
    "the body: no client info", "the body: null client info", "the body: a client with a title",
    "the body: a client with more", "the body: a client with another's name", "the body: a client with a big number",
    "the body: elicitation", "the body: null elicitation", "the body: forms", "the body: URLs alone", "the body: sampling",
    "the body: unknown capabilities", 'the body: the id ""', 'the body: the id "1"', "the body: the id -1",
    "the body: the id 0", "the body: the id -0", "the body: the id 9007199254740991", "the body: NUL",
    "the body: white space around", "the body: a small number", "the body: -0", "the body: -0.0",
    "the body: a long fraction", "the body: 60,000 bytes", "host with spaces", "host in capitals", "content-type with spaces",
    "accept with spaces", "content-length with spaces", "content-length in capitals", "mcp-protocol-version with spaces",
    "mcp-protocol-version in capitals", "mcp-method with spaces", "mcp-name with spaces", "no user-agent",
    "two of user-agent", "user-agent twice, and not the same", "user-agent with spaces", "user-agent with more",
    "user-agent in capitals", "an empty user-agent", "accept: application/json,text/event-stream",
    "further, origin: http://127.0.0.1:8765", "further, connection: close", "further, connection: mcp-name",
    "further, x-http-method-override: GET", "further, x-original-url: /sse", "further, forwarded: host=evil.example",
    "further, cookie: session=1", "a body in two pieces", "a body byte by byte",
}  # fmt: skip
"""What is answered without the SDK, of all the odd requests: both readers ignore what is odd, or read it the same."""

RESULTS: dict[str, bytes] = {
    "text": answer(b"ok"),
    "no text": answer(b""),
    "other letters": answer('ü\u2028\u2029\x85\x00 \U0001f600 "\\ </script>'.encode()),
    "no UTF-8": answer(b"\xff\xfe"),
    "an address": answer(b"write to ada@example.com"),
    "JSON": answer(
        b'{"a":null,"b":[null,1.0,1e300,-0.0,true,{}],"c":{"d":null}}', headers="content-type: application/json"
    ),
    "great numbers": answer(b"[9007199254740993,18446744073709551615,1e-7]", headers="content-type: application/json"),
    "a placeholder": answer(
        b'{"spliced":"00000000000000000000000000000000"}', headers="content-type: application/json"
    ),
    "an error's form": answer(b'{"error":{"code":"denied"},"isError":true}', headers="content-type: application/json"),
    "9 KB": answer(b"word " * 1800),
    "20 KB, which are masked aside": answer(b"to ada@example.com, " * 1000),
    "not found": answer(b"no", status="404 Not Found"),
    "an error": answer(b"ada@example.com is wrong", status="500 Internal Server Error"),
    "a redirect": answer(b"", status="302 Found", headers="location: http://169.254.169.254/"),
    "no answer": b"",
    "nonsense": b"nonsense\r\n\r\n",
}


@pytest.fixture
async def doors(tmp_path: Path, world: World) -> AsyncIterator[TwoDoors]:
    async with two_doors(tmp_path, world) as found:
        yield found
        found.same_record()


@pytest.mark.requirement("R21")
async def test_every_odd_request_has_one_answer_and_one_record(doors: TwoDoors) -> None:
    plain = set()
    for name, asked in ODD.items():
        answered, fast = await doors.same(asked)
        if fast and answered.is_result:
            plain.add(name)

    assert plain == STILL_PLAIN


@pytest.mark.requirement("R21")
async def test_every_malformed_message_of_the_corpus_has_one_answer(doors: TwoDoors) -> None:
    for case in cases("jsonrpc.jsonl"):
        sent = case["input"]
        body = base64.b64decode(sent.get("body_b64") or sent["body_zlib_b64"])
        if "body_zlib_b64" in sent:
            body = zlib.decompress(body)
        if not body:
            continue
        for tool in ("call_api", "run_ssh_command"):
            answered, _ = await doors.same(request(body, tool=tool))
            assert not answered.is_result, case["id"]

    assert doors.same_record() == []


@pytest.mark.requirement("R21")
async def test_every_request_of_the_conformance_suite_has_one_answer(tmp_path: Path, world: World) -> None:
    async with two_doors(tmp_path, world, policies=FIXTURE_POLICIES, tools=fixtures()) as doors:
        fast_ones = 0
        for line in RECORDED.read_text().splitlines():
            recorded = json.loads(line)
            body = recorded["body"].encode()
            head = [*COMMON, ("content-length", str(len(body))), *map(tuple, recorded["headers"])]
            asked = replace(request(body, method=recorded["method"]), headers=tuple(head))
            answered, fast = await doors.same(asked)
            fast_ones += fast and answered.is_result
        doors.same_record()

    assert fast_ones > 0


async def test_every_result_leaves_by_both_doors_as_the_same_value(doors: TwoDoors) -> None:
    for name, said in RESULTS.items():
        doors.let_answer(said)
        answered, fast = await doors.same(request(message()))
        assert fast == answered.is_result, name


CALLS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "a read": ({"target": "api", "path": "x"}, "ok", True),
    "a read with a reason": ({"target": "api", "path": "x", "reason": "to see"}, "ok", True),
    "a read with a query": ({"target": "api", "path": "x", "query": {"q": "ada@example.com"}}, "ok", True),
    "a write": ({"target": "api", "path": "x", "method": "POST", "json": {"a": 1}}, "approval_pending", False),
    "what the caller confirms": ({"target": "api", "path": "x", "method": "PUT"}, "approval_pending", False),
    "what nobody may": ({"target": "api", "path": "x", "method": "DELETE"}, "denied", False),
    "an unknown target": ({"target": "other", "path": "x"}, "unknown_target", False),
    "a target that is a number": ({"target": 1, "path": "x"}, "invalid_arguments", False),
    "no target": ({"path": "x"}, "invalid_arguments", False),
    "an unknown argument": ({"target": "api", "path": "x", "extra": 1}, "invalid_arguments", False),
    "a path outside": ({"target": "api", "path": "https://evil.example/"}, "invalid_arguments", False),
    "a number as a text": ({"target": "api", "path": 1}, "invalid_arguments", False),
    "a lone surrogate": ({"target": "api", "path": "\ud800"}, "invalid_arguments", False),
    "a lone surrogate in a name": (
        {"target": "api", "path": "x", "method": "PUT", "json": {"\ud800": 1}}, "invalid_arguments", False
    ),
    "a repetition of nothing": ({"target": "api", "path": "x", "repeat_of": "x"}, "ok", True),
}  # fmt: skip


async def test_every_end_of_a_call_is_the_same_by_both_doors(doors: TwoDoors) -> None:
    for name, (arguments, code, fast) in CALLS.items():
        answered, was_fast = await doors.same(request(json.dumps(message(arguments)).encode()))
        found = answered.body["result"]
        assert ("ok" if not found["isError"] else found["structuredContent"]["error"]["code"]) == code, name
        assert was_fast == fast, name


async def test_what_somebody_may_not_use_is_refused_by_both_doors(doors: TwoDoors) -> None:
    nobody, fast = await doors.same(request(message()), person=None)
    assert (nobody.status, fast) == (401, True)
    stranger, _ = await doors.same(request(message()), person="dana")
    assert stranger.body["result"]["isError"]
    for door in (doors.plain, doors.sdk):
        await door.bench.revocations.revoke(what="subject", value="alex", by="test")
    revoked, _ = await doors.same(request(message()))
    assert revoked.status == 401


async def test_an_approved_call_leaves_without_the_sdk_and_runs_once(doors: TwoDoors) -> None:
    asked = request(message({"target": "api", "path": "x", "method": "POST"}))
    await doors.same(asked)
    for door in (doors.plain, doors.sdk):
        (pending,) = await door.bench.live()
        await door.bench.vote(pending.id)

    answered, fast = await doors.same(asked)
    assert (answered.is_result, fast) == (True, True)
    again, fast = await doors.same(asked)
    assert (again.body["result"]["structuredContent"]["error"]["code"], fast) == ("already_run", False)

    assert len(doors.plain.bench.api.requests) == len(doors.sdk.bench.api.requests) == 1


async def test_a_form_is_the_sdks_to_ask_and_its_answer_the_sdks_to_read(doors: TwoDoors) -> None:
    put = {"target": "api", "path": "x", "method": "PUT"}
    capable = meta(**{"io.modelcontextprotocol/clientCapabilities": FORMS})
    answers = []
    for door in (doors.plain, doors.sdk):
        asked = await exchange(door.app, request(message(put, _meta=capable)), token=door.token())
        form = orjson.loads(asked.body)["result"]
        assert form["resultType"] == "input_required"
        confirmed = {"inputResponses": {"confirm": {"action": "accept"}}, "requestState": form["requestState"]}
        answers.append(await door.ask(request(message(put, _meta=capable, **confirmed))))

    assert answers[0] == answers[1]
    assert doors.plain.watch.requests == doors.sdk.watch.requests == 2
    kinds = doors.same_record()
    assert kinds.count("Asked") == kinds.count("Started") == 1


async def test_further_tools_are_the_same_by_both_doors(tmp_path: Path, world: World) -> None:
    async with two_doors(tmp_path, world, policies=FIXTURE_POLICIES + POLICIES, tools=fixtures()) as doors:
        for tool in ("test_simple_text", "test_error_handling", "test_elicitation", "list_targets"):
            for arguments in ({}, {"target": "api"}, {"target": "none"}, {"extra": 1}):
                answered, fast = await doors.same(request(message(arguments, tool=tool), tool=tool))
                assert fast == (answered.is_result and tool != "list_targets")
        doors.same_record()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["2.0", "tools/call", "call_api", "2026-07-28", "api", 1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
NAMES = st.sampled_from(
    ["jsonrpc", "id", "method", "params", "name", "arguments", "_meta", "target", "path", "method", "progressToken"]
    + [f"io.modelcontextprotocol/{name}" for name in ("protocolVersion", "clientInfo", "clientCapabilities")]
) | st.text(max_size=6)  # fmt: skip
PATHS = st.lists(st.sampled_from(["params"]), max_size=1).flatmap(
    lambda first: st.lists(NAMES, min_size=1, max_size=3).map(lambda rest: [*first, *rest])
)
EDITS = st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 3), st.binary(max_size=3))

FIELDS = st.sampled_from(
    [
        "mcp-session-id", "mcp-param-x", "last-event-id", "origin", "content-encoding", "transfer-encoding", "expect", "te",
        "x-http-method-override", "x-forwarded-host", "forwarded", "cookie", "connection", "upgrade", "traceparent", "x",
        *(name for name, _ in request(PLAIN).headers),
    ]
)  # fmt: skip
LINES = st.tuples(
    FIELDS,
    st.text(st.characters(codec="latin-1", exclude_characters="\0\r\n"), max_size=12)
    | st.sampled_from([value for _, value in request(PLAIN).headers])
    | st.sampled_from(
        ["call_api ", " call_api", "=?base64?Y2FsbF9hcGk=?=", "TOOLS/CALL", "2025-06-18", "0", "*/*", "gzip"]
    ),
)


@pytest.mark.requirement("R21")
@pytest.mark.timeout(times(commit=300, full=3600))
@settings(
    max_examples=times(commit=80, full=2_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(path=PATHS, value=VALUES)
async def test_whatever_stands_in_a_message_has_one_answer(doors: TwoDoors, path: list[str], value: Any) -> None:
    await doors.same(request(changed(path, value)))


@pytest.mark.requirement("R21")
@pytest.mark.timeout(times(commit=300, full=3600))
@settings(
    max_examples=times(commit=80, full=2_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(edits=st.lists(EDITS, min_size=1, max_size=3), length=st.booleans())
async def test_whatever_bytes_a_message_has_it_has_one_answer(
    doors: TwoDoors, edits: list[tuple[int, int, bytes]], length: bool
) -> None:
    body = PLAIN
    for at, cut, more in edits:
        body = body[:at] + more + body[at + cut :]
    asked = request(body)
    await doors.same(asked if length else asked.with_headers(**{"content-length": str(len(PLAIN))}))


@pytest.mark.requirement("R21")
@pytest.mark.timeout(times(commit=300, full=3600))
@settings(
    max_examples=times(commit=80, full=2_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(lines=st.lists(LINES, min_size=1, max_size=3), instead=st.booleans())
async def test_whatever_headers_a_message_has_it_has_one_answer(
    doors: TwoDoors, lines: list[tuple[str, str]], instead: bool
) -> None:
    asked = request(PLAIN)
    kept = tuple(line for line in asked.headers if not instead or line[0] not in dict(lines))
    await doors.same(replace(asked, headers=(*kept, *lines)))


def test_the_plain_request_is_what_clients_send() -> None:
    assert orjson.loads(PLAIN) == message()
