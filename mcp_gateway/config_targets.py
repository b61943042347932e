"""The `[targets.<name>]` tables: what stands behind the gateway, how to reach it, and within which limits.

No value here is a credential. `fingerprint` is what an approval is bound to: any change to a target's table makes
the approvals before it stale.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

import rfc8785
from pydantic import BeforeValidator, Field, ValidationInfo, field_serializer, field_validator

from mcp_gateway.calls import Target
from mcp_gateway.config_places import (
    Network,
    got_origin,
    is_loopback,
    parse_base_url,
    parse_host,
    parse_host_or_socket,
    parse_network,
    parse_path_below,
    url_host,
)
from mcp_gateway.config_sources import AbsolutePath, Auth, CredentialSource, HTTPAuth, Section, Text
from mcp_gateway.config_values import (
    duration_within,
    parse_array,
    parse_class_name,
    parse_column_path,
    parse_description,
    parse_header_name,
    parse_rate,
    parse_text,
    size_within,
)
from mcp_gateway.rates import Rate

PolicyMode: TypeAlias = Literal["enforce", "observe"]
"""`observe`: what policy would refuse or ask about is recorded, and runs."""
TLSMode: TypeAlias = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
ClassName = Annotated[str, BeforeValidator(parse_class_name)]
Host = Annotated[str, BeforeValidator(parse_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Detector = Annotated[str, BeforeValidator(parse_text)]
Detectors = Annotated[tuple[Detector, ...], BeforeValidator(parse_array)]

OPEN_TLS_MODES = frozenset({"disable", "allow", "prefer"})
"""Modes of libpq in which a server, or who stands between, can have the connection in the clear."""


class TargetSettings(Section):
    """What all kinds of targets have."""

    description: Annotated[str, BeforeValidator(parse_description)] = ""
    """For agents: what this is."""
    labels: dict[Text, Text]
    """For policies; `env` is required."""
    max_bytes: Annotated[int, BeforeValidator(size_within(least="1KiB", most="64MiB"))] = 4 << 20
    timeout: Annotated[timedelta, BeforeValidator(duration_within(least="1s", most="1h"))] = timedelta(seconds=30)
    max_calls: Annotated[int, Field(ge=1, le=20)] = 10
    """How many calls run on it at once; further ones wait for their turn."""
    rate: Annotated[Rate, BeforeValidator(parse_rate)] | None = None
    """How many calls it gets in a time; further ones are refused."""
    detectors: Detectors | None = None
    """In place of `[masking] detectors`."""
    mode: PolicyMode | None = None
    """In place of `[policy] mode`."""

    @field_validator("labels")
    @classmethod
    def _check_env(cls, labels: dict[str, str]) -> dict[str, str]:
        if "env" not in labels:
            raise ValueError("the label 'env' is required, such as labels = { env = \"prod\" }")
        return labels

    @property
    def classes(self) -> frozenset[str]:
        """Data classes that the configuration attaches to columns."""
        return frozenset()

    def fingerprint(self) -> str:
        """SHA-256 over the canonical JSON of the table, in hexadecimal; credential sources by reference."""
        return hashlib.sha256(rfc8785.dumps(self.model_dump(mode="json"))).hexdigest()


class PostgresTarget(TargetSettings):
    """A PostgreSQL database, by one role."""

    kind: Literal["postgres"]
    host: Annotated[str, BeforeValidator(parse_host_or_socket)]
    """A host name, an address, or the absolute path of the folder that holds the server's socket."""
    port: Port = 5432
    database: Text
    user: Text
    password: CredentialSource | None = None
    tls: TLSMode = "verify-full"
    tls_ca: AbsolutePath | None = None
    """Certificates that the server's is checked against, in place of the system's."""
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    classify: dict[Annotated[str, BeforeValidator(parse_column_path)], ClassName] = Field(default_factory=dict)
    """`schema.table.column` to data class."""

    @field_validator("tls")
    @classmethod
    def _check_tls(cls, tls: TLSMode, info: ValidationInfo) -> TLSMode:
        where = info.data.get("host")
        if where is not None and tls in OPEN_TLS_MODES and not (where.startswith("/") or is_loopback(where)):
            raise ValueError(f"{tls!r} is for loopback only, where {where!r} is not; expected 'verify-full'")
        return tls

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    @property
    def classes(self) -> frozenset[str]:
        """Data classes that the configuration attaches to columns."""
        return frozenset(self.classify.values())


class SSHTarget(TargetSettings):
    """A host that is reached by SSH, as one user."""

    kind: Literal["ssh"]
    host: Host
    port: Port = 22
    user: Text
    known_hosts: AbsolutePath
    """The file with the host's key; a host that is not in it is never connected to."""
    key: CredentialSource
    """The private key, in OpenSSH's format."""

    @property
    def place(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"


class HTTPTarget(TargetSettings):
    """An HTTP API below one base URL."""

    kind: Literal["http"]
    networks: Annotated[
        tuple[Annotated[Network, BeforeValidator(parse_network)], ...], BeforeValidator(parse_array)
    ] = ()
    """Private or loopback ranges that the name may resolve to; without it only public addresses."""
    base_url: Annotated[str, BeforeValidator(parse_base_url)]
    tls_ca: AbsolutePath | None = None
    """Certificates that the server's is checked against, in place of the system's."""
    auth: Auth | None = None
    headers: Annotated[
        tuple[Annotated[str, BeforeValidator(parse_header_name)], ...], BeforeValidator(parse_array)
    ] = ()
    """Request headers that an agent may set, beside the harmless ones."""
    graphql: Annotated[str, BeforeValidator(parse_path_below)] | None = None
    """Where its GraphQL is, below `base_url`."""
    openapi: AbsolutePath | None = None
    """The file of its OpenAPI document."""

    @property
    def place(self) -> str:
        """Host and port, as the URL has them; a path may hold what is for the API alone."""
        return urlsplit(self.base_url).netloc

    @field_validator("base_url")
    @classmethod
    def _check_scheme(cls, url: str, info: ValidationInfo) -> str:
        secure = url.lower().startswith("https:") or is_loopback(url_host(url)) or info.data.get("networks", True)
        if not secure:
            got = got_origin(urlsplit(url))
            raise ValueError(f"expected an https URL{got}; http is for loopback, or for what 'networks' holds")
        return url

    @field_validator("tls_ca")
    @classmethod
    def _check_tls_ca(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None and not info.data.get("base_url", "https:").lower().startswith("https:"):
            raise ValueError("expected it only where 'base_url' is an https URL")
        return path

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        auth: HTTPAuth | None = info.data.get("auth")
        own = auth.header.name.lower() if auth is not None and auth.header is not None else ""
        # To servers behind CGI and WSGI an underline in a name is a hyphen.
        if own.replace("_", "-") in {name.lower().replace("_", "-") for name in headers}:
            raise ValueError(f"the header {own!r} carries the gateway's own credential")
        return headers

    @field_serializer("networks")
    def _write_networks(self, networks: tuple[Network, ...]) -> list[str]:
        return [str(found) for found in networks]


TargetTable: TypeAlias = Annotated[PostgresTarget | SSHTarget | HTTPTarget, Field(discriminator="kind")]


def to_target(name: str, settings: PostgresTarget | SSHTarget | HTTPTarget, *, mode: PolicyMode = "enforce") -> Target:
    """A target as policy and the road see it; `mode` is that of `[policy]`."""
    return Target(
        name=name,
        kind=settings.kind,
        description=settings.description,
        labels=dict(settings.labels),
        classes=settings.classes,
        fingerprint=settings.fingerprint(),
        observed=(settings.mode or mode) == "observe",
    )
