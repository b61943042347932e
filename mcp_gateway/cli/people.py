"""Acting as a person from the command line: over a running gateway's API, or on the local store.

With `issuer = "local"` the operating-system user, or one of the configured local people (`--as`), signs in by being
here; with any other issuer the token comes from `MCP_GATEWAY_TOKEN_FILE`. A running gateway is asked over its API;
without one the store of this machine is opened, which only its owner can.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import httpx2

from mcp_gateway.approval.desk import Desk, Move, Refused, to_json
from mcp_gateway.calls import Caller, JSONObject, Secret
from mcp_gateway.cli.issuing import approver_policy, build_identity, build_local_issuer, token_environment
from mcp_gateway.clock import utc_now
from mcp_gateway.config import Settings
from mcp_gateway.config_values import is_loopback
from mcp_gateway.errors import GatewayError, IdentityError
from mcp_gateway.identity.sources import token_source

API_SECONDS = 30.0


class MoveRefusedError(GatewayError):
    """A move that was not made; the text is for the person."""


class Counter(Protocol):
    """Where a person decides."""

    async def listing(self, *, everything: bool) -> list[JSONObject]:
        """Approvals that the person may see."""

    async def show(self, approval_id: str) -> JSONObject:
        """One of them."""

    async def move(self, approval_id: str, *, move: Move, note: str) -> JSONObject:
        """Decide."""


def person_token(settings: Settings, *, person: str | None) -> Secret:
    """A token of the person who acts. Raises `IdentityError`."""
    if settings.identity.issuer == "local":
        clients = settings.approvals.clients
        if not clients:
            raise IdentityError("approvals.clients names no client, so nobody can approve")
        issuer = build_local_issuer(settings)
        return issuer.mint(person, client_id=clients[0], auth_time=utc_now())
    if person is not None:
        raise IdentityError('--as is for issuer = "local" only; here the token says who you are')
    return token_source(token_environment(), local=None).token()


@asynccontextmanager
async def counter(settings: Settings, *, person: str | None, url: str | None) -> AsyncIterator[Counter]:
    """Where this person decides: the gateway at `url` if it is given, else the local store."""
    if url is not None:
        _check_url(url)
    token = person_token(settings, person=person)
    if url is not None:
        async with httpx2.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {token.reveal_text()}"},
            trust_env=False,
            timeout=API_SECONDS,
        ) as client:
            yield _Remote(client)
        return
    from mcp_gateway.cli.records import opened_records

    async with opened_records(settings) as records:
        identity = build_identity(settings, records.revocations)
        try:
            caller = await identity.verifier.verify(token)
            yield _Local(Desk(records.approvals, policy=approver_policy(settings), clock=utc_now), caller)
        finally:
            if identity.keys is not None:
                await identity.keys.close()


def _check_url(url: str) -> None:
    """The token goes there, so nobody on the way may read it (RFC 6750 section 5.3)."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise MoveRefusedError("--url is no URL") from None
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return
    raise MoveRefusedError("--url has to be https, or http on this machine: your token goes there")


class _Local:
    def __init__(self, desk: Desk, person: Caller) -> None:
        self._desk = desk
        self._person = person

    async def listing(self, *, everything: bool) -> list[JSONObject]:
        return [to_json(item) for item in await self._desk.listing(self._person, live_only=not everything)]

    async def show(self, approval_id: str) -> JSONObject:
        return _json(await self._desk.show(self._person, approval_id))

    async def move(self, approval_id: str, *, move: Move, note: str) -> JSONObject:
        return _json(await self._desk.move(self._person, approval_id, move=move, channel="command line", note=note))


class _Remote:
    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def listing(self, *, everything: bool) -> list[JSONObject]:
        found: list[JSONObject] = await self._ask("GET", "/api/approvals", params={"all": str(everything).lower()})
        return found

    async def show(self, approval_id: str) -> JSONObject:
        found: JSONObject = await self._ask("GET", f"/api/approvals/{quote(approval_id, safe='')}")
        return found

    async def move(self, approval_id: str, *, move: Move, note: str) -> JSONObject:
        moved: JSONObject = await self._ask(
            "POST", f"/api/approvals/{quote(approval_id, safe='')}/{move}", json={"note": note}
        )
        return moved

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            response = await self._client.request(method, path, **more)
            answer = response.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise MoveRefusedError(f"the gateway at {self._client.base_url} does not answer: {error!r}") from None
        if response.status_code == 401:
            raise IdentityError("the gateway does not accept this token; sign in again")
        if response.is_error:
            raise MoveRefusedError(str(answer.get("error", "the gateway refused")))
        return answer


def _json(found: object) -> JSONObject:
    match found:
        case Refused(why=why):
            raise MoveRefusedError(why)
        case ticket:
            return to_json(ticket)  # type: ignore[arg-type]  # the desk's other answer
