"""Consents and permissions that said more than somebody had decided, and texts that showed another thing than ran."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.approval.describe import describe
from mcp_gateway.config import load_settings
from mcp_gateway.errors import ConfigError
from tests.cli.running import write_config
from tests.doors.servers import Served, served
from tests.invariants.world import World
from tests.roads import POLICIES, POST, Bench, asked, laid

pytestmark = pytest.mark.anyio

HIDDEN = {
    "marks of direction": "rm \u202e\u2066fdp.exe\u2069",
    "invisible letters": "drop\u200b\u2060 table\u00ad",
    "escape sequences": "safe\x1b[2K\x1b[1A\x1b]0;owned\x07\x9b31m",
    "carriage returns": "DELETE FROM t\rSELECT 1       ",
}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laid(tmp_path) as found:
        yield found


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


@pytest.mark.requirement("I7", "R28")
@pytest.mark.published("litellm-allowed-servers")
async def test_an_exception_while_permissions_are_looked_up_denies(bench: Bench, world: World) -> None:
    world.expected_errors = frozenset({"internal"})
    bench.engines.clear()  # so that looking up the policies in force raises

    assert await bench.code() == "internal"
    assert bench.api.requests == []
    with pytest.raises(IndexError):
        bench.road.targets_of(bench.caller())


@pytest.mark.requirement("R14")
@pytest.mark.published("CVE-2025-54136")
async def test_a_consent_ends_with_what_it_was_given_for(bench: Bench) -> None:
    await bench.vote(await asked(bench))
    registered = bench.registry.targets["api"]
    changed = replace(registered, target=replace(registered.target, fingerprint="e" * 64))
    bench.registry.targets["api"] = changed  # type: ignore[index]  # as a changed configuration does at the next start

    assert await bench.code(POST) in {"approval_stale", "approval_pending"}
    assert bench.api.requests == []


@pytest.mark.requirement("R14")
@pytest.mark.published("CVE-2025-54136")
async def test_a_consent_ends_with_the_policies_that_asked_for_it(bench: Bench) -> None:
    await bench.vote(await asked(bench))
    bench.load(
        POLICIES.replace('@approval("dba")', '@approval("security")').replace('contains("dba")', 'contains("security")')
    )

    assert await bench.code(POST) in {"approval_stale", "approval_pending"}
    assert bench.api.requests == []


@pytest.mark.requirement("R12")
@pytest.mark.published("CVE-2025-53773")
async def test_an_agent_approves_nothing_whoever_it_acts_for(server: Served) -> None:
    approval = await asked(server.bench, caller=server.bench.caller(subject="dana", issuer=server.issuer.policy.issuer))
    for person in ("alex", "dana", "sam"):
        async with server.client(person) as agent:
            listing = await agent.get(f"{server.url}/api/approvals")
            assert "only what it asked for itself" in listing.headers["mcp-gateway-note"]
            for move in ("approve", "deny"):
                response = await agent.post(f"{server.url}/api/approvals/{approval}/{move}")
                assert response.status_code in {404, 409}
    async with server.approver("dana") as same_person:
        assert (await same_person.post(f"/api/approvals/{approval}/approve")).status_code == 409
        assert (await same_person.get(f"/api/approvals/{approval}")).json()["state"] == "pending"


@pytest.mark.published("CVE-2025-53773")
@pytest.mark.parametrize("what", ["the configuration", "its folder", "a policy", "the policies' folder"])
def test_settings_that_an_agent_could_write_are_not_used(tmp_path: Path, what: str) -> None:
    from mcp_gateway.policy.loader import load_policies

    tmp_path.chmod(0o700)
    folder, policies = tmp_path / "etc", tmp_path / "policies"
    folder.mkdir(mode=0o700)
    policies.mkdir(mode=0o700)
    policy = policies / "all.cedar"
    policy.write_text('@id("all") permit (principal, action == Action::"call_api", resource);')
    policy.chmod(0o600)
    config = write_config(folder, f'[identity]\nissuer = "local"\n[policy]\npaths = ["{policies}"]\n')
    changed = {"the configuration": config, "its folder": folder, "a policy": policy, "the policies' folder": policies}

    def start() -> None:
        load_policies(load_settings(config).policy.paths, targets=[], classes=[])

    start()
    changed[what].chmod(0o777)
    with pytest.raises(ConfigError, match="chmod go-w"):
        start()


@pytest.mark.requirement("R37")
@pytest.mark.published("CVE-2021-42574", "CVE-2021-25743")
@pytest.mark.parametrize("name", HIDDEN)
async def test_what_is_shown_is_what_runs(bench: Bench, name: str) -> None:
    text = HIDDEN[name]
    arguments: dict[str, Any] = POST | {"body": text, "reason": text}
    ticket = await bench.approvals.get(await asked(bench, arguments))
    assert ticket is not None
    shown = describe(ticket)

    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cf"} and c != "\n"]
    assert all(f"<U+{ord(c):04X}>" in shown for c in text if unicodedata.category(c) in {"Cc", "Cf"})
    await bench.vote(ticket.id)
    assert await bench.code(arguments) == "ok"
    assert bench.api.requests[0].endswith(text.encode())
