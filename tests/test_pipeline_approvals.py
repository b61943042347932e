"""Calls that people have to approve, over the whole road."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway import admitting
from mcp_gateway.admission import Request
from mcp_gateway.approval import holding
from mcp_gateway.approval.holding import Channels, Confirmation, InputRequired
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.calls import Caller
from mcp_gateway.errors import IdentityError
from mcp_gateway.facts.openapi import read_openapi
from mcp_gateway.facts.requests import Interface
from tests.invariants.fixtures import tasks_return, world
from tests.roads import ASKED, POLICIES, POST, Bench, asked, give_up, laid, refusal, result

__all__ = ["tasks_return", "world"]

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laid(tmp_path) as found:
        yield found


async def test_a_call_that_asks_is_held_and_runs_after_the_yes_exactly_once(bench: Bench) -> None:
    first = await bench.call(POST)
    approval = refusal(first).approval
    assert approval is not None
    assert await bench.kinds(first.call_id) == ASKED
    assert bench.api.requests == []

    await bench.vote(approval.id)
    ran = await bench.call(POST)
    again = refusal(await bench.call(POST))

    assert result(ran)["status"] == 200
    assert await bench.kinds(ran.call_id) == [
        "Received", "Identified", "Examined", "Decided", "Examined", "Decided", "Claimed", "Started", "Finished", "Answered"
    ]  # fmt: skip
    assert again.code == "already_run"
    assert again.detail == {"first_call_id": ran.call_id, "outcome": "ok"}
    assert len(bench.api.requests) == 1


async def test_the_claim_and_the_start_are_on_record_at_one_time_and_no_time_runs_backwards(bench: Bench) -> None:
    await bench.vote(await asked(bench))
    bench.clock.step = timedelta(milliseconds=1)

    ran = await bench.call(POST)
    rows = await bench.store.read(
        lambda rows: rows.execute(
            "SELECT kind, at FROM events WHERE call_id = ? ORDER BY sequence", (ran.call_id,)
        ).fetchall()
    )
    found = [(str(kind), str(at)) for kind, at in rows]

    assert [at for _, at in found] == sorted(at for _, at in found)
    assert dict(found)["Claimed"] == dict(found)["Started"]


@pytest.mark.requirement("I4", "R11")
async def test_racing_retries_run_an_approved_call_once(bench: Bench) -> None:
    await bench.vote(await asked(bench))
    codes: list[str] = []

    async def retry() -> None:
        codes.append(await bench.code(POST))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(retry)

    assert codes.count("ok") == 1
    assert set(codes) <= {"ok", "already_run"}
    assert len(bench.api.requests) == 1


@pytest.mark.requirement("R13")
async def test_an_approval_covers_no_other_call(bench: Bench) -> None:
    await bench.vote(await asked(bench))

    assert await bench.code(POST | {"path": "y"}) == "approval_pending"
    assert await bench.code(POST | {"body": "x"}) == "approval_pending"
    assert await bench.code(POST, caller=bench.caller(subject="bob")) == "approval_pending"
    assert await bench.code(POST, caller=bench.caller(actor="other-agent")) == "approval_pending"
    assert bench.api.requests == []
    assert await bench.code(POST, caller=bench.caller(token_id="refreshed")) == "ok"


async def test_a_denied_approval_answers_so_until_its_time_is_over(bench: Bench) -> None:
    await bench.vote(await asked(bench), yes=False)

    assert await bench.code(POST) == "approval_denied"
    bench.clock.now += timedelta(minutes=15)
    assert await bench.code(POST) == "approval_pending"
    assert bench.api.requests == []


async def test_expired_withdrawn_and_revoked_approvals_never_run(bench: Bench) -> None:
    expired = await asked(bench)
    await bench.vote(expired)
    bench.clock.now += timedelta(minutes=15)
    withdrawn = await asked(bench)
    assert withdrawn != expired
    await bench.approvals.withdraw(withdrawn, by="alice", why="")
    revoked = await asked(bench)
    await bench.vote(revoked)
    await bench.vote(revoked, "erin", yes=False)

    assert await bench.code(POST) == "approval_denied"
    assert bench.api.requests == []


async def test_running_once_more_on_purpose_is_a_new_ask(bench: Bench) -> None:
    await bench.vote(await asked(bench))
    first = await bench.call(POST)

    assert await bench.code(POST | {"repeat_of": first.call_id}) == "approval_pending"
    assert len(bench.api.requests) == 1


@pytest.mark.requirement("R14")
async def test_a_policy_that_changed_in_between_counts(bench: Bench) -> None:
    await bench.vote(await asked(bench))
    bench.load(POLICIES.replace('"dba"', '"security"'))

    stale = refusal(await bench.call(POST))

    assert stale.code == "approval_stale"
    assert "the policy changed" in stale.message
    assert stale.approval is not None
    assert stale.approval.approvers == ("security",)
    bench.load(POLICIES.replace('== "DELETE"', '== "POST"'))
    assert await bench.code(POST) == "denied"
    assert bench.api.requests == []


@pytest.mark.requirement("R14")
async def test_an_approval_under_another_document_is_stale(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "openapi: 3.1.0\npaths: {/x: {post: {}}}\n"
    documents = [read_openapi(text, file="api.yaml")]

    def interfaces() -> dict[str, Interface]:
        return {"api": Interface(document=documents[-1])}

    monkeypatch.setattr(bench.registry.tools["call_api"], "_interfaces", interfaces)
    first = await asked(bench)
    await bench.vote(first)
    documents.append(read_openapi(text + "info: {}\n", file="api.yaml"))

    stale = refusal(await bench.call(POST))

    assert (stale.code, bench.api.requests) == ("approval_stale", [])
    assert stale.approval is not None
    await bench.vote(stale.approval.id)
    assert await bench.code(POST) == "ok"


@pytest.mark.requirement("R15")
async def test_a_call_beyond_those_that_may_wait_has_asked_and_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "MAX_WAITING", 2)
    monkeypatch.setattr(admitting, "MAX_WAITING", 2)
    answers: list[Any] = []
    async with laid(tmp_path, wait=timedelta(minutes=10)) as bench, anyio.create_task_group() as group:

        async def call(number: int) -> None:
            answers.append(await bench.call({**POST, "path": f"{number}"}, caller=bench.caller(subject=f"p{number}")))

        for number in range(3):
            group.start_soon(call, number)
        with anyio.fail_after(20):
            while not answers:
                await anyio.sleep(0.01)
            (third,) = answers
            crowded = refusal(third)
            assert crowded.code == "limit_exceeded"
            assert crowded.message == (
                "2 calls wait for approvals, as many as may at once; this one has asked a person of 'dba' and does not wait"
            )
            assert crowded.approval is not None
            assert await bench.kinds(third.call_id) == [*ASKED[:-1], "Refused", "Answered"]
            for ticket in await bench.live():
                await bench.vote(ticket.id)
            while len(answers) < 3:
                await anyio.sleep(0.01)
        assert [answer.code for answer in answers] == ["limit_exceeded", "ok", "ok"]
        assert len(bench.api.requests) == 2

        asked_by = await bench.approvals.get(crowded.approval.id)
        assert asked_by is not None
        number = int(asked_by.subject.removeprefix("p"))
        await call(number)

        assert answers[-1].code == "ok"
        assert len(bench.api.requests) == 3


@pytest.mark.requirement("R10")
async def test_a_client_that_goes_away_leaves_the_approval_pending(tmp_path: Path) -> None:
    async with laid(tmp_path, wait=timedelta(minutes=1)) as bench:
        await give_up(partial(bench.call, POST), once=bench.live)
        (held,) = await bench.live()

        assert held.state == "pending"
        assert (await bench.kinds(held.call_id))[-1] == "Answered"
        await bench.vote(held.id)
        assert bench.api.requests == []
        assert await bench.code(POST) == "ok"


async def test_a_waiting_call_runs_when_the_yes_comes(tmp_path: Path) -> None:
    async with laid(tmp_path, wait=timedelta(seconds=30)) as bench:
        codes: list[str] = []

        async def wait() -> None:
            codes.append(await bench.code(POST))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                while not (held := await bench.live()):
                    await anyio.sleep(0.01)
                await bench.vote(held[0].id)

    assert codes == ["ok"]


async def test_a_yes_that_comes_too_late_for_an_answer_is_kept_for_the_next_call(tmp_path: Path) -> None:
    async with laid(tmp_path, wait=timedelta(seconds=30)) as bench:
        found: list[Any] = []

        async def wait() -> None:
            found.append(await bench.call(POST, answer_by=bench.clock.now + timedelta(seconds=1)))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                while not (held := await bench.live()):
                    await anyio.sleep(0.01)
                await bench.vote(held[0].id)

        assert refusal(found[0]).message == "this call is approved and has not run yet"
        assert bench.api.requests == []
        assert await bench.code(POST) == "ok"


@pytest.mark.parametrize(
    ("action", "code"), [("accept", "ok"), ("decline", "approval_denied"), ("cancel", "approval_pending")]
)
async def test_the_callers_human_confirms_by_a_form(tmp_path: Path, action: Any, code: str) -> None:
    async def confirm(ticket: Ticket, seconds: float) -> Any:
        return action

    async with laid(tmp_path, wait=timedelta(seconds=20)) as bench:
        assert await bench.code({"method": "PUT"}, channels=Channels(confirm=confirm)) == code
        assert len(bench.api.requests) == (code == "ok")


@pytest.mark.parametrize(
    ("action", "code"), [("accept", "ok"), ("decline", "approval_denied"), ("cancel", "approval_pending")]
)
async def test_the_callers_human_confirms_in_a_later_request(bench: Bench, action: Any, code: str) -> None:
    first = await bench.call({"method": "PUT"}, channels=Channels(can_require_input=True))
    assert isinstance(first, InputRequired)
    confirmation = Confirmation(approval_id=first.ticket.id, action=action)

    later = Channels(can_require_input=True, confirmation=confirmation)

    assert await bench.code({"method": "PUT"}, channels=later) == code
    assert (
        await bench.code({"method": "PUT", "path": "other"}, channels=Channels(confirmation=confirmation))
        == "approval_pending"
    )


async def test_a_form_never_counts_for_another_group(bench: Bench) -> None:
    held = await asked(bench)
    confirmation = Confirmation(approval_id=held, action="accept")

    assert await bench.code(POST, channels=Channels(confirmation=confirmation)) == "approval_pending"
    assert bench.api.requests == []


async def test_at_most_twenty_approvals_wait_for_one_caller(bench: Bench) -> None:
    for number in range(20):
        await asked(bench, POST | {"path": f"p{number}"})

    assert await bench.code(POST | {"path": "one-more"}) == "limit_exceeded"
    assert await bench.code(POST | {"path": "x"}, caller=bench.caller(subject="bob")) == "approval_pending"


@pytest.mark.requirement("R12", "R42")
@pytest.mark.parametrize(
    ("what", "value"), [("token", "t"), ("subject", "dana"), ("subject", "https://idp.example.com|dana"), ("agent", "approver")]
)  # fmt: skip
async def test_a_yes_of_somebody_who_was_revoked_since_counts_no_more(bench: Bench, what: Any, value: str) -> None:
    held = await asked(bench)
    await bench.vote(held)
    await bench.revocations.revoke(what=what, value=value, by="ops")

    stale = refusal(await bench.call(POST))

    assert stale.code == "approval_stale"
    assert "somebody who approved it was revoked since" in stale.message
    assert bench.api.requests == []


@pytest.mark.requirement("R13")
async def test_a_repeat_that_is_none_does_not_ask_anew_for_what_was_denied(bench: Bench) -> None:
    ran = await bench.call(POST, caller=bench.caller(subject="bob"))
    await bench.vote(refusal(ran).approval.id)  # type: ignore[union-attr]  # it is asked
    ran = await bench.call(POST, caller=bench.caller(subject="bob"))
    await bench.vote(await asked(bench), yes=False)
    unapproved = (await bench.call()).call_id

    for repeat_of in ("", "nowhere", ran.call_id, unapproved):
        found = refusal(await bench.call(POST | {"repeat_of": repeat_of}))
        assert found.code == "invalid_arguments"
        assert found.message == "repeat_of names no approved call of yours that ran with these arguments"
    assert await bench.code(POST) == "approval_denied"
    assert len(await bench.live()) == 0


@pytest.mark.requirement("R13")
async def test_a_repeat_can_be_repeated_and_its_approver_knows_that_it_is_one(bench: Bench) -> None:
    await bench.vote(await asked(bench))
    call_id = (await bench.call(POST)).call_id
    for _ in range(2):
        repeat = POST | {"repeat_of": call_id}
        held = await asked(bench, repeat)
        ticket = await bench.approvals.get(held)
        assert ticket is not None
        assert ticket.shown["once more"] == f"the call {call_id}, which has run already"
        other = POST | {"path": "y", "repeat_of": call_id}
        assert await bench.code(other) == "invalid_arguments"
        await bench.vote(held)
        call_id = (await bench.call(repeat)).call_id

    assert len(bench.api.requests) == 3


@pytest.mark.requirement("R12", "R42")
@pytest.mark.parametrize("meanwhile", ["expires", "revoked", "another caller", "another agent"])
async def test_a_yes_is_no_use_to_who_may_not_call_any_more_when_it_comes(tmp_path: Path, meanwhile: str) -> None:
    async with laid(tmp_path, wait=timedelta(seconds=30)) as bench:
        changed = False

        async def identify() -> Caller:
            if changed and meanwhile == "expires":
                raise IdentityError("token expired")
            if changed and meanwhile == "revoked":
                raise IdentityError("subject is revoked")
            if changed:
                return bench.caller(
                    **{"another caller": {"subject": "bob"}, "another agent": {"actor": "x"}}[meanwhile]
                )
            return bench.caller()

        found: list[Any] = []

        async def call() -> None:
            request = Request(
                door="http", tool="call_api", arguments=POST | {"target": "api", "path": "x"}, identify=identify
            )
            found.append(await bench.road.call(request))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(call)
                while not (held := await bench.live()):
                    await anyio.sleep(0.01)
                changed = True
                await bench.vote(held[0].id)

        assert refusal(found[0]).code == "identity_required"
        assert bench.api.requests == []
        assert await bench.code(POST, caller=bench.caller(token_id="refreshed")) == "ok"


@pytest.mark.requirement("R14")
async def test_an_approval_does_not_run_with_groups_that_its_caller_has_lost(bench: Bench) -> None:
    await bench.vote(await asked(bench))

    assert await bench.code(POST, caller=bench.caller(groups=frozenset({"interns"}))) == "unknown_target"
    assert bench.api.requests == []


@pytest.mark.requirement("R13")
@pytest.mark.parametrize(
    "change",
    [
        {"subject": "Alice"}, {"subject": "\u0430lice"}, {"subject": "alice "}, {"subject": "alice|x"},
        {"issuer": "https://idp.example.com/"}, {"issuer": "https://IDP.example.com"},
        {"issuer": "https://idp.example.com|alice", "subject": "x"}, {"actor": "Agent"}, {"actor": "agent\u200b"},
    ],
)  # fmt: skip
async def test_a_caller_who_looks_like_another_is_another(bench: Bench, change: dict[str, str]) -> None:
    await bench.vote(await asked(bench))

    assert await bench.code(POST, caller=bench.caller(**change)) == "approval_pending"
    assert bench.api.requests == []
