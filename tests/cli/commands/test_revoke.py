"""`revoke` writes down what is refused from now on, and takes nothing for something; `revoke list` reads it back."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mcp_gateway.identity.system_user import operating_system_user
from tests.audit.records import kinds
from tests.cli.running import run_here, write_config

CONFIG = """
[identity]
issuer = "local"
[targets.db]
kind = "http"
labels = { env = "dev" }
base_url = "https://api.example.com"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, CONFIG)


@pytest.mark.parametrize("what", ["token", "subject", "agent"])
def test_what_is_revoked_is_recorded_and_said(config: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    ran = run_here(capsys, "--config", str(config), "revoke", what, "x-1", "--note", "lost")

    assert (ran.status, ran.err) == (0, "")
    assert ran.out == f"{what} x-1 is refused from now on, in every gateway on this store\n"
    assert kinds(config.parent / "data") == ["Revoked"]


@pytest.mark.parametrize(
    ("value", "said"), [("dana@example.com", True), ("https://a.example|d@e", False), ("d", False)]
)
def test_who_revokes_an_address_is_told_what_it_covers(
    config: Path, capsys: pytest.CaptureFixture[str], value: str, said: bool
) -> None:
    ran = run_here(capsys, "--config", str(config), "revoke", "subject", value)
    advice = "as an address it counts for tokens that carry it, verified or not; revoke the 'sub' as well to be sure\n"
    assert ran.out.endswith(advice) is said


def test_scripts_are_told_what_was_revoked(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--config", str(config), "revoke", "agent", "x-1", "--note", "lost", "--json")

    assert ran.json == {"id": "x-1", "what": "agent", "note": "lost", "lifted": False, "done": True}


@pytest.mark.parametrize(
    ("what", "said"), [(["target", "db"], "target db is"), (["all"], "all calls are"), (["agent", "a"], "agent a is")]
)
def test_what_is_revoked_can_be_lifted_as_it_was_written(
    config: Path, capsys: pytest.CaptureFixture[str], what: list[str], said: str
) -> None:
    revoke = ("--config", str(config), "revoke", *what)

    early = run_here(capsys, *revoke, "--lift")
    revoked = run_here(capsys, *revoke)
    lifted = run_here(capsys, *revoke, "--lift", "--note", "over")
    again = run_here(capsys, *revoke, "--lift", "--json")

    assert (early.status, early.out) == (
        1,
        f"{said} not revoked, so there is nothing to lift; a revocation is lifted as it was written\n",
    )
    assert (revoked.status, revoked.out) == (
        0,
        f"{said} refused from now on, in every gateway on this store\n",
    )
    assert (lifted.status, lifted.out) == (0, f"{said} refused no longer, in every gateway on this store\n")
    assert (again.status, again.json["done"]) == (1, False)
    assert kinds(config.parent / "data") == ["Revoked", "Revoked"]


def test_a_target_that_is_not_configured_is_not_revoked_by_mistake(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "--config", str(config), "revoke", "target", "dbb")

    assert ran.status == 2
    assert ran.err.endswith("Error: Invalid value for NAME: no target 'dbb' is configured; there are: db\n")
    assert not (config.parent / "data").exists()


@pytest.mark.parametrize(("what", "name"), [("token", "TOKEN_ID"), ("subject", "SUBJECT"), ("agent", "AGENT")])
@pytest.mark.parametrize("value", ["", "  "])
def test_nothing_cannot_be_revoked(
    config: Path, capsys: pytest.CaptureFixture[str], what: str, name: str, value: str
) -> None:
    ran = run_here(capsys, "--config", str(config), "revoke", what, value)

    assert ran.status == 2
    assert ran.err.endswith(f"Error: Invalid value for {name}: expected something to revoke, got nothing\n")
    assert not (config.parent / "data").exists()


def test_what_is_revoked_now_is_listed_with_who_and_why(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    revoke = ("--config", str(config), "revoke")
    for arguments in (
        ["agent", "bot\x1b[2J", "--note", "under\ninvestigation"],
        ["subject", "sam@example.com"],
        ["subject", "sam@example.com", "--lift"],
        ["target", "db", "--note", "incident 41"],
        ["target", "db", "--note", "again"],
        ["all"],
    ):
        run_here(capsys, *revoke, *arguments)

    told = run_here(capsys, *revoke, "list", "--json").json
    shown = run_here(capsys, *revoke, "list")

    by = operating_system_user()
    assert [{**item, "since": None} for item in told] == [
        {"id": "bot\x1b[2J", "what": "agent", "since": None, "by": by, "note": "under\ninvestigation"},
        {"id": "db", "what": "target", "since": None, "by": by, "note": "incident 41"},
        {"id": "all", "what": "all", "since": None, "by": by, "note": ""},
    ]
    assert all(datetime.fromisoformat(item["since"]).utcoffset() == timedelta(0) for item in told)
    head, *lines = shown.out.splitlines()
    assert head.split() == ["what", "value", "since", "by", "note"]
    assert [line.split()[0] for line in lines] == ["agent", "target", "all"]
    assert "\x1b" not in shown.out
    assert (told[1]["since"][:19].replace("T", " ")) in lines[1]


def test_nothing_is_listed_where_all_is_lifted_or_nothing_was_recorded(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    revoke = ("--config", str(config), "revoke")
    early = run_here(capsys, *revoke, "list")
    made = (config.parent / "data").exists()
    run_here(capsys, *revoke, "agent", "x")
    run_here(capsys, *revoke, "agent", "x", "--lift")

    assert early.status != 0
    assert "there is no audit store" in early.err
    assert not made
    assert run_here(capsys, *revoke, "list").out == "nothing is revoked\n"
    assert run_here(capsys, *revoke, "list", "--json").json == []
