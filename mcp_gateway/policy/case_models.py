"""What the files of `mcp-gateway policy test` may hold, table by table. `case_files` reads them and completes the cases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Discriminator, Field, Tag

from mcp_gateway.calls import Assurance, Door, TargetKind
from mcp_gateway.inference import KINDS
from mcp_gateway.toml_report import did_you_mean

DEFAULT_BASE_URL = "https://api.example.com"
NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
FIRST, SECOND = "[first]", "[second]"
"""Names of forms; in brackets, which `toml_report` takes out of paths."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _has_env(labels: dict[str, str]) -> dict[str, str]:
    if "env" not in labels:
        raise ValueError("the label 'env' is required, such as labels = { env = \"prod\" }")
    return labels


def _is_kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"there is no kind of inference {kind!r}{did_you_mean(kind, KINDS)}")
    return kind


def _by_type(*types: type) -> Discriminator:
    """Of two forms, the second where a value has one of these types: so a mistake is told of one form alone."""
    return Discriminator(lambda given: SECOND if isinstance(given, types) else FIRST)


Inference = dict[Annotated[str, AfterValidator(_is_kind)], frozenset[str]]
"""By kind, the data classes that a statement tells about."""


Usages = dict[
    str, Annotated[Annotated[int, Tag(FIRST)] | Annotated[frozenset[str], Tag(SECOND)], _by_type(list, frozenset)]
]
"""By name, a number or data classes."""


class TargetCase(_Model):
    """A target that exists only for the cases."""

    kind: TargetKind
    labels: Annotated[dict[str, str], AfterValidator(_has_env)]
    classes: frozenset[str] = frozenset()
    base_url: str = DEFAULT_BASE_URL
    graphql: str = ""
    """As in the configuration."""
    openapi: str = ""
    """As in the configuration, or beside this file."""
    description: str = ""


class CallerCase(_Model):
    """A caller, as their token would have it."""

    groups: frozenset[str] = frozenset()
    subject: str = "somebody"
    issuer: str = "https://idp.example.com"
    actor: str = "agent"
    email: str | None = None
    scopes: frozenset[str] = frozenset()
    assurance: Assurance = "token"


class ApprovalCase(_Model):
    """An approval that has been given."""

    by: frozenset[str]
    approvers: int = Field(default=1, ge=1)


class QueryArguments(_Model):
    """Arguments of `query_database`."""

    sql: str
    params: list[Any] = []
    max_rows: int | None = None


class CommandArguments(_Model):
    """Arguments of `run_ssh_command`."""

    argv: list[str] | None = None
    command: str | None = None
    stdin: str | None = None
    timeout_s: int | None = None


class RequestArguments(_Model):
    """Arguments of `call_api`."""

    method: str = "GET"
    path: str
    query: dict[str, Annotated[Annotated[str, Tag(FIRST)] | Annotated[list[str], Tag(SECOND)], _by_type(list)]] = {}
    headers: dict[str, str] = {}
    json_value: Any = Field(default=None, alias="json")
    body: str | None = None


class Expectation(_Model):
    """What a case has to come to; None is not compared."""

    decision: Literal["allow", "ask", "deny", "refused"]
    policies: list[str] | None = None
    approvers: dict[str, int] | None = None
    """Group to people."""
    revealed: list[str] | None = None
    """Every data class that this caller may see raw, of all there are."""
    visible: bool | None = None
    """Whether the caller sees the tool on this target at all."""


class CaseModel(_Model):
    """One `[[case]]`."""

    name: str = Field(min_length=1)
    caller: Annotated[Annotated[str, Tag(FIRST)] | Annotated[CallerCase, Tag(SECOND)], _by_type(dict, CallerCase)] = (
        CallerCase()
    )
    target: str
    tool: str | None = None
    """Left out: the tool of the target's kind."""
    arguments: dict[str, Any]
    inference: Inference | None = None
    """What only a catalog could tell of a query. Left out: the worst."""
    door: Door = "http"
    token_age: int = 60
    time: AwareDatetime = NOON
    approval: ApprovalCase | None = None
    usage: Usages = {}
    """What the person did before; what is left out is 0."""
    agent_usage: Usages = {}
    """What the agent did before."""
    expect: Expectation


class CaseFile(_Model):
    """A whole file."""

    policies: list[str] = []
    targets: dict[str, TargetCase] = {}
    callers: dict[str, CallerCase] = {}
    case: list[CaseModel] = []


ARGUMENTS: Mapping[str, type[_Model]] = {
    "query_database": QueryArguments,
    "run_ssh_command": CommandArguments,
    "call_api": RequestArguments,
}
