"""`init` writes a configuration that works as it is, for its owner alone, over nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from mcp_gateway_policies import starter_policies

from mcp_gateway.cli.commands.init import first_config
from mcp_gateway.config import load_settings, parse_settings
from tests.cli.running import run_here, run_script


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def modes(folder: Path) -> set[str]:
    return {f"{stat.S_IMODE(path.lstat().st_mode):o}" for path in folder.rglob("*") if not path.is_dir()}


def test_init_writes_a_configuration_and_the_starter_policies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "gateway"
    old = os.umask(0)
    try:
        ran = run_here(capsys, "init", "--dir", str(folder))
    finally:
        os.umask(old)

    settings = load_settings(folder / "gateway.toml")
    assert (ran.status, ran.err) == (0, "")
    assert settings.identity.issuer == "local"
    assert settings.policy.paths == (folder / "policies",)
    assert settings.gateway.data_dir.is_relative_to(tmp_path)
    written = {path.name: path.read_text() for path in (folder / "policies").iterdir()}
    assert written == {path.name: path.read_text() for path in starter_policies().glob("*.cedar")}
    assert modes(folder) == {"600"}
    for made in (folder.parent, folder, folder / "policies"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_init_says_what_it_wrote_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "g" / "gateway.toml"

    ran = run_here(capsys, "init", "--dir", str(config.parent))

    assert ran.out.splitlines() == [
        f"wrote {config}",
        f"wrote {len(list(starter_policies().glob('*.cedar')))} policy files into {config.parent / 'policies'}",
        "",
        "next:",
        f"  put a target into {config}; there is an example of each kind",
        f"  mcp-gateway --config {config} check",
        f"  mcp-gateway --config {config} targets test",
        f"  mcp-gateway --config {config} client-config claude-code",
    ]


def test_init_says_it_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_here(capsys, "init", "--dir", str(tmp_path / "g"), "--json").json

    assert found["id"] == str(tmp_path / "g" / "gateway.toml")
    assert {"id": str(tmp_path / "g" / "policies" / "databases.cedar")} in found["policies"]


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gateway.toml").symlink_to("nowhere")
    (tmp_path / "policies").mkdir()

    ran = run_here(capsys, "init", "--dir", str(tmp_path))

    assert (ran.status, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        f"mcp-gateway: {tmp_path / name}: is there already; move it away, or choose another folder with --dir"
        for name in ("gateway.toml", "policies")
    ]
    assert list((tmp_path / "policies").iterdir()) == []


def test_init_refuses_a_folder_that_others_can_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o777)

    ran = run_here(capsys, "init", "--dir", str(tmp_path))

    assert ran.status == 2
    assert ran.err == (
        f"mcp-gateway: {tmp_path}: it has mode 0777, so that others can write to it; run chmod go-w on it\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_examples_in_the_configuration_are_valid() -> None:
    text = first_config(policies=Path("/etc/mcp-gateway/policies"))
    head, mark, examples = text.partition("# [targets.orders]")
    whole = head + mark + examples
    lines = [line.removeprefix("# ") for line in (mark + examples).splitlines()]

    settings = parse_settings(head + "\n".join(lines), file="gateway.toml")

    assert whole == text
    assert sorted(settings.targets) == ["billing", "orders", "web1"]
    assert settings.targets["orders"].classes == {"pii.email", "pii.national_id"}


def test_a_folder_with_quotes_in_its_name_is_quoted() -> None:
    policies = Path('/tmp/a "quoted" \\ folder')

    assert parse_settings(first_config(policies=policies), file="x").policy.paths == (policies,)


def test_after_init_everything_is_in_order(tmp_path: Path) -> None:
    assert run_script("init", home=tmp_path).status == 0

    checked = run_script("check", "--json", home=tmp_path)
    listed = run_script("targets", "list", home=tmp_path)

    assert (checked.status, checked.err) == (0, "")
    assert checked.json["problems"] == []
    assert checked.json["setup"] == "safeguard"
    assert listed.out == "there are no targets\n"


def test_a_folder_that_cannot_be_made_is_an_error_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    ran = run_here(capsys, "init", "--dir", str(tmp_path / "file" / "gateway"))

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        f"mcp-gateway: {tmp_path}/file/gateway: cannot be written: Not a directory; choose another folder with --dir\n"
    )


def test_the_next_commands_can_be_copied_whatever_the_folder_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "init", "--dir", str(tmp_path / "my gateway"))

    assert f"  mcp-gateway --config '{tmp_path}/my gateway/gateway.toml' check\n" in ran.out
