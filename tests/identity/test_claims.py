"""What a token must be: every forged one is refused for its own reason, and the valid forms are accepted."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.calls import Caller
from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.claims import MAX_TOKEN_BYTES, read_token
from mcp_gateway.identity.rules import IdentityPolicy
from tests.identity.forged_claims import FORGED_CLAIMS
from tests.identity.forged_forms import FORGED_FORMS
from tests.identity.forged_signatures import FORGED_SIGNATURES
from tests.identity.forging import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    JWT_POLICY,
    POLICY,
    SECOND,
    Attack,
    claims,
    good,
    header,
    verifier,
)
from tests.peers.issuer import Signer, ec_signer, ed_signer, rsa_signer

pytestmark = pytest.mark.anyio

ATTACKS = [*FORGED_FORMS, *FORGED_SIGNATURES, *FORGED_CLAIMS]


async def accepted(policy: IdentityPolicy = POLICY, *, typ: str = "at+jwt", **changes: Any) -> Caller:
    signer = ec_signer()
    return await verifier(policy).verify(signer.token(header(signer, typ=typ), claims(**changes)))


@pytest.mark.requirement("I7")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_a_forged_token_is_refused_for_its_own_reason(attack: Attack) -> None:
    with pytest.raises(IdentityError) as refused:
        await verifier(attack.policy).verify(attack.token())

    assert str(refused.value) == attack.cause
    assert refused.value.code == "identity_required"


def test_attacks_have_names_of_their_own_and_are_many() -> None:
    names = [attack.name for attack in ATTACKS]

    assert len(names) == len(set(names))
    assert len(names) >= 150


async def test_a_reason_never_quotes_the_token() -> None:
    for attack in ATTACKS:
        token = attack.token()
        if len(token) >= 200:
            assert not any(part in attack.cause for part in token.split(".") if len(part) > 8), attack.name


@pytest.mark.parametrize("signer", [rsa_signer, ec_signer, ed_signer], ids=["RS256", "ES256", "EdDSA"])
async def test_a_good_token_names_the_human_and_the_agent(signer: Any) -> None:
    caller = await verifier().verify(good(signer()))

    assert caller == Caller(
        issuer=ISSUER,
        subject="dana",
        actor="claude",
        client_id="claude",
        delegated=False,
        email=None,
        groups=frozenset({"engineering"}),
        scopes=frozenset({"db"}),
        token_id="t-1",
        issued_at=datetime.fromtimestamp(SECOND - 10, UTC),
        expires_at=datetime.fromtimestamp(SECOND + 290, UTC),
        auth_time=None,
        assurance="token",
    )


async def test_ps256_is_accepted() -> None:
    token = rsa_signer().token(header(rsa_signer(), alg="PS256"), claims(), algorithm="PS256")

    assert (await verifier().verify(token)).subject == "dana"


async def test_every_change_of_one_character_is_refused() -> None:
    token = good()
    check = verifier()

    for position, character in enumerate(token):
        other = "A" if character != "A" else "B"
        with pytest.raises(IdentityError):
            await check.verify(token[:position] + other + token[position + 1 :])


async def test_every_cut_of_a_token_is_refused() -> None:
    token = good()
    check = verifier()

    for length in range(len(token)):
        with pytest.raises(IdentityError):
            await check.verify(token[:length])


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300).map(lambda raw: base64.b64encode(raw).decode())))
def test_nothing_but_an_identity_error_comes_out_of_any_text(text: str) -> None:
    with pytest.raises(IdentityError):
        read_token(text, policy=POLICY)


@given(st.lists(st.binary(max_size=80), min_size=3, max_size=3))
def test_nothing_but_an_identity_error_comes_out_of_any_three_parts(parts: list[bytes]) -> None:
    token = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)

    with pytest.raises(IdentityError):
        read_token(token, policy=POLICY)


def test_a_token_is_measured_before_it_is_read() -> None:
    with pytest.raises(IdentityError, match="token is longer than 16384 bytes"):
        read_token("é" * (MAX_TOKEN_BYTES + 1), policy=POLICY)


async def test_a_token_just_under_the_cap_is_accepted() -> None:
    filler = 8000
    while len(good(filler="x" * filler)) <= MAX_TOKEN_BYTES - 2:
        filler += 1

    assert (await accepted(filler="x" * filler)).subject == "dana"


async def test_the_long_spelling_of_the_type_is_accepted() -> None:
    assert (await accepted(typ="application/at+jwt")).subject == "dana"


async def test_a_type_may_be_configured_in_its_long_spelling() -> None:
    policy = IdentityPolicy(issuer=ISSUER, audience=AUDIENCE, token_types=("application/at+jwt",))

    assert (await accepted(policy)).subject == "dana"


async def test_a_keycloak_token_is_accepted_where_jwt_is_configured() -> None:
    caller = await accepted(JWT_POLICY, typ="JWT", client_id=ABSENT, azp="claude", acr="1", sid="s-1")

    assert caller.actor == "claude"


async def test_checks_of_ambiguous_types_hold_for_any_configured_type() -> None:
    policy = IdentityPolicy(issuer=ISSUER, audience=AUDIENCE, token_types=("jwt",))

    with pytest.raises(IdentityError, match="no access token"):
        await accepted(policy, typ="jwt", nonce="n-1")


async def test_unknown_headers_and_claims_mean_nothing() -> None:
    signer = ec_signer()
    token = signer.token(header(signer, x5t="abc", cty="x"), claims(Sub="root", SUB="root", admin=True, azp="claude"))

    assert (await verifier().verify(token)).subject == "dana"


async def test_one_of_several_audiences_is_enough() -> None:
    assert (await accepted(aud=["https://other.example.com", AUDIENCE])).subject == "dana"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": SECOND - 29},
        {"iat": SECOND + 30},
        {"nbf": SECOND + 30},
        {"auth_time": SECOND + 30},
        {"iat": SECOND - 3310, "exp": SECOND + 290},
    ],
    ids=["exp", "iat", "nbf", "auth_time", "lifetime"],
)
async def test_times_are_accepted_up_to_the_limit(changes: dict[str, int]) -> None:
    several: dict[str, Any] = {"iat": SECOND - 100, **changes}

    assert (await accepted(**several)).subject == "dana"


async def test_who_acts_is_the_agent_and_the_client_is_kept() -> None:
    caller = await accepted(act={"sub": "agent-7", "act": {"sub": "agent-6", "iss": ISSUER}})

    assert (caller.actor, caller.client_id, caller.delegated) == ("agent-7", "claude", True)


async def test_an_actor_is_enough_where_the_type_is_unambiguous() -> None:
    caller = await accepted(act={"sub": "agent-7"}, client_id=ABSENT)

    assert (caller.actor, caller.client_id) == ("agent-7", None)


async def test_the_reserved_group_is_taken_away() -> None:
    assert (await accepted(groups=["caller", "dba"])).groups == {"dba"}


async def test_groups_come_from_the_configured_claim_alone() -> None:
    policy = IdentityPolicy(issuer=ISSUER, audience=AUDIENCE, groups_claim="https://example.com/roles")
    roles: dict[str, Any] = {"https://example.com/roles": ["dba"], "groups": ["root"]}
    caller = await accepted(policy, **roles)

    assert caller.groups == {"dba"}


async def test_no_groups_and_no_scopes_are_empty_sets() -> None:
    caller = await accepted(groups=ABSENT, scope=ABSENT)

    assert (caller.groups, caller.scopes) == (frozenset(), frozenset())


@pytest.mark.parametrize("scp", ["db ssh", ["db", "ssh"]], ids=["text", "list"])
async def test_scopes_may_stand_in_scp(scp: object) -> None:
    assert (await accepted(scope=ABSENT, scp=scp)).scopes == {"db", "ssh"}


async def test_scope_goes_before_scp() -> None:
    assert (await accepted(scope="db", scp=["admin"])).scopes == {"db"}


@pytest.mark.parametrize(
    ("verified", "email"),
    [(ABSENT, "dana@example.com"), (True, "dana@example.com"), (False, None), ("true", None), (None, None)],
    ids=["not said", "true", "false", "the word true", "null"],
)
async def test_an_address_that_nobody_verified_is_none(verified: object, email: str | None) -> None:
    caller = await accepted(email="dana@example.com", email_verified=verified)

    assert caller.email == email
    assert caller.unverified_email == (None if email else "dana@example.com"), "it still counts where it is revoked"


async def test_names_may_be_in_any_script() -> None:
    assert (await accepted(sub="Zoë 山田|auth0")).subject == "Zoë 山田|auth0"


async def test_the_sign_in_time_is_kept() -> None:
    assert (await accepted(auth_time=SECOND - 60)).auth_time == datetime.fromtimestamp(SECOND - 60, UTC)


async def test_a_token_without_an_id_is_known_by_what_was_signed() -> None:
    caller = await accepted(jti=ABSENT)

    assert len(caller.token_id) == 64


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"algorithms": ("RS256", "HS256")}, "got HS256"),
        ({"algorithms": ("none",)}, "got none"),
        ({"algorithms": ()}, "algorithms are some of"),
        ({"token_types": ()}, "token_types names no type"),
        ({"leeway": timedelta(seconds=61)}, "leeway is at most 60 s, got 61 s"),
        ({"leeway": timedelta(seconds=-1)}, "leeway is at most 60 s, got -1 s"),
        ({"max_token_lifetime": timedelta(0)}, "longer than nothing"),
        ({"issuer": ""}, "an issuer and an audience are needed"),
        ({"audience": ""}, "an issuer and an audience are needed"),
    ],
)
@pytest.mark.requirement("R16")
async def test_a_policy_that_could_never_be_safe_is_none(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IdentityPolicy(**({"issuer": ISSUER, "audience": AUDIENCE} | wrong))


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_leeway_of_none_to_a_minute_is_allowed(seconds: int) -> None:
    IdentityPolicy(issuer=ISSUER, audience=AUDIENCE, leeway=timedelta(seconds=seconds))


@pytest.mark.parametrize("signer", [ec_signer()], ids=["ES256"])
async def test_an_algorithm_that_is_not_configured_is_refused(signer: Signer) -> None:
    policy = IdentityPolicy(issuer=ISSUER, audience=AUDIENCE, algorithms=("RS256",))

    with pytest.raises(IdentityError, match="token algorithm is 'ES256', expected one of RS256"):
        await verifier(policy).verify(good(signer))
