from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.admission import Request
from mcp_gateway.approval.holding import Channels, Confirmation, InputRequired
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.audit.store import AuditStore, Transaction
from mcp_gateway.calls import Caller
from mcp_gateway.errors import IdentityError, StoreError
from mcp_gateway.events import Event
from tests.invariants.fixtures import tasks_return, world
from tests.invariants.world import World
from tests.peers.api import answer
from tests.roads import POLICIES, Bench, laid, refusal, result

__all__ = ["tasks_return", "world"]

pytestmark = pytest.mark.anyio

ALLOWED = ["Received", "Identified", "Examined", "Decided", "Started", "Finished", "Answered"]
ASKED = ["Received", "Identified", "Examined", "Decided", "Asked", "Answered"]
POST = {"method": "POST"}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with laid(tmp_path) as found:
        yield found


async def asked(bench: Bench, arguments: dict[str, Any] = POST, **more: Any) -> str:
    """Ask for an approval and give its id."""
    pending = refusal(await bench.call(arguments, **more))
    assert pending.code == "approval_pending"
    assert pending.approval is not None
    return pending.approval.id


async def test_an_allowed_call_leaves_its_whole_list_of_events(bench: Bench) -> None:
    found = await bench.call()

    assert result(found)["text"] == "ok"
    assert await bench.kinds(found.call_id) == ALLOWED


async def test_personal_data_in_an_answer_is_masked(bench: Bench) -> None:
    bench.api.answers = [answer(b"write to ada@example.com")]

    found = result(await bench.call())

    assert "ada@example.com" not in found["text"]
    assert found["masked"] == {"pii.email": 1}


async def test_a_caller_who_is_not_proved_is_refused(bench: Bench) -> None:
    found = await bench.call(caller=IdentityError("token is expired"))

    assert refusal(found).code == "identity_required"
    assert await bench.kinds(found.call_id) == ["Received", "Refused", "Answered"]
    assert bench.api.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": 7}, "path: input should be a valid string"),
        ({"unknown": 1}, "unknown: extra inputs are not permitted"),
        ({"path": "../x"}, "a path holds no . or .. segment"),
        ({"method": "POST", "json": {"n": 2**60}}, "no canonical JSON form"),
        ({"method": "POST", "body": "\ud800"}, "no canonical JSON form"),
        ({"method": "POST", "body": "a", "json": {}}, "call_api: arguments: give at most one of json and body"),
        ({"method": "TRACE"}, "method: input should be 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH' or 'DELETE'"),
    ],
)
async def test_bad_arguments_are_named_and_nothing_runs(bench: Bench, arguments: dict[str, Any], message: str) -> None:
    found = refusal(await bench.call(arguments))

    assert found.code == "invalid_arguments"
    assert message in found.message
    assert bench.api.requests == []


async def test_a_target_that_one_may_not_see_does_not_exist(bench: Bench) -> None:
    stranger = bench.caller(groups=frozenset({"interns"}))

    hidden, missing = refusal(await bench.call(caller=stranger)), refusal(await bench.call({"target": "nowhere"}))

    assert hidden.code == missing.code == "unknown_target"
    assert hidden.message == missing.message.replace("nowhere", "api")


async def test_a_denied_call_never_reaches_the_target(bench: Bench) -> None:
    found = await bench.call({"method": "DELETE"})

    assert refusal(found).message == "policy does not allow this call: nobody deletes"
    assert await bench.kinds(found.call_id) == ["Received", "Identified", "Examined", "Decided", "Denied", "Answered"]
    assert bench.api.requests == []


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


@pytest.mark.requirement("R10")
async def test_a_client_that_goes_away_leaves_the_approval_pending(tmp_path: Path) -> None:
    async with laid(tmp_path, wait=timedelta(minutes=1)) as bench:
        with anyio.move_on_after(0.3):
            await bench.call(POST)
        (held,) = await bench.approvals.listing()

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
                while not (held := await bench.approvals.listing()):
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
                while not (held := await bench.approvals.listing()):
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


@pytest.mark.requirement("R9")
async def test_a_cancelled_call_is_recorded_as_cancelled(bench: Bench) -> None:
    bench.api.stall = True
    with anyio.move_on_after(0.3):
        await bench.call()

    rows = await bench.store.read(lambda connection: connection.execute("SELECT kind FROM events").fetchall())
    assert [row[0] for row in rows][-2:] == ["Cancelled", "Answered"]


async def test_an_error_of_the_target_is_recorded_before_it_is_told(bench: Bench) -> None:
    bench.api.answers = [answer(b"half", length=1000)]

    found = await bench.call()

    assert refusal(found).code == "failed"
    assert await bench.kinds(found.call_id) == [*ALLOWED[:5], "Failed", "Answered"]


class Refusing:
    """A store that refuses one kind of event, and the ones after it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make the transaction refuse, where the real one would meet a full disk."""
        real = Transaction.append

        def append(tx: Transaction, event: Event) -> int:
            if event.kind == self.kind:
                raise StoreError("the disk is full")
            return real(tx, event)

        monkeypatch.setattr(Transaction, "append", append)


@pytest.mark.requirement("I1", "I2", "R4")
@pytest.mark.parametrize("kind", ALLOWED)
async def test_what_cannot_be_recorded_does_not_happen_or_is_not_told(
    bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    world.unfinished = "this store never takes the outcome"
    Refusing(kind).install(monkeypatch)

    found = refusal(await bench.call())

    assert found.code == "audit_unavailable"
    assert len(bench.api.requests) == (kind in {"Finished", "Answered"})
    if kind in {"Finished", "Answered"}:
        assert "withheld" in found.message


@pytest.mark.requirement("I1", "R4")
@pytest.mark.parametrize("kind", ["Asked", "Claimed", "Started"])
async def test_an_approval_that_cannot_be_recorded_is_not_used(
    bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind != "Asked":
        await bench.vote(await asked(bench))
    with monkeypatch.context() as patch:
        Refusing(kind).install(patch)
        assert await bench.code(POST) == "audit_unavailable"

    assert bench.api.requests == []
    assert await bench.code(POST) == ("approval_pending" if kind == "Asked" else "ok")


async def test_a_closed_store_refuses_every_call(bench: Bench, tmp_path: Path) -> None:
    other = await AuditStore.open(tmp_path / "other", clock=bench.clock)
    await other.aclose()
    await bench.store.aclose()

    assert await bench.code() == "audit_unavailable"
    assert bench.api.requests == []


async def test_listing_targets_shows_what_the_caller_may_use(bench: Bench) -> None:
    who = bench.caller()

    assert [item["name"] for item in bench.road.targets_of(who)] == ["api"]
    assert bench.road.tools_of(who) == {"call_api"}
    assert bench.road.targets_of(bench.caller(groups=frozenset())) == []


@pytest.mark.requirement("R42")
@pytest.mark.parametrize(
    ("what", "value"), [("token", "t1"), ("subject", "https://idp.example.com|alice"), ("agent", "agent")]
)
async def test_a_revocation_ends_what_runs_and_gives_nothing_back(bench: Bench, what: Any, value: str) -> None:
    bench.api.stall = True
    found: list[Any] = []

    async def run() -> None:
        found.append(await bench.call())

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            while not bench.api.requests:
                await anyio.sleep(0.01)
            await bench.revocations.revoke(what=what, value=value, by="ops")

    assert refusal(found[0]).code == "cancelled"
    assert refusal(found[0]).message == (
        f"the {what} of this call was revoked while it ran, so it was cancelled at its target and its result is withheld"
    )
    assert await bench.kinds(found[0].call_id) == [*ALLOWED[:5], "Cancelled", "Answered"]


@pytest.mark.requirement("R42")
async def test_what_is_revoked_between_its_token_and_its_start_never_reaches_the_target(bench: Bench) -> None:
    await bench.revocations.revoke(what="token", value="t1", by="ops")

    found = await bench.call()  # Whoever identified this caller did so before the revocation.

    assert refusal(found).code == "cancelled"
    assert bench.api.requests == []


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
    assert len(await bench.approvals.listing()) == 0


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


@pytest.mark.requirement("R14", "R22")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"body": "x" * 1_000_000}, "the arguments hold more than 524,288 bytes of text"),
        ({"body": "\U0001f600" * 140_000}, "the arguments hold more than 524,288 bytes of text"),
        ({"x" * 600_000: 1}, "the arguments hold more than 524,288 bytes of text"),
        ({"json": list(range(100_000))}, "the arguments hold more than 20,000 values"),
        ({"json": [[]] * 40_000}, "the arguments hold more than 20,000 values"),
        ({"unknown": "x" * 1_000_000}, "the arguments hold more than 524,288 bytes of text"),
        (
            {"json": {f"k{number}": number for number in range(100_000)}},
            "the arguments hold more than 524,288 bytes of text",
        ),
        ({f"k{number}": 1 for number in range(100_000)}, "the arguments hold more than 524,288 bytes of text"),
    ],
    ids=lambda value: next(iter(value))[:8] if isinstance(value, dict) else "",
)
async def test_arguments_beyond_what_is_examined_are_refused_and_not_kept(
    bench: Bench, arguments: dict[str, Any], why: str
) -> None:
    found = await bench.call(POST | arguments)

    assert refusal(found).message == why
    assert await bench.kinds(found.call_id) == ["Received", "Identified", "Refused", "Answered"]
    size = await bench.store.read(
        lambda connection: connection.execute("SELECT sum(length(body)) FROM events").fetchone()
    )
    assert size[0] < 5_000
    assert await bench.code(POST | {"body": "x" * 500_000}) == "approval_pending"


async def test_deep_arguments_end_in_a_refusal(bench: Bench) -> None:
    deep: Any = "x"
    for _ in range(20_000):
        deep = [deep]

    assert await bench.code(POST | {"json": deep}) in {"invalid_arguments", "internal"}
    assert bench.api.requests == []


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
                while not (held := await bench.approvals.listing()):
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


async def stalled(bench: Bench, count: int, group: Any, **arguments: Any) -> None:
    """Have so many calls of Alice's run on the target without an end; those behind them wait."""
    bench.api.stall = True
    before = len(bench.api.requests)
    for _ in range(count):
        group.start_soon(bench.call, arguments)
    with anyio.fail_after(10):
        while len(bench.api.requests) < before + count:
            await anyio.sleep(0.005)
    bench.api.stall = False


async def queued(bench: Bench, count: int) -> None:
    """Wait until so many calls hold a turn on the target or wait for one."""
    with anyio.fail_after(10):
        while sum(lane.users for lane in bench.road._turns["api"]._lanes.values()) < count:
            await anyio.sleep(0.005)


async def test_a_caller_that_fills_a_target_waits_behind_itself_alone(tmp_path: Path) -> None:
    async with laid(tmp_path, max_calls=4) as bench, anyio.create_task_group() as group:
        await stalled(bench, 3, group)
        for _ in range(5):
            group.start_soon(bench.call)
        await queued(bench, 8)

        assert await bench.code(caller=bench.caller(subject="bob")) == "ok"
        assert len(bench.api.requests) == 4
        group.cancel_scope.cancel()


async def test_a_call_that_gets_no_turn_on_its_target_has_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.pipeline.QUEUE_SECONDS", 0.05)
    async with laid(tmp_path, max_calls=1) as bench, anyio.create_task_group() as group:
        approved = await asked(bench)
        await bench.vote(approved)
        await stalled(bench, 1, group)

        busy = await bench.call(POST)

        assert refusal(busy).code == "limit_exceeded"
        assert refusal(busy).message == "the target 'api' is busy with as many calls as may run on it at once"
        assert "Started" not in await bench.kinds(busy.call_id)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            while await bench.code(POST) == "limit_exceeded":
                await anyio.sleep(0.01)
            assert await bench.code(POST) == "already_run"


@pytest.mark.requirement("I3")
async def test_a_token_that_is_revoked_while_a_call_waits_for_its_turn_counts(tmp_path: Path) -> None:
    revoked = False
    async with laid(tmp_path, max_calls=1) as road, anyio.create_task_group() as group:
        codes: list[str] = []

        async def identify() -> Caller:
            if revoked:
                raise IdentityError("revoked")
            return road.caller()

        async def call() -> None:
            found = await road.road.call(
                Request(door="http", tool="call_api", arguments={"target": "api", "path": "y"}, identify=identify)
            )
            assert not isinstance(found, InputRequired)
            codes.append(found.code)

        async with anyio.create_task_group() as first:
            await stalled(road, 1, first)
            group.start_soon(call)
            await queued(road, 2)
            revoked = True
            first.cancel_scope.cancel()
        with anyio.fail_after(10):
            while not codes:
                await anyio.sleep(0.005)

        assert codes == ["identity_required"]
        assert len(road.api.requests) == 1


async def test_a_policy_that_changes_while_a_call_waits_for_its_turn_counts(tmp_path: Path) -> None:
    async with laid(tmp_path, max_calls=1) as bench, anyio.create_task_group() as group:
        codes: list[str] = []

        async def call() -> None:
            codes.append(await bench.code())

        async with anyio.create_task_group() as first:
            await stalled(bench, 1, first)
            group.start_soon(call)
            await queued(bench, 2)
            bench.load('@id("none") permit (principal == Caller::"x", action == Action::"call_api", resource);')
            first.cancel_scope.cancel()
        with anyio.fail_after(10):
            while not codes:
                await anyio.sleep(0.005)

        assert codes == ["denied"]
