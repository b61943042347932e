"""Requests for another host, or of another site's page, as bytes: refused before any handler, whatever the token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from tests.doors.servers import Served, served
from tests.invariants.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R38")]

ROUTES = ("/api/approvals", "/mcp", "/sse", "/healthz", "/.well-known/oauth-protected-resource")
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


def place(server: Served) -> str:
    return server.url.removeprefix("http://")


async def exchange(server: Served, sent: bytes, *, half_close: bool = False) -> bytes:
    """What is said to these bytes until the connection ends."""
    host, _, port = place(server).rpartition(":")
    said = b""
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(sent)
        if half_close:
            await stream.send_eof()
        with anyio.fail_after(20):
            try:
                while True:
                    said += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return said


async def status(server: Served, target: str, *lines: str, version: str = "1.1") -> int:
    """The status of a request with a good token and these lines; 0 where there is no answer."""
    token = f"authorization: Bearer {server.token()}"
    head = "\r\n".join([f"GET {target} HTTP/{version}", token, "connection: close", *lines])
    said = await exchange(server, head.encode("latin-1") + b"\r\n\r\n")
    return int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/") else 0


def hosts(here: str) -> list[tuple[str, ...]]:
    """Lines that name no host, another one, or two."""
    name, _, port = here.rpartition(":")
    other = [
        "evil.example", f"evil.example:{port}", f"{name}.evil.example:{port}", f"evil.example:{port}@{here}", f"x@{here}",
        f"{here}/..", f"{here}/../mcp", f"{here}?x", f"{here}#x", f"{here}\\x", f"{here}, evil.example", f"{here} evil.example",
        f"{name}.:{port}", f"{name}:0{port}", f"{name}:{int(port) + 1}", name, f"{name}:", f"0:{port}", f"0.0.0.0:{port}",
        f"127.1:{port}", f"2130706433:{port}", f"[::ffff:127.0.0.1]:{port}", f"localhost.:{port}", f"xn--localhost:{port}",
        "null", "*", "-", "..", "169.254.169.254",
    ]  # fmt: skip
    found: list[tuple[str, ...]] = [(f"host: {value}",) for value in other]
    return [
        *found,
        (),
        ("host:",),
        (f"host: {here}", f"host: {here}"),
        (f"host: {here}", "host: evil.example"),
        ("host: evil.example", f"host: {here}"),
        (f"HOST: {here}", "Host: evil.example"),
        ("x-forwarded-host: " + here, "host: evil.example"),
        ("forwarded: host=" + here, "host: evil.example"),
        (f"x-host: {here}", "host: evil.example"),
        ("host: evil.example", f" {here}"),
        (f"host: {here}", " evil.example"),
        (f"host: {here}", "\tevil.example"),
        (f"host : {here}",),
        (f"host\t: {here}",),
        (f" host: {here}",),
        (f"host: {here}\x00",),
        (f"host: {here}\x0bevil",),
    ]


async def test_a_host_that_is_not_the_gateways_one_is_refused(server: Served) -> None:
    here = place(server)
    assert await status(server, ROUTES[0], f"host: {here}") == 200
    answered = {
        lines: code for lines in hosts(here) if (code := await status(server, ROUTES[0], *lines)) not in {400, 403}
    }
    assert answered == {}
    for route in ROUTES[1:]:
        assert await status(server, route, "host: evil.example") == 403


async def test_white_space_around_the_value_is_no_part_of_it(server: Served) -> None:
    for line in (f"host:{place(server)}", f"host:\t {place(server)} \t", f"HoSt: {place(server).upper()}"):
        assert await status(server, ROUTES[0], line) == 200


@pytest.mark.parametrize("scheme", ["http", "https", "ws", "file"])
async def test_an_absolute_target_changes_neither_host_nor_route(server: Served, scheme: str) -> None:
    """RFC 9112 section 3.2.2 lets the target's host count; here the header's does, and the path is routed as a whole."""
    here = place(server)
    for authority in ("evil.example", here, f"x@{here}", f"{here}/healthz/.."):
        found = await status(server, f"{scheme}://{authority}/healthz", "host: evil.example")
        assert found in {400, 403}, authority
        assert await status(server, f"{scheme}://{authority}/api/approvals", f"host: {here}") in {400, 403, 404}
    assert await status(server, f"//{here}/healthz", f"host: {here}") in {400, 404}


ORIGINS = """
null https://evil.example http://localhost.evil.example http://127.0.0.1.evil.example file:// chrome-extension://x data: about:blank
http://127.0.0.1 http://localhost http://[::1] http://evil.example@127.0.0.1 javascript:0 * http:// //
""".split()


async def test_an_origin_that_is_not_listed_is_refused(server: Served) -> None:
    here = f"host: {place(server)}"
    port = place(server).rpartition(":")[2]
    for origin in (
        *ORIGINS,
        f"https://127.0.0.1:{port}",
        f"http://evil.example:{port}",
        f"{server.url}/",
        f"{server.url}, x",
    ):
        assert await status(server, ROUTES[0], here, f"origin: {origin}") == 403, origin
    assert await status(server, ROUTES[0], here, f"origin: {server.url}", "origin: https://evil.example") == 403
    assert await status(server, ROUTES[0], here, f"origin: {server.url}", " evil") in {400, 403}
    for good in (server.url, f"http://localhost:{port}", f"http://[::1]:{port}"):
        assert await status(server, ROUTES[0], here, f"origin: {good}") == 200


async def test_no_preflight_is_answered_with_leave(server: Served) -> None:
    lines = ["origin: https://evil.example", "access-control-request-method: POST", f"host: {place(server)}"]
    head = "\r\n".join(["OPTIONS /mcp HTTP/1.1", "connection: close", *lines]) + "\r\n\r\n"
    said = await exchange(server, head.encode())

    assert said.startswith(b"HTTP/1.1 403 ")
    assert b"access-control" not in said.lower()


async def test_http_2_is_not_served(server: Served) -> None:
    """So there is no `:authority` that could differ from `Host`."""
    said = await exchange(server, H2_PREFACE, half_close=True)
    assert not said or said.startswith(b"HTTP/1.1 400 ")
    upgrade = ("upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__", f"host: {place(server)}")
    assert await status(server, ROUTES[0], "connection: Upgrade, HTTP2-Settings", *upgrade) in {200, 400}


@pytest.mark.parametrize("version", ["1.0", "0.9", "2.0", "3", "1.1 x"])
async def test_an_older_or_newer_protocol_needs_the_host_as_well(server: Served, version: str) -> None:
    assert await status(server, ROUTES[0], version=version) in {0, 400, 403}


@pytest.mark.parametrize(
    "lines",
    [
        ("content-length: 5", "transfer-encoding: chunked"),
        ("content-length: 5", "content-length: 60"),
        ("transfer-encoding: chunked", "transfer-encoding: identity"),
        ("transfer-encoding: xchunked",),
        ("content-length: +5",),
        ("content-length: 5, 60",),
    ],
)
async def test_a_second_request_in_a_body_is_none(server: Served, lines: tuple[str, ...]) -> None:
    """Whoever reads the first one's length otherwise would let its author speak for the next on that connection."""
    here = place(server)
    inner = f"GET /healthz HTTP/1.1\r\nhost: {here}\r\nx: y\r\n\r\n"
    head = "\r\n".join(["POST /healthz HTTP/1.1", f"host: {here}", *lines])
    said = await exchange(server, f"{head}\r\n\r\n0\r\n\r\n{inner}".encode(), half_close=True)

    assert said.count(b'{"status":"ok"}') == 0 or said.startswith(b"HTTP/1.1 4")
    assert b"200 OK\r\n" not in said.partition(b"\r\n\r\n")[0]
