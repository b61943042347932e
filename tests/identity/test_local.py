"""The local issuer's tokens go through the same checks as anybody's."""

from __future__ import annotations

import os
import pwd
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.calls import Secret
from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.local import LocalIssuer, LocalPerson, open_local_issuer
from mcp_gateway.identity.system_user import operating_system_user
from mcp_gateway.identity.tokens import TokenVerifier
from tests.identity.clock import Clock
from tests.identity.forging import AUDIENCE, NOW, claims, good, header
from tests.peers.issuer import ec_signer

pytestmark = pytest.mark.anyio

PEOPLE = {
    "dana": LocalPerson(groups=frozenset({"dba"}), email="dana@example.com"),
    "erin": LocalPerson(groups=frozenset({"dba", "caller"})),
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


def local_issuer(data_dir: Path, clock: Clock, **changes: Any) -> LocalIssuer:
    numbers = count(1)
    return open_local_issuer(
        data_dir,
        **{"audience": AUDIENCE, "clock": clock, "new_id": lambda: f"id-{next(numbers)}", "people": PEOPLE, **changes},
    )


@pytest.fixture
def issuer(tmp_path: Path, clock: Clock) -> LocalIssuer:
    tmp_path.chmod(0o700)
    return local_issuer(tmp_path, clock)


@pytest.fixture
def check(issuer: LocalIssuer) -> TokenVerifier:
    return issuer.verifier(revoked=lambda _caller: None)


async def test_the_operating_system_user_is_proved(issuer: LocalIssuer, check: TokenVerifier) -> None:
    caller = await check.verify(issuer.mint(client_id="mcp-gateway-stdio"))

    assert (caller.issuer, caller.subject, caller.actor) == ("local", operating_system_user(), "mcp-gateway-stdio")
    assert (caller.assurance, caller.groups, caller.delegated) == ("local", frozenset(), False)
    assert caller.expires_at - caller.issued_at == timedelta(minutes=5)


def test_the_user_is_the_systems_word_and_not_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "root-of-all")

    assert operating_system_user() == pwd.getpwuid(os.geteuid()).pw_name


async def test_a_configured_person_has_the_assurance_of_a_demo(issuer: LocalIssuer, check: TokenVerifier) -> None:
    caller = await check.verify(issuer.mint("dana", client_id="mcp-gateway-approver", auth_time=NOW))

    assert (caller.assurance, caller.groups, caller.email) == ("local-demo", frozenset({"dba"}), "dana@example.com")
    assert caller.auth_time == NOW


async def test_a_user_who_is_configured_has_no_better_assurance(tmp_path: Path, clock: Clock) -> None:
    tmp_path.chmod(0o700)
    issuer = local_issuer(tmp_path, clock, people={operating_system_user(): LocalPerson(groups=frozenset({"dba"}))})

    caller = await issuer.verifier(revoked=lambda _caller: None).verify(issuer.mint(client_id="cli"))

    assert (caller.assurance, caller.groups) == ("local-demo", frozenset({"dba"}))


async def test_the_reserved_group_is_taken_away_here_too(issuer: LocalIssuer, check: TokenVerifier) -> None:
    assert (await check.verify(issuer.mint("erin", client_id="cli"))).groups == {"dba"}


async def test_an_agent_that_acts_for_a_person_is_seen(issuer: LocalIssuer, check: TokenVerifier) -> None:
    caller = await check.verify(issuer.mint("dana", client_id="cli", actor="claude"))

    assert (caller.actor, caller.client_id, caller.delegated) == ("claude", "cli", True)


async def test_a_stranger_gets_no_token(issuer: LocalIssuer) -> None:
    with pytest.raises(IdentityError, match="there is no local person 'mallory'"):
        issuer.mint("mallory", client_id="cli")


async def test_a_token_carries_every_scope_that_a_tool_demands(tmp_path: Path, clock: Clock) -> None:
    tmp_path.chmod(0o700)
    issuer = local_issuer(tmp_path, clock, scopes={"query_database": "db", "call_api": "api"})

    caller = await issuer.verifier(revoked=lambda _caller: None).verify(issuer.mint(client_id="cli"))

    assert caller.scopes == {"api", "db"}


async def test_each_token_has_an_id_of_its_own(issuer: LocalIssuer, check: TokenVerifier) -> None:
    ids = {(await check.verify(issuer.mint(client_id="cli"))).token_id for _ in range(3)}

    assert len(ids) == 3


async def test_a_token_is_over_after_its_minutes(issuer: LocalIssuer, check: TokenVerifier, clock: Clock) -> None:
    token = issuer.mint(client_id="cli")
    await check.verify(token)
    clock.pass_by(minutes=5, seconds=5)

    with pytest.raises(IdentityError, match="token expired"):
        await check.verify(token)


async def test_a_token_of_any_other_issuer_is_refused(check: TokenVerifier) -> None:
    with pytest.raises(IdentityError, match="token key id 'ec-1' is none of the issuer's"):
        await check.verify(good())


async def test_a_token_that_only_says_local_is_refused(issuer: LocalIssuer, check: TokenVerifier) -> None:
    key_id = next(iter(issuer.keys.keys))
    forged = ec_signer().token(header(ec_signer(), kid=key_id), claims(iss="local"))

    with pytest.raises(IdentityError, match="token signature is not by the key"):
        await check.verify(forged)


async def test_another_audiences_token_is_refused(tmp_path: Path, clock: Clock, check: TokenVerifier) -> None:
    other = local_issuer(tmp_path, clock, audience="https://other.example.com")

    with pytest.raises(IdentityError, match="token is meant for 'https://other"):
        await check.verify(other.mint(client_id="cli"))


async def test_every_process_of_a_data_directory_has_the_same_issuer(
    tmp_path: Path, clock: Clock, check: TokenVerifier
) -> None:
    second = local_issuer(tmp_path, clock)

    assert (await check.verify(second.mint(client_id="cli"))).subject == operating_system_user()


@pytest.mark.requirement("I5")
async def test_a_minted_token_does_not_print(issuer: LocalIssuer) -> None:
    token = issuer.mint(client_id="cli")

    assert isinstance(token, Secret)
    assert f"{token} {token!r}" == "<secret> <secret>"
    assert issuer.keys.keys and "PRIVATE" not in repr(issuer.keys)
