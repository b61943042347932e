"""Tokens of a certified OpenID provider: its access tokens prove a caller, whatever else it signs does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from mcp_gateway.calls import Caller
from mcp_gateway.clock import utc_now
from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.approver import ApproverPolicy, MayApprove, MayNotApprove, Requester, judge_approver
from mcp_gateway.identity.keys import IssuerKeys
from mcp_gateway.identity.rules import IdentityPolicy
from mcp_gateway.identity.tokens import TokenVerifier
from tests.peers.oidc_provider import AGENT, APPROVER, MACHINE, OIDCProvider, running_oidc_provider

pytestmark = pytest.mark.anyio

POLICY = ApproverPolicy(clients=frozenset({APPROVER, MACHINE[0]}), require_auth_time=True)


def verifier_for(provider: OIDCProvider, *, token_types: tuple[str, ...] = ("at+jwt",)) -> TokenVerifier:
    return TokenVerifier(
        policy=IdentityPolicy(issuer=provider.issuer, audience=provider.audience, token_types=token_types),
        keys=IssuerKeys(provider.issuer, clock=utc_now),
        revoked=lambda _caller: None,
        clock=utc_now,
    )


@pytest.fixture
def check(oidc_provider: OIDCProvider) -> TokenVerifier:
    return verifier_for(oidc_provider)


@pytest.fixture
def judge() -> Callable[[Caller], object]:
    def judged(approver: Caller) -> object:
        requester = Requester(issuer=approver.issuer, subject="dana", email=None, actor=AGENT)
        return judge_approver(approver, asked=frozenset({"dba"}), requester=requester, policy=POLICY, now=utc_now())

    return judged


async def test_an_access_token_proves_the_human_and_the_agent(
    oidc_provider: OIDCProvider, check: TokenVerifier
) -> None:
    caller = await check.verify(oidc_provider.sign_in("dana").access)

    assert (caller.issuer, caller.subject, caller.actor) == (oidc_provider.issuer, "dana", AGENT)
    assert (caller.groups, caller.scopes) == (frozenset({"engineering"}), frozenset({"db"}))
    assert (caller.delegated, caller.assurance) == (False, "token")
    assert caller.auth_time is not None
    assert caller.expires_at - caller.issued_at == timedelta(minutes=5)


@pytest.mark.parametrize("token_types", [("at+jwt",), ("at+jwt", "JWT")])
@pytest.mark.parametrize("nonce", [None, "n-1"])
async def test_an_id_token_is_no_access_token(
    oidc_provider: OIDCProvider, token_types: tuple[str, ...], nonce: str | None
) -> None:
    identity = oidc_provider.sign_in("dana", nonce=nonce).identity

    with pytest.raises(IdentityError, match="token type is missing"):
        await verifier_for(oidc_provider, token_types=token_types).verify(identity or "")


async def test_an_opaque_token_is_refused(oidc_provider: OIDCProvider, check: TokenVerifier) -> None:
    opaque = oidc_provider.sign_in("dana", resource_at_token=False).access

    with pytest.raises(IdentityError, match="token has 1 part, expected 3"):
        await check.verify(opaque)


async def test_a_token_for_another_resource_is_refused(oidc_provider: OIDCProvider, check: TokenVerifier) -> None:
    other = oidc_provider.sign_in("dana", resource="https://billing.test").access

    with pytest.raises(IdentityError, match=r"token is meant for 'https://billing\.test'"):
        await check.verify(other)


async def test_another_providers_token_is_refused(oidc_provider: OIDCProvider) -> None:
    token = oidc_provider.sign_in("dana").access

    with (
        running_oidc_provider() as other,
        pytest.raises(IdentityError, match="token signature is not by the key 'RS256-1'"),
    ):
        await verifier_for(other).verify(token)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
async def test_a_provider_may_sign_with_other_keys(algorithm: str) -> None:
    with running_oidc_provider(algorithm=algorithm) as provider:
        assert (await verifier_for(provider).verify(provider.sign_in("erin").access)).subject == "erin"


async def test_tokens_that_live_too_long_are_refused() -> None:
    with (
        running_oidc_provider(lifetime=86_400) as provider,
        pytest.raises(IdentityError, match="token lives for 86400 s, at most 3600 s are allowed"),
    ):
        await verifier_for(provider).verify(provider.sign_in("dana").access)


@pytest.mark.requirement("R12")
async def test_a_person_who_has_just_signed_in_may_approve(
    oidc_provider: OIDCProvider, check: TokenVerifier, judge: Callable[[Caller], object]
) -> None:
    erin = await check.verify(oidc_provider.sign_in("erin", client_id=APPROVER).access)

    assert judge(erin) == MayApprove(groups=frozenset({"dba"}))


@pytest.mark.requirement("R12")
async def test_neither_an_agent_nor_the_asker_nor_a_program_may_approve(
    oidc_provider: OIDCProvider, check: TokenVerifier, judge: Callable[[Caller], object]
) -> None:
    by_agent = await check.verify(oidc_provider.sign_in("erin").access)
    by_asker = await check.verify(oidc_provider.sign_in("dana", client_id=APPROVER).access)
    by_program = await check.verify(oidc_provider.machine_token())

    assert judge(by_agent) == MayNotApprove(reason="the client 'test-agent' is not one for approvers")
    assert judge(by_asker) == MayNotApprove(reason="nobody approves their own call")
    assert judge(by_program) == MayNotApprove(reason="this is a program's token; only a person decides")
