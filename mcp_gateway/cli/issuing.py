"""Whose tokens count, from the settings: the verifier, and the local issuer where that is who signs them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mcp_gateway.audit.files import make_directory
from mcp_gateway.audit.revocations import Revocations
from mcp_gateway.authorities import trusting
from mcp_gateway.clock import new_id, steady_now
from mcp_gateway.config import Settings
from mcp_gateway.identity.approver import ApproverPolicy
from mcp_gateway.identity.keys import IssuerKeys
from mcp_gateway.identity.local import LocalIssuer, LocalPerson, open_local_issuer
from mcp_gateway.identity.rules import IdentityPolicy
from mcp_gateway.identity.tokens import TokenVerifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How tokens are verified, and the local issuer where that is who signs them."""

    verifier: TokenVerifier
    keys: IssuerKeys | None
    local: LocalIssuer | None


def build_identity(settings: Settings, revocations: Revocations) -> Identity:
    """The verifier of the configured issuer's tokens."""
    if settings.identity.issuer == "local":
        local = build_local_issuer(settings)
        return Identity(verifier=local.verifier(revoked=revocations.refuses), keys=None, local=local)
    tls = trusting(settings.identity.tls_ca, key="identity.tls_ca")
    keys = IssuerKeys(settings.identity.issuer, clock=steady_now, tls=tls)
    verifier = TokenVerifier(policy=identity_policy(settings), keys=keys, revoked=revocations.refuses, clock=steady_now)
    return Identity(verifier=verifier, keys=keys, local=None)


def build_local_issuer(settings: Settings) -> LocalIssuer:
    """The local issuer of the configured data directory, which is made if need be. Raises `StoreError`."""
    make_directory(settings.gateway.data_dir)
    people = {
        name: LocalPerson(groups=frozenset(person.groups), email=person.email)
        for name, person in settings.identity.local.people.items()
    }
    return open_local_issuer(
        settings.gateway.data_dir,
        audience=settings.identity.audience,
        clock=steady_now,
        new_id=new_id,
        people=people,
        scopes=settings.identity.scopes,
    )


def identity_policy(settings: Settings) -> IdentityPolicy:
    """What tokens the configuration accepts."""
    identity = settings.identity
    return IdentityPolicy(
        issuer=identity.issuer,
        audience=identity.audience,
        algorithms=tuple(identity.algorithms),
        token_types=tuple(identity.token_types),
        max_token_lifetime=identity.max_token_lifetime,
        leeway=identity.leeway,
        groups_claim=identity.groups_claim,
        scopes=identity.scopes,
    )


def approver_policy(settings: Settings) -> ApproverPolicy:
    """Whose tokens may approve."""
    approvals = settings.approvals
    return ApproverPolicy(clients=frozenset(approvals.clients), require_auth_time=approvals.require_auth_time)


def token_environment(environ: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """The part of the environment that says where a token is; the token itself never stands there."""
    return {name: value for name, value in environ.items() if name == "MCP_GATEWAY_TOKEN_FILE"}
