from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mcp_gateway.cli.client_config import KEYS, Host, document, entry, merge
from mcp_gateway.errors import ConfigError
from tests.cli.running import run_script, write_config


@pytest.mark.parametrize("host", list(KEYS))
def test_a_host_gets_absolute_paths_and_no_secret(host: Host, tmp_path: Path) -> None:
    server = entry(host, config=tmp_path / "gateway.toml", url=None)

    assert Path(server["command"]).is_absolute()
    assert server["args"] == ["--config", str(tmp_path / "gateway.toml"), "stdio"]
    assert "env" not in server
    assert document(host, "gateway", server) == {KEYS[host]: {"gateway": server}}


def test_a_url_is_for_hosts_that_speak_http(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"

    assert entry("claude-code", config=config, url="https://g.example/") == {
        "type": "http",
        "url": "https://g.example/mcp",
    }
    with pytest.raises(ConfigError, match="takes programs only"):
        entry("claude-desktop", config=config, url="https://g.example")


def test_writing_merges_and_keeps_a_backup(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config.json"

    assert merge(path, "claude-desktop", "gateway", {"command": "x"}) is None
    path.write_text(json.dumps({"theme": "dark", "mcpServers": {"other": {"command": "y"}}}))
    path.chmod(0o640)
    first = merge(path, "claude-desktop", "gateway", {"command": "x"})
    second = merge(path, "claude-desktop", "gateway", {"command": "z"})

    assert json.loads(path.read_text()) == {
        "theme": "dark",
        "mcpServers": {"other": {"command": "y"}, "gateway": {"command": "z"}},
    }
    assert first is not None
    assert "gateway" not in json.loads(first.read_text())["mcpServers"]
    assert second not in {None, first}
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text", ["{", "[]", '{"mcpServers": []}'])
def test_a_file_that_cannot_be_merged_into_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match="nothing was changed"):
        merge(path, "cursor", "gateway", {})

    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("url", ["gateway", "http://gateway.example.com", "ftp://127.0.0.1", "https://u@g.example", ""])
def test_a_url_that_tokens_may_not_go_to_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"^--url: (expected a URL|a gateway's URL is https, or http on loopback)"):
        entry("cursor", config=tmp_path, url=url)


def test_what_is_printed_can_be_copied_into_the_file(tmp_path: Path) -> None:
    config = write_config(tmp_path, "")

    ran = run_script("--config", str(config), "client-config", "vscode", home=tmp_path)

    assert ran.status == 0
    assert ran.json["servers"]["gateway"]["args"] == ["--config", str(config), "stdio"]
    assert ran.out.splitlines()[1] == '  "servers": {'
    assert ran.err == f"put this into {tmp_path}/.vscode/mcp.json, or call this command with --write\n"


def test_scripts_are_told_what_was_written(tmp_path: Path) -> None:
    arguments = ("--config", str(write_config(tmp_path, "")), "client-config", "cursor", "--write", "--json")

    first = run_script(*arguments, home=tmp_path)
    second = run_script(*arguments, home=tmp_path)

    file = str(tmp_path / ".cursor/mcp.json")
    assert first.json == {"id": "gateway", "file": file, "backup": None}
    assert second.json == {"id": "gateway", "file": file, "backup": f"{file}.backup-1"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"a": ', "expected JSON without comments (Expecting value, line 1); nothing was changed"),
        (b"// mine\n{}", "expected JSON without comments (Expecting value, line 1); nothing was changed"),
        (b"\xff\xfe{", "expected UTF-8; nothing was changed"),
        (b"[" * 100_000, "expected JSON without comments (nested too deeply); nothing was changed"),
        (b" " * (8 * 1024 * 1024 + 1), "expected at most 8,388,608 bytes, got more; nothing was changed"),
        (b'{"mcpServers": 1}', "expected an object, and one in its 'mcpServers'; nothing was changed"),
    ],
)
def test_a_file_that_is_none_of_ours_is_named_and_left(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        merge(path, "cursor", "gateway", {})

    assert str(caught.value).startswith(f"{path}: {why}")
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_a_folder_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="expected a regular file; nothing was changed"):
            merge(path, "cursor", "gateway", {})


def test_a_place_that_cannot_be_written_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(
        ConfigError, match=r"file/deep/config\.json: cannot be written: Not a directory; nothing was changed$"
    ):
        merge(tmp_path / "file" / "deep" / "config.json", "cursor", "gateway", {})


def test_a_file_kept_elsewhere_stays_there(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_bytes(b'\xef\xbb\xbf{"other": 1}')
    link = tmp_path / "config.json"
    link.symlink_to(real)

    merge(link, "cursor", "gateway", {"command": "x"})

    assert link.is_symlink()
    assert json.loads(real.read_text()) == {"other": 1, "mcpServers": {"gateway": {"command": "x"}}}


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    merge(tmp_path / "config.json", "cursor", "gateway", {})

    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600


def test_a_host_that_there_is_not_is_misuse(tmp_path: Path) -> None:
    config = write_config(tmp_path, '[identity]\nissuer = "local"\n')

    ran = run_script("--config", str(config), "client-config", "emacs", home=tmp_path)

    assert ran.status == 2
    assert ran.err.endswith(
        "Error: Invalid value for HOST: expected one of claude-desktop, claude-code, vscode, cursor, got 'emacs'\n"
    )
