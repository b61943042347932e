"""What a caller has done until now is a fact of the next call: exact, whoever recorded it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_gateway.audit.usage import UsageStore
from mcp_gateway.masked_facts import MaskedFacts
from tests.invariants.fixtures import tasks_return, world
from tests.peers.api import answer
from tests.roads import POLICIES, POST, Bench, laid, refusal, result

__all__ = ["tasks_return", "world"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("I3", "I7")]
HISTORY = (
    POLICIES
    + """
@id("too-many-calls") @reason("that is enough for a minute")
forbid (principal, action, resource) when { context.usage.calls_1m >= 3 };
@id("too-much") forbid (principal, action, resource) when { context.usage.bytes_1h > 5000 };
@id("guessing") forbid (principal, action, resource) when { context.usage.refusals_1h >= 3 };
@id("after-personal-data") @approval("dba") @reason("personal data was read before")
forbid (principal, action == Action::"call_api", resource)
when { context.http.path like "/out*" && context.usage.touched_24h.contains(DataClass::"pii.email") }
unless { context.approval.by.contains("dba") };
"""
)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laid(tmp_path, policies=HISTORY) as found:
        yield found


async def test_calls_are_counted_for_the_person_whatever_the_agent(bench: Bench) -> None:
    agents = [bench.caller(actor=f"agent-{number}") for number in range(4)]
    assert [await bench.code(caller=caller) for caller in agents] == ["ok", "ok", "ok", "denied"]
    assert await bench.code(caller=bench.caller(subject="bob")) == "ok"


async def test_bytes_of_results_are_counted(bench: Bench) -> None:
    bench.api.answers = [answer(b"x" * 6000)]
    assert [await bench.code() for _ in range(2)] == ["ok", "denied"]


async def test_refusals_are_counted_and_waiting_for_people_is_none(bench: Bench) -> None:
    codes = [await bench.code({"path": "../x"}), await bench.code({"method": "DELETE"})]
    codes += [await bench.code(POST), await bench.code({"target": "nowhere"}), await bench.code()]
    assert codes == ["invalid_arguments", "denied", "approval_pending", "unknown_target", "denied"]


async def test_after_personal_data_was_read_another_zone_is_asked_about(bench: Bench) -> None:
    assert await bench.code({"path": "out/1"}) == "ok"
    bench.api.answers = [answer(b"write to ada@example.com")]
    assert "ada@example.com" not in result(await bench.call())["text"]
    pending = refusal(await bench.call({"path": "out/2"}))
    assert pending.code == "approval_pending"
    assert pending.approval is not None
    await bench.vote(pending.approval.id)
    assert await bench.code({"path": "out/2"}) == "ok"


async def test_personal_data_that_was_shown_raw_was_read_too(tmp_path: Path) -> None:
    reveal = '@id("r") permit (principal, action == Action::"reveal", resource == DataClass::"pii.email");'
    async with laid(tmp_path, policies=HISTORY + reveal) as bench:
        bench.api.answers = [answer(b"nothing"), answer(b"write to ada@example.com")]
        assert await bench.code() == "ok"
        assert "ada@example.com" in result(await bench.call({"path": "out/1"}))["text"]
        assert await bench.code({"path": "out/2"}) == "approval_pending"


async def test_what_an_other_process_records_counts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with (
        laid(tmp_path / "a", policies=HISTORY, data=data) as one,
        laid(tmp_path / "b", policies=HISTORY, data=data, url=one.api.url) as two,
    ):
        assert [await bench.code() for bench in (one, two, one, two)] == ["ok", "ok", "ok", "denied"]
    async with laid(tmp_path / "a", policies=HISTORY, data=data) as again:
        again.clock.now = two.clock.now
        assert await again.code() == "denied"


async def test_nothing_is_asked_of_the_store_where_no_policy_looks(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        before = bench.engines[-1]
        assert [await bench.code() for _ in range(5)] == ["ok"] * 5
        bench.load(HISTORY)  # what came before counts all the same
        assert (before.looks_at_history, bench.engines[-1].looks_at_history) == (False, True)
        assert await bench.code() == "denied"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_policies_that_look_at_the_past_and_come_into_force_meanwhile_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async with laid(tmp_path) as bench:
        assert [await bench.code() for _ in range(5)] == ["ok"] * 5
        # Either nobody asked for a history when the facts were noted, or one is read while the next set comes.
        looking = (
            POLICIES + '@id("other") forbid (principal, action, resource) when { context.agent_usage.calls_1h > 99 };'
        )
        if when == "after":
            bench.load(looking)
        owner, name = (MaskedFacts, "of") if when == "before" else (UsageStore, "of")
        untouched = getattr(owner, name)

        async def found_out(*arguments: object, **named: object) -> object:
            found = await untouched(*arguments, **named)
            monkeypatch.undo()
            bench.load(HISTORY)
            return found

        monkeypatch.setattr(owner, name, found_out)
        assert await bench.code() == "denied"
