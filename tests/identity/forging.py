"""What the attack tables forge tokens with: a good token of a fixed time, and one thing to break.

Keys are real and signatures are true unless breaking them is the point: each attack is refused for its own reason
and for no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mcp_gateway.identity.jwks import KeySet, read_keys
from mcp_gateway.identity.keys import StaticKeys
from mcp_gateway.identity.rules import IdentityPolicy
from mcp_gateway.identity.tokens import TokenVerifier
from tests.peers.issuer import Signer, as_json, ec_signer, ed_signer, rsa_signer

ISSUER = "https://idp.example.com/realms/corp"
AUDIENCE = "https://gateway.example.com"
NOW = datetime(2026, 11, 3, 12, 0, 0, tzinfo=UTC)
SECOND = int(NOW.timestamp())

POLICY = IdentityPolicy(issuer=ISSUER, audience=AUDIENCE)
JWT_POLICY = IdentityPolicy(issuer=ISSUER, audience=AUDIENCE, token_types=("at+jwt", "JWT"))

CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "dana",
    "client_id": "claude",
    "iat": SECOND - 10,
    "exp": SECOND + 290,
    "jti": "t-1",
    "groups": ["engineering"],
    "scope": "db",
}
ABSENT = object()
"""As a change: the member is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A token that must be refused, and the exact reason."""

    name: str
    token: Callable[[], str]
    cause: str
    policy: IdentityPolicy = POLICY


def header(signer: Signer, **changes: Any) -> dict[str, Any]:
    """The header of a good token."""
    return changed({"alg": signer.algorithm, "kid": signer.key_id, "typ": "at+jwt"}, changes)


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token."""
    return changed(CLAIMS, changes)


def changed(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """With some members set and some left out."""
    return {name: value for name, value in ({**members, **changes}).items() if value is not ABSENT}


def good(signer: Signer | None = None, **changes: Any) -> str:
    """A token that is accepted, unless its changed claims are not."""
    signer = signer or ec_signer()
    return signer.token(header(signer), claims(**changes))


def with_part(position: int, change: Callable[[str], str]) -> Callable[[], str]:
    """A good token with one part of it changed as text."""

    def token() -> str:
        parts = good().split(".")
        parts[position] = change(parts[position])
        return ".".join(parts)

    return token


def with_member(text: str) -> bytes:
    """The claims of a good token with a raw piece of JSON added at the end."""
    return as_json(CLAIMS)[:-1] + b"," + text.encode() + b"}"


def key_document() -> bytes:
    """The issuer's keys as it publishes them: every type, and one RSA key that says what it is for."""
    signers = [rsa_signer(), ec_signer(), ed_signer()]
    jwks = [signer.jwk() for signer in signers] + [rsa_signer("rsa-rs256").jwk(alg="RS256")]
    return as_json({"keys": jwks})


def published_keys() -> KeySet:
    """Those keys, read."""
    return read_keys(key_document())


def verifier(policy: IdentityPolicy = POLICY, **changes: Any) -> TokenVerifier:
    """A verifier at the fixed time, over the published keys, with nothing revoked."""
    return TokenVerifier(
        **{
            "policy": policy,
            "keys": StaticKeys(published_keys()),
            "revoked": lambda _caller: None,
            "clock": lambda: NOW,
            **changes,
        }
    )
