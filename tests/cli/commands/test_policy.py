"""`policy check` and `policy test`, with statuses that scripts can use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.policies import POLICIES, configured
from tests.cli.running import run_here

CASES = """
[callers.dev]
groups = ["dev"]
[[case]]
name = "reading is for everybody"
target = "orders"
arguments.sql = "SELECT 1"
expect = { decision = "allow", policies = ["read"] }
[[case]]
name = "writing waits"
caller = "dev"
target = "orders"
arguments.sql = "DELETE FROM a WHERE b = 1"
expect = { decision = "ask", approvers = { dba = 1 } }
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return configured(tmp_path)


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    path = tmp_path / "cases.toml"
    path.write_text(CASES)
    return path


def test_check_counts_the_policies(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "--config", str(config), "policy", "check")

    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("6 policies, version ")


def test_check_lists_the_policies_in_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_here(capsys, "--config", str(config), "policy", "check", "--json").json

    assert found["notes"] == []
    assert {policy["id"]: (policy["effect"], policy["line"]) for policy in found["policies"]}["dba"] == ("forbid", 4)


def test_check_tells_every_mistake(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "all.cedar").write_text('@id("a") permit (principal, action, resource);\npermit (principal);\n')

    ran = run_here(capsys, "--config", str(config), "policy", "check")

    assert (ran.status, ran.out) == (2, "")
    assert [line.split(":")[2] for line in ran.err.splitlines()] == ["1", "2"]


def test_check_warns_and_strictly_is_a_no(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "all.cedar"
    file.write_text(
        POLICIES + '@id("odd") forbid (principal, action == Action::"call_api", resource)\nwhen { false };\n'
    )
    warned = f"{file}:{POLICIES.count(chr(10)) + 2}:8: odd: it never matches: its `when` is always false"

    ran = run_here(capsys, "--config", str(config), "policy", "check")
    strict = run_here(capsys, "--config", str(config), "policy", "check", "--strict")
    as_json = run_here(capsys, "--config", str(config), "policy", "check", "--strict", "--json")

    assert (ran.status, ran.err) == (0, f"mcp-gateway: warning: {warned}\n")
    assert (strict.status, strict.out, strict.err) == (1, ran.out, ran.err)
    assert as_json.status == 1
    (warning,) = as_json.json["warnings"]
    assert warning["id"] == "odd"
    assert f"{warning['file']}:{warning['line']}:{warning['column']}: odd: {warning['message']}" == warned


def test_a_folder_without_policies_is_warned_of(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "cases.toml").write_text("")

    ran = run_here(
        capsys, "--config", str(config), "policy", "check", "--strict", "--policies", str(tmp_path / "empty")
    )

    assert ran.status == 1
    assert "there is no policy in any *.cedar file" in ran.err


def test_what_is_only_noted_is_no_warning(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "all.cedar"
    file.write_text('@id("a") permit (principal, action == Action::"call_api", resource in Env::"test");')

    ran = run_here(capsys, "--config", str(config), "policy", "check", "--strict")

    assert (ran.status, ran.err) == (0, f'mcp-gateway: note: {file}:1:71: a: no target is in Env::"test"\n')


def test_scripts_get_every_mistake_with_its_place(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all.cedar").write_text(
        '@id("a") forbid (principal, action, resource)\nwhen { context.call.token_age > "1h" };'
    )

    ran = run_here(capsys, "--config", str(config), "policy", "check", "--json")

    assert (ran.status, ran.err) == (2, "")
    assert ran.json == {
        "problems": [
            {
                "id": "a",
                "file": str(tmp_path / "all.cedar"),
                "line": 2,
                "column": 33,
                "message": 'expected Long, got String: `"1h"`',
            }
        ],
        "warnings": [],
        "notes": [],
    }


def test_other_policies_can_be_checked_before_they_are_in_force(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new.cedar").write_text('@id("none") forbid (principal, action, resource);')
    (tmp_path / "new.cedar").chmod(0o666)
    monkeypatch.chdir(tmp_path)

    ran = run_here(capsys, "--config", str(config), "policy", "check", "--policies", "new.cedar")

    assert (ran.status, ran.out.split(",")[0]) == (0, "1 policies")


def test_cases_that_pass(config: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the configured policies, where none are named."""
    ran = run_here(capsys, "--config", str(config), "policy", "test", str(cases))

    assert (ran.status, ran.out) == (0, "2 of 2 cases passed\n")
    assert ran.err == "mcp-gateway: warning: no case is determined by the 3 policies call, mail, run\n"


def test_a_case_that_differs_is_a_no(config: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases.write_text(CASES.replace("dba = 1", "dba = 2"))

    ran = run_here(
        capsys, "--config", str(config), "policy", "test", str(cases), "--policies", str(config.parent / "all.cedar")
    )

    assert ran.status == 1
    assert ran.out == (
        f"{cases}:9: writing waits\n"
        "    approvers: expected 2 of dba, got 1 of dba\n"
        f"    by forbid 'dba' ({config.parent / 'all.cedar'}:4:1): writes wait for a DBA\n"
        "1 of 2 cases passed\n"
    )


def test_cases_in_json(config: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(
        capsys,
        *("--config", str(config), "policy", "test", str(cases)),
        *("--policies", str(config.parent / "all.cedar"), "--json"),
    )

    assert (ran.status, ran.json["passed"]) == (0, True)
    assert [case["id"] for case in ran.json["cases"]] == [
        "cases.toml: reading is for everybody",
        "cases.toml: writing waits",
    ]
    assert [(case["file"], case["line"]) for case in ran.json["cases"]] == [(str(cases), 4), (str(cases), 9)]


def test_a_broken_case_file_is_misuse(config: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases.write_text('[[case]]\nname = "x"\ntarget = "nowhere"\narguments.sql = "x"\nexpect.decision = "deny"\n')

    ran = run_here(
        capsys, "--config", str(config), "policy", "test", str(cases), "--policies", str(config.parent / "all.cedar")
    )

    as_json = run_here(capsys, "--config", str(config), "policy", "test", str(cases), "--json")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        f"mcp-gateway: {cases}:3:1: case 'x': target: there is no target 'nowhere'; there are 'billing', 'orders', 'web1'\n"
    )
    assert (as_json.status, as_json.err) == (2, "")
    assert as_json.json == {
        "passed": False,
        "problems": [
            {
                "id": "case 'x': target",
                "file": str(cases),
                "line": 3,
                "column": 1,
                "message": "there is no target 'nowhere'; there are 'billing', 'orders', 'web1'",
            }
        ],
        "cases": [],
        "uncovered": [],
    }


def test_cases_with_targets_of_their_own_need_no_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "MCP_GATEWAY_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "all.cedar").write_text(POLICIES)
    (tmp_path / "cases.toml").write_text(
        'policies = ["all.cedar"]\n[targets.orders]\nkind = "postgres"\nlabels = { env = "dev" }\n' + CASES
    )

    assert run_here(capsys, "policy", "test", str(tmp_path)).status == 0


def test_a_configuration_that_was_named_and_is_absent_is_misuse(
    tmp_path: Path, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "--config", str(tmp_path / "absent.toml"), "policy", "test", str(cases))

    assert (ran.status, ran.err) == (2, f"mcp-gateway: {tmp_path / 'absent.toml'}: there is no such file\n")


@pytest.mark.parametrize(
    "command",
    [("check",), ("test", "cases.toml"), ("explain", "--target", "orders", "--sql", "SELECT 1")],
    ids=lambda command: command[0],
)
def test_scripts_get_mistakes_of_the_configuration_too(
    config: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    config.write_text(config.read_text().replace("database =", "databse ="))

    ran = run_here(capsys, "--config", str(config), "policy", *command, "--json")

    assert (ran.status, ran.err) == (2, "")
    assert [one["id"] for one in ran.json["problems"]] == ["targets.orders.databse"]
