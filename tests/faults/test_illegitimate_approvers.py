"""Everybody who may not approve tries to, in every way, on a gateway in a process of its own (R12)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.identity.encoding import decode_base64url, encode_base64url
from mcp_gateway.identity.local import LocalPerson, open_local_issuer
from tests.faults.gateways import APPROVER, AUDIENCE, PEOPLE, Gateway, Targets, standing
from tests.invariants.world import World
from tests.peers.api import API
from tests.plain_http import plain_client

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

CALL = {"target": "api", "path": "x", "method": "POST"}
WORLD_OF_PEOPLE = {
    **PEOPLE,
    "alex": LocalPerson(groups=frozenset({"dev", "dba"}), email="alex@example.com"),
    "alexandra": LocalPerson(groups=frozenset({"dba"}), email="ALEX@Example.com"),
    "erin": LocalPerson(groups=frozenset({"dba"}), email="erin@example.com"),
    APPROVER: LocalPerson(groups=frozenset({"dba"})),
}
"""Alex, who asks, is a DBA too; Alexandra is another account of theirs; one is no person but the client."""
OWN = "nobody approves their own call"
EARLIER = timedelta(minutes=6)


def tokens(gateway: Gateway) -> Mapping[str, tuple[str, int, str]]:
    """How somebody comes, to the token that they have, and the status and words that they get."""
    issuer, now = gateway.issuer, utc_now()
    past = open_local_issuer(
        gateway.data, audience=AUDIENCE, clock=lambda: now - EARLIER, new_id=new_id, people=WORLD_OF_PEOPLE
    )
    elsewhere = open_local_issuer(
        gateway.data, audience="https://another.example.com", clock=utc_now, new_id=new_id, people=WORLD_OF_PEOPLE
    )

    def signed_in(person: str, **changes: object) -> str:
        more = {"client_id": APPROVER, "auth_time": now} | changes
        return issuer.mint(person, **more).reveal_text()  # type: ignore[arg-type]  # one helper for all claims

    no_groups = signed_in("sam")
    gone = {**WORLD_OF_PEOPLE, "erin": replace(WORLD_OF_PEOPLE["erin"], groups=frozenset())}
    later = open_local_issuer(gateway.data, audience=AUDIENCE, clock=utc_now, new_id=new_id, people=gone)
    lost = later.mint("erin", client_id=APPROVER, auth_time=now).reveal_text()
    return {
        "who asked": (signed_in("alex"), 409, OWN),
        "who asked, by another account": (signed_in("alexandra"), 409, f"{OWN}, whichever account they use"),
        "who asked, by the client that asked": (signed_in("alex", client_id="agent"), 409, "is not one for approvers"),
        "the agent of a DBA": (signed_in("dana", actor="agent"), 409, "only people see what others ask for"),
        "a DBA by a client that agents use": (signed_in("dana", client_id="agent"), 409, "only people see"),
        "the client itself": (signed_in(APPROVER), 409, "this is a program's token"),
        "a person without the group, by a forwarded link": (no_groups, 404, "no such approval that you may see"),
        "who was a DBA when the page was opened": (lost, 404, "no such approval that you may see"),
        "a DBA who signed in too long ago": (signed_in("dana", auth_time=now - EARLIER), 409, "sign in again"),
        "a token that ended since the page was opened": (
            past.mint("dana", client_id=APPROVER, auth_time=now).reveal_text(),
            401,
            "a valid access token is needed",
        ),
        "a token for another gateway": (
            elsewhere.mint("dana", client_id=APPROVER).reveal_text(),
            401,
            "a valid access",
        ),
        "a token with groups of its own making": (with_groups(no_groups), 401, "a valid access token is needed"),
        "nobody": ("", 401, "a valid access token is needed"),
    }


def with_groups(token: str) -> str:
    """The token with another group, and the signature that it had."""
    head, claims, signature = token.encode().split(b".")
    text = decode_base64url(claims)
    assert b'["dev"]' in text
    return b".".join([head, encode_base64url(text.replace(b'["dev"]', b'["dba"]')), signature]).decode()


async def post(gateway: Gateway, token: str, approval: str, move: str, **headers: str) -> httpx2.Response:
    given = {"authorization": f"Bearer {token}"} if token else {}
    async with plain_client(base_url=gateway.url, headers=given | headers) as http:
        return await http.post(f"/api/approvals/{approval}/{move}")


async def asked(gateway: Gateway, **changes: str) -> str:
    held = await gateway.call("call_api", CALL | changes)
    assert held["code"] == "approval_pending"
    return str(held["approval"]["id"])


@pytest.mark.requirement("R12", "R38", "R42")
async def test_nobody_who_may_not_approve_gets_a_call_to_run(tmp_path: Path, world: World, targets: Targets) -> None:
    async with standing(tmp_path / "gateway", targets, world=world, people=WORLD_OF_PEOPLE) as gateway:
        await gateway.start()
        await whoever_may_not_is_refused_and_on_record(gateway, targets.api)
        await a_page_of_another_site_decides_nothing(gateway)
        await who_is_revoked_approves_nothing_and_has_approved_nothing(gateway, targets.api)
        await gateway.end()


async def whoever_may_not_is_refused_and_on_record(gateway: Gateway, api: API) -> None:
    approval = await asked(gateway)

    attempts = tokens(gateway)
    for how, (token, status, words) in attempts.items():
        for move in ("approve", "deny"):
            refused = await post(gateway, token, approval, move)
            assert (refused.status_code, words in refused.text) == (status, True), (how, move, refused.text)

    assert await gateway.code("call_api", CALL) == "approval_pending"
    assert api.requests == []
    # Whoever came with a valid token is on record, once for each attempt.
    known = [how for how, (_, status, _) in attempts.items() if status != 401]
    attempts_on_record = [row for row in gateway.store().history(approval) if row.kind == "DecisionRefused"]
    assert len(attempts_on_record) == 2 * len(known)
    assert await gateway.move("approve", approval) == 200
    assert await gateway.code("call_api", CALL) == "ok"


async def a_page_of_another_site_decides_nothing(gateway: Gateway) -> None:
    """A browser sends no token by itself, and no page of another origin may send one or show the gateway in a frame."""
    approval = await asked(gateway, path="page")
    dana = gateway.issuer.mint("dana", client_id=APPROVER, auth_time=utc_now()).reveal_text()
    form = {"content-type": "application/x-www-form-urlencoded"}

    for token, status, headers in (
        ("", 401, form),
        ("", 401, form | {"cookie": f"token={dana}; authorization={dana}"}),
        ("", 403, form | {"origin": "https://evil.example.com"}),
        (dana, 403, {"origin": "https://evil.example.com"}),
        (dana, 403, {"origin": "null"}),
        (dana, 403, {"host": "evil.example.com"}),
    ):
        assert (await post(gateway, token, approval, "approve", **headers)).status_code == status, headers
    async with plain_client(base_url=gateway.url) as http:
        by_url = await http.post(f"/api/approvals/{approval}/approve", params={"access_token": dana})
        preflight = await http.request(
            "OPTIONS",
            f"/api/approvals/{approval}/approve",
            headers={"origin": "https://evil.example.com", "access-control-request-method": "POST"},
        )
    assert (by_url.status_code, preflight.status_code) == (401, 403)
    assert not [name for name in preflight.headers if name.startswith("access-control-")]
    async with gateway.approver() as http:
        by_reading = await http.get(f"/api/approvals/{approval}/approve")
    assert by_reading.status_code == 405
    assert await gateway.code("call_api", CALL | {"path": "page"}) == "approval_pending"


async def who_is_revoked_approves_nothing_and_has_approved_nothing(gateway: Gateway, api: API) -> None:
    """At the gateway itself, whatever the issuer says."""
    sent = len(api.requests)
    before, after = await asked(gateway, path="before"), await asked(gateway, path="after")
    assert await gateway.move("approve", before) == 200

    assert (await gateway.command("revoke", "subject", "dana")).status == 0

    assert await gateway.move("approve", after) == 401
    assert await gateway.code("call_api", CALL | {"path": "before"}) == "approval_stale"
    assert await gateway.code("call_api", CALL | {"path": "after"}) == "approval_pending"
    assert len(api.requests) == sent
    assert await gateway.move("approve", after, person="erin") == 200
    assert await gateway.code("call_api", CALL | {"path": "after"}) == "ok"
