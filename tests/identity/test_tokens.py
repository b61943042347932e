"""A token is verified once, asked about at every use, and forgotten when its key goes."""

from __future__ import annotations

import asyncio
import pickle
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mcp_gateway.calls import Caller, Secret
from mcp_gateway.clock import SteadyClock
from mcp_gateway.errors import IdentityError, StoreError
from mcp_gateway.identity.jwks import KeySet, read_keys
from mcp_gateway.identity.keys import IssuerKeys
from mcp_gateway.identity.rules import IdentityPolicy
from tests.identity.clock import Clock
from tests.identity.forged_signatures import ecdsa_second_form
from tests.identity.forging import ABSENT, AUDIENCE, CLAIMS, SECOND, claims, good, header, verifier
from tests.peers.issuer import KEYS, FakeIssuer, Signer, as_json, ec_signer, ed_signer, rsa_signer

pytestmark = pytest.mark.anyio


class Revoked:
    """A list of revocations that a test writes."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.asked = 0

    def __call__(self, caller: Caller) -> str | None:
        self.asked += 1
        names = {"token": caller.token_id, "subject": caller.key, "agent": caller.actor}
        return next((what for what, name in names.items() if name in self.names), None)


class ChangingKeys:
    """Keys that a test replaces; `newer` is what the issuer publishes by then."""

    def __init__(self, *signers: Signer) -> None:
        self.now = self.published = self.of(*signers)
        self.fetches = 0

    @staticmethod
    def of(*signers: Signer) -> KeySet:
        return read_keys(as_json({"keys": [signer.jwk() for signer in signers]}))

    async def current(self) -> KeySet:
        return self.now

    async def newer(self, *, than: KeySet) -> KeySet:
        self.fetches += than is self.now
        self.now = self.published
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def revoked() -> Revoked:
    return Revoked()


async def test_the_same_token_gives_the_same_caller_object(clock: Clock) -> None:
    check, token = verifier(clock=clock), good()

    assert await check.verify(token) is await check.verify(Secret(token))


async def test_a_remembered_token_expires(clock: Clock) -> None:
    check, token = verifier(clock=clock), good()
    await check.verify(token)
    clock.pass_by(seconds=319)
    await check.verify(token)
    clock.pass_by(seconds=1)

    with pytest.raises(IdentityError, match="token expired at 2026-11-03T12:04:50Z"):
        await check.verify(token)


@pytest.mark.requirement("R16")
async def test_a_remembered_token_is_refused_when_the_clock_steps_back(clock: Clock) -> None:
    check, token = verifier(clock=clock), good(nbf=SECOND - 5)
    await check.verify(token)
    clock.pass_by(hours=-1)

    with pytest.raises(IdentityError, match="token is not valid before 2026-11-03T11:59:55Z"):
        await check.verify(token)


@pytest.mark.requirement("R16")
@pytest.mark.parametrize("seen_before", [True, False])
async def test_an_expired_token_stays_expired_when_the_clock_is_set_back(clock: Clock, *, seen_before: bool) -> None:
    since_boot = 0.0
    steady = SteadyClock(wall=clock, boot=lambda: since_boot)
    check, token = verifier(clock=steady), good()
    if seen_before:
        await check.verify(token)
    since_boot = 320
    clock.pass_by(seconds=320)
    clock.pass_by(seconds=-200)  # By the wall clock the token is in time again.

    with pytest.raises(IdentityError, match="token expired at 2026-11-03T12:04:50Z"):
        await check.verify(token)


@pytest.mark.requirement("R42")
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("t-1", "token is revoked"),
        ("https://idp.example.com/realms/corp|dana", "subject is revoked"),
        ("claude", "agent is revoked"),
    ],
)
async def test_a_revocation_counts_at_the_next_use(revoked: Revoked, name: str, cause: str) -> None:
    check, token = verifier(revoked=revoked), good()
    await check.verify(token)
    revoked.names.add(name)

    with pytest.raises(IdentityError) as refused:
        await check.verify(token)

    assert str(refused.value) == cause


async def test_a_revoked_token_is_refused_at_its_first_use(revoked: Revoked) -> None:
    revoked.names.add("t-1")

    with pytest.raises(IdentityError, match="token is revoked"):
        await verifier(revoked=revoked).verify(good())


@pytest.mark.requirement("I7")
async def test_revocations_that_cannot_be_read_refuse_every_token() -> None:
    def broken(_caller: Caller) -> str | None:
        raise StoreError("the store is closed")

    with pytest.raises(StoreError):
        await verifier(revoked=broken).verify(good())


async def test_revocations_are_asked_at_every_use(revoked: Revoked) -> None:
    check, token = verifier(revoked=revoked), good()

    for _ in range(3):
        await check.verify(token)

    assert revoked.asked == 3


async def test_the_second_form_of_a_signature_has_the_same_id(revoked: Revoked) -> None:
    check, token = verifier(revoked=revoked), good(jti=ABSENT)
    first = await check.verify(token)
    second = await check.verify(ecdsa_second_form(token))
    revoked.names.add(first.token_id)

    assert second.token_id == first.token_id
    for form in (token, ecdsa_second_form(token)):
        with pytest.raises(IdentityError, match="token is revoked"):
            await check.verify(form)


@pytest.mark.requirement("R17")
async def test_a_removed_key_takes_its_tokens_along() -> None:
    keys = ChangingKeys(ec_signer(), ed_signer())
    check, token = verifier(keys=keys), good()
    await check.verify(token)
    keys.now = keys.published = keys.of(ed_signer())

    with pytest.raises(IdentityError, match="token key id 'ec-1' is none of the issuer's"):
        await check.verify(token)


@pytest.mark.requirement("R17")
async def test_a_removed_key_empties_what_is_remembered() -> None:
    keys = ChangingKeys(ec_signer(), ed_signer())
    check = verifier(keys=keys)
    await check.verify(good(ed_signer()))
    keys.now = keys.published = keys.of(ed_signer())
    await check.verify(good(ed_signer(), sub="eve"))

    assert len(check._remembered) == 1


@pytest.mark.requirement("R17")
async def test_an_added_key_leaves_what_is_remembered() -> None:
    keys = ChangingKeys(ec_signer())
    check, token = verifier(keys=keys), good()
    first = await check.verify(token)
    keys.now = keys.published = keys.of(ec_signer(), ed_signer())

    assert await check.verify(token) is first


async def test_a_renewal_of_the_same_keys_leaves_what_is_remembered() -> None:
    keys = ChangingKeys(ec_signer())
    check, token = verifier(keys=keys), good()
    first = await check.verify(token)
    keys.now = keys.published = keys.of(ec_signer())

    assert await check.verify(token) is first


@pytest.mark.requirement("R17")
async def test_a_bad_signature_under_a_key_that_is_gone_is_refused_as_one() -> None:
    keys = ChangingKeys(ec_signer())
    keys.published = keys.of(ed_signer())
    forged = good(replace(ec_signer("stranger"), key_id="ec-1"))

    with pytest.raises(IdentityError, match="token signature is not by the key 'ec-1'"):
        await verifier(keys=keys).verify(forged)


@pytest.mark.requirement("R17")
async def test_a_token_whose_key_went_while_it_was_verified_is_not_remembered() -> None:
    keys = ChangingKeys(ec_signer())
    check, token = verifier(keys=keys), good()
    await check.verify(token)
    held = dict(check._remembered)
    keys.now = keys.published = keys.of(ed_signer())
    await check.verify(good(ed_signer()))
    check._remembered.update(held)  # as a verification would that began before the key went

    with pytest.raises(IdentityError, match="is none of the issuer's"):
        await check.verify(token)


@pytest.mark.requirement("R17")
async def test_a_new_key_is_accepted_after_one_fetch() -> None:
    keys = ChangingKeys(ec_signer())
    keys.published = keys.of(ec_signer(), ed_signer())

    assert (await verifier(keys=keys).verify(good(ed_signer()))).subject == "dana"
    assert keys.fetches == 1


@pytest.mark.requirement("R17")
async def test_another_key_under_the_same_id_is_accepted_after_one_fetch() -> None:
    renewed = replace(ec_signer("renewed"), key_id="ec-1")
    keys = ChangingKeys(ec_signer())
    keys.published = keys.of(renewed)
    check = verifier(keys=keys)
    await check.verify(good())

    assert (await check.verify(good(renewed, sub="eve"))).subject == "eve"
    assert keys.fetches == 1
    with pytest.raises(IdentityError, match="token signature is not by the key 'ec-1'"):
        await check.verify(good())


async def test_failures_are_never_remembered() -> None:
    check = verifier()

    for number in range(50):
        with pytest.raises(IdentityError):
            await check.verify(good(sub=f"s{number}", aud="https://other.example.com"))

    assert len(check._remembered) == 0


async def test_what_is_remembered_is_bounded_and_the_longest_unused_goes_first() -> None:
    check = verifier(max_remembered=3)
    tokens = [good(jti=f"t{number}") for number in range(4)]
    callers = [await check.verify(token) for token in tokens[:3]]
    await check.verify(tokens[0])

    await check.verify(tokens[3])

    assert len(check._remembered) == 3
    assert await check.verify(tokens[0]) is callers[0]
    assert await check.verify(tokens[2]) is callers[2]
    assert await check.verify(tokens[1]) is not callers[1]


async def test_what_cannot_be_a_token_asks_the_issuer_nothing(clock: Clock) -> None:
    with FakeIssuer() as issuer:
        check = verifier(keys=IssuerKeys(issuer.url, clock=clock), clock=clock)
        with pytest.raises(IdentityError, match="token has 1 part"):
            await check.verify("x" * 100)

        assert issuer.requests == []


@pytest.mark.requirement("R18")
@pytest.mark.parametrize("member", ["jku", "x5u", "jwk", "iss"])
async def test_nothing_is_fetched_from_where_a_token_says(clock: Clock, member: str) -> None:
    with FakeIssuer() as evil, FakeIssuer() as issuer:
        check = verifier(keys=IssuerKeys(issuer.url, clock=clock), clock=clock)
        token = ec_signer().token(header(ec_signer(), kid="unknown", **{member: evil.url + KEYS}), claims(iss=evil.url))
        with pytest.raises(IdentityError):
            await check.verify(token)

        assert evil.requests == []


@pytest.mark.requirement("R17")
async def test_ten_thousand_unknown_key_ids_are_one_fetch_in_ten_seconds(clock: Clock) -> None:
    with FakeIssuer() as issuer:
        check = verifier(keys=IssuerKeys(issuer.url, clock=clock), clock=clock)
        template = good().split(".")
        for number in range(10_000):
            clock.pass_by(milliseconds=3)
            head = ec_signer().token(header(ec_signer(), kid=f"k{number}"), b"{}").split(".")[0]
            with pytest.raises(IdentityError, match="is none of the issuer's"):
                await check.verify(".".join([head, *template[1:]]))

        assert issuer.key_fetches <= 1 + 3


@pytest.mark.requirement("R18")
async def test_callers_with_known_keys_are_served_while_others_wait_for_the_issuer(clock: Clock) -> None:
    with FakeIssuer() as issuer:
        policy = IdentityPolicy(issuer=issuer.url, audience=AUDIENCE)
        keys = IssuerKeys(issuer.url, clock=clock)
        check = verifier(policy, keys=keys, clock=clock)
        await check.verify(good(iss=issuer.url))
        clock.pass_by(seconds=10)
        gate = threading.Event()
        issuer.reply(KEYS, status=503, gate=gate)
        waiting = asyncio.create_task(check.verify(good(ed_signer(), iss=issuer.url)))
        await asyncio.to_thread(issuer.wait_for_requests, 4)

        assert (await check.verify(good(iss=issuer.url, sub="eve"))).subject == "eve"
        assert not waiting.done()

        gate.set()
        with pytest.raises(IdentityError, match="token key id 'ed-1' is none of the issuer's"):
            await waiting


@pytest.mark.requirement("R17")
async def test_rotation_at_a_real_issuer_takes_new_keys_and_drops_old_ones(clock: Clock) -> None:
    with FakeIssuer(signers=[ec_signer()]) as issuer:
        policy = IdentityPolicy(issuer=issuer.url, audience=AUDIENCE, max_token_lifetime=timedelta(hours=2))
        check = verifier(policy, keys=IssuerKeys(issuer.url, clock=clock), clock=clock)
        old = good(iss=issuer.url, exp=SECOND + 3600)
        await check.verify(old)

        issuer.signers.append(rsa_signer())
        clock.pass_by(seconds=10)
        await check.verify(good(rsa_signer(), iss=issuer.url))
        assert issuer.key_fetches == 2

        issuer.signers.remove(ec_signer())
        await check.verify(old)
        clock.pass_by(minutes=10)
        with pytest.raises(IdentityError, match="token key id 'ec-1' is none of the issuer's"):
            await check.verify(old)


async def test_a_verifier_says_what_it_accepts() -> None:
    assert verifier().policy.audience == AUDIENCE


async def test_a_verifier_for_another_audience_refuses_a_token_that_was_good_here() -> None:
    token = good()
    await verifier().verify(token)
    other = IdentityPolicy(issuer=CLAIMS["iss"], audience="https://other.example.com")

    with pytest.raises(IdentityError, match="token is meant for"):
        await verifier(other).verify(token)


@pytest.mark.requirement("I5")
async def test_a_token_is_kept_only_as_its_digest() -> None:
    check, token = verifier(), good()
    await check.verify(token)

    signature = token.split(".")[2]
    kept: list[Any] = [list(check._remembered), [entry.claims for entry in check._remembered.values()]]
    assert signature not in repr(kept)
    assert signature.encode() not in pickle.dumps(list(check._remembered))
