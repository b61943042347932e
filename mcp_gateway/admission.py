"""What goes onto the road, what its first half gives, and what it is laid on. Values; the road itself is `pipeline`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from mcp_gateway.approval.holding import Channels, Holder
from mcp_gateway.aside import Aside
from mcp_gateway.audit.revocations import Revocations
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.calls import Call, Caller, Client, Door, JSONObject, Secret
from mcp_gateway.journal import Journal
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.external import Opinion
from mcp_gateway.rates import Rate
from mcp_gateway.registry import AnyTool, Registered, Registry
from mcp_gateway.tool import Arguments, Examination, Masker, Permit
from mcp_gateway.turns import Release, Shares

MAX_CALLS_PER_CALLER = 32
EXAMINE_WITHIN = timedelta(seconds=30)
"""For an examination, and for a preview; no turn is held meanwhile, so one that hangs keeps only its own caller waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a door hands over: raw, unproved."""

    door: Door
    tool: str
    arguments: Mapping[str, Any]
    identify: Callable[[], Awaitable[Caller]]
    """Verifies the token anew each time; raises `IdentityError`."""
    client: Client = field(default_factory=Client)
    channels: Channels = field(default_factory=Channels)
    answer_by: datetime | None = None
    """When the client will have given up on an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted:
    """The intent is durable: the call may run now, once."""

    call: Call
    tool: AnyTool
    arguments: Arguments
    registered: Registered
    examination: Examination[Any]
    permit: Permit
    revealed: frozenset[str]
    journal: Journal
    started_at: datetime
    turn: Release
    """Gives back the target's turn, as soon as the target has done its part."""
    held: ExitStack
    """What the call holds until its end."""


class MaskerFactory(Protocol):
    """Builds the masker of one call."""

    def __call__(self, *, revealed: frozenset[str], detectors: Sequence[str], secrets: Sequence[Secret]) -> Masker:
        """Build it."""


class DecisionPoint(Protocol):
    """Whom to ask further about what the policies do not deny."""

    async def ask(self, document: JSONObject) -> Opinion:
        """What it says of a call. Raises `OpinionError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that the road is laid on."""

    registry: Registry
    policies: Callable[[], PolicyEngine]
    """The set in force; asked anew for each decision, so a reload counts at once."""
    store: AuditStore
    revocations: Revocations
    holder: Holder
    masker: MaskerFactory
    scope_of: Callable[[str], str | None]
    """The scope that a tool demands."""
    classes: frozenset[str]
    """Every data class that can be revealed: built in and configured."""
    clock: Callable[[], datetime]
    token_clock: Callable[[], datetime]
    """By which a token's age is told: unlike `clock` it never goes back."""
    new_id: Callable[[], str]
    instance: str
    approval_url: str | None = None
    examine_within: timedelta = EXAMINE_WITHIN
    decision_point: DecisionPoint | None = None
    aside: Aside = field(default_factory=Aside)
    shares: Shares = field(default_factory=lambda: Shares(each=MAX_CALLS_PER_CALLER))
    rate_per_caller: Rate | None = None
    """How many calls of one caller there may be in a time."""
    longest_queue: timedelta = timedelta(seconds=10)
    """How long a call waits for its turn on a target."""

    def masker_of(self, registered: Registered | None, *, revealed: frozenset[str]) -> Masker:
        """A masker for one result of a target's, or for what has no target."""
        return self.masker(
            revealed=revealed,
            detectors=registered.detectors if registered else (),
            secrets=registered.connector.secrets() if registered else (),
        )
