"""The configuration as typed, frozen values: one class for each table of gateway.toml.

Attributes are named as the keys. Checks that concern one value are in `config_values`, those of targets in
`config_targets`; here are the tables of the gateway itself and what has to hold between tables. Fields stand in
the order in which they are checked: a check reads only what stands above it, and says nothing about what has
failed for itself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import platformdirs
import rfc8785
from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from mcp_gateway.config_places import (
    is_loopback,
    parse_decision_url,
    parse_issuer,
    parse_listen,
    parse_origin,
    parse_public_url,
    split_listen,
    url_host,
)
from mcp_gateway.config_sources import AbsolutePath, CredentialPath, CredentialSource, Section, Text
from mcp_gateway.config_targets import ClassName, Detectors, PolicyMode, TargetTable
from mcp_gateway.config_values import (
    duration_within,
    parse_array,
    parse_rate,
    parse_scope,
    parse_target_name,
    parse_tool_name,
)
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.quantities import format_duration
from mcp_gateway.rates import Rate
from mcp_gateway.toml_report import did_you_mean

Algorithm: TypeAlias = Literal["RS256", "PS256", "ES256", "EdDSA"]
Style: TypeAlias = Literal["redact", "last4", "hash", "null", "token"]
BUILT_IN_TOOLS = frozenset({"query_database", "run_ssh_command", "call_api"})
RESERVED_TOOL_NAMES = BUILT_IN_TOOLS | {"list_targets", "reveal"}
RESERVED_GROUP = "caller"

Wrong: TypeAlias = tuple[tuple[str, ...], str]
"""Where below a field something is wrong, and what."""


def default_data_dir() -> Path:
    """The user's data folder of this program. Raises `ConfigError` where the user has none."""
    try:
        return platformdirs.user_data_path("mcp-gateway", appauthor=False)
    except RuntimeError:
        raise ConfigError([Problem(path="gateway.data_dir", message=f"{no_home()}, or write it")]) from None


def no_home() -> str:
    """Why a user, such as that of a container, has no folders of their own, and what helps; more may follow."""
    return f"the user that runs this ({os.geteuid()}) has no home folder; set HOME to an absolute path"


class GatewaySettings(Section):
    """`[gateway]`."""

    name: Text = "mcp-gateway"
    data_dir: AbsolutePath = Field(default_factory=default_data_dir)
    tools: Annotated[tuple[Annotated[str, BeforeValidator(parse_tool_name)], ...], BeforeValidator(parse_array)] = ()
    """Tools of other distributions that are loaded beside the built-in ones."""

    @field_validator("tools")
    @classmethod
    def _check_tools(cls, tools: tuple[str, ...]) -> tuple[str, ...]:
        taken = sorted(name for name in set(tools) if name in RESERVED_TOOL_NAMES or tools.count(name) > 1)
        if taken:
            raise ValueError(f"the name {taken[0]!r} is taken; a tool's name must be unique")
        return tools


class ServerSettings(Section):
    """`[server]`: what `serve` needs."""

    listen: Annotated[str, BeforeValidator(parse_listen)] = "127.0.0.1:8765"
    allowed_origins: Annotated[
        tuple[Annotated[str, BeforeValidator(parse_origin)], ...], BeforeValidator(parse_array)
    ] = ()
    sse: bool = True
    fast_path: bool = True
    """Whether plain calls over HTTP are answered before the SDK."""
    answer_within: Annotated[timedelta, BeforeValidator(duration_within(least="5s", most="10m"))] = timedelta(
        seconds=50
    )
    max_calls_per_caller: Annotated[int, Field(ge=1, le=1000)] = 32
    """How many calls of one caller may be under way; one more is refused."""
    rate_per_caller: Annotated[Rate, BeforeValidator(parse_rate)] | None = None
    """How many calls of one caller there may be in a time; one more is refused."""
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 1000
    behind_tls_proxy: bool = False
    max_connections_per_address: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default_factory=lambda known: _share_of_an_address(
            known.get("max_connections", 1), behind_proxy=bool(known.get("behind_tls_proxy"))
        )
    )
    request_within: Annotated[timedelta, BeforeValidator(duration_within(least="1s", most="10m"))] = timedelta(
        seconds=30
    )
    """From a request's first byte to its last."""
    read_within: Annotated[timedelta, BeforeValidator(duration_within(least="1s", most="1h"))] = timedelta(minutes=1)
    """How long something of an answer may wait to be read."""
    tls_cert: AbsolutePath | None = None
    tls_key: Annotated[CredentialPath | None, Field(validate_default=True)] = None
    public_url: Annotated[str, BeforeValidator(parse_public_url)] = Field(
        default_factory=lambda known: f"{'https' if known.get('tls_cert') else 'http'}://{known.get('listen')}"
    )

    @field_validator("tls_key")
    @classmethod
    def _check_tls(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        known = info.data
        if not {"listen", "tls_cert", "behind_tls_proxy"} <= known.keys():
            return key
        if (key is None) != (known["tls_cert"] is None):
            raise ValueError("expected both 'tls_cert' and 'tls_key', or neither")
        if key is None and not known["behind_tls_proxy"] and not is_loopback(split_listen(known["listen"])[0]):
            raise ValueError(
                "listening beyond loopback needs 'tls_cert' and 'tls_key', or 'behind_tls_proxy = true' where a proxy "
                "ends TLS"
            )
        return key

    @property
    def host(self) -> str:
        """The address of `listen`, without brackets."""
        return split_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """The port of `listen`; 0 lets the system choose."""
        return split_listen(self.listen)[1]


def _share_of_an_address(most: int, *, behind_proxy: bool) -> int:
    """All clients of a proxy have its address; else half, so that one address leaves room for the others."""
    return most if behind_proxy else max(1, most // 2)


class Person(Section):
    """One of `[identity.local] people`."""

    groups: Annotated[tuple[Text, ...], BeforeValidator(parse_array)] = ()
    email: Text | None = None

    @field_validator("groups")
    @classmethod
    def _check_groups(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        if RESERVED_GROUP in groups:
            raise ValueError(f"the group name {RESERVED_GROUP!r} is reserved")
        return groups


class LocalSettings(Section):
    """`[identity.local]`."""

    people: dict[Text, Person] = Field(default_factory=dict)


class IdentitySettings(Section):
    """`[identity]`: whose tokens are accepted, and which."""

    issuer: Annotated[str, BeforeValidator(parse_issuer)]
    audience: Text
    """With `issuer = "local"` the default is `[server] public_url`."""
    algorithms: Annotated[tuple[Algorithm, ...], BeforeValidator(parse_array), Field(min_length=1)] = (
        "RS256",
        "PS256",
        "ES256",
        "EdDSA",
    )
    token_types: Annotated[tuple[Text, ...], BeforeValidator(parse_array), Field(min_length=1)] = ("at+jwt",)
    max_token_lifetime: Annotated[timedelta, BeforeValidator(duration_within(least="10s", most="1d"))] = timedelta(
        hours=1
    )
    leeway: Annotated[timedelta, BeforeValidator(duration_within(least="0s", most="60s"))] = timedelta(seconds=30)
    groups_claim: Text = "groups"
    scopes: dict[Text, Annotated[str, BeforeValidator(parse_scope)]] = Field(default_factory=dict)
    """Tool to the scope that it demands."""
    tls_ca: AbsolutePath | None = None
    """Certificates that the issuer's is checked against, in place of the system's."""
    local: LocalSettings = LocalSettings()

    @field_validator("tls_ca")
    @classmethod
    def _check_tls_ca(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None and not info.data.get("issuer", "https:").startswith("https:"):
            raise ValueError("expected it only where 'issuer' is an https URL")
        return path

    @field_validator("local")
    @classmethod
    def _check_local(cls, local: LocalSettings, info: ValidationInfo) -> LocalSettings:
        if local.people and info.data.get("issuer", "local") != "local":
            raise ValueError('local people exist only with issuer = "local"')
        return local


class DecisionPointSettings(Section):
    """`[policy.opa]`: whom to ask further."""

    url: Annotated[str, BeforeValidator(parse_decision_url)]
    timeout: Annotated[timedelta, BeforeValidator(duration_within(least="10ms", most="10s"))] = timedelta(seconds=1)
    token: CredentialSource | None = None
    """The bearer token that it asks for."""
    tls_ca: AbsolutePath | None = None
    """Certificates that its own is checked against, in place of the system's."""


class PolicySettings(Section):
    """`[policy]`. Without any policy nothing is permitted."""

    paths: Annotated[tuple[AbsolutePath, ...], BeforeValidator(parse_array)] = ()
    mode: PolicyMode = "enforce"
    opa: DecisionPointSettings | None = None


class CommandSettings(Section):
    """`[commands]`: what is known of programs on hosts beside what is built in."""

    programs: Annotated[tuple[AbsolutePath, ...], BeforeValidator(parse_array)] = ()


class ApprovalSettings(Section):
    """`[approvals]`."""

    wait: Annotated[timedelta, BeforeValidator(duration_within(least="0s", most="10m"))] = timedelta(seconds=40)
    ttl: Annotated[timedelta, BeforeValidator(duration_within(least="10s", most="7d"))] = timedelta(minutes=15)
    claim: Annotated[timedelta, BeforeValidator(duration_within(least="10s", most="1d"))] = timedelta(minutes=15)
    clients: Annotated[tuple[Text, ...], BeforeValidator(parse_array)] = ()
    require_auth_time: bool = False
    tls_ca: AbsolutePath | None = None
    """Certificates that a gateway's is checked against where `approvals --url` asks it, in place of the system's."""


class MaskingSettings(Section):
    """`[masking]`."""

    detectors: Detectors = ("default",)
    styles: dict[ClassName, Style] = Field(default_factory=dict)

    @field_validator("styles")
    @classmethod
    def _check_styles(cls, styles: dict[str, Style]) -> dict[str, Style]:
        refuse(
            ((name,), "the style 'last4' is for classes below 'payment.' only")
            for name, style in styles.items()
            if style == "last4" and not name.startswith("payment.")
        )
        return styles


class Settings(Section):
    """All of gateway.toml."""

    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    identity: IdentitySettings
    policy: PolicySettings = PolicySettings()
    commands: CommandSettings = CommandSettings()
    approvals: Annotated[ApprovalSettings, Field(validate_default=True)] = ApprovalSettings()
    targets: dict[Annotated[str, BeforeValidator(parse_target_name)], TargetTable] = Field(default_factory=dict)
    masking: MaskingSettings = MaskingSettings()

    @model_validator(mode="before")
    @classmethod
    def _default_audience(cls, raw: Any) -> Any:
        """Under the local issuer this gateway is the only audience there is."""
        identity, server = (raw.get("identity"), raw.get("server", {})) if isinstance(raw, dict) else (None, {})
        if not isinstance(identity, dict) or identity.get("issuer") != "local" or "audience" in identity:
            return raw
        try:
            url = ServerSettings.model_validate(server).public_url
        except ValidationError:
            url = "unknown"  # the same problem is found again where it belongs, and nothing starts
        return raw | {"identity": identity | {"audience": url}}

    @field_validator("identity")
    @classmethod
    def _check_identity(cls, identity: IdentitySettings, info: ValidationInfo) -> IdentitySettings:
        gateway: GatewaySettings | None = info.data.get("gateway")
        further = gateway.tools if gateway is not None else tuple(identity.scopes)
        refuse(
            _wrong_scopes(identity, tools=BUILT_IN_TOOLS.union(further))
            + _wrong_local_issuer(identity, info.data.get("server"))
        )
        return identity

    @field_validator("approvals")
    @classmethod
    def _check_wait(cls, approvals: ApprovalSettings, info: ValidationInfo) -> ApprovalSettings:
        server: ServerSettings | None = info.data.get("server")
        if server is not None and approvals.wait >= server.answer_within:
            limit = format_duration(server.answer_within)
            refuse([(("wait",), f"expected less than server.answer_within, which is {limit}")])
        return approvals

    @field_validator("targets")
    @classmethod
    def _check_targets(cls, targets: dict[str, TargetTable], info: ValidationInfo) -> dict[str, TargetTable]:
        server: ServerSettings | None = info.data.get("server")
        limit = server.answer_within if server is not None else timedelta.max
        late = [name for name, target in targets.items() if target.timeout >= limit]
        refuse(
            [
                (
                    (name, "timeout"),
                    f"expected less than server.answer_within, which is {format_duration(limit)}: an approved call "
                    "could never be claimed",
                )
                for name in late
            ]
            + [
                (((name, "detectors")), problem)
                for name, target in targets.items()
                for problem in _wrong_detectors(target.detectors or ())
            ]
        )
        return targets

    @field_validator("masking")
    @classmethod
    def _check_masking(cls, masking: MaskingSettings, info: ValidationInfo) -> MaskingSettings:
        wrong: list[Wrong] = [(("detectors",), problem) for problem in _wrong_detectors(masking.detectors)]
        targets: Mapping[str, TargetTable] | None = info.data.get("targets")
        if targets is not None:
            classes = frozenset(BUILT_IN).union(*(target.classes for target in targets.values()))
            wrong += [
                (("styles", name), f"no such data class{did_you_mean(name, classes)}")
                for name in masking.styles
                if name not in classes
            ]
        refuse(wrong)
        return masking

    @property
    def classes(self) -> frozenset[str]:
        """Every data class there is: the built-in ones and those of the targets."""
        return frozenset(BUILT_IN).union(*(target.classes for target in self.targets.values()))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the canonical JSON of all settings, in hexadecimal; credential sources by reference."""
        return hashlib.sha256(rfc8785.dumps(self.model_dump(mode="json"))).hexdigest()


def refuse(wrong: Iterable[Wrong]) -> None:
    """Raise all of these at once, each at its own place below the field that is being checked."""
    details = [
        InitErrorDetails(type=PydanticCustomError("config", "{message}", {"message": message}), loc=place, input=None)
        for place, message in wrong
    ]
    if details:
        raise ValidationError.from_exception_data("configuration", details)


def _wrong_scopes(identity: IdentitySettings, *, tools: frozenset[str]) -> list[Wrong]:
    return [
        (("scopes", tool), f"no such tool{did_you_mean(tool, tools)}") for tool in identity.scopes if tool not in tools
    ]


def _wrong_local_issuer(identity: IdentitySettings, server: ServerSettings | None) -> list[Wrong]:
    """The local issuer proves no more than that somebody is on this machine, so nobody else may reach it."""
    if server is None or identity.issuer != "local":
        return []
    wrong: list[Wrong] = []
    if not is_loopback(server.host):
        wrong.append((("issuer",), f"'local' is for loopback only, and server.listen is {server.listen!r}"))
    if not is_loopback(url_host(server.public_url)):
        wrong.append((("issuer",), "'local' is for loopback only, and server.public_url is not on loopback"))
    if server.behind_tls_proxy:
        wrong.append((("issuer",), "'local' is for loopback only, and server.behind_tls_proxy is true"))
    return wrong


def _wrong_detectors(names: Iterable[str]) -> list[str]:
    from mcp_gateway.masking.detectors import find_problems

    return [problem.message for problem in find_problems(names)]
