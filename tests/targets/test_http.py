from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from mcp_gateway.calls import Secret
from mcp_gateway.errors import OutcomeLost, TargetFailed, TargetTimeout, TargetUnavailable
from mcp_gateway.facts.http import resolve
from mcp_gateway.targets.http import HTTPConnector, Response
from tests.peers.api import API, answer, running_api

pytestmark = pytest.mark.anyio


@dataclass
class Settings:
    base_url: str
    networks: Sequence[str] = ("127.0.0.0/8",)
    headers: Sequence[str] = ()
    auth: Any = None
    more: dict[str, str] = field(default_factory=dict)


async def fetch(source: str) -> Secret:
    return Secret(source)


async def send(
    api: API,
    path: str = "/x",
    *,
    method: str = "GET",
    body: bytes | None = None,
    limit: int = 10_000,
    seconds: float = 10,
    **settings: Any,
) -> Response:
    connector = HTTPConnector(Settings(api.url, **settings), fetch=fetch)
    try:
        return await connector.send(resolve(api.url, path, method=method), body=body, seconds=seconds, max_bytes=limit)
    finally:
        await connector.aclose()


async def test_what_was_decided_is_what_is_sent_byte_for_byte() -> None:
    async with running_api() as api:
        response = await send(api, "/a%20b/c;x".replace(";x", "") + "?q=%2F..%2F&r=a+b", method="POST", body=b"hello")

    assert response.request_bytes == len("q=%2F..%2F&r=a+b") + len("hello")
    assert api.requests[0].startswith(b"POST /a%20b/c?q=%2F..%2F&r=a+b HTTP/1.1\r\n")
    assert api.requests[0].endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(
    ("auth", "line"),
    [
        (SimpleNamespace(bearer="canary"), b"authorization: Bearer canary"),
        (SimpleNamespace(basic=SimpleNamespace(user="me", password="canary")), b"authorization: Basic bWU6Y2FuYXJ5"),
        (SimpleNamespace(header=SimpleNamespace(name="x-key", value="canary")), b"x-key: canary"),
    ],
)
async def test_the_credential_is_put_on_here(auth: Any, line: bytes) -> None:
    async with running_api() as api:
        await send(api, auth=auth)

    assert line.lower() in api.requests[0].lower()


async def test_nothing_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with running_api() as api:
        response = await send(api)

    assert response.status == 200
    assert b"canary" not in api.requests[0]
    assert b"Basic" not in api.requests[0]


async def test_a_redirect_is_returned_and_not_followed() -> None:
    async with running_api() as api:
        api.answers = [answer(b"", status="302 Found", headers="location: http://169.254.169.254/")]
        response = await send(api)

    assert response.status == 302
    assert len(api.requests) == 1


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["169.254.169.254"], []])
async def test_a_name_that_leads_elsewhere_is_never_connected_to(addresses: list[str]) -> None:
    async def lie(host: str, port: int) -> list[str]:
        return addresses

    connector = HTTPConnector(Settings("http://api.example.com", networks=()), fetch=fetch, resolve=lie)

    with pytest.raises(TargetUnavailable, match="where this target may not connect to"):
        await connector.send(resolve("http://api.example.com", "/"), body=None, seconds=5, max_bytes=100)
    await connector.aclose()


@pytest.mark.parametrize(
    "addresses", [["93.184.216.34"], ["127.0.0.1", "93.184.216.34"], ["::ffff:93.184.216.34"], ["2606:4700::1"]]
)
async def test_without_tls_a_credential_goes_to_the_targets_networks_alone(addresses: list[str]) -> None:
    async def lie(host: str, port: int) -> list[str]:
        return addresses

    async with running_api() as api:
        base = f"http://api.example.com:{api.port}"
        connector = HTTPConnector(Settings(base, networks=("127.0.0.0/8",)), fetch=fetch, resolve=lie)
        with pytest.raises(TargetUnavailable, match="where this target may not connect to"):
            await connector.send(resolve(base, "/"), body=None, seconds=5, max_bytes=100)
        await connector.aclose()

    assert api.requests == []


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    asked: list[str] = []

    async def once(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    async with running_api() as api:
        base = f"http://rebind.example:{api.port}"
        connector = HTTPConnector(Settings(base), fetch=fetch, resolve=once)
        response = await connector.send(resolve(base, "/"), body=None, seconds=5, max_bytes=100)
        await connector.aclose()

    assert (response.status, asked) == (200, ["rebind.example"])
    assert f"host: rebind.example:{api.port}".encode() in api.requests[0].lower()


@pytest.mark.requirement("R19")
async def test_an_endless_body_is_cut_at_the_limit() -> None:
    async with running_api() as api:
        api.answers, api.endless = [b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"], b"x" * 65536
        response = await send(api, limit=5000)

    assert (len(response.body), response.truncated) == (5000, True)


@pytest.mark.requirement("R19")
async def test_a_gzip_bomb_is_cut_at_the_limit() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    async with running_api() as api:
        api.answers = [answer(bomb, headers="content-encoding: gzip")]
        response = await send(api, limit=5000)

    assert (response.body, response.truncated) == (bytes(5000), True)


async def test_compressed_answers_are_read_and_broken_ones_are_errors() -> None:
    async with running_api() as api:
        api.answers = [
            answer(gzip.compress(b"hello"), headers="content-encoding: gzip"),
            answer(gzip.compress(b"hello" * 100)[:-9], headers="content-encoding: gzip"),
            answer(b"nonsense", headers="content-encoding: gzip"),
            answer(b"?", headers="content-encoding: br"),
        ]
        assert (await send(api)).body == b"hello"
        for message in ("ends in the middle", "cannot be decompressed", "not asked for"):
            with pytest.raises(TargetFailed, match=message):
                await send(api)
        assert all(b"accept-encoding: gzip\r\n" in request.lower() for request in api.requests)


async def test_credentials_and_hop_by_hop_headers_stay_here() -> None:
    async with running_api() as api:
        api.answers = [answer(b"", headers="set-cookie: a=b\r\nwww-authenticate: Basic\r\nx-fine: yes\r\nupgrade: h2c")]
        response = await send(api)

    assert dict(response.headers) == {"x-fine": "yes"}


@pytest.mark.requirement("R25")
@pytest.mark.parametrize("auth", [None, SimpleNamespace(header=SimpleNamespace(name="cookie", value="key=canary"))])
async def test_a_cookie_that_an_answer_sets_is_not_sent_with_the_next_request(auth: Any) -> None:
    async with running_api() as api:
        api.answers = [answer(b"", headers="set-cookie: session=of-one-caller; path=/\r\nset-cookie2: a=b; version=1")]
        connector = HTTPConnector(Settings(api.url, auth=auth), fetch=fetch)
        for _ in range(2):
            await connector.send(resolve(api.url, "/x"), body=None, seconds=10, max_bytes=1000)
        await connector.aclose()

    first, second = api.requests
    assert first == second
    assert b"of-one-caller" not in second
    assert second.lower().count(b"cookie:") == (0 if auth is None else 1)


def gzipped(*members: bytes) -> bytes:
    return answer(b"".join(members), headers="content-encoding: gzip")


async def test_what_comes_behind_a_compressed_answer_is_read_or_an_error() -> None:
    one, two = gzip.compress(b"one, "), gzip.compress(b"two" * 500)
    async with running_api() as api:
        api.answers = [
            gzipped(one, two),
            gzipped(one, bytes(600)),
            gzipped(one, b"more"),
            gzipped(one, two[:-9]),
            gzipped(one),
        ]
        assert (await send(api)).body == b"one, " + b"two" * 500
        assert (await send(api)).body == b"one, "
        for message in ("cannot be decompressed", "ends in the middle"):
            with pytest.raises(TargetFailed, match=message):
                await send(api)


@pytest.mark.requirement("R19")
async def test_what_never_ends_behind_a_compressed_answer_is_not_kept() -> None:
    async with running_api() as api:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: gzip\r\n\r\n"
        api.answers, api.endless = [head + gzip.compress(b"one")], b"x" * 65536
        with pytest.raises(TargetFailed, match="cannot be decompressed"):
            await send(api)
        api.endless = gzip.compress(b"more" * 1000)
        assert (await send(api, limit=5000)).truncated
        api.endless = gzip.compress(b"")
        with pytest.raises(TargetFailed, match="much longer than what is in it"):
            await send(api, limit=5000)


@pytest.mark.parametrize("headers", ["content-encoding: gzip", "content-encoding: br"])
async def test_an_answer_that_cannot_be_read_tells_nothing_of_what_was_changed(headers: str) -> None:
    async with running_api() as api:
        api.answers = [answer(b"nonsense", headers=headers)]
        with pytest.raises(OutcomeLost, match=r"cannot be decompressed|not asked for"):
            await send(api, method="POST")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_an_empty_answer_that_would_be_compressed_is_empty(method: str) -> None:
    async with running_api() as api:
        api.answers = [answer(b"", headers="content-encoding: gzip", length=500 if method == "HEAD" else 0)]
        assert (await send(api, method=method)).body == b""


@pytest.mark.requirement("R8")
@pytest.mark.parametrize(("method", "error"), [("GET", TargetTimeout), ("POST", OutcomeLost)])
async def test_an_answer_that_does_not_come_is_unknown_where_something_may_have_changed(
    method: str, error: type[Exception]
) -> None:
    async with running_api() as api:
        api.stall = True
        with pytest.raises(error, match="did not answer within"):
            await send(api, method=method, seconds=0.3)


@pytest.mark.parametrize(("method", "error"), [("GET", TargetFailed), ("DELETE", OutcomeLost)])
async def test_a_connection_that_breaks_is_told_apart_in_the_same_way(method: str, error: type[Exception]) -> None:
    async with running_api() as api:
        api.answers = [answer(b"half", length=1000)]
        with pytest.raises(error, match="broke"):
            await send(api, method=method)


async def test_an_api_that_is_away_is_an_error_that_says_so() -> None:
    connector = HTTPConnector(Settings("http://127.0.0.1:1"), fetch=fetch)
    with pytest.raises(TargetUnavailable, match=r"^127\.0\.0\.1:1 does not answer$"):
        await connector.send(resolve("http://127.0.0.1:1", "/"), body=None, seconds=5, max_bytes=100)
    await connector.aclose()


async def test_a_cancelled_request_ends_at_once() -> None:
    async with running_api() as api:
        api.stall = True
        with anyio.move_on_after(0.2) as scope:
            await send(api, seconds=600)

    assert scope.cancelled_caught
