"""What can be recorded: one frozen class for each kind of row in the audit store.

An event is a value with a time and, where it belongs to a call, that call's id. `audit` turns it into a row and
chains it. Nothing here holds a credential or an unmasked value: arguments and texts have been through the
detectors before they become an event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, ClassVar, TypeAlias

from mcp_gateway.calls import JSONObject

EVENT_KINDS: dict[str, type[Event]] = {}
"""Every kind of event by its name. Filled by the class statements below; a name claimed twice raises."""

Body: TypeAlias = tuple[tuple[str, ...], Callable[["Event"], tuple[Any, ...]]]
"""The names of what is in the body of a kind, and what gives their values."""
_BODIES: dict[str, Body] = {}
"""Found once: events are made on every call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""

    at: datetime
    """UTC."""
    call_id: str | None = None

    kind: ClassVar[str] = "Event"
    """The event's name in the store, that of its class."""
    ends_call: ClassVar[bool] = False
    """Whether this is an outcome: an intent (`Started`) ends in exactly one of them."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super(Event, cls).__init_subclass__(**kwargs)
        known = EVENT_KINDS.setdefault(cls.__name__, cls)
        # `slots=True` makes a second class of the same name and module out of the first; that one replaces it.
        if known.__module__ != cls.__module__:
            raise TypeError(f"event kind {cls.__name__!r} is defined twice")
        EVENT_KINDS[cls.__name__] = cls
        cls.kind = cls.__name__

    def body(self) -> JSONObject:
        """Everything but `at` and `call_id`, as JSON."""
        return {name: plain(value) for name, value in self.values().items()}

    def values(self) -> dict[str, Any]:
        """Everything but `at` and `call_id`, as it is."""
        names, read = _BODIES.get(self.kind) or _BODIES.setdefault(self.kind, _body_of(type(self)))
        return dict(zip(names, read(self), strict=True))


def _body_of(kind: type[Event]) -> Body:
    names = tuple(field.name for field in fields(kind) if field.name not in {"at", "call_id"})
    if len(names) > 1:
        return names, attrgetter(*names)
    return names, lambda event: tuple(
        [getattr(event, name) for name in names]
    )  # of one name `attrgetter` makes no tuple


def plain(value: object) -> Any:
    """Turn a field into JSON: sets sorted, times ISO 8601 in UTC, durations in seconds."""
    if type(value) in {str, int, bool, type(None)}:
        return value
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case frozenset() | set():
            return sorted(value)
        case tuple() | list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return value


# The road of one call, in order.


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Event):
    """A request came in. Its arguments are kept with detectors applied."""

    door: str
    tool: str
    target: str
    arguments: JSONObject
    reason: str = ""
    client: JSONObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified(Event):
    """The caller was proved."""

    issuer: str
    subject: str
    actor: str
    email: str | None
    groups: frozenset[str]
    scopes: frozenset[str]
    token_id: str
    token_issued_at: datetime
    token_expires_at: datetime
    assurance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """The call ended before any decision: no caller, bad arguments, no such target, a limit, an internal error."""

    code: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined(Event):
    """What the call would do, with the fingerprint of what is asked."""

    digest: str
    facts: JSONObject
    environment: str
    """SHA-256 over what the facts depend on outside the call: target configuration, catalog objects, host key."""
    sources: dict[str, str] | None = None
    """What of an operator's files was in force then: `programs` and `document`, each by its hash, where they count."""
    masked: tuple[str, ...] = ()
    """Facts that detectors changed, so that they are not on record as policy saw them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected(Event):
    """The gateway itself read from the target: a catalog, a plan, a health check."""

    target: str
    what: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided(Event):
    """What policy said."""

    decision: str
    """`allow`, `ask` or `deny`."""
    policies: tuple[str, ...]
    reasons: tuple[str, ...]
    policy_version: str
    error: str | None = None
    revealed: frozenset[str] = frozenset()
    """Data classes that the caller may see raw."""
    enforced: bool = True
    """False where the target is only observed: whatever was said, the call went on."""
    external: JSONObject | None = None
    """What an external decision point said, where one was asked: `decision`, `reason`, or an `error`; in `cedar` what policy
    alone had said, where that was another decision."""
    approvers: dict[str, int] | None = None
    """Of an `ask`: group to the number of distinct people."""
    shadow: JSONObject | None = None
    """`decision` and `policies` if the policies in shadow mode were enforced, too; only where one of the two is another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Event):
    """An approval was opened for the call."""

    approval_id: str
    digest: str
    requirements: dict[str, int]
    """Group to the number of distinct people."""
    deadline: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved(Event):
    """A person said yes. `complete` when every requirement is met by it."""

    approval_id: str
    approver: str
    """`issuer|subject` of the person."""
    approver_email: str | None
    groups: frozenset[str]
    """The groups that this yes counts for."""
    channel: str
    note: str = ""
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDenied(Event):
    """A person said no."""

    approval_id: str
    approver: str
    approver_email: str | None
    groups: frozenset[str]
    channel: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalExpired(Event):
    """Nobody decided, or nobody claimed, in time; or the clock was set back."""

    approval_id: str
    was: str
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalWithdrawn(Event):
    """The caller took the request back, or it went stale."""

    approval_id: str
    by: str
    by_email: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRevoked(Event):
    """Somebody who may decide took a yes back before it was used."""

    approval_id: str
    by: str
    by_email: str | None = None
    channel: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRefused(Event):
    """Somebody's decision did not count: it came late or twice, or was not theirs to make. Nothing moved."""

    approval_id: str
    decision: str
    """`approve`, `deny` or `withdraw`."""
    by: str
    by_email: str | None = None
    channel: str
    state: str
    """What the approval was in."""
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Event):
    """The approval was consumed by this call. One transaction with `Started`."""

    approval_id: str
    asked_by: str
    """The call that asked, whose events tell who approved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """The intent: durable before the first byte of the agent's call goes to the target."""

    target: str
    tool: str
    instance: str
    """The gateway process that runs it; its lease tells whether it still lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Event):
    """The target did it. The masked result lies beside the event."""

    ends_call: ClassVar[bool] = True
    duration: timedelta
    rows: int | None = None
    size: int = 0
    """Bytes of the masked result."""
    truncated: bool = False
    masked: dict[str, int]
    touched: frozenset[str] = frozenset()
    """Data classes that were in the result, masked or raw."""
    result_hash: str = ""
    """SHA-256 of the recorded result, in hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """The target said no, or something broke after the start."""

    ends_call: ClassVar[bool] = True
    code: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut(Event):
    """The time was over; what ran was cancelled at the target."""

    ends_call: ClassVar[bool] = True
    after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(Event):
    """The client cancelled or went away, or the caller or target was revoked; what ran was cancelled at the target."""

    ends_call: ClassVar[bool] = True
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeUnknown(Event):
    """Started, and nobody can tell how it ended: the process died, the connection was lost, or the gateway broke."""

    ends_call: ClassVar[bool] = True
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied(Event):
    """Policy or a person refused the call; nothing ran."""

    ends_call: ClassVar[bool] = True
    code: str
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Event):
    """What the door was told to answer: `ok` or an error code."""

    code: str
    said: int = 0
    """Bytes of what the target said of a failure, masked: it counts like a result."""
    touched: frozenset[str] = frozenset()
    """Data classes that were masked in that."""


# Beside calls.


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStarted(Event):
    """A gateway process opened the store."""

    instance: str
    version: str
    compiled: bool | None = None
    """Whether what examines SQL is. Not in records of versions before this was told."""
    doors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStopped(Event):
    """A gateway process closed the store in good order."""

    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReopened(Event):
    """The store had refused for a while, and so had the gateway; nothing of that time is on record but this."""

    since: datetime
    cause: str
    refused: int
    """Records that were refused meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLoaded(Event):
    """A policy set came into force, or a reload was refused and the old one stays (`problems`)."""

    version: str
    policies: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsLoaded(Event):
    """The OpenAPI documents of targets came into force, or a reload was refused and the old ones stay (`problems`)."""

    documents: dict[str, str]
    """Target to the SHA-256 of its document."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramsLoaded(Event):
    """Tables of programs came into force, or a reload was refused and the old ones stay (`problems`)."""

    version: str
    """SHA-256 over the built-in table and all files; what is examined names it."""
    files: dict[str, str]
    """Each file and the SHA-256 of its text."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationLoaded(Event):
    """The configuration that this process runs with."""

    fingerprint: str
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked(Event):
    """A token, a subject, an agent, a target or all calls are refused from now on; with `lifted` no longer."""

    what: str
    """`token`, `subject`, `agent`, `target` or `all`."""
    value: str
    by: str
    note: str = ""
    lifted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordViewed(Event):
    """Somebody read the audit store."""

    by: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported(Event):
    """Somebody exported part of the audit store."""

    by: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSigned(Event):
    """The head of the chain was signed, to be kept elsewhere."""

    sequence: int
    head: str
    key_id: str
