"""Asks an external decision point, Open Policy Agent or what speaks its Data API, about calls that Cedar does not deny.

It is asked once for each decision, within a time, over connections that are kept. Whatever goes wrong, also a redirect,
an answer that is compressed, long or late, raises `OpinionError`: then the call is denied.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from http import HTTPStatus

import anyio
import httpx2
import orjson

from mcp_gateway.calls import JSONObject, Secret
from mcp_gateway.errors import CredentialError
from mcp_gateway.policy.external import Opinion, OpinionError, opinion_of

MAX_ANSWER_BYTES = 64 * 1024
MAX_CONNECTIONS = 32


class DecisionPoint:
    """One decision point. `aclose` it at the end."""

    def __init__(
        self,
        url: str,
        *,
        within: timedelta,
        tls: ssl.SSLContext,
        token: Callable[[], Awaitable[Secret]] | None = None,
    ) -> None:
        """`url` is that of the decision, such as `https://opa.internal/v1/data/gateway/decision`; `token` is for each call."""
        self._url = url
        self._seconds = within.total_seconds()
        self._token = token
        self._client = httpx2.AsyncClient(
            verify=tls,
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # the whole is bounded below
            limits=httpx2.Limits(max_connections=MAX_CONNECTIONS),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
                "User-Agent": "mcp-gateway",
            },
        )

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def ask(self, document: JSONObject) -> Opinion:
        """Tell it everything and read what it says. Raises `OpinionError`."""
        with anyio.move_on_after(self._seconds):
            try:
                return opinion_of(await self._post(orjson.dumps({"input": document})))
            except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, CredentialError) as error:
                raise OpinionError(f"the decision point cannot be asked: {type(error).__name__}") from error
        raise OpinionError(f"the decision point did not answer within {self._seconds:g} s")

    async def _post(self, body: bytes) -> bytes:
        headers = {}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {(await self._token()).reveal_text()}"
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            if response.status_code != HTTPStatus.OK:
                raise OpinionError(f"the decision point answered with {response.status_code}, expected 200")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise OpinionError("the decision point's answer is compressed")
            found = bytearray()
            async for chunk in response.aiter_raw():
                found += chunk
                if len(found) > MAX_ANSWER_BYTES:
                    raise OpinionError(f"the decision point's answer is longer than {MAX_ANSWER_BYTES} bytes")
        return bytes(found)
