"""Who decided about a call is found from each of the two calls, along the chain alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_gateway.audit import consents as module
from mcp_gateway.audit.consents import Consent
from mcp_gateway.audit.search import show
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.events import ApprovalDenied, ApprovalExpired, Approved, Asked, Claimed, Event
from tests.audit.records import AT, decided, finished, loaded, opened_store, received, started, tampering

pytestmark = pytest.mark.anyio

DANA = "https://idp.example.com|dana"


def asked(call_id: str, approval_id: str = "a-1") -> Asked:
    return Asked(at=AT, call_id=call_id, approval_id=approval_id, digest="d", requirements={"dba": 1}, deadline=AT)


def approved(call_id: str, approval_id: str = "a-1", *, complete: bool = True) -> Approved:
    return Approved(
        at=AT,
        call_id=call_id,
        approval_id=approval_id,
        approver=DANA,
        approver_email="dana@example.com",
        groups=frozenset({"dba"}),
        channel="api",
        note="as discussed",
        complete=complete,
    )


def denied(call_id: str) -> ApprovalDenied:
    return ApprovalDenied(
        at=AT,
        call_id=call_id,
        approval_id="a-1",
        approver=DANA,
        approver_email=None,
        groups=frozenset({"dba"}),
        channel="api",
    )


async def ask(store: AuditStore, *decisions: Event) -> None:
    await store.append(received("asks"), decided("asks", "ask"), asked("asks"), *decisions)


async def run(store: AuditStore, call_id: str = "runs", *, asked_by: str = "asks") -> None:
    claimed = Claimed(at=AT, call_id=call_id, approval_id="a-1", asked_by=asked_by)
    await store.append(received(call_id), decided(call_id), claimed, started(call_id), finished(call_id))


def found(data_dir: Path, call_id: str) -> tuple[Consent, ...]:
    record = show(data_dir, call_id=call_id)
    assert record is not None
    return record.consents


async def test_a_call_that_ran_names_who_approved_and_a_call_that_asked_what_ran(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await ask(store, approved("asks", complete=False), approved("asks"))
        await store.append(*(loaded(number) for number in range(5)))
        await run(store)

    (of_asking,), (of_running,) = found(tmp_path / "data", "asks"), found(tmp_path / "data", "runs")

    assert of_running == of_asking
    assert (of_running.approval_id, of_running.asked_by, of_running.used_by) == ("a-1", "asks", "runs")
    assert [event.body["approver"] for event in of_running.decisions] == [DANA, DANA]


async def test_one_call_that_waited_has_both_itself(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await ask(store, approved("asks"))
        await run(store, "asks")

    (consent,) = found(tmp_path / "data", "asks")

    assert (consent.asked_by, consent.used_by, len(consent.decisions)) == ("asks", "asks", 1)


async def test_the_way_back_is_gone_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    async with opened_store(tmp_path / "data") as store:
        await ask(store, approved("asks"))
        await store.append(*(loaded(number) for number in range(7)))
        await run(store)

    assert found(tmp_path / "data", "asks")[0].used_by == "runs"


async def test_what_was_not_approved_was_used_by_nothing(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await ask(store, denied("asks"))
        await run(store, asked_by="another")

    (consent,) = found(tmp_path / "data", "asks")

    assert [event.kind for event in consent.decisions] == ["ApprovalDenied"]
    assert consent.used_by == ""


async def test_an_approval_that_nobody_used_in_time_says_so(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await ask(
            store, approved("asks"), ApprovalExpired(at=AT, call_id="asks", approval_id="a-1", was="approved", cause="")
        )

    (consent,) = found(tmp_path / "data", "asks")

    assert [event.kind for event in consent.decisions] == ["Approved", "ApprovalExpired"]
    assert consent.used_by == ""


async def test_decisions_of_another_approval_of_the_call_are_not_taken_for_its_own(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await ask(store, approved("asks", "a-2"))
        await run(store)

    assert found(tmp_path / "data", "runs")[0].decisions == ()


@pytest.mark.requirement("R7")
@pytest.mark.parametrize(
    "body", ["no json", '{"approval_id": {"a": 1}}', '{"approval_id": "a-1", "asked_by": 5}', "{}"]
)
async def test_a_record_that_was_changed_is_shown_and_names_nobody(tmp_path: Path, body: str) -> None:
    async with opened_store(tmp_path / "data") as store:
        await ask(store, approved("asks"))
        await run(store)
    with tampering(tmp_path / "data") as connection:
        connection.execute("UPDATE events SET body = ? WHERE kind = 'Claimed'", (body,))

    assert [consent.decisions for consent in found(tmp_path / "data", "runs")] in ([], [()])
    assert len(found(tmp_path / "data", "asks")) == 1
