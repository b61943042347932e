"""The files of `mcp-gateway policy test`: TOML to cases, or to every mistake in them.

    policies = ["../mcp_gateway_policies"]       # beside this file; left out, the configured ones; the command line can name others

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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mcp_gateway.calls import Caller, Door, Target
from mcp_gateway.decisions import Approved
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.facts.requests import Interface
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.policy.case_models import (
    ARGUMENTS,
    DEFAULT_BASE_URL,
    NOON,
    CallerCase,
    CaseFile,
    CaseModel,
    Expectation,
    TargetCase,
)
from mcp_gateway.policy.schema import ACTIONS
from mcp_gateway.toml_errors import toml_problem
from mcp_gateway.toml_places import KeyPath, Place, key_places, place_of
from mcp_gateway.toml_report import Path as PathInside
from mcp_gateway.toml_report import did_you_mean, dotted, in_order, report
from mcp_gateway.usage import History, Usage, imagined_usage

TOOL_OF_KIND: Mapping[str, str] = {action.kind: name for name, action in ACTIONS.items()}
NAMED_ENTRIES = frozenset({"targets", "callers", "case"})
"""Tables of a file whose entries are read one by one: a mistake in one hides none in another."""
STAND_INS: Mapping[str, Any] = {"name": "mistaken", "expect": {"decision": "deny"}}
"""For keys that a case must have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case, complete."""

    file: Path
    line: int
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
    """Read one file. `targets` are those of the configuration, `interfaces` belong to them by name.

    Raises:
        ConfigError: with every mistake in it.
    """
    written = _parsed(path)
    model, numbers = _validated(written)
    known = {target.name: target for target in targets} | {
        name: _target(name, given) for name, given in model.targets.items()
    }
    own = {name: _interface(written, name, given) for name, given in model.targets.items()}
    reader = _Reader(written=written, callers=model.callers, targets=known, interfaces={**(interfaces or {}), **own})
    cases = [reader.case(number, given) for number, given in zip(numbers, model.case, strict=True)]
    _check_names(written)
    if written.problems:
        raise ConfigError(in_order(written.problems))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A file as it is written, and what is wrong in it."""

    path: Path
    raw: Mapping[str, Any]
    places: Mapping[KeyPath, Place]
    problems: list[Problem] = field(default_factory=list)

    def wrong(self, where: PathInside, message: str) -> None:
        """Keep a mistake."""
        place = place_of(where, self.places)
        self.problems.append(
            Problem(file=str(self.path), line=place.line, column=place.column, path=self.named(where), message=message)
        )

    def report(self, error: ValidationError, *, model: type[BaseModel], above: PathInside = ()) -> None:
        """Keep all mistakes in a table."""
        self.problems.extend(
            report(
                error,
                model=model,
                raw=self.raw,
                file=str(self.path),
                places=self.places,
                above=above,
                named=self.named,
            )
        )

    def named(self, where: PathInside) -> str:
        """How a place is called: a case by its name, if it has one."""
        match where:
            case ("case", int(number), *below):
                entry = self.raw["case"][number]
                name = entry.get("name") if isinstance(entry, dict) else None
                called = f"case {name!r}" if isinstance(name, str) and name else f"case[{number}]"
                return f"{called}: {dotted(tuple(below))}" if below else called
            case _:
                return dotted(where)

    def has(self, table: str, name: str) -> bool:
        """Whether there is an entry of that name, mistaken or not."""
        entries = self.raw.get(table)
        return isinstance(entries, dict) and name in entries


def _parsed(path: Path) -> _Written:
    try:
        text = path.read_text(encoding="utf-8")
        return _Written(path=path, raw=tomllib.loads(text), places=key_places(text))
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        message = "there is no such file or folder" if missing else f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(file=str(path), message=message)]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(file=str(path), message="expected UTF-8")]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([toml_problem(error, file=str(path))]) from None


def _validated(written: _Written) -> tuple[CaseFile, list[int]]:
    """What of a file can be understood, and the numbers of its cases. Raises `ConfigError` where nothing can."""
    try:
        model = CaseFile.model_validate(written.raw)
    except ValidationError as error:
        written.report(error, model=CaseFile)
        sound, numbers = _sound(written.raw, {item["loc"][:3] for item in error.errors()})
        try:
            return CaseFile.model_validate(sound), numbers
        except ValidationError:
            raise ConfigError(in_order(written.problems)) from None
    return model, list(range(len(model.case)))


def _sound(raw: Mapping[str, Any], wrong: Collection[PathInside]) -> tuple[dict[str, Any], list[int]]:
    """A file without what is wrong in it, so that the rest can be looked at; and the numbers of the cases that are left."""
    whole = {where[0] for where in wrong if len(where) == 1 or where[0] not in NAMED_ENTRIES}
    left = {key: value for key, value in raw.items() if key not in whole}
    entries = {where[:2] for where in wrong}
    for table in ("targets", "callers"):
        if table in left:
            left[table] = {name: entry for name, entry in left[table].items() if (table, name) not in entries}
    cases = {
        number: _sound_case(entry, {where[2] for where in wrong if where[:2] == ("case", number) and len(where) > 2})
        for number, entry in enumerate(left.get("case", ()))
    }
    left["case"] = [case for case in cases.values() if case is not None]
    return left, [number for number, case in cases.items() if case is not None]


def _sound_case(entry: object, wrong: Collection[str | int]) -> dict[str, Any] | None:
    """A case of which the wrong keys are left out; None where too little is left to find anything else by."""
    if not isinstance(entry, dict) or not {"target", "arguments"}.isdisjoint(wrong):
        return None
    left = {key: value for key, value in entry.items() if key not in wrong}
    return left | {key: value for key, value in STAND_INS.items() if key in wrong}


def _check_names(written: _Written) -> None:
    """A report names a case by its name alone."""
    first: dict[str, int] = {}
    entries = written.raw.get("case")
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            continue
        if name in first:
            line = place_of(("case", first[name]), written.places).line
            written.wrong(("case", number, "name"), f"the case in line {line} has this name already")
        first.setdefault(name, number)


def _interface(written: _Written, name: str, given: TargetCase) -> Interface:
    document = None
    if given.openapi:
        from mcp_gateway.facts.openapi import read_openapi

        described = written.path.parent / given.openapi
        try:
            document = read_openapi(described.read_text(encoding="utf-8"), file=str(described))
        except (OSError, UnicodeDecodeError):
            written.wrong(("targets", name, "openapi"), f"there is no text at {str(described)!r}")
        except ConfigError as error:
            written.problems.extend(error.problems)
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
    """What the cases of one file may name."""

    written: _Written
    callers: Mapping[str, CallerCase]
    targets: Mapping[str, Target]
    interfaces: Mapping[str, Interface]

    def case(self, number: int, given: CaseModel) -> Case | None:
        """Complete one case; None when something is wrong with it."""
        at: PathInside = ("case", number)
        before = len(self.written.problems)
        target = self.targets.get(given.target)
        if target is None and not self.written.has("targets", given.target):
            self._unknown((*at, "target"), "target", given.target, self.targets)
        caller = given.caller if isinstance(given.caller, CallerCase) else self.callers.get(given.caller)
        if isinstance(given.caller, str) and caller is None and not self.written.has("callers", given.caller):
            self._unknown((*at, "caller"), "caller", given.caller, self.callers)
        tool = given.tool or (TOOL_OF_KIND[target.kind] if target is not None else None)
        arguments = {} if tool is None else self._arguments(at, given, tool)
        history = History(
            person=self._usage((*at, "usage"), given.usage), agent=self._usage((*at, "agent_usage"), given.agent_usage)
        )
        if target is None or tool is None or caller is None:
            return None
        self._check_inference((*at, "inference"), given, target, tool)
        if len(self.written.problems) > before:
            return None
        approval = given.approval
        return Case(
            file=self.written.path,
            line=place_of(at, self.written.places).line,
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

    def _usage(self, where: PathInside, given: Mapping[str, int | frozenset[str]]) -> Usage:
        sound: dict[str, int | frozenset[str]] = {}
        for name, value in given.items():
            try:
                imagined_usage({name: value})
                sound[name] = value
            except ValueError as error:
                self.written.wrong((*where, name), str(error))
        try:
            return imagined_usage(sound)
        except ValueError as error:  # of several together
            self.written.wrong(where, str(error))
            return Usage()

    def _arguments(self, at: PathInside, given: CaseModel, tool: str) -> dict[str, Any]:
        model = ARGUMENTS.get(tool)
        if model is None:
            self._unknown((*at, "tool"), "tool", tool, ARGUMENTS)
            return {}
        try:
            return model.model_validate(given.arguments).model_dump(by_alias=True)
        except ValidationError as error:
            self.written.report(error, model=model, above=(*at, "arguments"))
            return {}

    def _check_inference(self, where: PathInside, given: CaseModel, target: Target, tool: str) -> None:
        """That `inference` is about a query and about data classes that there are."""
        if given.inference is None:
            return
        if tool != "query_database":
            self.written.wrong(where, f"{tool} tells nothing by inference; only query_database does")
            return
        known = {*BUILT_IN, *target.classes}
        for kind, classes in given.inference.items():
            for name in sorted(classes - known):
                hint = did_you_mean(name, known)
                message = f"there is no data class {name!r} on the target {target.name!r}{hint}"
                self.written.wrong((*where, kind), message)

    def _unknown(self, where: PathInside, what: str, name: str, known: Collection[str]) -> None:
        listed = ", ".join(map(repr, sorted(known))) or "none"
        self.written.wrong(where, f"there is no {what} {name!r}{did_you_mean(name, known) or f'; there are {listed}'}")
