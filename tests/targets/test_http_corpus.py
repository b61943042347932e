"""The corpus of server-side request forgery through the real client, up to the last step before the network."""

from __future__ import annotations

import re
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpcore2
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSListener

from mcp_gateway.errors import TargetUnavailable
from mcp_gateway.facts.http import RequestRefusedError, resolve
from mcp_gateway.targets.http import HTTPConnector
from tests.corpora import cases
from tests.peers.api import API, answer
from tests.peers.certificates import Authority

pytestmark = pytest.mark.anyio

LEAST_ALLOWED = 0.97
PUBLIC = "93.184.216.34"


class Diverted(httpcore2.AsyncNetworkBackend):
    """The network: where the client connects to is written down, and is the peer on loopback."""

    def __init__(self, port: int) -> None:
        self.connected: list[str] = []
        self._port = port
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.connected.append(host)
        return await self._inner.connect_tcp("127.0.0.1", self._port, timeout=timeout)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None) -> AsyncIterator[API]:
    api = API()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as plain:
        api.port = plain.extra(SocketAttribute.local_port)
        async with anyio.create_task_group() as group:
            listener: Any = plain if tls is None else TLSListener(plain, ssl_context=tls, standard_compatible=False)
            group.start_soon(listener.serve, api.serve)
            yield api
            group.cancel_scope.cancel()


def split(case: dict[str, Any]) -> tuple[str, str]:
    """What a target's configuration says, and what the agent does. An egress URL is a target of its own."""
    given = case["input"]
    if "base" in given:
        return re.split("[?#]", given["base"], maxsplit=1)[0], given["url"]
    base = re.split("[?#]", given["url"], maxsplit=1)[0]
    return base, given["url"][len(base) :]


def resolver(case: dict[str, Any], asked: list[str]) -> Any:
    """The names of a case; any other is a public address, unless the system reads it as an address."""
    sequence = list(case["input"].get("dns_sequence", []))

    async def answer_(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        if sequence:
            return list(sequence.pop(0))
        if host in case["input"].get("dns", {}):
            return list(case["input"]["dns"][host])
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except OSError:
            return [PUBLIC]
        return [str(address[4][0]) for address in found]

    return answer_


async def verdict(case: dict[str, Any], api: API, *, times: int = 1) -> tuple[str, list[str]]:
    """`allow` where the request reached the peer, and the addresses that were connected to."""
    base, path = split(case)
    settings = SimpleNamespace(base_url=base, networks=(), headers=(), auth=None)
    asked: list[str] = []
    before = len(api.requests)
    try:
        request = resolve(base, path, headers=case["input"].get("headers") if "base" in case["input"] else None)
    except RequestRefusedError:
        return "refuse", []
    connector = HTTPConnector(settings, fetch=_no_credential, resolve=resolver(case, asked), tls=trusting_anybody())
    network = Diverted(api.port)
    connector._backend._inner = network  # type: ignore[assignment]
    try:
        for _ in range(times):
            await connector.send(request, body=None, seconds=20, max_bytes=1000)
    except TargetUnavailable:
        assert times > 1 or not network.connected
        return "refuse", network.connected
    finally:
        await connector.aclose()
    assert len(api.requests) == before + times
    line = api.requests[-1].partition(b"\r\n")[0].decode()
    assert line == f"GET {request.path}{'?' + request.query if request.query else ''} HTTP/1.1"
    below = base.partition("://")[2].partition("/")[2].rstrip("/")
    assert request.path == f"/{below}".rstrip("/") or request.path.startswith(f"/{below}/".replace("//", "/"))
    return "allow", network.connected


async def _no_credential(source: Any) -> Any:
    raise AssertionError("no target here has a credential")


def trusting_anybody() -> ssl.SSLContext:
    """Who answers is proved elsewhere; here the peer stands for every host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def certified(folder: Path) -> ssl.SSLContext:
    issued = Authority("corpus").certify("peer.example")
    (folder / "peer.pem").write_bytes(issued.certificate + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "peer.pem")
    return context


def scored(*modes: str) -> list[dict[str, Any]]:
    return [
        case for case in cases("ssrf.jsonl") if case["input"]["mode"] in modes and not case["expected"].get("ambiguous")
    ]


def is_tls(case: dict[str, Any]) -> bool:
    return bool(case["input"].get("base", case["input"]["url"]).startswith("https:"))


async def test_no_refusal_is_let_through_and_nearly_all_that_is_allowed_is_sent(tmp_path: Path) -> None:
    found: Counter[tuple[str, str, str]] = Counter()
    wrong: list[tuple[str, str]] = []
    async with serving(None) as plain, serving(certified(tmp_path)) as secure:
        for case in scored("egress", "base_url", "headers"):
            said, _ = await verdict(case, secure if is_tls(case) else plain)
            wanted = case["expected"]["decision"]
            found[case["input"]["mode"], wanted, said] += 1
            if said != wanted:
                wrong.append((case["id"], said))

    for (mode, wanted, said), count in sorted(found.items()):
        print(f"ssrf.jsonl {mode}: {wanted} expected, {said} found: {count}")
    allowed = sum(count for (_, wanted, _), count in found.items() if wanted == "allow")
    sent = sum(count for (_, wanted, said), count in found.items() if (wanted, said) == ("allow", "allow"))
    print(f"ssrf.jsonl: {sent} of {allowed} that are allowed are sent ({sent / allowed:.1%}); otherwise: {wrong}")
    assert [name for name, said in wrong if said == "allow"] == []
    assert sum(found.values()) >= 250
    assert sent / allowed >= LEAST_ALLOWED


async def test_no_redirect_of_the_corpus_is_followed(tmp_path: Path) -> None:
    redirects = [case for case in cases("ssrf.jsonl") if case["input"]["mode"] == "redirect"]
    async with serving(None) as plain, serving(certified(tmp_path)) as secure:
        for case in redirects:
            api = secure if is_tls(case) else plain
            given = case["input"]
            api.answers = [answer(b"", status=f"{given['status']} Moved", headers=f"location: {given['location']}")]
            said, connected = await verdict(case, api)
            assert said == "allow"
            assert connected == given["dns"]["api.example.com"]
    assert len(redirects) >= 10


async def test_a_name_that_changes_its_address_is_never_followed_to_the_other(tmp_path: Path) -> None:
    rebinds = scored("rebind")
    async with serving(certified(tmp_path)) as secure:
        for case in rebinds:
            sequence = case["input"]["dns_sequence"]
            said, connected = await verdict(case, secure, times=len(sequence))
            assert said == case["expected"]["decision"]
            assert set(connected) <= set(case["expected"]["connect_only_to"])
            assert connected
    assert rebinds
