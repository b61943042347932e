"""An issuer's keys are fetched within bounds, whatever the issuer does and whoever asks."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from mcp_gateway.identity.keys import IssuerKeys, KeyStatus
from tests.identity.clock import Clock
from tests.identity.fetching import refused
from tests.identity.forging import NOW
from tests.peers.issuer import CONNECT_METADATA, KEYS, OAUTH_METADATA, FakeIssuer, ed_signer

pytestmark = pytest.mark.anyio


async def settled(keys: IssuerKeys) -> None:
    """Let a fetch in the background end."""
    flight = keys._flight
    if flight is not None:
        with anyio.fail_after(10):
            await asyncio.wait({flight})


async def test_the_keys_are_those_that_the_issuers_metadata_names(issuer: FakeIssuer, keys: IssuerKeys) -> None:
    found = await keys.current()

    assert set(found.keys) == {"ec-1"}
    assert issuer.requests == ["/realms/corp" + CONNECT_METADATA, KEYS]


async def test_keys_at_hand_are_used_without_asking(issuer: FakeIssuer, keys: IssuerKeys, clock: Clock) -> None:
    first = await keys.current()
    clock.pass_by(minutes=4, seconds=59)

    assert await keys.current() is first
    assert issuer.key_fetches == 1


async def test_metadata_may_lie_where_rfc_8414_puts_it(issuer: FakeIssuer, keys: IssuerKeys) -> None:
    issuer.reply("/realms/corp" + CONNECT_METADATA, status=404)
    issuer.reply(OAUTH_METADATA + "/realms/corp", body=issuer.metadata())

    assert set((await keys.current()).keys) == {"ec-1"}


async def test_metadata_is_looked_for_elsewhere_only_when_it_is_not_there(issuer: FakeIssuer, keys: IssuerKeys) -> None:
    issuer.reply("/realms/corp" + CONNECT_METADATA, status=500)
    issuer.reply(OAUTH_METADATA + "/realms/corp", body=issuer.metadata())

    assert await refused(keys) == "the metadata was answered with 500, expected 200"


@pytest.mark.requirement("R17")
async def test_all_who_wait_share_one_fetch(issuer: FakeIssuer, keys: IssuerKeys) -> None:
    gate = threading.Event()
    issuer.reply(KEYS, body=issuer.key_set(), gate=gate)
    waiting = [asyncio.create_task(keys.current()) for _ in range(100)]
    await asyncio.to_thread(issuer.wait_for_requests, 2)
    gate.set()

    found = await asyncio.gather(*waiting)

    assert len(set(map(id, found))) == 1
    assert issuer.key_fetches == 1


@pytest.mark.requirement("R17")
async def test_who_stops_waiting_does_not_stop_the_fetch_for_others(issuer: FakeIssuer, keys: IssuerKeys) -> None:
    gate = threading.Event()
    issuer.reply(KEYS, body=issuer.key_set(), gate=gate)
    first, second = asyncio.create_task(keys.current()), asyncio.create_task(keys.current())
    await asyncio.to_thread(issuer.wait_for_requests, 2)
    first.cancel()
    await asyncio.wait({first})
    gate.set()

    assert set((await second).keys) == {"ec-1"}
    assert first.cancelled()
    assert issuer.key_fetches == 1


@pytest.mark.requirement("R17")
async def test_a_flood_of_questions_is_one_fetch_in_ten_seconds(
    issuer: FakeIssuer, keys: IssuerKeys, clock: Clock
) -> None:
    await keys.current()

    for _ in range(10_000):
        clock.pass_by(milliseconds=6)
        await keys.newer(than=await keys.current())

    assert issuer.key_fetches == 1 + 5


@pytest.mark.requirement("R17")
async def test_a_flood_while_the_issuer_is_down_is_one_fetch_in_ten_seconds(
    issuer: FakeIssuer, keys: IssuerKeys, clock: Clock
) -> None:
    issuer.reply(KEYS, status=503)

    for _ in range(1000):
        await refused(keys)
        clock.pass_by(milliseconds=50)

    assert issuer.key_fetches == 5


@pytest.mark.requirement("R17")
async def test_a_new_key_is_found_after_one_fetch(issuer: FakeIssuer, keys: IssuerKeys, clock: Clock) -> None:
    old = await keys.current()
    issuer.signers.append(ed_signer())
    clock.pass_by(seconds=10)

    assert set((await keys.newer(than=old)).keys) == {"ec-1", "ed-1"}
    assert issuer.key_fetches == 2


async def test_who_saw_older_keys_gets_the_ones_at_hand(issuer: FakeIssuer, keys: IssuerKeys, clock: Clock) -> None:
    first = await keys.current()
    clock.pass_by(seconds=10)
    second = await keys.newer(than=first)
    clock.pass_by(seconds=10)

    assert await keys.newer(than=first) is second
    assert issuer.key_fetches == 2


async def test_old_keys_are_renewed_in_the_background(issuer: FakeIssuer, keys: IssuerKeys, clock: Clock) -> None:
    old = await keys.current()
    gate = threading.Event()
    issuer.signers.append(ed_signer())
    issuer.reply(KEYS, body=issuer.key_set(), gate=gate)
    clock.pass_by(minutes=5)

    assert await keys.current() is old

    gate.set()
    await settled(keys)
    assert set((await keys.current()).keys) == {"ec-1", "ed-1"}


@pytest.mark.requirement("R17")
async def test_a_removed_key_is_gone_after_ten_minutes_at_most(
    issuer: FakeIssuer, keys: IssuerKeys, clock: Clock
) -> None:
    await keys.current()
    issuer.signers[:] = [ed_signer()]
    clock.pass_by(minutes=10)

    assert set((await keys.current()).keys) == {"ed-1"}


@pytest.mark.requirement("R18")
async def test_last_good_keys_are_used_for_an_hour_and_no_longer(
    issuer: FakeIssuer, keys: IssuerKeys, clock: Clock
) -> None:
    good = await keys.current()
    issuer.reply(KEYS, status=503)
    clock.pass_by(minutes=5)
    await keys.current()
    await settled(keys)

    clock.pass_by(minutes=54, seconds=59)
    assert await keys.current() is good
    await settled(keys)
    assert keys.status() == KeyStatus(
        ready=True,
        fetched_at=NOW,
        problem="the key set was answered with 503, expected 200",
    )

    clock.pass_by(seconds=1)
    assert await refused(keys) == "the key set was answered with 503, expected 200"
    clock.pass_by(seconds=10)
    assert await refused(keys) == "the key set was answered with 503, expected 200"

    del issuer.replies[KEYS]
    clock.pass_by(seconds=10)
    assert set((await keys.current()).keys) == {"ec-1"}
    assert keys.status().ready


@pytest.mark.requirement("R18")
async def test_a_slow_issuer_holds_up_nobody_who_has_keys(issuer: FakeIssuer, keys: IssuerKeys, clock: Clock) -> None:
    good = await keys.current()
    issuer.reply(KEYS, status=503)
    clock.pass_by(minutes=5)
    await keys.current()
    await settled(keys)
    gate = threading.Event()
    issuer.reply(KEYS, gate=gate)
    clock.pass_by(minutes=15)

    with anyio.fail_after(2):
        assert await keys.current() is good

    gate.set()
    await settled(keys)


@pytest.mark.requirement("R16")
async def test_a_clock_that_steps_back_makes_keys_old(issuer: FakeIssuer, keys: IssuerKeys, clock: Clock) -> None:
    await keys.current()
    clock.pass_by(hours=-1)

    await keys.current()

    assert issuer.key_fetches == 2


@pytest.mark.requirement("R16")
async def test_a_clock_that_is_slewed_back_changes_nothing(issuer: FakeIssuer, keys: IssuerKeys, clock: Clock) -> None:
    first = await keys.current()
    clock.pass_by(seconds=-59)

    assert await keys.current() is first
    assert await keys.newer(than=first) is first
    assert issuer.key_fetches == 1


async def test_closing_stops_a_fetch(issuer: FakeIssuer, keys: IssuerKeys) -> None:
    issuer.reply(KEYS, gate=threading.Event())
    waiting = asyncio.create_task(keys.current())
    await asyncio.to_thread(issuer.wait_for_requests, 2)

    with anyio.fail_after(5):
        await keys.close()
        await asyncio.wait({waiting})

    assert waiting.cancelled()


async def test_closing_without_a_fetch_is_nothing(keys: IssuerKeys) -> None:
    await keys.close()


async def test_before_the_first_fetch_nothing_is_ready(keys: IssuerKeys) -> None:
    assert keys.status() == KeyStatus(ready=False, fetched_at=None, problem=None)


async def test_to_renew_is_enough_to_be_ready(issuer: FakeIssuer, keys: IssuerKeys, clock: Clock) -> None:
    keys.renew()
    await settled(keys)
    assert keys.status().ready

    clock.pass_by(minutes=61)
    assert not keys.status().ready
    keys.renew()
    await settled(keys)

    assert keys.status().ready
    assert issuer.key_fetches == 2


async def test_to_renew_asks_no_more_than_a_token_would(issuer: FakeIssuer, keys: IssuerKeys, clock: Clock) -> None:
    issuer.reply(KEYS, status=503)
    for _ in range(3):
        keys.renew()
        await settled(keys)
    assert issuer.key_fetches == 1

    del issuer.replies[KEYS]
    clock.pass_by(seconds=10)
    for _ in range(3):
        keys.renew()
        await settled(keys)
    clock.pass_by(minutes=4, seconds=59)
    keys.renew()
    await settled(keys)

    assert issuer.key_fetches == 2
