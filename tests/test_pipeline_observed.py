"""On a target that is only observed, and by policies in shadow mode, nothing is refused and everything is on record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from mcp_gateway.audit.search import Filters, search, show
from mcp_gateway.calls import HTTPFacts
from mcp_gateway.errors import IdentityError
from tests.invariants.fixtures import tasks_return, world
from tests.peers.api import answer
from tests.roads import ALLOWED, POLICIES, POST, Bench, laid, refusal, result

__all__ = ["tasks_return", "world"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("I1", "I2")]
SHADOWS = POLICIES.replace('@id("never-delete")', '@id("never-delete") @mode("shadow")').replace(
    '@id("writes-need-dba")', '@id("writes-need-dba") @mode("shadow")'
)

SHADOWED_TOO = """
@id("nor-this") @mode("shadow") forbid (principal, action, resource) when { context has http && context.http.method == "DELETE" };
"""


@pytest.fixture
async def observed(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laid(tmp_path, observed=True) as found:
        yield found


async def decided(bench: Bench, call_id: str) -> dict[str, Any]:
    rows = await bench.store.read(
        lambda connection: connection.execute(
            "SELECT body FROM events WHERE call_id = ? AND kind = 'Decided'", (call_id,)
        ).fetchall()
    )
    (body,) = rows
    found: dict[str, Any] = orjson.loads(body[0])
    return found


@pytest.mark.parametrize(
    ("arguments", "said", "policies"),
    [
        ({}, "allow", ["reads"]),
        ({"method": "DELETE"}, "deny", ["never-delete"]),
        (POST, "ask", ["writes-need-dba"]),
    ],
)
async def test_whatever_policy_says_of_an_observed_target_runs_and_is_recorded(
    observed: Bench, arguments: dict[str, Any], said: str, policies: list[str]
) -> None:
    found = await observed.call(arguments)

    assert result(found)["text"] == "ok"
    assert await observed.kinds(found.call_id) == ALLOWED
    body = await decided(observed, found.call_id)
    assert (body["decision"], body["policies"], body["enforced"]) == (said, policies, said == "allow")
    assert await observed.live() == []


async def test_a_caller_without_any_permit_may_use_an_observed_target_but_has_to_be_proved(observed: Bench) -> None:
    stranger = observed.caller(groups=frozenset({"interns"}))

    assert result(await observed.call(caller=stranger))["text"] == "ok"
    assert [target["name"] for target in observed.road.targets_of(stranger)] == ["api"]
    assert refusal(await observed.call(caller=IdentityError("no"))).code == "identity_required"


async def test_masking_does_not_care(observed: Bench) -> None:
    observed.api.answers = [answer(b"write to ada@example.com")]
    assert "ada@example.com" not in result(await observed.call({"method": "DELETE"}))["text"]


async def test_what_cannot_be_decided_is_refused_on_an_observed_target_too(
    observed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HTTPFacts, "context", lambda _: {})
    assert refusal(await observed.call()).code == "denied"
    assert observed.api.requests == []


async def test_every_decision_names_the_policies_by_the_hash_of_their_content(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        first = await decided(bench, (await bench.call()).call_id)
        bench.load(SHADOWS)
        second = await decided(bench, (await bench.call()).call_id)

        assert [first["policy_version"], second["policy_version"]] == [engine.version for engine in bench.engines]
    assert first["policy_version"] != second["policy_version"]


async def test_policies_in_shadow_mode_are_recorded_where_they_differ(tmp_path: Path) -> None:
    async with laid(tmp_path, policies=SHADOWS) as bench:
        read, deleted, written = [await bench.call(arguments) for arguments in ({}, {"method": "DELETE"}, POST)]

        for found in (read, deleted, written):
            assert result(found)["text"] == "ok"
        bodies = [await decided(bench, found.call_id) for found in (read, deleted, written)]
    assert [body["decision"] for body in bodies] == ["allow"] * 3
    assert [body["shadow"] for body in bodies] == [
        None,
        {"decision": "deny", "policies": ["never-delete"]},
        {"decision": "ask", "policies": ["writes-need-dba"]},
    ]
    assert all(body["enforced"] for body in bodies)


async def test_what_would_have_been_decided_is_found_and_summarised(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with laid(tmp_path, policies=SHADOWS) as bench:
        read, deleted, written = [await bench.call(arguments) for arguments in ({}, {"method": "DELETE"}, POST)]
        bench.load(SHADOWS.replace('@mode("shadow") @reason("nobody', '@reason("nobody') + SHADOWED_TOO)
        both = await bench.call({"method": "DELETE"})
        assert (await decided(bench, both.call_id))["shadow"]["policies"] == ["never-delete", "nor-this"]

    def found(filters: Filters) -> list[str]:
        return [summary.call_id for summary in search(data, filters=filters, limit=10)]

    assert found(Filters(would="deny")) == [deleted.call_id]
    assert found(Filters(would="ask")) == [written.call_id]
    assert found(Filters(would="allow")) == []
    assert found(Filters(decision="deny")) == [both.call_id]
    record = show(data, call_id=read.call_id)
    assert record is not None
    assert (record.summary.decisions, record.summary.would) == (("allow",), ())


async def test_what_was_only_observed_is_found(observed: Bench) -> None:
    denied = await observed.call({"method": "DELETE"})
    await observed.call()

    (summary,) = search(observed.store.data_dir, filters=Filters(would="deny"), limit=10)

    assert (summary.call_id, summary.decisions, summary.would) == (denied.call_id, ("deny",), ("deny",))
