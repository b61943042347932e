"""Where a credential comes from, as the configuration says it: a source, never a value.

`mcp_gateway.credentials.sources.fetch` turns one of these into a `Secret`. Nothing here holds one, so these may be
printed, dumped and hashed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict

from mcp_gateway.config_values import (
    parse_absolute_path,
    parse_credential_header,
    parse_credential_path,
    parse_text,
    parse_variable_name,
    toml_type,
)


class Section(BaseModel):
    """Base of every table of the configuration: nothing unknown, nothing coerced, nothing echoed in errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


Text = Annotated[str, BeforeValidator(parse_text)]
AbsolutePath = Annotated[Path, BeforeValidator(parse_absolute_path)]
CredentialPath = Annotated[Path, BeforeValidator(parse_credential_path)]


class EnvSource(Section):
    """A variable in the gateway's own environment."""

    env: Annotated[str, BeforeValidator(parse_variable_name)]

    def __str__(self) -> str:
        return f"the environment variable {self.env}"


class FileSource(Section):
    """A file that only the gateway's user (or root) may read; one trailing newline is not part of the credential."""

    file: CredentialPath

    def __str__(self) -> str:
        return f"the file {str(self.file)!r}"


class KeyringEntry(Section):
    """One entry of the operating system's keyring."""

    service: Text
    username: Text


class KeyringSource(Section):
    """An entry of the operating system's keyring; needs the extra `keyring`."""

    keyring: KeyringEntry

    def __str__(self) -> str:
        return f"the keyring entry of {self.keyring.username!r} for {self.keyring.service!r}"


def _argv(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError('expected a program and its arguments, such as ["/usr/bin/pass", "orders"]; there is no shell')  # noqa: TRY004
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected an array of strings, got {toml_type(value)}")  # noqa: TRY004
    if not value or not isinstance(value[0], str) or not value[0].startswith("/"):
        raise ValueError("expected the absolute path of a program first; no PATH is searched")
    if any(isinstance(item, str) and "\0" in item for item in value):
        raise ValueError("expected arguments without NUL")
    return tuple(value)


class CommandSource(Section):
    """A program that prints the credential. It runs without a shell and in an empty environment."""

    command: Annotated[tuple[str, ...], BeforeValidator(_argv)]

    def __str__(self) -> str:
        return f"the command {self.command[0]!r}"


_SOURCES: dict[str, type[EnvSource | FileSource | KeyringSource | CommandSource]] = {
    "env": EnvSource,
    "file": FileSource,
    "keyring": KeyringSource,
    "command": CommandSource,
}


def _source(value: Any) -> Any:
    """Choose the kind of source by its key, so that an error is about that kind alone."""
    if isinstance(value, tuple(_SOURCES.values())):
        return value
    if isinstance(value, str):
        raise ValueError('a credential never stands here itself; name its source, such as { env = "NAME" }')  # noqa: TRY004
    if not isinstance(value, dict) or len(value) != 1 or not _SOURCES.keys() & value.keys():
        # Keys alone: what stands at them may be the credential.
        got = (", ".join(map(repr, value)) or "an empty one") if isinstance(value, dict) else toml_type(value)
        raise ValueError(f"expected a table with exactly one of {', '.join(map(repr, _SOURCES))}, got {got}")
    return _SOURCES[next(iter(value))].model_validate(value)


CredentialSource: TypeAlias = Annotated[
    EnvSource | FileSource | KeyringSource | CommandSource, BeforeValidator(_source)
]


class BasicAuth(Section):
    """HTTP basic authentication (RFC 7617)."""

    user: Text
    password: CredentialSource


class HeaderAuth(Section):
    """A credential in a header of its own, such as `X-API-Key`."""

    name: Annotated[str, BeforeValidator(parse_credential_header)]
    value: CredentialSource


def _auth(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError('a credential never stands here itself; expected { bearer = { env = "NAME" } } or the like')  # noqa: TRY004
    if isinstance(value, dict) and len(value) != 1:
        got = ", ".join(map(repr, value)) or "none of them"
        raise ValueError(f"expected exactly one of 'bearer', 'basic', 'header', got {got}")
    return value


class HTTPAuth(Section):
    """How the gateway proves itself to an HTTP target: exactly one of these."""

    bearer: CredentialSource | None = None
    basic: BasicAuth | None = None
    header: HeaderAuth | None = None


Auth: TypeAlias = Annotated[HTTPAuth, BeforeValidator(_auth)]
