"""What is decided is what is sent, byte for byte: the facts against what a raw server on loopback reads."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.calls import HTTPFacts
from mcp_gateway.facts.http import METHODS, RequestRefusedError, Resolved, resolve
from mcp_gateway.facts.requests import examine_request
from mcp_gateway.targets.http import HTTPConnector
from tests.peers.api import API, running_api

PIECES = [
    "a", "B", "~", "-", "_", "!", "$", "&", "'", "(", ")", "*", "+", ",", "=", ":", "@", ".", "..", "/", "?", "#", ";", "\\", " ", "%",
    "|", "^", "[", "]", "{", "}", "`", '"', "<", ">", "\t", "\r\n", "\x00", "\x7f", "é", "漢", "\u2025", "\uff0f", "%41", "%7e", "%7E", "%2f",
    "%2E", "%20", "%22", "%5B", "%c3%a9", "%C3%A9", "%ff", "%25", "%00", "%3b", "%3A", "%7C", "%", "%e2%80%a8",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=20)
requests = st.tuples(
    st.sampled_from(sorted(METHODS)),
    texts,
    st.dictionaries(texts, texts | st.lists(texts, max_size=2), max_size=2) | st.none(),
)


async def sent(batch: Sequence[Resolved], api: API) -> None:
    for request in batch:
        before = len(api.requests)
        connector = connector_for(f"http://api.example.com:{api.port}")
        try:
            await connector.send(request, body=None, seconds=20, max_bytes=1000)
        finally:
            await connector.aclose()
        assert len(api.requests) == before + 1
        head = api.requests[-1].partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert head[0] == f"{request.method} {target_of(request)} HTTP/1.1".encode()
        hosts = [line for line in head if line.lower().startswith(b"host:")]
        assert hosts == [f"Host: {request.url.split('/')[2]}".encode()]
        assert facts_of(request).method == request.method
        assert facts_of(request).path == request.path
        assert (
            request.url.partition("://")[2].partition("/")[0].rpartition(":")[0].strip("[]") == facts_of(request).host
        )


def connector_for(base_url: str) -> HTTPConnector:
    async def loopback(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async def no_credential(source: Any) -> Any:
        raise AssertionError("this target has no credential")

    target = SimpleNamespace(base_url=base_url, networks=("127.0.0.0/8",), headers=(), auth=None)
    return HTTPConnector(target, fetch=no_credential, resolve=loopback)


def facts_of(request: Resolved) -> HTTPFacts:
    return examine_request(request, None)


def target_of(request: Resolved) -> str:
    return f"{facts_of(request).path}{'?' + request.query if request.query else ''}"


@given(st.lists(requests, min_size=1, max_size=40), st.sampled_from(["", "/v1", "/V1/%41;v=2"]))
@settings(max_examples=25, deadline=None)
def test_every_request_that_resolves_arrives_as_it_was_decided(batch: list[Any], below: str) -> None:
    async def main() -> None:
        async with running_api() as api:
            resolved = []
            for method, path, query in batch:
                try:
                    base = f"http://API.Example.COM:{api.port}{below}"
                    resolved.append(resolve(base, path, method=method, query=query))
                except RequestRefusedError:
                    continue
            await sent(resolved, api)

    anyio.run(main)


@pytest.mark.parametrize(
    ("host", "spelt"),
    [
        ("API.EXAMPLE.COM", "api.example.com"),
        ("api.example.com.", "api.example.com."),
        ("xn--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::FFFF:127.0.0.1]", "[::ffff:7f00:1]"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[2001:DB8:0:0:1::0001]", "[2001:db8::1:0:0:1]"),
    ],
)
@pytest.mark.anyio
async def test_a_host_is_sent_as_it_was_decided(host: str, spelt: str) -> None:
    async with running_api() as api:
        await sent([resolve(f"http://{host}:{api.port}", "x")], api)

    assert f"\r\nHost: {spelt}:{api.port}\r\n".encode() in api.requests[0]


@given(texts, st.dictionaries(texts, texts, max_size=2))
def test_the_normal_form_is_its_own_normal_form(path: str, query: dict[str, str]) -> None:
    try:
        once = resolve("https://api.example.com/v1", path, query=query)
    except RequestRefusedError:
        return
    again = once.path.removeprefix("/v1") + (f"?{once.query}" if once.query else "")
    assert once.path.startswith("/v1")
    assert resolve("https://api.example.com/v1", again) == once
