"""What an MCP host has to be told to start or reach this gateway, and writing it into the host's own file.

The file is merged, never replaced: what else stands there stays, a backup is kept, and a file that is no JSON object is
left alone. No secret is ever written: over stdio the gateway finds its token itself, over HTTP the host signs in.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mcp_gateway.calls import JSONObject
from mcp_gateway.errors import ConfigError, Problem

Host: TypeAlias = Literal["claude-desktop", "claude-code", "vscode", "cursor"]
KEYS: Mapping[Host, str] = {
    "claude-desktop": "mcpServers",
    "claude-code": "mcpServers",
    "vscode": "servers",
    "cursor": "mcpServers",
}


def entry(host: Host, *, config: Path, url: str | None) -> JSONObject:
    """One server as this host wants it: over HTTP when a URL is given, else started over stdio."""
    if url is not None:
        if host == "claude-desktop":
            problem = Problem(message="Claude Desktop's file takes programs only; add the URL in its settings instead")
            raise ConfigError([problem])
        return (
            {"type": "http", "url": f"{url.rstrip('/')}/mcp"} if host != "cursor" else {"url": f"{url.rstrip('/')}/mcp"}
        )
    program: JSONObject = {"command": command(), "args": ["--config", str(config.resolve()), "stdio"]}
    return {"type": "stdio", **program} if host in {"vscode", "claude-code"} else program


def command() -> str:
    """The absolute path of the console script that belongs to this interpreter."""
    script = Path(sys.executable).with_name("mcp-gateway")
    if not script.exists():
        raise ConfigError([Problem(message=f"there is no {str(script)!r}; install the package into this environment")])
    return str(script)


def document(host: Host, name: str, server: JSONObject) -> JSONObject:
    """A whole file with this one server."""
    return {KEYS[host]: {name: server}}


def default_path(host: Host, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the host reads its servers: the user's file, or the project's in the current folder."""
    home = Path(environ.get("HOME", "~")).expanduser()
    match host:
        case "claude-desktop" if sys.platform == "darwin":
            return home / "Library/Application Support/Claude/claude_desktop_config.json"
        case "claude-desktop":
            return Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "Claude/claude_desktop_config.json"
        case "claude-code":
            return Path.cwd() / ".mcp.json"
        case "vscode":
            return Path.cwd() / ".vscode/mcp.json"
        case "cursor":
            return home / ".cursor/mcp.json"


def merge(path: Path, host: Host, name: str, server: JSONObject) -> Path | None:
    """Put the server into the file; returns the backup, or None where there was no file.

    Raises:
        ConfigError: the file is not one that can be merged into; it is left as it is.
    """
    before: Any = {}
    text = ""
    if path.exists():
        text = path.read_text(encoding="utf-8")
        try:
            before = json.loads(text) if text.strip() else {}
        except ValueError as error:
            raise _problem(path, f"is not JSON ({error}); nothing was changed") from None
    if not isinstance(before, dict) or not isinstance(before.get(KEYS[host], {}), dict):
        raise _problem(path, f"holds no object with {KEYS[host]!r}; nothing was changed")
    after = before | {KEYS[host]: before.get(KEYS[host], {}) | {name: server}}
    backup = None
    if text:
        backup = _free(path)
        backup.write_text(text, encoding="utf-8")
        backup.chmod(path.stat().st_mode & 0o777)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(after, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if text:
        fresh.chmod(path.stat().st_mode & 0o777)
    fresh.replace(path)
    return backup


def _free(path: Path) -> Path:
    number = 1
    while (backup := path.with_name(f"{path.name}.backup-{number}")).exists():
        number += 1
    return backup


def _problem(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(file=str(path), message=message)])
