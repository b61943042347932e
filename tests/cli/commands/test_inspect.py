"""`inspect` as a program: JSON on standard output, and nothing else. What does not depend on the process runs in this one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.running import SCRIPT, run_here, run_on_a_terminal, run_script, write_config


@pytest.fixture(autouse=True)
def nothing_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at home nor by a variable."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith(("MCP_GATEWAY_", "XDG_"))]:
        monkeypatch.delenv(name)


def test_lines_in_lines_out(tmp_path: Path) -> None:
    given = '{"id": 1, "sql": "SELECT 1"}\nnonsense\n{"id": 3, "sql": "DROP TABLE a"}\n'

    ran = run_script("inspect", "sql", "--jsonl", given=given, home=tmp_path)

    found = [json.loads(line) for line in ran.out.splitlines()]
    assert (ran.status, ran.err) == (0, "")
    assert [(item["id"], item["read_only"], item["error"] is None) for item in found] == [
        (1, True, True),
        (None, False, False),
        (3, False, True),
    ]


def test_what_stalls_the_parser_is_an_error_and_no_log_line(tmp_path: Path) -> None:
    ran = run_script("inspect", "sql", given=f"SELECT {'+'.join('1' * 16_000)}", home=tmp_path)

    assert (ran.status, ran.err) == (1, "")
    assert ran.json["error"]


def test_a_detector_that_there_is_not_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "inspect", "text", "--detector", "nonsense", given="x")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        "mcp-gateway: --detector: unknown detector 'nonsense'; expected a set (default, ssh, all), a data class "
        "(payment.card, payment.iban, pii.email, pii.ip_address, pii.mac_address, pii.national_id, pii.phone, "
        "secret.password, secret.private_key, secret.token) or a detector of one\n"
    )


def test_a_place_of_graphql_that_could_match_nothing_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    given = '{"base_url": "https://host/v1", "path": "graphql", "method": "POST", "json": {"query": "mutation { a }"}}'

    wrong = run_here(capsys, "inspect", "url", "--graphql", "graphql", given=given)
    right = run_here(capsys, "inspect", "url", "--graphql", "/graphql", given=given)

    assert (wrong.status, wrong.out) == (2, "")
    assert "expected a path such as '/graphql'" in wrong.err
    assert right.json["graphql_operation"] == "mutation"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("absent.yaml", "there is no such file"),
        (".", "expected a file, got a folder"),
        ("latin.yaml", "expected UTF-8"),
        ("large.yaml", "expected at most 16,777,216 bytes, got more"),
    ],
)
def test_an_openapi_document_that_cannot_be_read_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, why: str
) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"caf\xe9")
    with (tmp_path / "large.yaml").open("wb") as large:
        large.truncate(16 * 1024 * 1024 + 1)
    document = tmp_path / name

    ran = run_here(capsys, "inspect", "url", "{}", "--openapi", str(document))

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == f"mcp-gateway: {document}: {why}\n"


def test_each_kind_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("sql", "shell", "url", "text"):
        assert "--jsonl" in run_here(capsys, "inspect", kind, "--help").out


@pytest.mark.parametrize("more", [(), ("--jsonl",)])
def test_an_item_without_an_end_is_refused_and_fills_no_memory(tmp_path: Path, more: tuple[str, ...]) -> None:
    given = b"x" * (16 * 1024 * 1024 + 1) + b'\n{"id": 2, "text": "x"}\n'

    ran = run_script("inspect", "text", *more, given=given, home=tmp_path)

    first, *rest = map(json.loads, ran.out.splitlines())
    assert ran.status == (0 if more else 1)
    assert first == {"id": None, "found": [], "masked": None, "error": "expected at most 16,777,216 bytes, got more"}
    assert [item["id"] for item in rest] == ([2] if more else [])


def test_commands_are_inspected_by_the_configured_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    programs = tmp_path / "programs.toml"
    programs.write_text('[shopctl]\nsubcommands.reads = "status"\n')
    programs.chmod(0o600)
    config = write_config(tmp_path, f'[identity]\nissuer = "local"\n[commands]\nprograms = ["{programs}"]\n')

    known = run_here(capsys, "--config", str(config), "inspect", "shell", given="shopctl status")
    unknown = run_here(capsys, "inspect", "shell", given="shopctl status")

    assert (known.json["read_only"], known.json["subcommands"]) == (True, ["shopctl status"])
    assert (unknown.json["read_only"], unknown.json["subcommands"]) == (False, [])


@pytest.mark.parametrize(
    ("kind", "item", "key", "expected"),
    [
        ("sql", "DELETE FROM a", "writes", ["a"]),
        ("sql", '{"id": 7, "sql": "DELETE FROM a"}', "id", 7),
        ("sql", "", "statements", 0),
        ("shell", "ls -l | grep x", "programs", ["grep", "ls"]),
        ("shell", "ls 'x", "opaque", True),
        ("text", "hello", "masked", "hello"),
        ("text", '{"text": "a@example.com"}', "masked", "[pii.email]"),
        ("shell", '{"argv": ["ls", ";"]}', "programs", ["ls"]),
        ("url", '{"base_url": "https://a.example.com", "path": "/x"}', "url", "https://a.example.com/x"),
    ],
)
def test_an_item_may_stand_on_the_command_line(
    capsys: pytest.CaptureFixture[str], kind: str, item: str, key: str, expected: object
) -> None:
    """What comes on standard input is then nobody's item."""
    as_argument = run_here(capsys, "inspect", kind, item, given="nonsense")
    on_standard_input = run_here(capsys, "inspect", kind, given=item)

    assert (as_argument.status, as_argument.err, as_argument.json[key]) == (0, "", expected)
    assert as_argument == on_standard_input


def test_an_item_and_lines_are_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "inspect", "sql", "SELECT 1", "--jsonl", given='{"sql": "SELECT 2"}')

    assert (ran.status, ran.out) == (2, "")
    assert "lines are read from standard input; give an item or --jsonl" in ran.err


@pytest.mark.parametrize(
    ("kind", "item"), [("sql", "SELEC"), ("sql", "SELECT '\udcff'"), ("shell", '{"argv": []}'), ("url", "https://a/b")]
)
def test_an_item_that_cannot_be_understood_is_a_no(capsys: pytest.CaptureFixture[str], kind: str, item: str) -> None:
    ran = run_here(capsys, "inspect", kind, item)

    assert (ran.status, ran.err) == (1, "")
    assert ran.json["error"]


def test_people_are_told_what_is_wrong_with_an_item_and_nothing_else(tmp_path: Path) -> None:
    shown = run_on_a_terminal(SCRIPT, "inspect", "url", "https://a/b\x1b[2J", columns=300, home=tmp_path)
    whole = run_on_a_terminal(SCRIPT, "inspect", "sql", "--json", "SELEC", home=tmp_path)

    assert (shown.status, whole.status) == (1, 1)
    assert shown.out == (
        "mcp-gateway: an item of this kind is an object such as "
        '{"base_url": "https://billing.internal/v1", "path": "invoices"}; expected JSON: '
        "Expecting value: line 1 column 1 (char 0)\r\n"
    )
    assert (whole.json["statements"], bool(whole.json["error"])) == (0, True)


def test_one_that_is_understood_and_may_not_be_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    refused = run_here(capsys, "inspect", "sql", "SELECT 1; SELECT 2")
    not_allowed = run_here(capsys, "inspect", "url", '{"base_url": "https://a.example.com/v1", "path": "/../x"}')

    assert (refused.status, bool(refused.json["refusal"])) == (0, True)
    assert (not_allowed.status, not_allowed.json["allowed"]) == (0, False)


@pytest.mark.requirement("R37")
def test_people_get_json_over_several_lines_and_programs_one_line(tmp_path: Path) -> None:
    item = "ls -l /a /b; echo \x1b[31m\u202e"
    shown = run_on_a_terminal(SCRIPT, "inspect", "shell", item, home=tmp_path)
    one_line = run_on_a_terminal(SCRIPT, "inspect", "shell", "--json", item, home=tmp_path)
    piped = run_script("inspect", "shell", item, home=tmp_path)

    assert shown.json == one_line.json == piped.json
    assert shown.out.splitlines()[:3] == ["{", '  "id": null,', '  "programs": ["echo", "ls"],']
    assert one_line.out.splitlines() == piped.out.splitlines()
    assert len(piped.out.splitlines()) == 1
    assert "\x1b" not in shown.out + one_line.out
    assert "\u202e" not in shown.out + one_line.out


@pytest.mark.parametrize("given", ["NaN", "-Infinity", "1e999", '[{"a": NaN}]'])
def test_an_id_that_cannot_be_given_back_stops_nothing(capsys: pytest.CaptureFixture[str], given: str) -> None:
    lines = f'{{"id": {given}, "text": "a"}}\n{{"id": 2, "text": "b"}}\n'

    ran = run_here(capsys, "inspect", "text", "--jsonl", given=lines)

    first, second = (json.loads(line) for line in ran.out.splitlines())
    assert (ran.status, ran.err) == (0, "")
    assert (first["id"], second["id"], second["error"]) == (None, 2, None)
    assert first["error"]
