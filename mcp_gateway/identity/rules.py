"""What tokens this gateway accepts, as the configuration says it, and which scope a tool demands. Pure.

Below everything else in this package; `config` and `cli` build an `IdentityPolicy` from the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from mcp_gateway.calls import Caller
from mcp_gateway.errors import IdentityError

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""All that can be allowed. Never "none", never HMAC: a public key would be its secret (CVE-2016-10555)."""
MAX_LEEWAY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityPolicy:
    """What tokens this gateway accepts. Raises `ValueError` for what could never be safe."""

    issuer: str
    """Compared character for character; never a pydantic URL, which would append a slash."""
    audience: str
    algorithms: tuple[str, ...] = ALGORITHMS
    token_types: tuple[str, ...] = ("at+jwt",)
    max_token_lifetime: timedelta = timedelta(hours=1)
    leeway: timedelta = timedelta(seconds=30)
    groups_claim: str = "groups"
    scopes: Mapping[str, str] = field(default_factory=dict)
    """Tool to the scope that it demands."""

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience:
            raise ValueError("an issuer and an audience are needed")
        unknown = sorted(set(self.algorithms) - set(ALGORITHMS))
        if unknown or not self.algorithms:
            raise ValueError(f"algorithms are some of {', '.join(ALGORITHMS)}, got {', '.join(unknown) or 'none'}")
        if not self.token_types or not all(self.token_types):
            raise ValueError("token_types names no type")
        if not timedelta(0) <= self.leeway <= MAX_LEEWAY:
            raise ValueError(f"leeway is at most {MAX_LEEWAY.seconds} s, got {self.leeway.total_seconds():g} s")
        if self.max_token_lifetime <= timedelta(0):
            raise ValueError("max_token_lifetime is longer than nothing")

    def required_scope(self, tool: str) -> str | None:
        """The scope that a tool demands; None = any token will do."""
        return self.scopes.get(tool)


def check_scope(caller: Caller, *, tool: str, policy: IdentityPolicy) -> None:
    """Refuse a caller whose token lacks the scope that a tool demands (RFC 6750 section 3.1).

    Raises:
        IdentityError: with the code `insufficient_scope` and the scope.
    """
    scope = policy.required_scope(tool)
    if scope is not None and scope not in caller.scopes:
        raise IdentityError(f"the tool {tool!r} demands the scope {scope!r}", code="insufficient_scope", scope=scope)
