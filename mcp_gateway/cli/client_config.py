"""What an MCP host has to be told to start or reach this gateway, and writing it into the host's own file.

The file is merged, never replaced: what else stands there stays, a backup is kept, and a file that is no JSON object is
left alone. No secret is ever written: over stdio the gateway finds its token itself, over HTTP the host signs in.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mcp_gateway.calls import JSONObject
from mcp_gateway.cli.urls import gateway_url
from mcp_gateway.errors import ConfigError, Problem

FILE_MODE = 0o600
MAX_HOST_FILE_BYTES = 8 * 1024 * 1024

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
        url = gateway_url(url)
        if host == "claude-desktop":
            problem = Problem(message="Claude Desktop's file takes programs only; add the URL in its settings instead")
            raise ConfigError([problem])
        return {"url": f"{url}/mcp"} if host == "cursor" else {"type": "http", "url": f"{url}/mcp"}
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

    A symbolic link is followed, so that a file kept elsewhere stays where it is kept. The new text is complete on the
    disk before it takes the old one's place.

    Raises:
        ConfigError: the file is not one that can be merged into, or it cannot be read or written; it is left as it is.
    """
    try:
        real = path.resolve()
        text = _read(real, shown=path)
        after = _merged(text, host, name, server, shown=path)
        real.parent.mkdir(parents=True, exist_ok=True)
        mode = FILE_MODE if text is None else real.stat().st_mode & 0o777
        backup = None if text is None else _write_backup(real, text, mode=mode)
        _replace(real, json.dumps(after, indent=2, ensure_ascii=False) + "\n", mode=mode)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle, up to Python 3.12
        why = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        raise _problem(path, f"cannot be written: {why}; nothing was changed") from None
    return backup


def _read(real: Path, *, shown: Path) -> str | None:
    """The text of the file; None where there is none. Never waits for a device or a pipe."""
    if not real.exists():
        return None
    if not real.is_file():
        raise _problem(shown, "expected a regular file; nothing was changed")
    with real.open("rb") as file:
        content = file.read(MAX_HOST_FILE_BYTES + 1)
    if len(content) > MAX_HOST_FILE_BYTES:
        raise _problem(shown, f"expected at most {MAX_HOST_FILE_BYTES:,} bytes, got more; nothing was changed")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _problem(shown, "expected UTF-8; nothing was changed") from None


def _merged(text: str | None, host: Host, name: str, server: JSONObject, *, shown: Path) -> JSONObject:
    """The host's settings with the server among them."""
    try:
        before: Any = json.loads(text) if text and text.strip() else {}
    except (ValueError, RecursionError) as error:
        place = f"{error.msg}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise _problem(
            shown, f"expected JSON without comments ({place}); nothing was changed, so put it in by hand"
        ) from None
    if not isinstance(before, dict) or not isinstance(before.get(KEYS[host], {}), dict):
        raise _problem(shown, f"expected an object, and one in its {KEYS[host]!r}; nothing was changed")
    return before | {KEYS[host]: before.get(KEYS[host], {}) | {name: server}}


def _write_backup(real: Path, text: str, *, mode: int) -> Path:
    """Keep the file as it was under the first free name."""
    for number in count(1):
        backup = real.with_name(f"{real.name}.backup-{number}")
        try:
            _write(backup, text, mode=mode)
        except FileExistsError:
            continue
        return backup
    raise AssertionError


def _replace(real: Path, text: str, *, mode: int) -> None:
    fresh = real.with_name(f".{real.name}.{os.getpid()}.new")
    try:
        _write(fresh, text, mode=mode)
        fresh.replace(real)
    finally:
        fresh.unlink(missing_ok=True)


def _write(path: Path, text: str, *, mode: int) -> None:
    """Write a file that is not there yet. Raises `OSError`; what was written of it is taken away."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        path.chmod(mode)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _problem(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(file=str(path), message=message)])
