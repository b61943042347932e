from __future__ import annotations

import json
from pathlib import Path

import pytest

from mcp_gateway.cli.client_config import KEYS, Host, document, entry, merge
from mcp_gateway.errors import ConfigError


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
