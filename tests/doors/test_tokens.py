"""Forged tokens at every door that takes one: none opens any, the valid forms open all, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from mcp_gateway.identity.rules import IdentityPolicy
from tests.doors.servers import served
from tests.doors.token_doors import EVERYBODY, HTTPDoors, http_doors, stdio_door
from tests.identity.accepted_forms import BY_POLICY
from tests.identity.forged_claims import FORGED_CLAIMS
from tests.identity.forged_forms import FORGED_FORMS
from tests.identity.forged_signatures import FORGED_SIGNATURES
from tests.identity.forging import JWT_POLICY, NOW, POLICY, Attack, claims, header, verifier
from tests.invariants.world import World
from tests.peers.issuer import FakeIssuer, Signer, ec_signer
from tests.roads import asked

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("I7")]

ATTACKS = [*FORGED_FORMS, *FORGED_SIGNATURES, *FORGED_CLAIMS]
NO_PART_OF_A_VALUE = frozenset({"a line end after"})
"""A line end after a header's value or a file's text is none of the token's."""
REFUSED = frozenset({401})
UNREADABLE = frozenset({400, 401, 431})
"""What is no header's value, or too long for one, is refused before anything looks for a token."""
policies = pytest.mark.parametrize(
    ("policy", "accepted"), BY_POLICY, ids=["access tokens", "JWT, where it is configured"]
)


def attacks_on(policy: IdentityPolicy) -> list[Attack]:
    return [attack for attack in ATTACKS if attack.policy == policy and attack.name not in NO_PART_OF_A_VALUE]


def statuses_for(token: str) -> frozenset[int]:
    plain = token.isascii() and token.isprintable()
    return REFUSED if plain and len(token) < 60_000 else UNREADABLE


def test_attacks_are_many_and_each_is_on_a_list() -> None:
    assert len(ATTACKS) >= 450
    assert len(attacks_on(POLICY)) + len(attacks_on(JWT_POLICY)) == len(ATTACKS) - len(NO_PART_OF_A_VALUE)


@policies
async def test_no_http_door_takes_a_forged_token_and_each_takes_a_valid_form(
    tmp_path: Path, world: World, policy: IdentityPolicy, accepted: Mapping[str, Callable[[], str]]
) -> None:
    async with served(
        tmp_path, world=world, verifier=verifier(policy), clock=lambda: NOW, policies=EVERYBODY
    ) as server:
        server.bench.clock.now = NOW
        approval = await asked(server.bench, {"method": "POST"}, caller=server.bench.caller())
        async with http_doors(server, good=next(iter(accepted.values())), approval=approval) as doors:
            wrong: list[tuple[str, str, int]] = []
            for attack in attacks_on(policy):
                token = attack.token()
                for name, way in doors.ways().items():
                    status = await way(token)
                    if status not in statuses_for(token):
                        wrong.append((attack.name, name, status))
            assert wrong == []
            assert server.bench.api.requests == []
            held = await server.bench.approvals.get(approval)
            assert held is not None
            assert held.state == "pending"
            for name, token_of in accepted.items():
                assert await opened(doors, token_of()) == OPENED, name
            assert len(server.bench.api.requests) == 3 * len(accepted)


OPENED = {
    "streamable HTTP, 2026-07-28": 200,
    "streamable HTTP, a session": 200,
    "streamable HTTP, a new session": 200,
    "SSE": 200,
    "SSE, a message": 202,
    "approvals, listing": 200,
    "approvals, approve": 404,
}
"""The approval is another person's: that it is not there for this one is an answer to a verified person."""


async def opened(doors: HTTPDoors, token: str) -> dict[str, int]:
    """What every way but those that end a session answers."""
    arrived = len(doors.server.bench.api.requests)
    found = {name: await way(token) for name, way in doors.ways().items() if name in OPENED}
    with anyio.fail_after(20):
        while len(doors.server.bench.api.requests) < arrived + 3:
            await anyio.sleep(0.01)
    return found


@policies
async def test_the_stdio_door_takes_no_forged_token_and_takes_each_valid_form(
    tmp_path: Path, world: World, policy: IdentityPolicy, accepted: Mapping[str, Callable[[], str]]
) -> None:
    async with stdio_door(tmp_path / "stdio", policy=policy) as door:

        def run() -> tuple[dict[str, str], dict[str, str]]:
            refused = {attack.name: door.code(attack.token()) for attack in attacks_on(policy)}
            return refused, {name: door.code(token()) for name, token in accepted.items()}

        refused, taken = await anyio.to_thread.run_sync(run)
        assert {name: code for name, code in refused.items() if code != "identity_required"} == {}
        assert taken == dict.fromkeys(accepted, "ok")
        assert len(door.arrived()) == len(accepted)


def leading_to(place: str) -> list[dict[str, Any]]:
    """Headers that name a place where something could be fetched."""
    return [
        {"jku": f"{place}/keys"},
        {"x5u": f"{place}/chain.pem"},
        {"kid": f"{place}/keys"},
        {"jku": f"{place}/keys", "kid": "evil"},
        {"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB", "x5u": f"{place}/chain.pem"}},
        {"kid": f"http://169.254.169.254@{place.removeprefix('http://')}/"},
        {"url": f"{place}/", "crit": ["url"]},
        {"epk": {"x5u": f"{place}/"}},
    ]


@pytest.mark.requirement("R18")
async def test_nothing_is_fetched_from_where_a_token_says_at_any_door(tmp_path: Path, world: World) -> None:
    stranger: Signer = ec_signer("evil")
    async with served(tmp_path, world=world, verifier=verifier(), clock=lambda: NOW, policies=EVERYBODY) as server:
        approval = await asked(server.bench, {"method": "POST"}, caller=server.bench.caller())
        async with http_doors(server, good=BY_POLICY[0][1]["ES256"], approval=approval) as doors:
            with FakeIssuer(signers=[stranger]) as evil:
                for changes in leading_to(evil.url):
                    for issuer in ({}, {"iss": evil.url}):
                        token = stranger.token(header(stranger, **changes), claims(**issuer))
                        assert {await way(token) for way in doors.ways().values()} == {401}
                assert evil.requests == []
