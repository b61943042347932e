"""The first step of the road: what came in, who it is from, and whether either is too much.

Who asks comes first: only for a caller who is proved, and who has not all of its calls under way already, are large
arguments gone through by the detectors, beside the event loop and in its own turn. Whatever happens, `Received` says
that something came, and `Identified` who was proved. Above is `admitting`.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime

from mcp_gateway import bounds
from mcp_gateway.admission import Parts, Request
from mcp_gateway.aside import INLINE_BYTES, weight
from mcp_gateway.calls import Caller, JSONObject
from mcp_gateway.errors import IdentityError, RequestError
from mcp_gateway.events import Identified, Received
from mcp_gateway.journal import Journal
from mcp_gateway.rates import Rates
from mcp_gateway.tool import Masker

MAX_CLIENT_CHARACTERS = 200
"""Of each thing that a client says of itself."""

NOTHING_LEFT = "[masked]"
"""In the place of a text of which nothing is left: in a cell that is null, here it stays a text."""


class Reception:
    """Where calls come in."""

    def __init__(self, parts: Parts, *, rates: Rates) -> None:
        self._parts = parts
        self._rates = rates

    async def open(self, request: Request, journal: Journal, *, taken: ExitStack | None = None) -> Caller:
        """Note what came in and who it is from. Large arguments are looked at only for a caller who is proved.

        `taken` is given the caller's share of the calls that may be under way.
        """
        at, caller, kept = journal.now(), None, None
        try:
            caller = await request.identify()
            self._rates.take_call(caller.key, now=self._parts.token_clock())
            if taken is not None:
                taken.callback(self._parts.shares.take(caller.key))
            kept = await self._kept(request, caller)
        finally:
            if kept is None:
                kept = self._kept_in_place(request)
            journal.note(self._received(request, kept, at=at, call_id=journal.call_id))
            if caller is not None:
                self._note_identified(journal, caller)
        return caller

    async def _kept(self, request: Request, caller: Caller) -> JSONObject:
        """A request with every detector applied. Raises `RequestError` where it is too large to look at."""
        bounds.check(request.arguments)
        masker = self._parts.masker_of(None, revealed=frozenset())
        return await self._parts.aside.run(
            lambda: _masked_request(request, masker),
            size=weight(request.arguments),
            key=caller.key,
            stop=masker.stop,
        )

    def _kept_in_place(self, request: Request) -> JSONObject:
        """The same where it could not be done for a caller: nothing of a large request."""
        try:
            bounds.check(request.arguments)
        except RequestError:
            return {}
        if weight(request.arguments) > INLINE_BYTES:
            return {}
        return _masked_request(request, self._parts.masker_of(None, revealed=frozenset()))

    def _received(self, request: Request, kept: JSONObject, *, at: datetime, call_id: str) -> Received:
        """What came in. Of what is too large to look at nothing is kept."""
        client = kept.get("client")
        if client is None:
            client = _client(self._parts.masker_of(None, revealed=frozenset()).json(_said(request)))
        return Received(
            at=at,
            call_id=call_id,
            door=request.door,
            tool=request.tool,
            target=kept.get("target", ""),
            arguments=kept.get("arguments", {}),
            reason=kept.get("reason", ""),
            client=client,
        )

    async def identify(self, request: Request, journal: Journal) -> Caller:
        """Prove the caller anew. Raises `IdentityError`."""
        caller = await request.identify()
        self._note_identified(journal, caller)
        self.check_scope(request, caller)
        return caller

    def _note_identified(self, journal: Journal, caller: Caller) -> None:
        journal.caller = caller
        journal.note(
            Identified(
                at=journal.now(),
                call_id=journal.call_id,
                issuer=caller.issuer,
                subject=caller.subject,
                actor=caller.actor,
                email=caller.email,
                groups=caller.groups,
                scopes=caller.scopes,
                token_id=caller.token_id,
                token_issued_at=caller.issued_at,
                token_expires_at=caller.expires_at,
                assurance=caller.assurance,
            )
        )

    def check_scope(self, request: Request, caller: Caller) -> None:
        """Raise `IdentityError` unless the caller has the scope that the tool demands."""
        scope = self._parts.scope_of(request.tool)
        if scope is not None and scope not in caller.scopes:
            raise IdentityError(
                f"the tool {request.tool!r} demands the scope {scope!r}", code="insufficient_scope", scope=scope
            )

    async def identify_again(self, request: Request, journal: Journal, *, before: Caller) -> Caller:
        """After a wait: the token may have ended, been revoked or been exchanged meanwhile."""
        caller = await self.identify(request, journal)
        if (caller.key, caller.actor) != (before.key, before.actor):
            raise IdentityError("the caller changed while the call waited for its approval")
        return caller


def _masked_request(request: Request, masker: Masker) -> JSONObject:
    """Arguments, target and reason with every detector applied: nobody is proved for what is in them."""
    target, reason = request.arguments.get("target"), request.arguments.get("reason")
    arguments, *texts = masker.json(
        [
            {name: value for name, value in request.arguments.items() if name != "reason"},
            target if isinstance(target, str) else "",
            reason if isinstance(reason, str) else "",
            *_said(request),
        ]
    )
    target, reason, *said = texts
    return {"arguments": arguments, "target": _text(target), "reason": _text(reason), "client": _client(said)}


def _said(request: Request) -> list[str]:
    """What the client program says of itself."""
    client = request.client
    return [
        text if len(text) <= MAX_CLIENT_CHARACTERS else f"[{len(text):,} characters]"
        for text in (client.name, client.version, client.protocol, client.trace)
    ]


def _client(masked: list[str | None]) -> JSONObject:
    name, version, protocol, trace = [NOTHING_LEFT if text is None else text for text in masked]
    return {"name": name, "version": version, "protocol": protocol, "trace": trace}


def _text(masked: str | None) -> str:
    return NOTHING_LEFT if masked is None else masked
