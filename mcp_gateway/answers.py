"""What a call comes to: a masked result or a refusal. The doors turn these into their own wire form.

`Masked` is built by `mcp_gateway.masking` alone: a type that proves that a result went through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from mcp_gateway.calls import JSONObject

Code: TypeAlias = Literal[
    "invalid_arguments",
    "unknown_target",
    "identity_required",
    "insufficient_scope",
    "denied",
    "approval_pending",
    "approval_denied",
    "approval_expired",
    "approval_withdrawn",
    "approval_stale",
    "already_run",
    "limit_exceeded",
    "target_unavailable",
    "timeout",
    "failed",
    "cancelled",
    "outcome_unknown",
    "audit_unavailable",
    "internal",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """A result from which everything that the caller may not see is gone."""

    structured: bytes
    """One JSON object in UTF-8, of the tool's result shape; `call_id` included."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Data class to the number of values that were masked."""
    touched: frozenset[str] = frozenset()
    """Data classes that are in it, masked or raw."""
    rows: int | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingApproval:
    """What the agent may know of an approval that it waits for."""

    id: str
    deadline: datetime
    approvers: tuple[str, ...]
    """Groups."""
    url: str | None = None

    def to_json(self) -> JSONObject:
        """The `approval` member of a refusal."""
        found: JSONObject = {
            "id": self.id,
            "deadline": self.deadline.isoformat(),
            "approvers": list(self.approvers),
        }
        return found | ({"url": self.url} if self.url else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why there is no result, in words that are safe for the agent, and what to do next."""

    code: Code
    message: str
    next_step: str
    approval: PendingApproval | None = None
    detail: JSONObject = field(default_factory=dict)
    """Further members, such as the first call's id and outcome for `already_run`."""

    def to_json(self, *, call_id: str) -> JSONObject:
        """The structured content of an error answer: `{"error": {...}}`."""
        error: JSONObject = {
            "code": self.code,
            "message": self.message,
            "next": self.next_step,
            "call_id": call_id,
        }
        if self.approval is not None:
            error["approval"] = self.approval.to_json()
        return {"error": error | self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The end of a call, as its door gets it."""

    call_id: str
    outcome: Masked | Refusal

    @property
    def code(self) -> str:
        """`ok` or the refusal's code."""
        return self.outcome.code if isinstance(self.outcome, Refusal) else "ok"
