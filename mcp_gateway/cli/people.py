"""Acting as a person from the command line: over a running gateway's API, or on the local store.

With `issuer = "local"` the operating-system user, or one of the configured local people (`--as`), signs in by being
here; with any other issuer the token comes from `MCP_GATEWAY_TOKEN_FILE`. A running gateway is asked over its API;
without one the store of this machine is opened, which only its owner can.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import httpx2

from mcp_gateway.approval.desk import NOT_FOUND, Desk, Move, Refused, to_json
from mcp_gateway.authorities import trusting
from mcp_gateway.calls import Caller, JSONObject, Secret
from mcp_gateway.cli.approval_answers import NoApprovalError, approval_of, approvals_of
from mcp_gateway.cli.failures import GatewayAwayError
from mcp_gateway.cli.issuing import approver_policy, build_identity, build_local_issuer, token_environment
from mcp_gateway.cli.urls import gateway_url
from mcp_gateway.clock import utc_now
from mcp_gateway.config import Settings
from mcp_gateway.errors import GatewayError, IdentityError
from mcp_gateway.identity.approver import OWN_CALL
from mcp_gateway.identity.claims import take_apart
from mcp_gateway.identity.sources import TOKEN_FILE_VARIABLE, token_source
from mcp_gateway.identity.system_user import operating_system_user

API_SECONDS = 30.0
ADD_PEOPLE = "; identity.local.people adds people who can, with --as"
NOTE = "mcp-gateway-note"
"""Of `doors.approvals_api`, which need not be imported to ask a gateway."""
MAX_NOTE = 500
"""Characters of a note that a gateway's are never longer than."""


NO_CONNECTION = "All connection attempts failed"
"""What `httpx2` says where no address of a name takes a connection."""
Answer = TypeVar("Answer")


class MoveRefusedError(GatewayError):
    """A move that was not made; the text is for the person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Approvals, and what has to be known of the list."""

    items: list[JSONObject]
    note: str = ""


class Counter(Protocol):
    """Where a person decides."""

    async def listing(self, *, everything: bool) -> Listing:
        """Approvals that the person may see."""

    async def show(self, approval_id: str) -> JSONObject:
        """One of them."""

    async def move(self, approval_id: str, *, move: Move, note: str) -> JSONObject:
        """Decide."""


def person_token(settings: Settings, *, person: str | None) -> Secret:
    """A token of the person who acts. Raises `IdentityError`, also for what is no token: it would be sent in vain."""
    if settings.identity.issuer == "local":
        clients = settings.approvals.clients
        if not clients:
            raise IdentityError("approvals.clients names no client, so nobody can approve")
        issuer = build_local_issuer(settings)
        return issuer.mint(person, client_id=clients[0], auth_time=utc_now())
    if person is not None:
        raise IdentityError('--as is for issuer = "local" only; here the token says who you are')
    token = token_source(token_environment(), local=None).token()
    try:
        take_apart(token.reveal())
    except IdentityError as error:
        raise IdentityError(f"the file of {TOKEN_FILE_VARIABLE} holds no access token (JWT): {error}") from None
    return token


@asynccontextmanager
async def counter(settings: Settings, *, person: str | None, url: str | None) -> AsyncIterator[Counter]:
    """Where this person decides: the gateway at `url` if it is given, else the local store."""
    try:
        async with _counter(settings, person=person, url=url) as found:
            yield found
    except MoveRefusedError as error:
        if settings.identity.issuer != "local" or str(error) != OWN_CALL:
            raise
        others = sorted(settings.identity.local.people.keys() - {person or operating_system_user()})
        advice = f"; with --as you are one of {', '.join(others)}" if others else ADD_PEOPLE
        raise MoveRefusedError(f"{error}{advice}") from None


@asynccontextmanager
async def _counter(settings: Settings, *, person: str | None, url: str | None) -> AsyncIterator[Counter]:
    base_url = None if url is None else gateway_url(url)
    tls = None if url is None else trusting(settings.approvals.tls_ca, key="approvals.tls_ca")
    token = person_token(settings, person=person)
    if base_url is not None:
        async with httpx2.AsyncClient(
            base_url=base_url,
            headers={"authorization": f"Bearer {token.reveal_text()}"},
            verify=True if tls is None else tls,
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


class _Local:
    def __init__(self, desk: Desk, person: Caller) -> None:
        self._desk = desk
        self._person = person

    async def listing(self, *, everything: bool) -> Listing:
        found: list[JSONObject] = []
        page = await self._desk.page(self._person, live_only=not everything)
        while True:
            found += map(to_json, page.tickets)
            if page.next_after is None:
                return Listing(items=found, note=page.note)
            page = await self._desk.page(self._person, live_only=not everything, after=page.next_after)

    async def show(self, approval_id: str) -> JSONObject:
        return _json(await self._desk.show(self._person, approval_id))

    async def move(self, approval_id: str, *, move: Move, note: str) -> JSONObject:
        return _json(await self._desk.move(self._person, approval_id, move=move, channel="command line", note=note))


class _Remote:
    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def listing(self, *, everything: bool) -> Listing:
        found: list[JSONObject] = []
        asked: dict[str, str] = {"all": str(everything).lower()}
        while True:
            page, response = await self._ask(approvals_of, "GET", "/api/approvals", params=asked)
            found += page
            following = response.links.get("next", {}).get("url", "")
            after = httpx2.URL(following).params.get("after")
            if after is None or asked.get("after") == after:
                return Listing(items=found, note=response.headers.get(NOTE, "")[:MAX_NOTE])
            asked["after"] = after

    async def show(self, approval_id: str) -> JSONObject:
        found, _ = await self._ask(approval_of, "GET", f"/api/approvals/{_segment(approval_id)}")
        return found

    async def move(self, approval_id: str, *, move: Move, note: str) -> JSONObject:
        path = f"/api/approvals/{_segment(approval_id)}/{move}"
        moved, _ = await self._ask(approval_of, "POST", path, json={"note": note})
        return moved

    async def _ask(
        self, read: Callable[[Any], Answer], method: str, path: str, **more: Any
    ) -> tuple[Answer, httpx2.Response]:
        """What the gateway answers, as `read` has it and as it came."""
        where = str(self._client.base_url).rstrip("/")
        try:
            response = await self._client.request(method, path, **more)
        except httpx2.HTTPError as error:
            raise GatewayAwayError(_away(where, str(error) or type(error).__name__)) from None
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            raise GatewayAwayError(_no_gateway(where, f"status {response.status_code} and no JSON")) from None
        if response.status_code == 401:
            raise IdentityError("the gateway does not accept this token: it is expired, revoked or for another gateway")
        if response.is_error:
            said = answer.get("error") if isinstance(answer, dict) else None
            raise MoveRefusedError(str(said or f"the gateway refused with status {response.status_code}"))
        try:
            return read(answer), response
        except NoApprovalError:
            raise GatewayAwayError(_no_gateway(where, "its answer has not the form of one about approvals")) from None


def _no_gateway(where: str, why: str) -> str:
    return f"what answers at {where} is not a gateway: {why}; expected the URL that `mcp-gateway serve` prints"


def _away(where: str, why: str) -> str:
    """`why` is OpenSSL's word where TLS fails: `[SSL: REASON] reason (_ssl.c:1006)`."""
    if "WRONG_VERSION_NUMBER" in why:
        return f"what answers at {where} does not speak TLS; expected the URL that `mcp-gateway serve` prints"
    if "CERTIFICATE_VERIFY_FAILED" in why:
        reason = why.partition("verify failed: ")[2].rpartition(" (")[0] or why
        advice = "; approvals.tls_ca names an authority that the system does not know" if "issuer" in reason else ""
        return f"the certificate of what answers at {where} does not prove who it is: {reason}{advice}"
    said = "no connection" if why == NO_CONNECTION else why.rstrip(".")
    return f"the gateway at {where} does not answer: {said}; is it running there?"


def _segment(approval_id: str) -> str:
    """An id as one part of a path, whatever somebody pasted. `..` would be a way to another resource."""
    if not approval_id.strip("."):
        raise MoveRefusedError(NOT_FOUND)
    return quote(approval_id, safe="")


def _json(found: object) -> JSONObject:
    match found:
        case Refused(why=why):
            raise MoveRefusedError(why)
        case ticket:
            return to_json(ticket)  # type: ignore[arg-type]  # the desk's other answer
