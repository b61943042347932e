from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mcp_gateway.audit.search import PAGE_CALLS, Filters, calls_beginning, search, show
from mcp_gateway.errors import StoreError
from mcp_gateway.events import Answered, Denied
from tests.audit.records import (
    AT,
    decided,
    finished,
    identified,
    loaded,
    opened_store,
    received,
    run_call,
    started,
    tampering,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    """Three calls: one that ran, one of somebody else that was denied, one that nobody could be proved for."""
    async with opened_store(tmp_path / "data") as store:
        await run_call(store, "ran", result=b'{"rows":[["a"]]}')
        await store.append(
            received(
                "denied",
                tool="run_ssh_command",
                target="web1",
                arguments={"command": 'rm -rf "/srv" 100%_ü'},
                at=AT + timedelta(minutes=1),
            ),
            identified("denied", subject="eve", email="Eve@example.com"),
            decided("denied", "ask"),
            decided("denied", "deny"),
            Denied(at=AT, call_id="denied", code="denied"),
            Answered(at=AT, call_id="denied", code="denied"),
        )
        await store.append(
            received("nobody", at=AT + timedelta(minutes=2), reason="curious"),
            Answered(at=AT, call_id="nobody", code="identity_required"),
            loaded(),
        )
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), ["nobody", "denied", "ran"]),
        (Filters(caller="dana"), ["ran"]),
        (Filters(caller="https://idp.example.com|eve"), ["denied"]),
        (Filters(caller="EVE@example.com"), ["denied"]),
        (Filters(caller="agent-1"), ["denied", "ran"]),
        (Filters(caller="https://idp.example.com|dan"), []),
        (Filters(caller="' OR 1=1 --"), []),
        (Filters(tool="run_ssh_command"), ["denied"]),
        (Filters(target="orders"), ["nobody", "ran"]),
        (Filters(decision="allow"), ["ran"]),
        (Filters(decision="ask"), ["denied"]),
        (Filters(code="ok"), ["ran"]),
        (Filters(code="identity_required"), ["nobody"]),
        (Filters(since=AT + timedelta(minutes=1)), ["nobody", "denied"]),
        (Filters(until=AT + timedelta(minutes=1)), ["ran"]),
        (Filters(since=AT + timedelta(minutes=1), until=AT + timedelta(minutes=2)), ["denied"]),
        (Filters(text="CURIOUS"), ["nobody"]),
        (Filters(text='rm -rf "/srv"'), ["denied"]),
        (Filters(text="100%_ü"), ["denied"]),
        (Filters(text="1%0"), []),
        (Filters(text="r_m"), []),
        (Filters(caller="dana", tool="query_database", target="orders", decision="allow", code="ok"), ["ran"]),
        (Filters(caller="dana", target="web1"), []),
    ],
)
async def test_calls_are_found_the_newest_first(data_dir: Path, filters: Filters, expected: list[str]) -> None:
    assert [summary.call_id for summary in search(data_dir, filters=filters)] == expected


async def test_a_text_is_found_however_it_was_written(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(received("c", arguments={"text": "Grüße", "broken": "\ud800"}))

    assert len(search(tmp_path / "data", filters=Filters(text="Grüße"))) == 1


async def test_a_search_is_bounded(data_dir: Path) -> None:
    assert [summary.call_id for summary in search(data_dir, filters=Filters(), limit=2)] == ["nobody", "denied"]


async def test_more_calls_than_a_page_are_found_once_each(tmp_path: Path) -> None:
    count = 2 * PAGE_CALLS + 1
    async with opened_store(tmp_path / "data") as store:
        await store.append(*(received(f"c-{number}") for number in range(count)))

    found = search(tmp_path / "data", filters=Filters(), limit=10_000)
    assert [summary.call_id for summary in found] == [f"c-{number}" for number in reversed(range(count))]


async def test_a_summary_says_what_happened(data_dir: Path) -> None:
    denied, ran = search(data_dir, filters=Filters(caller="agent-1"))

    assert ran.to_json() == {
        "id": "ran",
        "call_id": "ran",
        "at": "2026-11-24T12:00:00.000000+00:00",
        "door": "http",
        "tool": "query_database",
        "target": "orders",
        "begins": "",
        "reason": "",
        "issuer": "https://idp.example.com",
        "subject": "dana",
        "email": "dana@example.com",
        "actor": "agent-1",
        "decisions": ("allow",),
        "would": (),
        "policies": ("p1",),
        "outcome": "Finished",
        "code": "ok",
        "duration": 1.0,
        "rows": 1,
        "masked": {},
    }
    assert (denied.decisions, denied.outcome, denied.code) == (("ask", "deny"), "Denied", "denied")


async def test_a_summary_says_how_the_call_begins(data_dir: Path) -> None:
    assert [call.begins for call in search(data_dir, filters=Filters(tool="run_ssh_command"))] == [
        'rm -rf "/srv" 100%_ü'
    ]


@pytest.mark.parametrize(
    ("beginning", "expected"), [("den", ["denied"]), ("ran", ["ran"]), ("r%", []), ("", []), ("x", []), ("nobodyy", [])]
)
async def test_calls_are_found_by_how_their_id_begins(data_dir: Path, beginning: str, expected: list[str]) -> None:
    assert calls_beginning(data_dir, beginning, limit=10) == expected


@pytest.mark.requirement("R7")
@pytest.mark.parametrize("body", ["not json", "[1]", "{" * 3000, '{"tool": {"a": [1]}, "target": 5, "policies": 1}'])
async def test_a_record_that_cannot_be_read_is_shown_and_stops_nothing(data_dir: Path, body: str) -> None:
    with tampering(data_dir) as connection:
        connection.execute(
            "UPDATE events SET body = ? WHERE call_id = 'ran' AND kind IN ('Received', 'Decided')", (body,)
        )

    found = search(data_dir, filters=Filters())

    assert [summary.call_id for summary in found] == ["nobody", "denied", "ran"]
    assert show(data_dir, call_id="ran") is not None
    if not body.startswith('{"'):
        assert "ran" in [summary.call_id for summary in search(data_dir, filters=Filters(tool="run_ssh_command"))]


@pytest.mark.requirement("R7")
async def test_bytes_that_are_no_text_stop_nothing(data_dir: Path) -> None:
    with tampering(data_dir) as connection:
        connection.execute("UPDATE events SET body = CAST(x'ff7b7dfe' AS TEXT) WHERE call_id = 'ran'")

    assert len(search(data_dir, filters=Filters())) == 3


async def test_a_call_is_shown_with_all_its_events_and_its_result(data_dir: Path) -> None:
    record = show(data_dir, call_id="ran")

    assert record is not None
    assert [event.kind for event in record.events] == [
        "Received",
        "Identified",
        "Decided",
        "Started",
        "Finished",
        "Answered",
    ]
    assert record.result == b'{"rows":[["a"]]}'
    assert record.result_flaw == ""
    assert record.events[3].to_json() == {
        "id": 4,
        "sequence": 4,
        "at": "2026-11-24T12:00:00.000000+00:00",
        "call_id": "ran",
        "kind": "Started",
        "body": {"target": "orders", "tool": "query_database", "instance": "here"},
        "hash": record.events[3].hash,
    }
    assert len(record.events[3].hash) == 64


async def test_a_call_without_a_result_is_shown_without_one(data_dir: Path) -> None:
    record = show(data_dir, call_id="denied")

    assert record is not None
    assert (record.result, record.result_flaw) == (None, "")


async def test_an_unknown_call_is_not_shown(data_dir: Path) -> None:
    assert show(data_dir, call_id="other") is None


@pytest.mark.requirement("R7", "R34")
@pytest.mark.parametrize(
    ("tamper", "flaw"),
    [
        ("UPDATE results SET data = x'00'", "it cannot be decompressed"),
        ("UPDATE results SET size = 1", "its size is not the recorded one"),
        ("DELETE FROM results", "it is missing"),
        (
            "UPDATE results SET data = (SELECT data FROM results WHERE call_id = 'second') WHERE call_id = 'ran'",
            "it is not",
        ),
    ],
)
async def test_a_result_that_is_not_the_recorded_one_is_never_shown(tmp_path: Path, tamper: str, flaw: str) -> None:
    async with opened_store(tmp_path / "data") as store:
        await run_call(store, "ran", result=b'{"rows":[["a"]]}')
        await run_call(store, "second", result=b'{"rows":[["b"]]}')
    with tampering(tmp_path / "data") as connection:
        connection.execute(tamper)

    record = show(tmp_path / "data", call_id="ran")

    assert record is not None
    assert record.result is None
    assert record.result_flaw.startswith(flaw)


async def test_a_store_can_be_searched_while_it_is_written(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data") as store:
        await store.append(received("c"), started("c"))
        assert search(tmp_path / "data", filters=Filters())[0].outcome == ""
        await store.append(finished("c"))
        assert search(tmp_path / "data", filters=Filters())[0].outcome == "Finished"


async def test_there_has_to_be_a_store_to_search(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no audit store"):
        search(tmp_path, filters=Filters())
