"""JSON that names a member twice comes in by no door: whoever reads it first and whoever reads it last would see two calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.doors.members import COMPARED_BYTES, MAX_VALUES, flaw
from tests.doors.servers import Served, served
from tests.doors.token_doors import ACCEPT, INITIALIZE, INITIALIZED, LEGACY, META, MODERN, call
from tests.invariants.world import World
from tests.plain_http import plain_client

pytestmark = pytest.mark.requirement("R14", "R21")

FINE = [b"{}", b"[]", b"1", b'"a"', b'{"a":1,"A":1}', b'[{"a":1},{"a":1}]', b'{"a":{"a":{"a":1}}}', b'{ "a" : 1, "b" : NaN }',
        b'{"a":"{\\"b\\":1,\\"b\\":2}"}', b'{"":1," ":1}', b'{"a":1,"\\u0061b":1}', b"9" * 4000]  # fmt: skip
TWICE = [b'{"a":1,"a":1}', b'{"a":1, "a":2}', b'{"a":1,"\\u0061":2}', b'{"":1,"":2}', b'[[{"a":{"b":1,"b":1}}]]',
         b'{"a":{"b":1},"a":{}}', b'{"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":2}', b'{"a":1,"b":2,"c":{"a":1},"a":[]}']  # fmt: skip
NO_JSON = [
    b"",
    b" ",
    b"{",
    b'{"a":1,}',
    b"{'a':1}",
    b'{"a":1}{"a":1}',
    b"[" * 100_000,
    b"9" * 5000,
    b"\xff",
    b'{"a"}',
    b"nul",
]


@pytest.mark.parametrize("text", FINE)
def test_what_has_one_reading_passes(text: bytes) -> None:
    assert flaw(text) is None
    assert flaw(b" " * COMPARED_BYTES + text) is None


@pytest.mark.parametrize("text", TWICE)
def test_a_member_twice_is_found(text: bytes) -> None:
    assert flaw(text) == "a member twice"
    assert flaw(b" " * COMPARED_BYTES + text) == "a member twice"


@pytest.mark.parametrize("text", NO_JSON)
def test_what_cannot_be_read_is_named_so(text: bytes) -> None:
    assert flaw(text) == "no JSON"


@pytest.mark.requirement("R22")
@pytest.mark.parametrize(("inner", "each"), [(b"1", 1), (b'"a"', 1), (b"[]", 1), (b'[{"a":1}]', 3)])
@pytest.mark.parametrize(("before", "after", "around"), [(b"[", b"]", 1), (b'{"a": [', b"]}", 2)])
def test_more_values_than_any_call_may_have_are_told(
    inner: bytes, each: int, before: bytes, after: bytes, around: int
) -> None:
    def of(count: int) -> bytes:
        return before + b",".join([inner] * count) + after

    most = (MAX_VALUES - around) // each
    assert flaw(of(most)) is None
    assert flaw(of(most + 1)) == "too many values"
    assert flaw(b" " * COMPARED_BYTES + of(most + 1)) == "too many values"


@pytest.mark.requirement("R22")
def test_what_a_text_holds_is_one_value() -> None:
    assert flaw(orjson.dumps({"body": '{"a":1,' * 60_000})) is None


NAMES = st.sampled_from(["a", "b", "", "\u00e9", "\U0001f600", '"', "\\"]) | st.text(max_size=2)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=4).map(tuple),
    max_leaves=10,
)
"""JSON values; an object is a tuple of its members, so that one may come twice."""


def written(tree: Any, *, ascii_only: bool, blank: str) -> str:
    if isinstance(tree, tuple):
        members = [
            f"{json.dumps(name, ensure_ascii=ascii_only)}:{blank}{written(value, ascii_only=ascii_only, blank=blank)}"
            for name, value in tree
        ]
        return "{" + f",{blank}".join(members) + "}"
    if isinstance(tree, list):
        return "[" + f",{blank}".join(written(item, ascii_only=ascii_only, blank=blank) for item in tree) + "]"
    return json.dumps(tree, ensure_ascii=ascii_only)


def doubled(tree: Any) -> bool:
    if isinstance(tree, tuple):
        names = [name for name, _ in tree]
        return len(set(names)) < len(names) or any(doubled(value) for _, value in tree)
    return isinstance(tree, list) and any(map(doubled, tree))


@given(tree=TREES, ascii_only=st.booleans(), blank=st.sampled_from(["", " ", "\n\t"]))
def test_a_member_is_found_twice_exactly_where_it_is(tree: Any, ascii_only: bool, blank: str) -> None:
    text = written(tree, ascii_only=ascii_only, blank=blank)
    assert flaw(text.encode()) == ("a member twice" if doubled(tree) else None)


def put(old: str, new: str) -> bytes:
    """A call in which one text is another one."""
    text = orjson.dumps(call(meta=META)).decode()
    assert text.count(old) == 1
    return text.replace(old, new).encode()


CALLS: dict[str, bytes] = {
    "the method": put('"method":', '"method":"ping","method":'),
    "the id": put('"id":', '"id":7,"id":'),
    "the params": put('"params":', '"params":{},"params":'),
    "the tool": put('"name":"call_api"', '"name":"list_targets","name":"call_api"'),
    "the arguments": put('"arguments":', '"arguments":{},"arguments":'),
    "an argument": put('"path":"x"', '"path":"y","path":"x"'),
    "an argument, the same": put('"path":"x"', '"path":"x","path":"x"'),
    "an argument, escaped": put('"path":"x"', '"p\\u0061th":"y","path":"x"'),
    "an argument, far apart": put('"target":"api"', '"path":"y", "target":"api"'),
    "inside an argument": put('"path":"x"', '"path":"x","query":{"a":"1","a":"2"}'),
    "inside `_meta`": put('"version":"1"', '"version":"1","version":"2"'),
}
HEADERS = {"content-type": "application/json", "accept": ACCEPT}
WAYS: dict[str, dict[str, str]] = {
    "modern": {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "call_api"},
    "legacy": {"mcp-protocol-version": LEGACY},
    "sse": {},
}


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_no_http_door_takes_a_member_twice(server: Served, way: str) -> None:
    headers = HEADERS | {"authorization": f"Bearer {server.token()}"}
    async with plain_client(headers=headers, timeout=30) as http, http.stream("GET", f"{server.url}/sse") as events:
        url, more = f"{server.url}/mcp", WAYS[way]
        if way == "legacy":
            opened = await http.post(url, content=orjson.dumps(INITIALIZE))
            more = more | {"mcp-session-id": opened.headers["mcp-session-id"]}
        lines = events.aiter_lines()  # kept, since the stream ends with it
        if way == "sse":
            async for line in lines:
                if line.startswith("data: "):
                    url = server.url + line.removeprefix("data: ").strip()
                    break
            await http.post(url, content=orjson.dumps(INITIALIZE))
        if way != "modern":
            await http.post(url, content=orjson.dumps(INITIALIZED), headers=more)

        for name, body in CALLS.items():
            refused = await http.post(url, content=body, headers=more)
            assert refused.status_code == 400, name
            assert refused.json() == {
                "jsonrpc": "2.0",
                "id": None,
                "error": {"code": -32600, "message": "Invalid Request: an object in the body has a member twice"},
            }
        assert server.bench.api.requests == []
        good = orjson.dumps(call(meta=META if way == "modern" else None))
        assert (await http.post(url, content=good, headers=more)).status_code in {200, 202}
        with anyio.fail_after(20):
            while not server.bench.api.requests:
                await anyio.sleep(0.01)
        assert len(server.bench.api.requests) == 1
