"""What every HTTP request passes before any handler: its host, its origin, its token, its scope.

One ASGI layer around all routes, deciding on the path that is routed and on nothing built from the Host header:

1. Exactly one `Host`, one of ours; an `Origin`, where there is one, is one of ours (DNS rebinding).
2. Health and the resource metadata are public; everything else needs exactly one bearer token that is verified now.
   Without one: 401 with `resource_metadata` (RFC 9728 section 5.1).
3. A person has only so many requests open at once, streams with them, and only so large ones: else 429. Those of others
   find room.
4. The body arrives whole, is not too large, is text in UTF-8, and JSON that names no member twice (`bodies`).
5. A `tools/call` of a tool that demands a scope which the token lacks: 403 with the scope (RFC 6750 section 3.1). The
   road checks it again: this layer is a courtesy to clients, which start a new authorization on it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
import structlog
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_gateway.calls import Caller
from mcp_gateway.doors.bodies import TOO_MUCH, Fits, OpenBodies, Unfit, replayed, whole_body
from mcp_gateway.errors import GatewayError, IdentityError, IssuerAway, LimitError, StoreError
from mcp_gateway.identity.tokens import TokenVerifier
from mcp_gateway.turns import Shares

log = structlog.get_logger(__name__)

METADATA_PATH = "/.well-known/oauth-protected-resource"
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", METADATA_PATH})
CALLER_KEY = "mcp_gateway.caller"
"""Where in the ASGI scope the verified caller stands."""
CANNOT_CHECK = "the gateway cannot check tokens now"
AUDIT_UNAVAILABLE = "audit unavailable: the audit store refuses, so no token can be checked and no call can run"


class VerifiedToken(AccessToken):
    """What the SDK keeps of a verified token; sessions and sealed states are bound to agent, issuer and subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reachable:
    """Under which names this gateway answers."""

    hosts: frozenset[str]
    """`Host` values: names with their port, and without where it is the standard one."""
    origins: frozenset[str]


def reachable(*, public_url: str, listen: str, allowed_origins: Collection[str]) -> Reachable:
    """The names that follow from the configuration; on loopback, `localhost` and the addresses as well."""
    hosts, origins = set[str](), {origin.rstrip("/") for origin in allowed_origins}
    parts = urlsplit(public_url)
    hosts.add(parts.netloc.lower())
    origins.add(f"{parts.scheme}://{parts.netloc}".lower())
    name, _, port = listen.rpartition(":")
    hosts.add(listen.lower())
    if name in {"127.0.0.1", "localhost", "[::1]"}:
        for loopback in ("127.0.0.1", "localhost", "[::1]"):
            hosts.add(f"{loopback}:{port}")
            origins.add(f"http://{loopback}:{port}")
    return Reachable(hosts=frozenset(hosts), origins=frozenset(origins))


class Guard:
    """The layer."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        names: Reachable,
        verifier: TokenVerifier,
        scope_of: Callable[[str], str | None],
        scoped: bool,
        metadata_url: str,
        requests_each: int,
    ) -> None:
        self._app = app
        self._names = names
        self._verifier = verifier
        self._scope_of = scope_of
        self._scoped = scoped
        self._metadata_url = metadata_url
        self._requests = Shares(each=requests_each)
        self._bodies = OpenBodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            return  # No WebSocket is served, and lifespan events are handled outside.
        # White space around a value is not part of it (RFC 9110 section 5.5); whoever compares values has to know.
        scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        # 1.
        problem = self._place(scope)
        if problem is not None:
            await _refuse(send, 403, problem)
            return
        # 2.
        if scope["path"] not in PUBLIC_PATHS:
            try:
                caller, token = await self._identify(scope)
            except IssuerAway as error:
                log.warning("identity_unavailable", cause=error.cause)
                # Not 401: the client would throw a good token away and sign in where nobody answers.
                await _refuse(send, 503, CANNOT_CHECK, headers=[(b"retry-after", b"10")])
                return
            except IdentityError as error:
                log.info("http_not_identified", cause=error.cause)
                await self._challenge(send, error="invalid_token" if _values(scope, b"authorization") else "")
                return
            except StoreError as error:
                log.critical("audit_unavailable", cause=str(error))
                await _refuse(send, 503, AUDIT_UNAVAILABLE)
                return
            except GatewayError as error:
                log.critical("identity_unavailable", cause=str(error))
                await _refuse(send, 503, CANNOT_CHECK)
                return
            scope["user"] = AuthenticatedUser(token)
            scope[CALLER_KEY] = caller
            # 3.
            try:
                release = self._requests.take(caller.key)
            except LimitError:
                log.warning("http_too_many_requests", caller=caller.key)
                await _refuse(send, 429, "too many requests of this person are open", headers=[(b"retry-after", b"1")])
                return
            try:
                with self._bodies.counted(caller.key) as fits:
                    await self._serve(scope, receive, send, caller, fits)
            finally:
                release()
            return
        await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, caller: Caller, fits: Fits) -> None:
        # 3. and 4.
        body = await whole_body(scope, receive, fits=fits)
        if isinstance(body, Unfit):
            if body is TOO_MUCH:
                log.warning("http_too_large_requests", caller=caller.key)
            await _turn_away(send, body)
            return
        # 5.
        if self._scoped and scope["method"] == "POST" and scope["path"] != "/api":
            missing = self._missing_scope(body, caller)
            if missing is not None:
                await self._challenge(send, status=403, error="insufficient_scope", scope_name=missing)
                return
        await self._app(scope, replayed(body, receive), send)

    def _place(self, scope: Scope) -> str | None:
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or hosts[0].lower() not in self._names.hosts:
            return "this host name is not one of the gateway's; see server.public_url"
        if len(origins) > 1 or (origins and origins[0].lower() not in self._names.origins):
            return "this origin is not allowed; see server.allowed_origins"
        return None

    async def _identify(self, scope: Scope) -> tuple[Caller, VerifiedToken]:
        values = _values(scope, b"authorization")
        if len(values) != 1:
            raise IdentityError(f"{len(values)} authorization headers where there has to be one")
        scheme, _, token = values[0].partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise IdentityError("the authorization header carries no bearer token")
        caller = await self._verifier.verify(token)
        return caller, VerifiedToken(
            token=token,
            client_id=f"{caller.client_id or ''}|{caller.actor}",
            scopes=sorted(caller.scopes),
            expires_at=int(caller.expires_at.timestamp()),
            subject=caller.subject,
            claims={"iss": caller.issuer},
        )

    def _missing_scope(self, body: bytes, caller: Caller) -> str | None:
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(message, dict) or message.get("method") != "tools/call":
            return None
        params = message.get("params")
        name = params.get("name") if isinstance(params, dict) else None
        needed = self._scope_of(name) if isinstance(name, str) else None
        return needed if needed is not None and needed not in caller.scopes else None

    async def _challenge(self, send: Send, *, status: int = 401, error: str = "", scope_name: str = "") -> None:
        parts = [f'resource_metadata="{self._metadata_url}"']
        if error:
            parts.insert(0, f'error="{error}"')
        if scope_name:
            parts.append(f'scope="{scope_name}"')
        text = "a valid access token is needed" if status == 401 else "the token lacks a scope"
        await _refuse(send, status, text, headers=[(b"www-authenticate", f"Bearer {', '.join(parts)}".encode())])


def _values(scope: Scope, name: bytes) -> list[str]:
    found = []
    for key, value in scope["headers"]:
        if key.lower() == name:
            found.append(value.decode("latin-1"))
    return found


async def _turn_away(send: Send, unfit: Unfit) -> None:
    """Answer in the protocol's own form."""
    if not unfit.status:
        log.info("http_client_gone")
        return
    await _answer(send, unfit.status, unfit.to_json(), headers=[(b"retry-after", b"1")] if unfit.status == 429 else [])


async def _refuse(send: Send, status: int, text: str, *, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await _answer(send, status, orjson.dumps({"error": text}), headers=headers or [])


async def _answer(send: Send, status: int, body: bytes, *, headers: list[tuple[bytes, bytes]]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"cache-control", b"no-store"),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
