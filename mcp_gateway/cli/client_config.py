"""What an MCP host has to be told to start or reach this gateway, and writing it into the host's own file.

The file is merged, never replaced: what else stands there stays, a backup is kept, and a file that is no JSON object is
left alone. No secret is ever written: over stdio the gateway finds its token and its credentials itself, over HTTP the
host signs in. What it finds them by in the environment is told (`needs_of`): hosts hand on little of their own, and what
somebody puts into the entry for it stays there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mcp_gateway.calls import JSONObject
from mcp_gateway.cli.findings import credential_sources
from mcp_gateway.cli.places import from_here
from mcp_gateway.cli.urls import gateway_url
from mcp_gateway.config import EnvSource, Settings, no_home
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.identity.sources import TOKEN_FILE_VARIABLE
from mcp_gateway.identity.system_user import home_folder

FILE_MODE = 0o600
MAX_HOST_FILE_BYTES = 8 * 1024 * 1024

Host: TypeAlias = Literal["claude-desktop", "claude-code", "vscode", "cursor"]
KEYS: Mapping[Host, str] = {
    "claude-desktop": "mcpServers",
    "claude-code": "mcpServers",
    "vscode": "servers",
    "cursor": "mcpServers",
}


def program_entry(host: Host, config: Path) -> JSONObject:
    """A gateway that the host starts and speaks to over stdio."""
    program: JSONObject = {"command": command(), "args": ["--config", str(config.resolve()), "stdio"]}
    return {"type": "stdio", **program} if host in {"vscode", "claude-code"} else program


def url_entry(host: Host, url: str) -> JSONObject:
    """A gateway that serves HTTP there. Raises `ConfigError`."""
    url = f"{gateway_url(url)}/mcp"
    if host == "claude-desktop":
        message = f"Claude Desktop's file takes programs only; add {url} as a connector in its settings instead"
        raise ConfigError([Problem(message=message)])
    return {"url": url} if host == "cursor" else {"type": "http", "url": url}


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A variable that the gateway has to find in its environment when a host starts it."""

    variable: str
    key: str
    """What of the configuration needs it."""
    is_secret: bool = True

    def __str__(self) -> str:
        if not self.is_secret:
            return (
                f"tokens of {self.key} come from a file: put its path into the entry, as "
                f'"env": {{"{self.variable}": "/path/to/token"}}, and let something keep the file fresh'
            )
        return (
            f"{self.key} comes from the environment variable {self.variable}, and hosts hand on little of their own "
            'environment: name { file = "/..." }, a keyring or a command there instead, or put the variable into the '
            'entry\'s "env" yourself, where whoever reads the file has it'
        )

    def to_json(self) -> JSONObject:
        """For scripts."""
        return {"id": self.variable, "key": self.key}


def needs_of(settings: Settings) -> list[Need]:
    """What the gateway takes from its environment, beside the configuration's place, which the entry says."""
    found = [
        Need(variable=source.env, key=key)
        for key, source in credential_sources(settings)
        if isinstance(source, EnvSource)
    ]
    if settings.identity.issuer != "local":
        found.append(Need(variable=TOKEN_FILE_VARIABLE, key="identity.issuer", is_secret=False))
    return found


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
    match host:
        case "claude-desktop" if sys.platform == "darwin":
            return _home(environ) / "Library/Application Support/Claude/claude_desktop_config.json"
        case "claude-desktop":
            return _configuration_home(environ) / "Claude/claude_desktop_config.json"
        case "claude-code":
            return from_here(".mcp.json")
        case "vscode":
            return from_here(".vscode/mcp.json")
        case "cursor":
            return _home(environ) / ".cursor/mcp.json"


def _configuration_home(environ: Mapping[str, str]) -> Path:
    given = Path(environ.get("XDG_CONFIG_HOME", ""))
    return given if given.is_absolute() else _home(environ) / ".config"


def _home(environ: Mapping[str, str]) -> Path:
    """Never below the current folder, whatever the environment says: the host would not look there."""
    if (home := home_folder(environ)) is None:
        raise ConfigError([Problem(message=f"{no_home()}, or name the file with --path")])
    return home


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What became of a host's file."""

    server: JSONObject
    """The entry as it stands there now."""
    changed: bool
    backup: Path | None = None
    """The file as it was; None where there was none, or nothing changed."""


def merge(path: Path, host: Host, name: str, server: JSONObject) -> Merged:
    """Put the server into the file; where it says the same already, the file stays as it is.

    A symbolic link is followed, so that a file kept elsewhere stays where it is kept. The new text is complete on the
    disk before it takes the old one's place.

    Raises:
        ConfigError: the file is not one that can be merged into, or it cannot be read or written; it is left as it is.
    """
    try:
        real = path.resolve()
        text = _read(real, shown=path)
        before = _parsed(text, host, shown=path)
        after = _merged(before, host, name, server)
        written = after[KEYS[host]][name]
        if text is not None and after == before:
            return Merged(server=written, changed=False)
        real.parent.mkdir(parents=True, exist_ok=True)
        mode = FILE_MODE if text is None else real.stat().st_mode & 0o777
        backup = None if text is None else _write_backup(real, text, mode=mode)
        _replace(real, json.dumps(after, indent=2, ensure_ascii=False) + "\n", mode=mode)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle, up to Python 3.12
        why = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        raise _problem(path, f"cannot be written: {why}; nothing was changed") from None
    return Merged(server=written, changed=True, backup=backup)


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


def _parsed(text: str | None, host: Host, *, shown: Path) -> JSONObject:
    """The host's settings; raises `ConfigError` for what is none."""
    try:
        before: Any = json.loads(text) if text and text.strip() else {}
    except (ValueError, RecursionError) as error:
        place = f"{error.msg}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise _problem(
            shown, f"expected JSON without comments ({place}); nothing was changed, so put it in by hand"
        ) from None
    if not isinstance(before, dict) or not isinstance(before.get(KEYS[host], {}), dict):
        raise _problem(shown, f"expected an object, and one in its {KEYS[host]!r}; nothing was changed")
    return before


def _merged(before: JSONObject, host: Host, name: str, server: JSONObject) -> JSONObject:
    """The host's settings with the server among them. The environment of a program of that name is its user's: it stays."""
    servers = before.get(KEYS[host], {})
    known = servers.get(name)
    if "command" in server and isinstance(known, dict) and "command" in known and "env" in known:
        server = server | {"env": known["env"]}
    return before | {KEYS[host]: servers | {name: server}}


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
