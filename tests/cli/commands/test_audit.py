"""`audit` finds, shows and verifies what was recorded, and records who looked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from mcp_gateway.events import Claimed, Examined
from tests.audit.records import AT, kinds, opened_store, received, run_call, started, tampering
from tests.audit.test_consents import approved, asked
from tests.cli.running import SCRIPT, Ran, run_here, run_on_a_terminal, write_config

CALL = "0199c0de-0000-7000-8000-000000000001"
OTHER = "0199c0de-0000-7000-8000-000000000002"
HOSTILE = '{"rows":[["\u202e\x1b[2J"]]}'.encode()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration and a store that holds two calls."""

    async def fill() -> None:
        async with opened_store(tmp_path / "data") as store:
            await run_call(store, CALL, result=HOSTILE)
            await run_call(store, OTHER)

    anyio.run(fill)
    return write_config(tmp_path, '[identity]\nissuer = "local"\n')


Audit = Callable[..., Ran]


@pytest.fixture
def audit(config: Path, capsys: pytest.CaptureFixture[str]) -> Audit:
    """`mcp-gateway audit` on that store."""
    return lambda *arguments: run_here(capsys, "--config", str(config), "audit", *arguments)


def test_calls_are_searched_and_the_search_is_recorded(config: Path, audit: Audit) -> None:
    before = kinds(config.parent / "data")

    ran = audit("search", "--target", "orders", "--caller", "dana@example.com", "--limit", "1", "--json")

    assert (ran.status, ran.err) == (0, "")
    assert [(call["id"], call["code"]) for call in ran.json] == [(OTHER, "ok")]
    assert kinds(config.parent / "data") == [*before, "RecordViewed"]


def test_calls_are_listed_for_people(config: Path, audit: Audit) -> None:
    ran = audit("search")

    assert ran.out.splitlines()[:2] == [
        f"{OTHER}  2026-11-24 12:00:00  ok",
        "    dana@example.com, through agent-1; query_database on orders: allow",
    ]
    assert max(map(len, ran.out.splitlines())) <= 80


def test_no_call_is_a_sentence(config: Path, audit: Audit) -> None:
    assert audit("search", "--code", "denied", "--since", "2026-01-01").out == "no call fits\n"


@pytest.mark.parametrize("option", ["--since", "--until"])
@pytest.mark.parametrize("value", ["yesterday", "5x", "2026-13-01", "99999999d"])
def test_a_time_that_is_none_is_misuse(
    config: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    ran = run_here(capsys, "--config", str(config), "audit", "search", option, value)

    assert ran.status == 2
    assert ran.err.endswith(
        f"Error: Invalid value for {option}: "
        f"expected a time such as 2026-01-31T12:00:00Z, 2026-01-31 or 2h, got {value!r}\n"
    )


def test_a_call_is_shown_with_its_events_and_its_result(config: Path, audit: Audit) -> None:
    ran = audit("show", CALL, "--json")

    found = ran.json
    assert (ran.status, found["id"], found["result_flaw"]) == (0, CALL, "")
    assert [event["kind"] for event in found["events"]] == [
        "Received", "Identified", "Decided", "Started", "Finished", "Answered",
    ]  # fmt: skip
    assert found["result"].encode() == HOSTILE


@pytest.mark.requirement("R37")
def test_what_is_shown_of_a_call_acts_on_no_terminal(config: Path, audit: Audit) -> None:
    ran = audit("show", CALL)

    assert "    target  orders\n" in ran.out
    assert '{"rows":[["<U+202E><U+001B>[2J"]]}' in ran.out
    assert "\x1b" not in ran.out
    assert "\u202e" not in ran.out


def test_numbers_of_a_call_have_their_units_and_say_something(config: Path, audit: Audit) -> None:
    shown = [line.split() for line in audit("show", CALL).out.splitlines()]

    assert ["duration", "1.0", "s"] in shown
    assert ["size", "0", "bytes"] in shown
    assert not [line for line in shown if line[0] == "said"]


def test_a_call_that_there_is_not_is_a_no(config: Path, audit: Audit) -> None:
    ran, as_json = audit("show", "nowhere"), audit("show", "nowhere", "--json")

    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "mcp-gateway: there is no call 'nowhere'; `mcp-gateway audit search` lists them\n"
    assert (as_json.status, as_json.err) == (1, "")
    assert as_json.json == {"error": ran.err.removeprefix("mcp-gateway: ").rstrip(), "problems": []}


def test_a_decision_that_there_is_not_is_misuse(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--config", str(config), "audit", "search", "--decision", "maybe")

    assert ran.status == 2
    assert ran.err.endswith("Error: Invalid value for --decision: expected allow, ask, deny, got 'maybe'\n")


def test_a_store_that_is_whole_is_verified(config: Path, audit: Audit) -> None:
    ran = audit("verify")

    assert (ran.status, ran.err) == (0, "")
    first, second, third = ran.out.splitlines()
    assert first == "12 events and 2 results are as they were recorded"
    assert second.startswith("head 12:")
    assert third == "keep the head elsewhere, for `audit verify --expect` later"
    assert max(map(len, ran.out.splitlines())) <= 80


@pytest.mark.requirement("R7")
def test_a_store_that_was_changed_is_a_no(config: Path, audit: Audit) -> None:
    with tampering(config.parent / "data") as connection:
        connection.execute("UPDATE events SET body = replace(body, 'dana', 'erin') WHERE sequence = 2")

    ran = audit("verify")

    assert ran.status == 1
    assert ran.out.startswith("NOT as it was recorded: event 2 ")
    assert json.loads(audit("verify", "--json").out)["flaw"]["sequence"] == 2


@pytest.mark.requirement("R7")
def test_a_head_that_was_kept_shows_a_store_that_was_cut(config: Path, audit: Audit) -> None:
    head = audit("verify").out.splitlines()[1].split()[1].rstrip(";")
    assert audit("verify", "--expect", head).status == 0

    with tampering(config.parent / "data") as connection:
        connection.execute("DELETE FROM results WHERE call_id = ?", (OTHER,))
        connection.execute("DELETE FROM events WHERE call_id = ?", (OTHER,))
    ran = audit("verify", "--expect", head)

    assert ran.status == 1
    assert "event 7 is missing" in ran.out


def test_a_head_that_is_none_is_misuse(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--config", str(config), "audit", "verify", "--expect", "12")

    assert ran.status == 2
    assert ran.err.endswith(
        "Error: Invalid value for --expect: expected SEQUENCE:HASH, as verify prints it, got '12'\n"
    )


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        (1, ["event 1 is not the one that a head kept elsewhere knows", "no event before it fits"]),
        (3, ["event 3 is not the one that a head kept elsewhere knows", "up to event 2 the chain fits"]),
        (99, ["event 13 is missing: a head kept elsewhere is of 99 events", "up to event 12 the chain fits"]),
    ],
)
def test_how_far_the_chain_fits_is_said(audit: Audit, sequence: int, said: list[str]) -> None:
    ran = audit("verify", "--expect", f"{sequence}:{'0' * 64}")

    assert ran.status == 1
    assert ran.out.splitlines() == [f"NOT as it was recorded: {said[0]}", said[1]]


def test_what_is_wrong_in_no_event_is_the_stores(config: Path, audit: Audit) -> None:
    with tampering(config.parent / "data") as connection:
        connection.execute("INSERT INTO results (call_id, size, data) SELECT 'stray', size, data FROM results LIMIT 1")
    ran = audit("verify")

    assert ran.status == 1
    assert ran.out.splitlines() == [
        "NOT as it was recorded: the store holds a result of call 'stray' that no event names",
        "the chain of 12 events fits",
    ]


@pytest.mark.parametrize("command", [("search",), ("show", CALL), ("verify",)])
def test_without_a_store_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    config = write_config(tmp_path, '[identity]\nissuer = "local"\n')

    ran = run_here(capsys, "--config", str(config), "audit", *command)

    assert (ran.status, ran.out) == (3, "")
    assert ran.err == (
        f"mcp-gateway: there is no audit store in {str(tmp_path / 'data')!r}; "
        "nothing was recorded yet, or data_dir is wrong\n"
    )
    assert not (tmp_path / "data").exists()


def test_a_store_that_takes_no_more_records_can_still_be_read(config: Path, audit: Audit) -> None:
    data = config.parent / "data"
    (data / "audit.lock").write_text("of another store")

    ran = audit("search")

    assert ran.status == 0
    assert CALL in ran.out
    assert ran.err.startswith("mcp-gateway: warning: this look could not be recorded: ")


ASKS = "0299c0de-0000-7000-8000-000000000001"
RUNS = "0299c0de-0000-7000-8000-000000000002"


@pytest.fixture
def two_calls(config: Path) -> None:
    """One call that asked, and the one that ran by the answer, which holds what is hostile to a terminal."""

    async def fill() -> None:
        async with opened_store(config.parent / "data") as store:
            facts = {"read_only": False, "writes": ["public.orders"], "reads": [], "estimated_rows": -1}
            for call_id in (ASKS, RUNS):
                await store.append(
                    received(call_id, arguments={"sql": "DELETE FROM orders\n  WHERE id = 7", "params": [None, "a, b"]})
                )
            examined = Examined(at=AT, call_id=ASKS, digest="d" * 64, facts=facts, environment="e" * 64)
            await store.append(examined, examined, asked(ASKS), replace(approved(ASKS), note="fine\x1b[2J\nby  eve"))
            await store.append(Claimed(at=AT, call_id=RUNS, approval_id="a-1", asked_by=ASKS), started(RUNS))

    anyio.run(fill)


def test_a_call_that_ran_says_who_approved_it_and_where_that_is(two_calls: None, audit: Audit) -> None:
    of_running, of_asking = audit("show", RUNS), audit("show", ASKS)

    approver = "by dana@example.com (https://idp.example.com|dana) for dba at 2026-11-24 12:00:00 UTC by way of api"
    assert f"approval a-1\n    asked by  call {ASKS}\n    approved  {approver}: fine<U+001B>[2J\n" in of_running.out
    assert "              by  eve\n" in of_running.out
    assert "    used by   this call\n    see       mcp-gateway approvals show a-1\n" in of_running.out
    assert f"    used by   call {RUNS}\n" in of_asking.out
    assert "\x1b" not in of_running.out
    (approval,) = audit("show", RUNS, "--json").json["approvals"]
    assert (approval["id"], approval["asked_by"], approval["used_by"]) == ("a-1", ASKS, RUNS)
    assert approval["decisions"][0]["body"]["approver_email"] == "dana@example.com"


def test_facts_are_shown_in_words_and_once(two_calls: None, audit: Audit) -> None:
    out = audit("show", ASKS).out

    assert "      read only  no\n      writes     public.orders\n" in out
    assert "    facts        as in event 15\n" in out
    assert "estimated rows" not in out
    assert '      params   [null, "a, b"]\n' in out


def test_the_beginning_of_an_id_is_enough_where_one_call_has_it(two_calls: None, audit: Audit) -> None:
    assert audit("show", "0199c0de-0000-7000-8000-000000000002", "--json").json["id"] == OTHER
    assert audit("show", ASKS[:-1]).status == 1

    ran = audit("show", "02")

    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"mcp-gateway: several calls begin with '02': {ASKS}, {RUNS}; give more of the id\n"
    assert audit("show", "02", "--json").json["error"].startswith("several calls begin with '02': ")


def test_a_single_call_is_found_by_its_beginning(config: Path, audit: Audit) -> None:
    with tampering(config.parent / "data") as connection:
        connection.execute("UPDATE events SET call_id = '55' || call_id WHERE call_id = ?", (OTHER,))

    ran = audit("show", "55", "--json")

    assert (ran.status, ran.json["id"]) == (0, f"55{OTHER}")


def test_a_list_of_calls_says_how_each_begins(two_calls: None, audit: Audit) -> None:
    lines = audit("search", "--text", "DELETE").out.splitlines()

    assert lines[:3] == [
        f"{RUNS}  2026-11-24 12:00:00  not answered",
        "    caller not proved, over http; query_database on orders",
        "    DELETE FROM orders WHERE id = 7",
    ]


def test_a_code_that_there_is_not_is_misuse(audit: Audit) -> None:
    ran = audit("search", "--code", "foo")

    assert ran.status == 2
    assert "Error: Invalid value for --code: expected ok, invalid_arguments, " in ran.err
    assert ran.err.endswith(" got 'foo'\n")


def test_hashes_and_results_stay_whole_on_a_terminal(two_calls: None, config: Path) -> None:
    shown = run_on_a_terminal(SCRIPT, "--config", config, "audit", "show", ASKS).out.splitlines()
    result = run_on_a_terminal(SCRIPT, "--config", config, "audit", "show", OTHER).out
    hostile = run_on_a_terminal(SCRIPT, "--config", config, "audit", "show", CALL).out

    assert f"        {'e' * 64}" in shown
    assert max(map(len, shown)) <= 80
    assert 'result, masked\r\n      {\r\n        "rows": []\r\n      }\r\n' in result
    assert '{"rows":[["<U+202E><U+001B>[2J"]]}' in hostile


def test_verifying_does_not_advise_to_verify(config: Path, audit: Audit) -> None:
    (config.parent / "data" / "audit.db").write_bytes(b"no database" * 1000)

    ran = audit("verify")

    assert ran.status == 3
    assert ran.err.endswith("(SQLITE_NOTADB); keep the files as evidence, and restore the store from a copy\n")


def test_a_folder_of_another_mode_is_still_read_with_a_warning(config: Path, audit: Audit) -> None:
    (config.parent / "data").chmod(0o755)

    ran = audit("search")

    assert ran.status == 0
    assert CALL in ran.out
    assert "warning: this look could not be recorded: " in ran.err
    assert "has the mode 0755, expected 0700" in ran.err


@pytest.mark.requirement("R37")
@pytest.mark.parametrize("name", ["x" * 41, "a b", "facts:", "", "\u202e", "a\nb"])
def test_a_name_that_an_agent_chose_stands_where_names_do_only_if_it_is_plain(
    config: Path, audit: Audit, name: str
) -> None:
    async def fill() -> None:
        async with opened_store(config.parent / "data") as store:
            await store.append(received(ASKS, arguments={name: "1", "sql": "2"}))

    anyio.run(fill)

    lines = audit("show", ASKS).out.splitlines()

    assert [line for line in lines if line.startswith("      ")] == []
    assert [line for line in lines if line.startswith("    arguments  {")] != []


@pytest.mark.requirement("R37")
@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("orders: allow", "'orders: allow'"),
        ("orders, through agent-2; call_api on x", "'orders, through agent-2; call_api on x'"),
        ("x" * 100_000, f"'{'x' * 64} ...'"),
        ("a\n\x1b[2J", r"'a\n\x1b[2J'"),
        ("\u202eorders", r"'\u202eorders'"),
    ],
)
def test_what_an_agent_gave_as_a_target_passes_in_a_list_for_nothing_else(
    config: Path, audit: Audit, target: str, shown: str
) -> None:
    async def fill() -> None:
        async with opened_store(config.parent / "data") as store:
            await store.append(received(ASKS, target=target))

    anyio.run(fill)

    assert audit("search", "--limit", "1").out.splitlines()[1] == (
        f"    caller not proved, over http; query_database on {shown}"
    )
    assert audit("search", "--limit", "1", "--json").json[0]["target"] == target


def test_every_argument_that_an_agent_gave_is_shown(config: Path, audit: Audit) -> None:
    async def fill() -> None:
        async with opened_store(config.parent / "data") as store:
            await store.append(received(ASKS, arguments={"json": -1, "body": "", "query": {}, "headers": None}))

    anyio.run(fill)

    shown = [line.split() for line in audit("show", ASKS).out.splitlines()]

    assert [words for words in shown if words[:1] in (["json"], ["body"], ["query"], ["headers"])] == [
        ["body"], ["headers", "null"], ["json", "-1"], ["query", "{}"],
    ]  # fmt: skip
