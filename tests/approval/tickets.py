"""Callers, tickets and votes for tests of approvals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from mcp_gateway.approval.ticket import Ticket, Vote
from mcp_gateway.calls import Caller
from mcp_gateway.decisions import Requirement

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ISSUER = "https://idp.example.com"
ALICE = f"{ISSUER}|alice"


def a_caller(**changes: Any) -> Caller:
    values: dict[str, Any] = {
        "issuer": ISSUER,
        "subject": "alice",
        "actor": "agent",
        "client_id": "agent",
        "delegated": False,
        "email": "alice@example.com",
        "groups": frozenset({"dev"}),
        "scopes": frozenset(),
        "token_id": "t1",
        "issued_at": NOW,
        "expires_at": NOW + timedelta(hours=1),
        "auth_time": None,
        "assurance": "token",
    }
    return Caller(**values | changes)


def a_ticket(**changes: Any) -> Ticket:
    values: dict[str, Any] = {
        "id": "ticket-1",
        "state": "pending",
        "call_id": "call-1",
        "digest": "d" * 64,
        "bound": "b" * 64,
        "issuer": ISSUER,
        "subject": "alice",
        "actor": "agent",
        "email": "alice@example.com",
        "tool": "query_database",
        "target": "orders",
        "reason": "clean up",
        "policies": ("prod-writes-need-a-dba",),
        "policy_reasons": ("writes to production wait for a DBA",),
        "facts": {"kinds": ["DELETE"]},
        "shown": {"statement": "DELETE FROM orders"},
        "preview": "",
        "requirements": (Requirement(group="dba"),),
        "votes": (),
        "created_at": NOW,
        "deadline": NOW + timedelta(minutes=15),
        "claim_within": timedelta(minutes=15),
    }
    return Ticket(**values | changes)


def a_vote(subject: str = "dana", *groups: str, **changes: Any) -> Vote:
    values: dict[str, Any] = {
        "person": f"{ISSUER}|{subject}",
        "email": f"{subject}@example.com",
        "groups": frozenset(groups or {"dba"}),
        "actor": "approver-client",
        "token_id": "t2",
        "at": NOW,
        "channel": "cli",
    }
    return Vote(**values | changes)
