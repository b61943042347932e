"""An issuer's keys, fetched and kept: the one place in this package that talks to the network.

What a fetch may do is bounded, whoever asks for it and whatever the issuer answers:

1. Only the configured issuer's metadata and the key set that it names are fetched, over verifying TLS (or http on
   loopback), without redirects, proxies, `.netrc` or anything else of the environment.
2. A fetch takes at most 5 s and 512 KiB a document, uncompressed.
3. There is one fetch at a time, and at most one in 10 s, whether it is asked for by age, by an unknown key id, or by
   a signature that does not fit. Who waits for it and goes away does not stop it for the others.
4. Keys are renewed in the background once they are 5 min old. After 10 min a caller waits for the renewal, so a
   key that the issuer took back is refused by then.
5. While the issuer cannot be reached, the last good keys are used until they are an hour old; then nobody is let in.

`jwks` reads the documents, `tokens` asks for keys.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TypeVar

import httpx2
import structlog

from mcp_gateway.errors import IssuerAway
from mcp_gateway.identity.discovery import check_issuer_url, metadata_urls, read_metadata
from mcp_gateway.identity.encoding import Malformed
from mcp_gateway.identity.jwks import KeySet, read_keys

log = structlog.get_logger(__name__)

FETCH_TIMEOUT_S = 5.0
MAX_DOCUMENT_BYTES = 512 * 1024
COOL_DOWN = timedelta(seconds=10)
RENEW_AFTER = timedelta(minutes=5)
LIFETIME = timedelta(minutes=10)
MAX_STALE = timedelta(hours=1)
CLOCK_TOLERANCE = timedelta(seconds=60)
"""A clock that steps back by more than this makes everything that was remembered as old as can be."""

T = TypeVar("T")


class FetchError(Exception):
    """The issuer answered with something that is no answer. The text says what, for the operator."""


class NotFoundError(FetchError):
    """The issuer has nothing at this place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatus:
    """Whether tokens can be verified now, for readiness and for the operator."""

    ready: bool
    fetched_at: datetime | None
    problem: str | None
    """Why the last fetch failed; None = it did not."""


class IssuerKeys:
    """The keys of one issuer. Belongs to one event loop."""

    def __init__(
        self,
        issuer: str,
        *,
        clock: Callable[[], datetime],
        tls: ssl.SSLContext | None = None,
        fetch_timeout_s: float = FETCH_TIMEOUT_S,
    ) -> None:
        """`tls` replaces the system's trust store, for an issuer with a private certificate authority.

        Raises `ValueError` for an issuer whose URL is not accepted.
        """
        check_issuer_url(issuer)
        self._issuer = issuer
        self._clock = clock
        self._tls = tls
        self._fetch_timeout_s = fetch_timeout_s
        self._keys: KeySet | None = None
        self._fetched_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._problem: str | None = None
        self._flight: asyncio.Task[None] | None = None

    async def current(self) -> KeySet:
        """The keys to verify with now; waits for a fetch only where the ones at hand may not be used.

        Raises:
            IdentityError: there are none that may be used.
        """
        age = self._elapsed(self._fetched_at)
        if age >= RENEW_AFTER:
            flight = self._fly()
            failing = self._problem is not None
            if flight is not None and (age >= MAX_STALE or (age >= LIFETIME and not failing)):
                await asyncio.shield(flight)
        return self._usable()

    async def newer(self, *, than: KeySet) -> KeySet:
        """Keys fetched after `than`, as far as the cool-down allows; else the same once more.

        Raises:
            IdentityError: there are none that may be used.
        """
        if self._keys is than:
            flight = self._fly()
            if flight is not None:
                await asyncio.shield(flight)
        return self._usable()

    def renew(self) -> None:
        """Fetch in the background where it is time to: who asks for nothing but readiness brings no token that would."""
        if self._elapsed(self._fetched_at) >= RENEW_AFTER:
            self._fly()

    def status(self) -> KeyStatus:
        """What is known without asking the issuer."""
        ready = self._keys is not None and self._elapsed(self._fetched_at) < MAX_STALE
        return KeyStatus(ready=ready, fetched_at=self._fetched_at, problem=self._problem)

    async def close(self) -> None:
        """Stop a fetch that is under way."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait({self._flight})
            self._flight = None

    def _usable(self) -> KeySet:
        if self._keys is None or self._elapsed(self._fetched_at) >= MAX_STALE:
            raise IssuerAway(f"the issuer's keys cannot be had: {self._problem or 'not fetched yet'}")
        return self._keys

    def _elapsed(self, then: datetime | None) -> timedelta:
        """Time since then; longer than anything if it never was, or if the clock has stepped back since."""
        if then is None:
            return timedelta.max
        elapsed = self._clock() - then
        return timedelta.max if elapsed < -CLOCK_TOLERANCE else elapsed

    def _fly(self) -> asyncio.Task[None] | None:
        """The fetch under way, else a new one if one is allowed."""
        if self._flight is not None and not self._flight.done():
            return self._flight
        if self._elapsed(self._tried_at) < COOL_DOWN:
            return None
        self._tried_at = self._clock()
        self._flight = asyncio.create_task(self._fetch(), name="issuer-keys")
        return self._flight

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(self._fetch_timeout_s):
                keys = await self._download()
        except TimeoutError:
            self._failed(f"no answer within {self._fetch_timeout_s:g} s")
        except FetchError as error:
            self._failed(str(error))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, RuntimeError, MemoryError) as error:
            # A RuntimeError is for want of a thread. The text of a library's error may quote what a hostile server sent; its type says enough.
            self._failed(f"the connection failed ({type(error).__name__})")
        else:
            self._keys, self._fetched_at, self._problem = keys, self._clock(), None

    def _failed(self, problem: str) -> None:
        self._problem = problem
        log.warning("issuer_keys_not_fetched", issuer=self._issuer, problem=problem)

    async def _download(self) -> KeySet:
        if self._tls is None:
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context, verify=True, trust_env=False)
        async with httpx2.AsyncClient(
            verify=self._tls,
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # the caller bounds the whole, which no timeout of a single read would
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "mcp-gateway"},
        ) as client:
            connect, oauth = metadata_urls(self._issuer)
            try:
                metadata = await _get(client, connect, what="metadata")
            except NotFoundError:
                metadata = await _get(client, oauth, what="metadata")
            url = _read("metadata", lambda: read_metadata(metadata, issuer=self._issuer))
            document = await _get(client, url, what="key set")
            return _read("key set", lambda: read_keys(document))


class StaticKeys:
    """Keys that never change: those of the gateway's own issuer."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    async def current(self) -> KeySet:
        """The keys."""
        return self._keys

    async def newer(self, *, than: KeySet) -> KeySet:  # noqa: ARG002 - there are none
        """The keys."""
        return self._keys


async def _get(client: httpx2.AsyncClient, url: str, *, what: str) -> bytes:
    async with client.stream("GET", url) as response:
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise NotFoundError(f"the {what} is not there (404)")
        if response.status_code != HTTPStatus.OK:
            raise FetchError(f"the {what} was answered with {response.status_code}, expected 200")
        # A small compressed body can be endless when it is unpacked.
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FetchError(f"the {what} is compressed")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_DOCUMENT_BYTES:
                raise FetchError(f"the {what} is longer than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(body)


def _read(what: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except Malformed as error:
        raise FetchError(f"the {what} {error}") from None
