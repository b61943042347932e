"""`check` says what it found, which set-up it is, and what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_gateway.identity.system_user import operating_system_user
from tests.cli.running import run_here, write_config

POLICY = '@id("all") permit (principal, action == Action::"query_database", resource in Env::"dev");\n'
TARGET = """
[targets.orders]
kind = "postgres"
description = "orders"
labels = { env = "dev", team = "shop" }
host = "db.internal"
database = "o"
user = "g"
[targets.orders.classify]
"public.customers.email" = "pii.email"
"""
LOCAL = '[identity]\nissuer = "local"\n[approvals]\nclients = ["approver"]\n'
EXTERNAL = (
    '[identity]\nissuer = "https://idp.example.com"\naudience = "https://gateway.example.com"\n'
    '[approvals]\nclients = ["approver"]\n'
)


@pytest.fixture
def policies(tmp_path: Path) -> str:
    folder = tmp_path / "policies"
    folder.mkdir(mode=0o755)
    (folder / "all.cedar").write_text(POLICY)
    return f'[policy]\npaths = ["{folder}"]\n'


def test_check_says_what_it_found(tmp_path: Path, policies: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, LOCAL + policies + TARGET)

    ran = run_here(capsys, "--config", str(config), "check")

    lines = ran.out.splitlines()
    assert (ran.status, ran.err) == (0, "")
    assert lines[:4] == [
        f"configuration  {config}",
        "issuer         local",
        f"people         {operating_system_user()} (you), in no group",
        f"data           {tmp_path / 'data'}",
    ]
    assert lines[4].startswith("policies       1, version ")
    assert lines[5:] == [
        "targets        1",
        "",
        "target  kind      place             labels             description",
        "orders  postgres  db.internal:5432  env=dev team=shop  orders",
        "",
        "set-up: a safeguard, not a boundary: the local issuer proves only who is signed in on this machine",
    ]


def test_check_says_whom_the_local_issuer_knows(
    tmp_path: Path, policies: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that `you`, copied as it stands, is seen to be somebody else."""
    you = operating_system_user()
    people = '[identity.local.people]\nyou = { groups = ["developers"] }\ndana = { groups = ["ops", "dba"] }\n'
    config = str(write_config(tmp_path, people + LOCAL + policies + TARGET))

    ran = run_here(capsys, "--config", config, "check")
    found = run_here(capsys, "--config", config, "check", "--json").json

    assert ran.out.splitlines()[2] == (
        f"people         {you} (you), in no group; you, of developers; dana, of dba, ops"
    )
    assert found["people"] == [
        {"id": you, "you": True, "groups": []},
        {"id": "you", "you": False, "groups": ["developers"]},
        {"id": "dana", "you": False, "groups": ["dba", "ops"]},
    ]


def test_check_says_that_a_boundary_is_one(tmp_path: Path, policies: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, EXTERNAL + policies + TARGET)

    found = run_here(capsys, "--config", str(config), "check", "--json").json

    assert (found["setup"], found["people"]) == ("boundary", [])
    assert found["setup_line"] == "set-up: a boundary, as long as no agent runs as this user on this machine"
    assert (found["id"], found["policies"], found["problems"], found["warnings"]) == (str(config), 1, [], [])
    assert [target["id"] for target in found["targets"]] == ["orders"]


def test_check_warns_and_notes_beside_the_result(
    tmp_path: Path, policies: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = LOCAL + policies + TARGET.replace('env = "dev"', 'env = "prod"').partition("[targets.orders.classify]")[0]
    config = write_config(tmp_path, text)

    ran = run_here(capsys, "--config", str(config), "check")

    assert ran.status == 0
    assert [line.partition(": ")[2] for line in ran.err.splitlines()] == [
        f'note: {tmp_path / "policies" / "all.cedar"}:1:79: all: no target is in Env::"dev"',
        "warning: targets.orders: no column is classified, so only detectors mask what comes back",
    ]


def test_policies_that_never_match_are_warned_of(
    tmp_path: Path, policies: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policies" / "all.cedar"
    file.write_text('@id("a") forbid (principal, action == Action::"call_api", resource) when { false };')

    ran = run_here(capsys, "--config", str(write_config(tmp_path, LOCAL + policies + TARGET)), "check")

    assert ran.status == 0
    assert f"warning: {file}:1:76: a: it never matches: its `when` is always false" in ran.err


def test_a_file_that_others_can_read_is_a_no(tmp_path: Path, policies: str, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "password"
    secret.write_text("canary-9f27c1d0")
    secret.chmod(0o644)
    text = LOCAL + policies + TARGET.replace('user = "g"', f'user = "g"\npassword = {{ file = "{secret}" }}')

    ran = run_here(capsys, "--config", str(write_config(tmp_path, text)), "check")

    assert ran.status == 1
    assert ran.err == (
        f"mcp-gateway: {secret}: targets.orders.password: it has mode 0644, so that others can read it; "
        "run chmod go= on it\n"
    )


def test_policies_that_cannot_be_used_are_misuse(
    tmp_path: Path, policies: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "policies" / "all.cedar").write_text("permit (principal, action, resource);")

    ran = run_here(capsys, "--config", str(write_config(tmp_path, LOCAL + policies + TARGET)), "check")

    assert (ran.status, ran.out) == (2, "")
    assert str(tmp_path / "policies" / "all.cedar") in ran.err


def test_scripts_get_the_problems_of_a_configuration_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, '[identity]\nissuer = "local"\ncolour = 1\n')

    ran = run_here(capsys, "--config", str(config), "check", "--json")

    assert (ran.status, ran.err) == (2, "")
    (problem,) = ran.json["problems"]
    assert problem.startswith(f"{config}:5:1: identity.colour: unknown key")


def test_check_reads_programs_and_names_those_that_replace_built_in_ones(
    tmp_path: Path, policies: str, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = tmp_path / "programs.toml"
    programs.write_text('[shopctl]\noptions = "-v"\n[ls]\nreplaces = true\n')
    programs.chmod(0o600)
    config = write_config(tmp_path, f'{LOCAL}{policies}{TARGET}[commands]\nprograms = ["{programs}"]\n')

    ran = run_here(capsys, "--config", str(config), "check")
    assert f"{programs}:3: ls replaces what is built in" in ran.err

    programs.write_text("[ls]")
    ran = run_here(capsys, "--config", str(config), "check")
    assert ran.status == 2
    assert f"{programs}:1: ls: it is known already" in ran.err


def test_check_reads_openapi_documents(tmp_path: Path, policies: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "billing.yaml"
    document.write_text("openapi: 3.1.0\npaths:\n  /a: {}\nservers: [{url: /v2}]\n")
    document.chmod(0o600)
    api = f'[targets.billing]\nkind = "http"\nbase_url = "https://a.example"\nlabels = {{ env = "dev" }}\nopenapi = "{document}"\n'
    config = write_config(tmp_path, f"{LOCAL}{policies}{TARGET}{api}")

    ran = run_here(capsys, "--config", str(config), "check")
    assert "targets.billing: the document's servers have the path '/v2'" in ran.err

    document.write_text("openapi: 3.1.0\npaths:\n  a: {}\n")
    ran = run_here(capsys, "--config", str(config), "check")
    assert ran.status == 2
    assert f"{document}:3: paths.a: expected a path that begins with a slash" in ran.err
