"""An issuer that lies, stalls, leads elsewhere or is away gives no keys, within bounds."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.identity.keys import MAX_DOCUMENT_BYTES, IssuerKeys
from tests.identity.clock import Clock
from tests.identity.fetching import refused
from tests.peers.issuer import CONNECT_METADATA, KEYS, FakeIssuer, server_certificate

pytestmark = pytest.mark.anyio


def endless() -> Iterable[bytes]:
    for _ in range(1600):
        yield b" " * 65_536


@pytest.mark.requirement("R18")
@pytest.mark.parametrize("what", ["metadata", "key set"])
@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ({"status": 500}, "was answered with 500, expected 200"),
        ({"status": 204}, "was answered with 204, expected 200"),
        ({"status": 401}, "was answered with 401, expected 200"),
        ({"status": 206, "body": b"{}"}, "was answered with 206, expected 200"),
        ({"body": b"<!doctype html><title>sign in</title>"}, "is not JSON"),
        ({"body": b""}, "is not JSON"),
        ({"body": b"[]"}, "is not a JSON object"),
        ({"body": b'{"keys":[],"keys":[]}'}, "has a member twice"),
        ({"body": b'{"a":' * 2000 + b"1" + b"}" * 2000}, "is nested deeper than 16 levels"),
        ({"body": endless}, "is longer than 524288 bytes"),
        ({"body": gzip.compress(b"{}" * 10), "headers": {"Content-Encoding": "gzip"}}, "is compressed"),
    ],
    ids=["500", "204", "401", "206", "HTML", "empty", "a list", "twice", "deep", "100 MB", "gzip"],
)
async def test_an_answer_that_is_none_gives_no_keys(
    issuer: FakeIssuer, keys: IssuerKeys, what: str, reply: dict[str, Any], problem: str
) -> None:
    issuer.reply("/realms/corp" + CONNECT_METADATA if what == "metadata" else KEYS, **reply)

    assert await refused(keys) == f"the {what} {problem}"


async def test_a_document_of_the_greatest_length_is_read(issuer: FakeIssuer, keys: IssuerKeys) -> None:
    issuer.reply(KEYS, body=issuer.key_set().ljust(MAX_DOCUMENT_BYTES))

    assert set((await keys.current()).keys) == {"ec-1"}


@pytest.mark.requirement("R18")
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"issuer": "https://evil.example.com"}, "is of another issuer, expected {url!r}"),
        ({"issuer": None}, "is of another issuer, expected {url!r}"),
        ({"jwks_uri": None}, "has no 'jwks_uri'"),
        ({"jwks_uri": ["https://x.example.com"]}, "has no 'jwks_uri'"),
        ({"jwks_uri": "http://idp.example.com/keys"}, "has a 'jwks_uri' that is neither https nor http on loopback"),
        ({"jwks_uri": "file:///etc/passwd"}, "has a 'jwks_uri' that is neither https nor http on loopback"),
        ({"jwks_uri": "http://127.0.0.1@evil/k"}, "has a 'jwks_uri' that is neither https nor http on loopback"),
        ({"jwks_uri": "http://169.254.169.254/k"}, "has a 'jwks_uri' that is neither https nor http on loopback"),
    ],
)
async def test_metadata_that_leads_elsewhere_is_refused(
    issuer: FakeIssuer, keys: IssuerKeys, changes: dict[str, Any], problem: str
) -> None:
    issuer.reply("/realms/corp" + CONNECT_METADATA, body=issuer.metadata(**changes))

    assert await refused(keys) == "the metadata " + problem.format(url=issuer.url)
    assert issuer.key_fetches == 0


@pytest.mark.requirement("R18")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(issuer: FakeIssuer, keys: IssuerKeys, status: int) -> None:
    with FakeIssuer() as other:
        issuer.reply(KEYS, status=status, headers={"Location": other.url + KEYS})

        assert await refused(keys) == f"the key set was answered with {status}, expected 200"
        assert other.requests == []


@pytest.mark.requirement("R18")
@pytest.mark.parametrize("path", ["/realms/corp" + CONNECT_METADATA, KEYS])
async def test_an_issuer_that_never_answers_is_given_up(issuer: FakeIssuer, clock: Clock, path: str) -> None:
    issuer.reply(path, gate=threading.Event())
    keys = IssuerKeys(issuer.url, clock=clock, fetch_timeout_s=0.2)

    assert await refused(keys) == "no answer within 0.2 s"


@pytest.mark.requirement("R18")
async def test_an_issuer_that_drips_is_given_up(issuer: FakeIssuer, clock: Clock) -> None:
    def drip() -> Iterable[bytes]:
        while not issuer.closing.wait(0.02):
            yield b" "

    issuer.reply(KEYS, body=drip)
    keys = IssuerKeys(issuer.url, clock=clock, fetch_timeout_s=0.3)

    assert await refused(keys) == "no answer within 0.3 s"


@pytest.mark.requirement("R18")
async def test_an_issuer_that_refuses_connections_gives_no_keys(clock: Clock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections to it are refused
        keys = IssuerKeys(f"http://127.0.0.1:{taken.getsockname()[1]}", clock=clock)

        assert await refused(keys) == "the connection failed (ConnectError)"


@pytest.mark.requirement("R18")
async def test_an_issuer_that_is_no_http_server_gives_no_keys(clock: Clock) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        keys = IssuerKeys(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", clock=clock)

        assert await refused(keys) == "the connection failed (RemoteProtocolError)"


@pytest.mark.requirement("R18")
async def test_a_fetch_that_fails_for_want_of_a_thread_is_named_and_tried_again(
    issuer: FakeIssuer, keys: IssuerKeys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_thread(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "to_thread", no_thread)
        assert await refused(keys) == "the connection failed (RuntimeError)"
    assert keys.status().problem == "the connection failed (RuntimeError)"
    clock.pass_by(seconds=11)
    assert (await keys.current()).keys
    assert keys.status().problem is None


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, clock: Clock) -> None:
    server, trusting = server_certificate(tmp_path)
    with FakeIssuer(tls=server) as issuer:
        assert await refused(IssuerKeys(issuer.url, clock=clock)) == "the connection failed (ConnectError)"
        assert issuer.requests == []

        assert set((await IssuerKeys(issuer.url, clock=clock, tls=trusting).current()).keys) == {"ec-1"}


@pytest.mark.requirement("R18")
async def test_an_issuer_behind_tls_may_not_send_to_keys_without(tmp_path: Path, clock: Clock) -> None:
    server, trusting = server_certificate(tmp_path)
    with FakeIssuer(tls=server) as issuer, FakeIssuer() as plain:
        issuer.reply(CONNECT_METADATA, body=issuer.metadata(jwks_uri=plain.url + KEYS))

        problem = await refused(IssuerKeys(issuer.url, clock=clock, tls=trusting))

        assert problem == "the metadata has a 'jwks_uri' that is not https"
        assert plain.requests == []


@pytest.mark.requirement("R18")
async def test_nothing_of_the_environment_counts(
    issuer: FakeIssuer, keys: IssuerKeys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    with FakeIssuer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")

        assert set((await keys.current()).keys) == {"ec-1"}
        assert proxy.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example.com",
        "ftp://idp.example.com",
        "HTTPS://idp.example.com",
        "idp.example.com",
        "https://",
        "https:///realms",
        "https://user@idp.example.com",
        "https://idp.example.com?x=1",
        "https://idp.example.com#x",
        "https://idp.example.com/ x",
        "https://idp.example.com\\@evil",
        "https://idp.example.com\n",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://0.0.0.0:80",
        "http://[::]:80",
        "local",
        "",
    ],
)
async def test_an_issuer_is_https_or_on_loopback(url: str, clock: Clock) -> None:
    with pytest.raises(ValueError, match=r"issuer|https"):
        IssuerKeys(url, clock=clock)
