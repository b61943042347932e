"""The way to an HTTP API: one guarded client for each target, which resolves once, checks every address and connects to
one that it checked.

Credentials come from the target's source and are put on the request here. Nothing of the environment is used (no
proxy, no `.netrc`), and nothing of an earlier answer (no cookies); redirects are returned, never followed; what comes
back is bounded, decompressed or not.
"""

from __future__ import annotations

import base64
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar
from ipaddress import ip_network
from typing import Any, Protocol
from urllib.parse import urlsplit

import anyio
import httpcore2
import httpx2

from mcp_gateway.authorities import trusting_system
from mcp_gateway.calls import Secret
from mcp_gateway.credentials.used import UsedCredentials
from mcp_gateway.errors import OutcomeLost, TargetFailed, TargetTimeout, TargetUnavailable
from mcp_gateway.facts.addresses import Network, allowed
from mcp_gateway.facts.http import Resolved

CONNECT_SECONDS = 10.0
CHUNK_BYTES = 16 * 1024
MOST_COMPRESSED = 2
"""Bytes that each byte of an answer may take on the wire. Compressed nothing can go on without end."""
DROPPED = frozenset(
    {
        "authorization", "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "set-cookie",
        "set-cookie2", "te", "trailer", "trailers", "transfer-encoding", "upgrade", "www-authenticate", "content-encoding",
        "content-length", "alt-svc", "authentication-info", "proxy-authentication-info", "www-authenticate-session",
    }
)  # fmt: skip
"""Response headers that stay here: hop-by-hop (RFC 9110 section 7.6.1), credentials, and what no longer holds."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class HTTPSettings(Protocol):
    """The part of a target's settings that is needed here."""

    @property
    def base_url(self) -> str:
        """Scheme, authority and path below which everything stays."""

    @property
    def networks(self) -> Sequence[Any]:
        """Private or loopback networks that the host may resolve to."""

    @property
    def headers(self) -> Sequence[str]:
        """Further request headers that an agent may set."""

    @property
    def auth(self) -> Any:
        """How to authenticate: `bearer`, `basic` or `header`, each with a credential source; None for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the API answered, bounded."""

    status: int
    headers: tuple[tuple[str, str], ...]
    content_type: str
    body: bytes
    truncated: bool
    request_bytes: int = 0
    """Of the query and the body that it answers."""


Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses, in the order to try."""


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Addresses by the operating system's resolver."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections only to addresses that were checked; a name is resolved once for each connection."""

    def __init__(self, *, networks: Sequence[Network], public: bool, resolve: Resolve) -> None:
        self._networks = networks
        self._public = public
        self._resolve = resolve
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, check every address, connect to one of them.

        Raises:
            TargetUnavailable: some address is not allowed, or none answers.
        """
        del local_address
        try:
            with anyio.fail_after(timeout or CONNECT_SECONDS):
                addresses = await self._resolve(host, port)
        except (OSError, TimeoutError, UnicodeError):
            raise TargetUnavailable(f"the name {host!r} cannot be resolved") from None
        refused = [
            address for address in addresses if not allowed(address, networks=self._networks, public=self._public)
        ]
        if refused or not addresses:
            raise TargetUnavailable(
                f"{host!r} resolves to {', '.join(refused) or 'nothing'}, where this target may not connect to; "
                "name the network in the target's networks if it is meant"
            )
        for address in addresses[:4]:
            try:
                return await self._inner.connect_tcp(address, port, timeout=timeout, socket_options=socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        raise TargetUnavailable(f"{host}:{port} does not answer")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Refused: targets are hosts."""
        del timeout, socket_options
        raise TargetUnavailable(f"a unix socket ({path!r}) is no target")

    async def sleep(self, seconds: float) -> None:
        """Wait between retries of the pool."""
        await anyio.sleep(seconds)


class NoCookies(CookieJar):
    """Keeps nothing: what an API sets in its answer to one caller would go out with the request of the next."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Take none."""

    def add_cookie_header(self, request: Any) -> None:
        """Send none."""


class HTTPConnector:
    """Sends requests to one API."""

    def __init__(
        self,
        settings: HTTPSettings,
        *,
        fetch: Callable[[Any], Awaitable[Secret]],
        resolve: Resolve = resolve_by_system,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls` replaces the system's trust store, for a server with a private certificate authority."""
        self.settings = settings
        self._fetch = fetch
        self._used = UsedCredentials()
        networks = [ip_network(str(network)) for network in settings.networks]
        secure = urlsplit(settings.base_url).scheme == "https"
        # Without TLS nothing but its networks keeps a target's credential from others.
        self._backend = GuardedBackend(networks=networks, public=secure or not networks, resolve=resolve)
        # Without TLS there is no certificate to judge: redirects are never followed to where there would be.
        self._tls = tls or (trusting_system() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        transport = httpx2.AsyncHTTPTransport(verify=self._tls, trust_env=False, retries=0)
        transport._pool = httpcore2.AsyncConnectionPool(  # noqa: SLF001 - the one way to give httpx2 a network backend
            ssl_context=self._tls,
            max_connections=20,
            max_keepalive_connections=0,
            http1=True,
            http2=False,
            retries=0,
            network_backend=self._backend,
        )
        self._client = httpx2.AsyncClient(
            transport=transport, trust_env=False, follow_redirects=False, cookies=NoCookies()
        )

    def secrets(self) -> Sequence[Secret]:
        """Every credential that went on this call's request or on the last ones, in each form that it took."""
        return self._used.all()

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def check(self) -> str:
        """Fetch the credential, connect, verify the certificate and hang up; no request is sent. Says who answered.

        Raises:
            TargetUnavailable: it may not be connected to, does not answer, or is not who it has to be.
            CredentialError: there is no credential to send.
        """
        await self._authentication()
        base = urlsplit(self.settings.base_url)
        host, secure = base.hostname or "", base.scheme == "https"
        port = base.port or (443 if secure else 80)
        stream = await self._backend.connect_tcp(host, port, timeout=CONNECT_SECONDS)
        try:
            if secure:
                stream = await stream.start_tls(self._tls, server_hostname=host, timeout=CONNECT_SECONDS)
        except (httpcore2.ConnectError, httpcore2.TimeoutException) as error:
            raise TargetUnavailable(f"no TLS with {host}:{port}: {error}") from None
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
        return f"{host}:{port} answers" + (" and proves its name" if secure else ", without TLS")

    async def send(
        self, request: Resolved, *, body: bytes | None, seconds: float, max_bytes: int, may_change: bool = False
    ) -> Response:
        """Send exactly this request and read the answer up to `max_bytes`, decompressed.

        `may_change` says that it may change something although its method does not.

        Raises:
            TargetUnavailable: nothing was sent.
            TargetTimeout: the time was over and nothing can have changed.
            TargetFailed: there is no answer that can be read, and nothing can have changed.
            OutcomeLost: one of these, after a request that may have changed something.
        """
        headers = [*request.headers, *await self._authentication(), ("accept-encoding", "gzip")]
        safe = request.method in SAFE_METHODS and not may_change
        try:
            with anyio.fail_after(seconds):
                built = self._client.build_request(
                    request.method,
                    request.url,
                    headers=headers,
                    content=body,
                    timeout=httpx2.Timeout(CONNECT_SECONDS, read=seconds),
                )
                if str(built.url) != request.url:
                    raise TargetUnavailable("the request changed its form on the way, so it was not sent")
                return await self._exchange(built, max_bytes=max_bytes)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise TargetUnavailable(f"no connection to {request.host}:{request.port}: {type(error).__name__}") from None
        except (TimeoutError, httpx2.TimeoutException):
            message = f"the API did not answer within {seconds:g} s"
            raise TargetTimeout(message) if safe else OutcomeLost(message) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            message = f"the exchange with the API broke: {type(error).__name__}"
            raise TargetFailed(message) if safe else OutcomeLost(message) from None
        except TargetFailed as error:
            if safe:
                raise
            raise OutcomeLost(error.message) from None

    async def _exchange(self, request: httpx2.Request, *, max_bytes: int) -> Response:
        response = await self._client.send(request, stream=True)
        try:
            body, truncated = await _body(response, max_bytes=max_bytes)
        finally:
            await response.aclose()
        return Response(
            status=response.status_code,
            headers=tuple(
                (name.lower(), value) for name, value in response.headers.items() if name.lower() not in DROPPED
            ),
            content_type=response.headers.get("content-type", ""),
            body=body,
            truncated=truncated,
            request_bytes=len(request.url.query) + int(request.headers.get("content-length", "0")),
        )

    async def _authentication(self) -> list[tuple[str, str]]:
        auth = self.settings.auth
        if auth is None:
            return []
        bearer, basic, header = (getattr(auth, name, None) for name in ("bearer", "basic", "header"))
        if bearer is not None:
            secret = await self._fetch(bearer)
            self._used.add(secret)
            return [("authorization", f"Bearer {secret.reveal_text()}")]
        if basic is not None:
            secret = await self._fetch(basic.password)
            pair = Secret(base64.b64encode(f"{basic.user}:".encode() + secret.reveal()))
            self._used.add(secret, pair)
            return [("authorization", f"Basic {pair.reveal_text()}")]
        if header is not None:
            secret = await self._fetch(header.value)
            self._used.add(secret)
            return [(header.name, secret.reveal_text())]
        return []


async def _body(response: httpx2.Response, *, max_bytes: int) -> tuple[bytes, bool]:
    """At most `max_bytes` of the body, decompressed in steps that cannot grow beyond it, and whether there was more."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "", "gzip", "x-gzip", "deflate"}:
        raise TargetFailed("the answer is in a content encoding that was not asked for")
    inflater = None if encoding in {"identity", ""} else _Inflater()
    body, received = bytearray(), 0
    async for raw in response.aiter_raw(CHUNK_BYTES):
        received += len(raw)
        if received > MOST_COMPRESSED * max_bytes + CHUNK_BYTES:
            raise TargetFailed("the compressed answer is much longer than what is in it")
        body += raw if inflater is None else inflater.inflate(raw, most=max_bytes + 1 - len(body))
        if len(body) > max_bytes:
            del body[max_bytes:]
            return bytes(body), True
    if inflater is not None and not inflater.whole:
        raise TargetFailed("the compressed answer ends in the middle")
    return bytes(body), False


class _Inflater:
    """Decompresses zlib and gzip, of several members too (RFC 1952 section 2.2).

    One decompressor of zlib, asked further, would keep whatever comes behind its end.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._begun = False

    @property
    def whole(self) -> bool:
        """Whether what came ends here. Nothing does, as in the answer to HEAD."""
        return self._member.eof or not self._begun

    def inflate(self, raw: bytes, *, most: int) -> bytes:
        """What `raw` adds, at the most so many bytes, at least one. Raises `TargetFailed`."""
        found = bytearray()
        try:
            while raw and len(found) < most:
                self._begun = True
                if self._member.eof:
                    raw = raw.lstrip(b"\0")  # padding
                    if not raw:
                        break
                    self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
                found += self._member.decompress(raw, most - len(found))
                raw = self._member.unused_data
        except zlib.error:
            raise TargetFailed("the answer cannot be decompressed") from None
        return bytes(found)
