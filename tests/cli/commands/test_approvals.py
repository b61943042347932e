"""What `approvals list` and `show` make of a gateway's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.approval.desk import to_json
from tests.approval.tickets import a_ticket
from tests.cli.running import Ran, run_here, write_config
from tests.peers.answering import peer

CONFIG = (
    '[identity]\nissuer = "local"\n[identity.local.people]\ndana = { groups = ["dba"] }\n[approvals]\nclients = ["c"]\n'
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, CONFIG)


def show(config: Path, capsys: pytest.CaptureFixture[str], approval_id: str, url: str) -> Ran:
    return run_here(capsys, "--config", str(config), "approvals", "show", approval_id, "--as", "dana", "--url", url)


def test_the_list_tells_calls_of_one_kind_apart(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = ENDED | {"state": "approved", "needs": {"dba": 1}}
    statements = ("UPDATE orders\n  SET paid = true", f"DELETE FROM orders WHERE id IN (7{', 8' * 40})")
    listed = [held | {"shown": {"statement": statement}} for statement in statements]
    with peer(200, json.dumps(listed).encode()) as gateway:
        ran = run_here(capsys, "--config", str(config), "approvals", "list", "--as", "dana", "--url", gateway.url)

    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "a1  approved",
        "    alex@example.com, through an-agent; query_database on orders; needs one of dba",
        "    UPDATE orders SET paid = true",
        "a1  approved",
        "    alex@example.com, through an-agent; query_database on orders; needs one of dba",
        "    DELETE FROM orders WHERE id IN (7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8 ...",
    ]


ENDED = {
    "id": "a1",
    "state": "denied",
    "deadline": "2026-01-31T12:00:00+00:00",
    "claim_until": None,
    "ended_at": "2026-01-31T11:00:00+00:00",
    "ended_by": "https://idp.example.com|dana",
    "ended_by_email": "dana@example.com",
    "why": "not today\x1b[2J",
    "tool": "query_database",
    "target": "orders",
    "email": "alex@example.com",
    "issuer": "https://idp.example.com",
    "subject": "alex",
    "agent": "an-agent",
    "needs": {"dba": 2},
    "missing": {},
    "as_recorded": True,
    "shown": {"sql": "DELETE FROM orders WHERE mail = '[pii.email]'"},
    "facts": {"writes": ["orders"], "reads": []},
    "preview": "",
    "policies": ["p"],
    "policy_reasons": ["because"],
    "reason": "",
    "votes": [
        {
            "person": "https://idp.example.com|erin",
            "email": "erin@example.com",
            "groups": ["dba"],
            "at": "2026-01-31T10:59:00+00:00",
            "channel": "api",
            "note": "fine",
        }
    ],
}


def test_what_has_ended_is_shown_with_statement_facts_and_who_decided(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with peer(200, json.dumps(ENDED).encode()) as gateway:
        ran = show(config, capsys, "a1", gateway.url)

    assert ran.out.splitlines() == [
        "approval   a1, denied",
        "who        alex@example.com (https://idp.example.com|alex), through the agent an-agent",
        "wants      query_database on orders",
        "on record  what was asked, in what follows; what detectors found in it is masked",
        "sql        DELETE FROM orders WHERE mail = '[pii.email]'",
        "writes     orders",
        "policy     p: because",
        "needs      2 people of dba",
        "approved   by erin@example.com (https://idp.example.com|erin) for dba at 2026-01-31 10:59:00 UTC by way of api: fine",
        "denied     by dana@example.com (https://idp.example.com|dana) at 2026-01-31 11:00:00 UTC: not today<U+001B>[2J",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"state": "consumed", "used_by": "c7"}, "used       at 2026-01-31 11:00:00 UTC by call c7"),
        ({"state": "expired", "ended_by": "", "why": "late"}, "expired    at 2026-01-31 11:00:00 UTC: late"),
        (
            {"state": "approved", "claim_until": "2020-01-31T11:00:00+00:00"},
            "usable until  2020-01-31 11:00:00 UTC, 0 min left to use it",
        ),
    ],
)
def test_how_an_approval_ended_is_its_last_line(
    config: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], line: str
) -> None:
    with peer(200, json.dumps(ENDED | changes).encode()) as gateway:
        ran = show(config, capsys, "a1", gateway.url)

    assert ran.out.splitlines()[-1] == line


def test_an_agents_list_is_not_taken_for_an_empty_queue(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with peer(200, b"[]") as gateway:
        gateway.note = "only its own" + "x" * 1000
        ran = run_here(capsys, "--config", str(config), "approvals", "list", "--as", "dana", "--url", gateway.url)

    assert (ran.status, ran.out) == (0, "nothing waits that you may decide or have asked for\n")
    assert ran.err.startswith("mcp-gateway: warning: only its own")
    assert len(ran.err) < 600


def test_how_long_a_yes_can_be_used_is_in_the_list(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    approved = ENDED | {"state": "approved", "claim_until": "2020-01-31T11:00:00+00:00"}
    with peer(200, json.dumps([approved]).encode()) as gateway:
        ran = run_here(capsys, "--config", str(config), "approvals", "list", "--as", "dana", "--url", gateway.url)

    assert ran.out.splitlines()[0] == "a1  approved    0 min left to use it"


ONE = to_json(a_ticket())
NONE_OF_A_GATEWAY: list[Any] = [
    None,
    "x",
    7,
    [],
    {},
    {"id": "a1"},
    ONE | {"votes": [{}]},
    ONE | {"deadline": "soon"},
    ONE | {"deadline": "2026-01-31T12:00:00"},
    ONE | {"shown": ["DELETE"]},
    {name: value for name, value in ONE.items() if name != "state"},
]
NO_FORM = "is not a gateway: its answer has not the form of one about approvals; expected the URL that"


@pytest.mark.parametrize("answer", NONE_OF_A_GATEWAY, ids=repr)
@pytest.mark.parametrize("command", ["list", "show", "approve"])
def test_an_answer_that_is_about_no_approval_is_said_to_be_none(
    config: Path, capsys: pytest.CaptureFixture[str], command: str, answer: Any
) -> None:
    given = () if command == "list" else ("a1",)
    body = {"list": [answer], "show": answer, "approve": answer}[command]
    with peer(200, json.dumps(body).encode()) as gateway:
        ran = run_here(
            capsys, "--config", str(config), "approvals", command, *given, "--as", "dana", "--url", gateway.url
        )

    assert (ran.status, ran.out) == (3, "")
    assert NO_FORM in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("body", [b"{}", b"null", b"7"])
def test_what_is_no_list_is_no_empty_list(config: Path, capsys: pytest.CaptureFixture[str], body: bytes) -> None:
    with peer(200, body) as gateway:
        ran = run_here(capsys, "--config", str(config), "approvals", "list", "--as", "dana", "--url", gateway.url)

    assert (ran.status, ran.out) == (3, "")
    assert NO_FORM in ran.err


def test_json_without_an_end_is_none(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with peer(200, b"[" * 100_000) as gateway:
        ran = show(config, capsys, "a1", gateway.url)

    assert ran.status == 3
    assert "is not a gateway: status 200 and no JSON" in ran.err


def test_what_a_gateway_says_is_shown_whatever_a_later_one_adds(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with peer(200, json.dumps(ONE | {"later": {"a": 1}}).encode()) as gateway:
        ran = show(config, capsys, "ticket-1", gateway.url)

    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[:2] == [
        "approval        ticket-1, pending",
        "who             alice@example.com (https://idp.example.com|alice), through the agent agent",
    ]
