"""Command lines that are none, and what scripts are told of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_gateway.cli.statuses import MISUSED
from tests.cli.running import SCRIPT, run_here, run_on_a_terminal, write_config


def test_an_unknown_command_is_misuse_and_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "chek")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err.endswith("Error: No such command 'chek'. Did you mean 'check'?\n")


def test_an_unknown_option_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(capsys, "--nonsense").status == 2


def test_a_relative_configuration_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--config", "gateway.toml", "check")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "mcp-gateway: --config: expected an absolute path, got 'gateway.toml'\n"


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "many", "1.5", "", "9" * 5000])
def test_a_limit_out_of_bounds_is_misuse(capsys: pytest.CaptureFixture[str], limit: str) -> None:
    ran = run_here(capsys, "audit", "search", "--limit", limit)

    assert ran.status == 2
    assert ran.err.endswith(f"\nError: Invalid value for --limit: expected a number from 1 to 10,000, got {limit!r}\n")


def test_a_command_line_that_is_none_is_told_within_the_terminal(tmp_path: Path) -> None:
    ran = run_on_a_terminal(SCRIPT, "audit", "search", "--code", "foo", home=tmp_path)

    lines = ran.out.splitlines()
    assert ran.status == 2
    assert lines[:3] == [
        "Usage: mcp-gateway audit search [OPTIONS]",
        "Try 'mcp-gateway audit search --help' for help.",
        "",
    ]
    assert lines[3].startswith("Error: Invalid value for --code: expected ok, ")
    assert all(line.startswith("    ") for line in lines[4:])
    assert max(map(len, lines)) <= 80


COMMANDS_WITH_JSON = [
    ("targets", "list"),
    ("targets", "test"),
    ("policy", "replay"),
    ("policy", "explain", "--target", "x", "--sql", "SELECT 1"),
    ("approvals", "list"),
    ("approvals", "show", "x"),
    ("approvals", "approve", "x"),
    ("revoke", "agent", "x"),
    ("revoke", "list"),
    ("audit", "search"),
    ("audit", "show", "x"),
    ("audit", "verify"),
    ("inspect", "shell", "ls"),
]


@pytest.mark.parametrize("command", COMMANDS_WITH_JSON, ids=" ".join)
def test_scripts_get_mistakes_of_the_configuration_as_json_from_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    config = write_config(tmp_path, '[identity]\nissuer = "local"\nnonsense = 1\nsense = 1\n')

    ran, as_json = (run_here(capsys, "--config", str(config), *command, *more) for more in ((), ("--json",)))

    assert (ran.status, ran.out) == (2, "")
    assert (as_json.status, as_json.err, as_json.out.count("\n")) == (2, "", 1)
    assert as_json.json["error"] == ran.err.replace("mcp-gateway: ", "").rstrip()
    assert [problem["id"] for problem in as_json.json["problems"]] == ["identity.nonsense", "identity.sense"]


WRONG_COMMAND_LINES = [
    ("audit", "search", "--json", "--nonsense"),
    ("audit", "search", "--nonsense", "--json"),
    ("audit", "search", "--limit", "0", "--json"),
    ("audit", "search", "--json", "--since", "soon"),
    ("policy", "replay", "--json", "--since", "soon", "--candidate", "."),
    ("audit", "show", "--json"),
    ("audit", "show", "--json", "a", "b"),
    ("audit", "nonsense", "--json"),
    ("audit", "--json", "show", "x"),
    ("approvals", "approve", "--note", "x", "--json"),
    ("revoke", "agent", "", "--json"),
    ("inspect", "url", "--graphql", "*", "--json"),
    ("nonsense", "--json"),
    ("serve", "--json"),
    ("--json", "check"),
]


@pytest.mark.parametrize("command", WRONG_COMMAND_LINES, ids=" ".join)
def test_scripts_get_a_command_line_that_is_none_as_json(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    as_json = run_here(capsys, *command)

    assert (as_json.status, as_json.err, as_json.out.count("\n")) == (MISUSED, "", 1)
    assert as_json.json.keys() == {"error", "problems"}
    assert as_json.json["error"]
    assert as_json.json["problems"] == []


def test_both_are_told_the_same_of_a_command_line_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    command = ("audit", "search", "--code", "foo")

    ran, as_json = (run_here(capsys, *command, *more) for more in ((), ("--json",)))

    assert ran.err.endswith(f"\nError: {as_json.json['error']}\n")


@pytest.mark.parametrize(
    "command",
    [
        ("audit", "search", "--nonsense", "--", "--json"),
        ("audit", "search", "--text", "--json", "--nonsense"),
        ("approvals", "approve", "--note", "--json"),
    ],
    ids=" ".join,
)
def test_a_mistake_beside_a_value_that_looks_like_the_option_is_text(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    ran = run_here(capsys, *command)

    assert (ran.status, ran.out) == (MISUSED, "")
    assert "\nError: " in ran.err


def test_whatever_ends_a_command_is_json_where_json_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path, '[identity]\nissuer = "local"\n'))

    ran, as_json = (run_here(capsys, "--config", config, "audit", "search", *more) for more in ((), ("--json",)))

    assert (ran.status, as_json.status, as_json.err) == (3, 3, "")
    assert as_json.json == {"error": ran.err.removeprefix("mcp-gateway: ").rstrip(), "problems": []}


def test_a_value_that_looks_like_the_option_asks_for_no_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path, '[identity]\nissuer = "local"\n'))

    ran = run_here(capsys, "--config", config, "audit", "search", "--text", "--json")

    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("mcp-gateway: there is no audit store")


@pytest.mark.parametrize(
    "command",
    [("audit", "search", "--text"), ("audit", "search", "--caller"), ("audit", "show"), ("approvals", "show")],
    ids=" ".join,
)
def test_bytes_that_are_no_text_are_misuse_where_text_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    config = str(write_config(tmp_path, '[identity]\nissuer = "local"\n[approvals]\nclients = ["c"]\n'))
    assert run_here(capsys, "--config", config, "revoke", "agent", "x").status == 0  # which makes the store

    ran, as_json = (run_here(capsys, "--config", config, *command, "caf\udce9", *more) for more in ((), ("--json",)))

    assert (ran.status, ran.out) == (MISUSED, "")
    assert ran.err == "Error: expected text in UTF-8, got 'caf\\udce9'\n"
    assert (as_json.status, as_json.err) == (MISUSED, "")
    assert as_json.json == {"error": "expected text in UTF-8, got 'caf\\udce9'", "problems": []}
