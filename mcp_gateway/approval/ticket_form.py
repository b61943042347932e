"""How a ticket lies in its row: what has to be found, a body that anybody may read, and what is sealed.

What an approver reads is kept encrypted (AES-256-GCM, the ticket's id as associated data) and dropped when the
ticket ends.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mcp_gateway.approval.ticket import ENDED, Ticket, Vote
from mcp_gateway.calls import Secret
from mcp_gateway.decisions import Requirement
from mcp_gateway.errors import StoreError
from mcp_gateway.events import plain

NONCE_BYTES = 12
SEALED = frozenset({"shown", "preview", "facts", "reason"})
"""Attributes that hold what the agent wrote: encrypted while the ticket lives, gone when it has ended."""


class TicketForm:
    """Writes and reads tickets under one key."""

    def __init__(self, key: Secret) -> None:
        self._cipher = AESGCM(key.reveal())

    def written(self, ticket: Ticket) -> tuple[str | None, bytes, bytes | None]:
        """When it is due, its body and its sealed part."""
        return _due(ticket), _body(ticket), self._seal(ticket)

    def read(self, body: bytes, sealed: bytes | None) -> Ticket:
        """The ticket of a row. Raises `StoreError` where its sealed part cannot be opened."""
        ticket = _ticket(orjson.loads(body))
        if sealed is None:
            return ticket
        try:
            text = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], ticket.id.encode())
        except InvalidTag:
            raise StoreError(
                f"approval {ticket.id!r} cannot be decrypted",
                next_step="the data directory's approval.key is not the one it was sealed with, or the row was changed",
            ) from None
        return replace(ticket, **orjson.loads(text))

    def _seal(self, ticket: Ticket) -> bytes | None:
        if ticket.state in ENDED:
            return None
        nonce = os.urandom(NONCE_BYTES)
        text = orjson.dumps(
            {"shown": dict(ticket.shown), "preview": ticket.preview, "facts": ticket.facts, "reason": ticket.reason}
        )
        return nonce + self._cipher.encrypt(nonce, text, ticket.id.encode())


def _due(ticket: Ticket) -> str | None:
    match ticket.state:
        case "pending":
            return ticket.deadline.isoformat()
        case "approved":
            return ticket.claim_until.isoformat() if ticket.claim_until else None
        case _:
            return None


def _body(ticket: Ticket) -> bytes:
    """Everything but what is sealed."""
    kept = {name: getattr(ticket, name) for name in Ticket.__slots__ if name not in SEALED}
    kept["requirements"] = [[item.group, item.approvers] for item in ticket.requirements]
    kept["votes"] = [{name: plain(getattr(vote, name)) for name in Vote.__slots__} for vote in ticket.votes]
    return orjson.dumps({name: plain(value) for name, value in kept.items()})


def _ticket(body: dict[str, Any]) -> Ticket:
    def when(text: str | None) -> datetime | None:
        return None if text is None else datetime.fromisoformat(text)

    votes = tuple(
        Vote(**vote | {"groups": frozenset(vote["groups"]), "at": datetime.fromisoformat(vote["at"])})
        for vote in body["votes"]
    )
    return Ticket(
        **body
        | {
            "shown": {},
            "preview": "",
            "facts": {},
            "reason": "",
            "policies": tuple(body["policies"]),
            "policy_reasons": tuple(body["policy_reasons"]),
            "requirements": tuple(Requirement(group=group, approvers=count) for group, count in body["requirements"]),
            "votes": votes,
            "created_at": datetime.fromisoformat(body["created_at"]),
            "deadline": datetime.fromisoformat(body["deadline"]),
            "claim_within": timedelta(seconds=body["claim_within"]),
            "approved_at": when(body["approved_at"]),
            "ended_at": when(body["ended_at"]),
        }
    )
