"""The files of `mcp-gateway policy test`: TOML to cases, or to every mistake in them.

    policies = ["../mcp_gateway_policies"]       # beside this file; the command line can name others

    [targets.orders]                             # imagined ones, beside those of the configuration
    kind = "postgres"
    labels = { env = "prod" }
    classes = ["pii.email"]

    [callers.dev]
    groups = ["developers"]

    [[case]]
    name = "a write to production waits for a DBA"
    caller = "dev"                               # or { groups = ["developers"] }
    target = "orders"
    arguments.sql = "UPDATE orders SET paid = true WHERE id = 1"
    expect.decision = "ask"                      # allow, ask, deny; refused: it never comes to policy
    expect.policies = ["changes-need-a-dba"]
    expect.approvers = { dba = 1 }

    [[case]]
    name = "nobody searches for an address without a DBA"
    caller = "dev"
    target = "orders"
    arguments.sql = "SELECT id FROM customers WHERE email LIKE 'a%'"
    inference = { where_pattern = ["pii.email"] }  # what a catalog would tell; left out, the worst is taken
    expect.decision = "ask"

What `expect` leaves out is not compared. `cases` runs them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from mcp_gateway.calls import Assurance, Caller, Door, Target, TargetKind
from mcp_gateway.decisions import Approved
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.facts.requests import Interface
from mcp_gateway.inference import KINDS
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.policy.schema import ACTIONS
from mcp_gateway.toml_errors import toml_problem
from mcp_gateway.usage import History, imagined_usage

TOOL_OF_KIND: Mapping[str, str] = {action.kind: name for name, action in ACTIONS.items()}
DEFAULT_BASE_URL = "https://api.example.com"
NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _has_env(labels: dict[str, str]) -> dict[str, str]:
    if "env" not in labels:
        raise ValueError("env is required")
    return labels


def _is_kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"there is no kind of inference {kind!r}; there are {', '.join(KINDS)}")
    return kind


Inference = dict[Annotated[str, AfterValidator(_is_kind)], frozenset[str]]
"""By kind, the data classes that a statement tells about."""


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
    query: dict[str, str | list[str]] = {}
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
    caller: str | CallerCase = CallerCase()
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
    usage: dict[str, int | frozenset[str]] = {}
    """What the person did before; what is left out is 0."""
    agent_usage: dict[str, int | frozenset[str]] = {}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case, complete."""

    file: Path
    name: str
    caller: Caller
    target: Target
    interface: Interface
    tool: str
    arguments: Mapping[str, Any]
    inference: Mapping[str, frozenset[str]] | None
    door: Door
    token_age: int
    time: datetime
    approval: Approved
    history: History
    expect: Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """The cases of one file and what they are run with."""

    file: Path
    policies: tuple[Path, ...]
    targets: tuple[Target, ...]
    """Those of the configuration, and the file's own in place of their namesakes."""
    cases: tuple[Case, ...]


def read_cases(
    path: Path, *, targets: Sequence[Target] = (), interfaces: Mapping[str, Interface] | None = None
) -> Cases:
    """Read one file; raises `ConfigError`. `targets` are those of the configuration, `interfaces` belong to them by name."""
    try:
        model = CaseFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        message = "there is no such file or folder" if missing else f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(file=str(path), message=message)]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(file=str(path), message="expected UTF-8")]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([toml_problem(error, file=str(path))]) from None
    except ValidationError as error:
        raise ConfigError(list(_problems(path, error))) from None
    known = {target.name: target for target in targets} | {
        name: _target(name, given) for name, given in model.targets.items()
    }
    own = {name: _interface(path, given) for name, given in model.targets.items()}
    reader = _Reader(path=path, callers=model.callers, targets=known, interfaces={**(interfaces or {}), **own})
    cases = [reader.case(given) for given in model.case]
    if len({case.name for case in model.case}) != len(model.case):
        reader.problems.append(Problem(file=str(path), path="case", message="two cases have the same name"))
    if reader.problems:
        raise ConfigError(reader.problems)
    return Cases(
        file=path,
        policies=tuple((path.parent / name).resolve() for name in model.policies),
        targets=tuple(known.values()),
        cases=tuple(case for case in cases if case is not None),
    )


def imagined_caller(given: CallerCase) -> Caller:
    """A caller that no token proved: for cases and explanations alone, never for a call."""
    return Caller(
        issuer=given.issuer,
        subject=given.subject,
        actor=given.actor,
        client_id=given.actor,
        delegated=False,
        email=given.email,
        groups=given.groups,
        scopes=given.scopes,
        token_id="imagined",  # noqa: S106 - no token
        issued_at=NOON,
        expires_at=NOON + timedelta(hours=1),
        auth_time=None,
        assurance=given.assurance,
    )


def _interface(path: Path, given: TargetCase) -> Interface:
    document = None
    if given.openapi:
        from mcp_gateway.facts.openapi import read_openapi

        described = path.parent / given.openapi
        try:
            text = described.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise ConfigError([Problem(file=str(described), message="there is no such text")]) from None
        document = read_openapi(text, file=str(described))
    return Interface(base_url=given.base_url, graphql=given.graphql, document=document)


def _target(name: str, given: TargetCase) -> Target:
    return Target(
        name=name,
        kind=given.kind,
        description=given.description,
        labels=given.labels,
        classes=given.classes,
        fingerprint="imagined",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """What the cases of one file may name, and what is wrong with them."""

    path: Path
    callers: Mapping[str, CallerCase]
    targets: Mapping[str, Target]
    interfaces: Mapping[str, Interface]
    problems: list[Problem] = field(default_factory=list)

    def case(self, given: CaseModel) -> Case | None:
        """Complete one case; None when something is wrong with it."""
        target = self.targets.get(given.target)
        caller = given.caller if isinstance(given.caller, CallerCase) else self.callers.get(given.caller)
        if target is None:
            self._wrong(given, "target", f"there is no target {given.target!r}; there are {_listed(self.targets)}")
        if caller is None:
            self._wrong(given, "caller", f"there is no caller {given.caller!r}; there are {_listed(self.callers)}")
        if target is None or caller is None:
            return None
        tool = given.tool or TOOL_OF_KIND[target.kind]
        arguments = self._arguments(given, tool)
        history = self._history(given)
        if arguments is None or history is None or not self._knows_classes(given, target, tool):
            return None
        approval = given.approval
        return Case(
            file=self.path,
            name=given.name,
            caller=imagined_caller(caller),
            target=target,
            interface=self.interfaces.get(target.name, Interface(base_url=DEFAULT_BASE_URL)),
            tool=tool,
            arguments=arguments,
            inference=given.inference,
            door=given.door,
            token_age=given.token_age,
            time=given.time,
            approval=Approved() if approval is None else Approved(by=approval.by, approvers=approval.approvers),
            history=history,
            expect=given.expect,
        )

    def _history(self, given: CaseModel) -> History | None:
        try:
            return History(person=imagined_usage(given.usage), agent=imagined_usage(given.agent_usage))
        except ValueError as error:
            self._wrong(given, "usage", str(error))
            return None

    def _arguments(self, given: CaseModel, tool: str) -> dict[str, Any] | None:
        if tool not in ARGUMENTS:
            self._wrong(given, "tool", f"there is no tool {tool!r}; there are {_listed(ARGUMENTS)}")
            return None
        try:
            return ARGUMENTS[tool].model_validate(given.arguments).model_dump(by_alias=True)
        except ValidationError as error:
            for item in error.errors():
                self._wrong(given, ".".join(("arguments", *map(str, item["loc"]))), item["msg"])
            return None

    def _knows_classes(self, given: CaseModel, target: Target, tool: str) -> bool:
        """Whether `inference` is about a query and about data classes that there are."""
        if given.inference is None:
            return True
        if tool != "query_database":
            self._wrong(given, "inference", f"{tool} tells nothing by inference; only query_database does")
            return False
        known = {*BUILT_IN, *target.classes}
        unknown = sorted(frozenset[str]().union(*given.inference.values()) - known)
        for name in unknown:
            self._wrong(given, "inference", f"there is no data class {name!r} on the target {target.name!r}")
        return not unknown

    def _wrong(self, given: CaseModel, key: str, message: str) -> None:
        self.problems.append(Problem(file=str(self.path), path=f"case {given.name!r}: {key}", message=message))


def _problems(path: Path, error: ValidationError) -> Sequence[Problem]:
    return [
        Problem(file=str(path), path=".".join(map(str, item["loc"])), message=item["msg"]) for item in error.errors()
    ]


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"
