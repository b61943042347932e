"""gateway.toml to typed settings, or every problem in it at once.

This file finds and reads; what the tables are is in `config_models` and `config_targets`, how problems read in
`toml_report`. Everybody may import from here; nothing here opens a target, a credential or a policy.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import platformdirs
from pydantic import ValidationError

from mcp_gateway.config_models import (
    ApprovalSettings,
    GatewaySettings,
    IdentitySettings,
    MaskingSettings,
    PolicySettings,
    ServerSettings,
    Settings,
    default_data_dir,
    no_home,
)
from mcp_gateway.config_sources import CommandSource, CredentialSource, EnvSource, FileSource, HTTPAuth, KeyringSource
from mcp_gateway.config_targets import HTTPTarget, PostgresTarget, SSHTarget, to_target
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.toml_errors import toml_problem
from mcp_gateway.toml_places import key_places
from mcp_gateway.toml_report import report
from mcp_gateway.trusted_files import UntrustedFileError, read_trusted

__all__ = [
    "ApprovalSettings",
    "CommandSource",
    "CredentialSource",
    "EnvSource",
    "FileSource",
    "GatewaySettings",
    "HTTPAuth",
    "HTTPTarget",
    "IdentitySettings",
    "KeyringSource",
    "MaskingSettings",
    "PolicySettings",
    "PostgresTarget",
    "SSHTarget",
    "ServerSettings",
    "Settings",
    "config_folder",
    "default_data_dir",
    "find_config",
    "load_settings",
    "no_home",
    "parse_settings",
    "to_target",
]

FILE_NAME = "gateway.toml"
VARIABLE = "MCP_GATEWAY_CONFIG"
MAX_CONFIG_BYTES = 1024 * 1024


def config_folder(*, instead: str = "give --config") -> Path:
    """The user's configuration folder of this program. Raises `ConfigError` where they have none: what to do `instead`."""
    try:
        return platformdirs.user_config_path("mcp-gateway", appauthor=False)
    except RuntimeError:
        raise ConfigError([Problem(message=f"{no_home()}, or {instead}")]) from None


def find_config(explicit: str | None, environ: Mapping[str, str]) -> Path:
    """Which file to read: `--config`, else `MCP_GATEWAY_CONFIG`, else the one in the user's configuration folder.

    Never a path relative to the current folder: hosts start servers in the agent's workspace, and what lies there
    is the agent's to write.

    Raises:
        ConfigError: a path is relative, or there is no file to fall back on.
    """
    for given, source in ((explicit, "--config"), (environ.get(VARIABLE), VARIABLE)):
        if given:
            if not Path(given).is_absolute():
                raise ConfigError([Problem(message=f"{source}: expected an absolute path, got {given!r}")])
            return Path(given)
    path = config_folder() / FILE_NAME
    if not path.is_absolute():
        raise ConfigError([Problem(message=f"the user's configuration folder is not absolute: {str(path.parent)!r}")])
    if not path.exists():
        raise ConfigError(
            [Problem(file=str(path), message="there is no configuration; run `mcp-gateway init`, or give --config")]
        )
    return path


def load_settings(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises:
        ConfigError: all that is wrong with the file or in it.
    """
    try:
        content = read_trusted(path, max_bytes=MAX_CONFIG_BYTES)
    except UntrustedFileError as error:
        raise ConfigError([Problem(file=str(path), message=str(error))]) from None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(file=str(path), line=line, message="expected UTF-8")]) from None
    return parse_settings(text, file=str(path))


def parse_settings(text: str, *, file: str) -> Settings:
    """Check the text of a configuration file; pure but for the defaults that depend on the user's folders.

    Raises:
        ConfigError: all that is wrong in it.
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([toml_problem(error, file=file)]) from None
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(report(error, model=Settings, raw=raw, file=file, places=key_places(text))) from None
