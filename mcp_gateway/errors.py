"""The exception tree, branched by who must act; what only one part raises and catches stands there.

    GatewayError
    ├── ConfigError        the operator, before start: configuration and policies, all problems at once
    ├── IdentityError      the caller: a token is missing, broken, expired or revoked
    │   └── IssuerAway     the operator: no token can be checked, since the issuer's keys are not at hand
    ├── RevokedError       the caller: they or the target are refused from now on, while a call of theirs was running
    ├── StoppedError       nobody: whoever runs the gateway refuses calls on the target, or all calls, at present
    ├── RequestError       the agent: the arguments cannot be what they have to be
    │   ├── UnknownNameError   the agent: a name in them is of nothing that the target has
    │   └── LimitError         the agent, later: a limit of this caller or target is reached
    ├── TargetError        whoever runs the target: it is away, refuses, fails or is slow
    │   ├── TargetUnavailable
    │   ├── TargetTimeout
    │   ├── TargetFailed
    │   └── OutcomeLost
    ├── CredentialError    the operator: a credential source gives nothing usable
    ├── MaskingError       nobody: masking cannot vouch for a result, so it is withheld
    └── StoreError         the operator, now: the audit store refuses, so every call is refused

An error holds typed attributes and `__str__` builds the sentence. A refusal that policy or a person decided is
a value (`decisions`, `answers`), not an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta


class GatewayError(Exception):
    """Base of every error that this package raises on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong in a file that the operator wrote."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""
    """The key or policy inside the file: `targets.orders.port`, `prod-writes-need-a-dba`."""

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place += f":{self.line}"
            if self.column:
                place += f":{self.column}"
        parts = [part for part in (place, self.path, self.message) if part]
        return ": ".join(parts)

    def to_json(self) -> dict[str, object]:
        """Its parts; `id` is the key or policy, and a line or column of 0 is not known."""
        return {"id": self.path, "file": self.file, "line": self.line, "column": self.column, "message": self.message}


class ConfigError(GatewayError):
    """Configuration or policies that cannot be used; start-up stops."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class IdentityError(GatewayError):
    """No caller could be proved.

    `cause` is for the audit row; the agent is told only that a valid token is needed.
    """

    def __init__(self, cause: str, *, code: str = "identity_required", scope: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.code = code
        self.scope = scope

    def __str__(self) -> str:
        return self.cause


class IssuerAway(IdentityError):
    """No caller can be proved at present: the keys that tokens are checked with are not at hand. No token is at fault."""


class RevokedError(GatewayError):
    """Something of a call was revoked while it was running."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        if self.what == "all":
            return "all calls were revoked while this one ran"
        return f"the {self.what} of this call was revoked while it ran"


class StoppedError(GatewayError):
    """Calls on a target, or all calls, are revoked at present. Where `target` is empty, all are."""

    def __init__(self, target: str = "") -> None:
        super().__init__(target)
        self.target = target

    def __str__(self) -> str:
        return f"calls on the target {self.target!r} are revoked" if self.target else "all calls are revoked"


class RequestError(GatewayError):
    """The agent's request cannot be what it has to be. The message goes to the agent."""

    def __init__(self, message: str, *, next_step: str, code: str = "invalid_arguments") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.code = code

    def __str__(self) -> str:
        return self.message


class UnknownNameError(RequestError):
    """What is asked for names something that the target does not have, so that it could only fail there.

    `detail` is what names it, in the agent's own words or the target's: it goes through the detectors.
    """

    def __init__(self, message: str, *, detail: str, next_step: str) -> None:
        super().__init__(message, next_step=next_step)
        self.detail = detail


class LimitError(RequestError):
    """A limit of this caller or target is reached."""

    def __init__(self, message: str, *, next_step: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message, next_step=next_step, code="limit_exceeded")
        self.retry_after = retry_after
        """When the same call would not come too soon; None where that cannot be told."""


class TargetError(GatewayError):
    """A target is away, refuses, fails or is slow.

    `message` is safe for the agent as it stands and names no place, but for `TargetUnavailable`, whose is the
    operator's. `detail` is what the target said: it goes through the detectors, and only where `detail_released`; the
    audit row gets it on the same terms.
    """

    code = "failed"

    def __init__(self, message: str, *, detail: str = "", detail_released: bool = False, position: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.detail_released = detail_released
        self.position = position

    def __str__(self) -> str:
        return self.message


class TargetUnavailable(TargetError):
    """Nothing of the agent's call reached the target.

    The message tells whoever runs the gateway what to mend: hosts, ports, files, users. The agent, who can mend
    nothing of it, gets the target's name only.
    """

    code = "target_unavailable"


class TargetTimeout(TargetError):
    """The target did not finish in time; what ran was cancelled there."""

    code = "timeout"


class TargetFailed(TargetError):
    """The target ran the call and reported an error."""


class OutcomeLost(TargetError):
    """The connection was lost after the call was sent: whether it took effect is not known."""

    code = "outcome_unknown"


class CredentialError(GatewayError):
    """A credential source gives nothing usable. The text is the operator's and never holds the credential."""


class MaskingError(GatewayError):
    """Masking cannot vouch for a result. The text holds nothing of it."""


class StoreError(GatewayError):
    """The audit store refuses. `next_step` tells the operator what to do."""

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message}; {self.next_step}" if self.next_step else self.message
