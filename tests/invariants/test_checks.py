"""Each invariant's check, fed a world that keeps it and worlds that violate it."""

from __future__ import annotations

import base64
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.audit.store import AuditStore
from mcp_gateway.clock import utc_now
from mcp_gateway.events import GatewayStarted
from tests.invariants import checks
from tests.invariants.checks import CHECKS, Judged
from tests.invariants.world import Effect, Row, Store, Told, World, start_time

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CALL = "0199c0de-0000-7000-8000-000000000001"
OTHER = "0199c0de-0000-7000-8000-000000000002"
SQL = "DELETE FROM orders"
ALLOWED = (
    ("Received", {"tool": "query_database", "target": "orders", "arguments": {"sql": SQL}}),
    ("Identified", {"issuer": "https://idp", "subject": "alex"}),
    ("Examined", {"digest": "d1"}),
    ("Decided", {"decision": "allow", "error": None}),
    ("Started", {"target": "orders"}),
    ("Finished", {"result_hash": "h"}),
    ("Answered", {"code": "ok"}),
)
APPROVED = (
    *ALLOWED[:3],
    ("Decided", {"decision": "ask", "error": None}),
    ("Asked", {"approval_id": "a1", "digest": "d1"}),
    ("Approved", {"approval_id": "a1", "approver": "https://idp|dana", "groups": ["dba"], "complete": True}),
    ("Decided", {"decision": "allow", "error": None}),
    ("Claimed", {"approval_id": "a1"}),
    *ALLOWED[4:],
)
Events = tuple[tuple[str, dict[str, Any]], ...]


def rows(events: Events, *, call_id: str = CALL, first: int = 1) -> tuple[Row, ...]:
    return tuple(
        Row(
            sequence=first + number,
            at=(NOW + timedelta(milliseconds=first + number)).isoformat(),
            call_id=call_id,
            kind=kind,
            body=body,
        )
        for number, (kind, body) in enumerate(events)
    )


def judged(events: Events, *more: Row, effects: tuple[Effect, ...] = (), **world: Any) -> Judged:
    store = Store(data_dir=Path("/nowhere"), rows=(*rows(events), *more), results={CALL: b'{"rows":[]}'})
    return Judged(world=World(**world), stores=(store,), effects=effects)


def effect(**changes: Any) -> Effect:
    values: dict[str, Any] = {"target": "orders", "what": SQL, "at": NOW + timedelta(seconds=1), "call_id": CALL}
    return Effect(**values | changes)


def told(**changes: Any) -> Told:
    values: dict[str, Any] = {"content": {"rows": []}, "is_error": False, "code": "ok", "call_id": CALL}
    return Told(**{"recorded": "ok", "result": b'{"rows":[]}'} | values | changes)


def without(events: Events, *kinds: str) -> Events:
    return tuple(event for event in events if event[0] not in kinds)


def changed(events: Events, kind: str, **body: Any) -> Events:
    return tuple((name, values | body if name == kind else values) for name, values in events)


PURE = [name for name in CHECKS if name not in {"I6", "I8"}]


@pytest.mark.parametrize("name", PURE)
@pytest.mark.parametrize("events", [ALLOWED, APPROVED])
def test_a_good_world_violates_nothing(name: str, events: Events) -> None:
    good = judged(events, effects=(effect(),), told=[told()], canaries={"secret": b"canary-value"})
    assert list(CHECKS[name](good)) == []


@pytest.mark.requirement("I1")
@pytest.mark.parametrize(
    ("events", "effects"),
    [
        pytest.param(without(ALLOWED, "Started"), (effect(),), id="no intent"),
        pytest.param(ALLOWED, (effect(call_id=OTHER),), id="an intent of another call"),
        pytest.param(ALLOWED, (effect(target="other"),), id="an intent on another target"),
        pytest.param(ALLOWED, (effect(at=NOW),), id="the intent came later"),
        pytest.param(ALLOWED, (effect(call_id=None, intents=frozenset()),), id="the intent was not durable yet"),
        pytest.param(ALLOWED, (effect(call_id=None), effect(call_id=None)), id="two effects, one intent"),
        pytest.param(ALLOWED, (effect(kills=True, call_id=None),), id="a second session of a call that finished"),
        pytest.param(ALLOWED, (effect(own=True, call_id=None),), id="a look of its own that is not recorded"),
    ],
)
def test_i1_finds(events: Events, effects: tuple[Effect, ...]) -> None:
    assert list(checks.check_i1(judged(events, effects=effects)))


@pytest.mark.requirement("I1")
def test_i1_lets_a_call_that_did_not_finish_be_killed() -> None:
    killed = (*without(ALLOWED, "Finished", "Answered"), ("Cancelled", {}), ("Answered", {"code": "cancelled"}))
    effects = (effect(call_id=None), effect(call_id=None, kills=True))
    assert not list(checks.check_i1(judged(killed, effects=effects)))
    assert list(checks.check_i1(judged(killed, effects=(*effects, effects[1]))))


@pytest.mark.requirement("I2")
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(told(recorded=None), id="not durable when it arrived"),
        pytest.param(told(recorded="failed"), id="another code"),
        pytest.param(told(content={"rows": [[1]]}), id="another result"),
        pytest.param(told(code="audit_unavailable", content={"error": {}, "rows": []}), id="told without a record"),
    ],
)
def test_i2_finds(answer: Told) -> None:
    assert list(checks.check_i2(judged(ALLOWED, told=[answer])))


@pytest.mark.requirement("I2")
def test_i2_finds_a_result_that_is_gone() -> None:
    world = judged(ALLOWED)
    assert list(checks.check_i2(replace(world, stores=(replace(world.stores[0], results={}),))))


@pytest.mark.requirement("I3")
@pytest.mark.parametrize(
    "events",
    [
        pytest.param(without(ALLOWED, "Finished"), id="no outcome"),
        pytest.param((*ALLOWED, ("Failed", {})), id="two outcomes"),
        pytest.param((*ALLOWED, ("Started", {"target": "orders"})), id="started twice"),
        pytest.param((("Finished", {}), *without(ALLOWED, "Finished")), id="an outcome before its intent"),
    ],
)
def test_i3_finds(events: Events) -> None:
    assert list(checks.check_i3(judged(events)))


@pytest.mark.requirement("I3")
def test_i3_finds_an_intent_that_dangles() -> None:
    world = judged(ALLOWED)
    assert list(checks.check_i3(replace(world, stores=(replace(world.stores[0], open_intents=frozenset({CALL})),))))


@pytest.mark.requirement("I4")
@pytest.mark.parametrize(
    "events",
    [
        pytest.param(without(APPROVED, "Claimed"), id="asked, and started without a claim"),
        pytest.param(without(APPROVED, "Asked"), id="never asked"),
        pytest.param(without(APPROVED, "Approved"), id="never approved"),
        pytest.param(changed(APPROVED, "Approved", complete=False), id="not by all"),
        pytest.param(changed(APPROVED, "Asked", digest="d2"), id="of another call"),
        pytest.param(changed(APPROVED, "Approved", approver="https://idp|alex"), id="by its own caller"),
        pytest.param(
            (*APPROVED[:6], ("ApprovalDenied", {"approval_id": "a1"}), *APPROVED[6:]), id="denied before the claim"
        ),
        pytest.param(
            (*APPROVED[:6], ("ApprovalExpired", {"approval_id": "a1"}), *APPROVED[6:]), id="expired before the claim"
        ),
    ],
)
def test_i4_finds(events: Events) -> None:
    assert list(checks.check_i4(judged(events)))


@pytest.mark.requirement("I4")
def test_i4_finds_a_second_claim() -> None:
    again = rows(without(APPROVED, "Asked", "Approved"), call_id=OTHER, first=50)
    assert list(checks.check_i4(judged(APPROVED, *again)))


@pytest.mark.requirement("I4")
@pytest.mark.parametrize(
    "effects", [pytest.param((effect(), effect()), id="ran twice"), pytest.param((effect(what="x"),), id="other text")]
)
def test_i4_finds_what_the_target_saw(effects: tuple[Effect, ...]) -> None:
    assert list(checks.check_i4(judged(APPROVED, effects=effects)))


CANARY = b"canary-of-a-secret?value"


LEAKS = (
    CANARY,
    CANARY.upper(),
    CANARY[::-1],
    CANARY.hex().encode(),
    b"canary-of-a-secret%3Fvalue",
    *(base64.b64encode(b"x" * number + CANARY + b"and more") for number in range(3)),
    *(base64.urlsafe_b64encode(b"x" * number + CANARY) for number in range(3)),
    CANARY.decode().encode("utf-16-le"),
)
PLACES = ("left", "file", "result", "event")


@pytest.mark.requirement("I5")
@pytest.mark.parametrize(
    ("leak", "place"),
    # An event is JSON, in which NUL is escaped.
    [(leak, place) for leak in LEAKS for place in PLACES if place != "event" or b"\0" not in leak],
)
def test_i5_finds_a_canary(tmp_path: Path, leak: bytes, place: str) -> None:
    world = judged(ALLOWED, canaries={"secret": CANARY}, folders=[tmp_path])
    (tmp_path / "temporary").write_bytes(b"before " + (leak if place == "file" else b"") + b" after")
    if place == "left":
        world.world.add_log("answers", b"before " + leak)
    if place == "result":
        world = replace(world, stores=(replace(world.stores[0], results={CALL: leak}),))
    if place == "event":
        failed = rows((("Failed", {"cause": leak.decode("latin-1")}),), first=90)
        world = judged(ALLOWED, *failed, canaries={"secret": CANARY}, folders=[tmp_path])

    assert list(checks.check_i5(world))


@pytest.mark.requirement("I5")
def test_i5_finds_a_canary_on_a_command_line_and_in_an_environment() -> None:
    for where in ("command", "environment"):
        program = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
        program += [CANARY.decode()] if where == "command" else []
        more = {"LEAKED": CANARY.decode()} if where == "environment" else {}
        child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | more)
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            world = World(canaries={"secret": CANARY})
            world.look()
            child.communicate()
        found = list(checks.check_i5(Judged(world=world, stores=(), effects=())))
        place = {"command": "command line", "environment": "environment"}[where]
        assert f"secret is in the clear in {place} of process {child.pid}" in found


@pytest.mark.requirement("I5")
def test_a_canary_may_be_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "credential").write_bytes(CANARY)
    world = World(canaries={"secret": CANARY}, folders=[tmp_path], sources={tmp_path / "credential"})
    assert list(checks.check_i5(Judged(world=world, stores=(), effects=()))) == []


@pytest.mark.anyio
@pytest.mark.requirement("I6")
async def test_i6_finds_an_edited_event(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    store = await AuditStore.open(tmp_path, clock=utc_now)
    await store.append(GatewayStarted(at=utc_now(), instance="i", version="1", doors=("http",)))
    await store.aclose()
    world = Judged(world=World(), stores=(Store(data_dir=tmp_path),), effects=())
    assert list(checks.check_i6(world)) == []

    connection = sqlite3.connect(tmp_path / "audit.db")
    connection.execute("DROP TRIGGER events_stay")
    connection.execute("UPDATE events SET body = replace(body, 'http', 'sshd')")
    connection.commit()
    connection.close()
    assert list(checks.check_i6(world))


@pytest.mark.requirement("I7")
@pytest.mark.parametrize(
    "events",
    [
        pytest.param(without(ALLOWED, "Decided"), id="started undecided"),
        pytest.param(changed(ALLOWED, "Decided", decision="deny"), id="started when denied"),
        pytest.param(changed(ALLOWED, "Decided", error="policy p"), id="started on an error"),
        pytest.param((*ALLOWED, ("Refused", {"code": "internal", "cause": ""})), id="started and refused"),
        pytest.param(without(ALLOWED, "Finished"), id="ok without an outcome"),
        pytest.param(changed(ALLOWED, "Answered", code="failed"), id="finished and answered otherwise"),
        pytest.param(
            (ALLOWED[0], ("Refused", {"code": "internal", "cause": "KeyError"}), ("Answered", {"code": "internal"})),
            id="trouble that nobody provoked",
        ),
    ],
)
def test_i7_finds(events: Events) -> None:
    assert list(checks.check_i7(judged(events)))


@pytest.mark.requirement("I7")
def test_i7_finds_a_refusal_that_looks_like_a_result() -> None:
    assert list(checks.check_i7(judged(ALLOWED, told=[told(code="denied", recorded="denied")])))


class Leaky:
    """A target that still has a session."""

    def effects(self) -> list[Effect]:
        return []

    def left_open(self) -> list[str]:
        return ["1 session"]


@pytest.mark.requirement("I8")
def test_i8_finds_a_session_and_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LEFT_OPEN_SECONDS", 0.1)
    world = World(witnesses=[Leaky()], processes={os.getpid(): start_time(os.getpid())})
    assert len(list(checks.check_i8(Judged(world=world, stores=(), effects=())))) == 2
