"""Runs policy cases: from raw SQL, command or request, by the real facts functions, to decision and policy ids."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcp_gateway.calls import JSONObject, SQLFacts, Target, TargetKind
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.facts.requests import Interface
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.policy.case_files import Case, Cases, read_cases
from mcp_gateway.policy.case_models import Expectation
from mcp_gateway.policy.compiling import NO_TOOLS
from mcp_gateway.policy.engine import PolicyEngine, Question
from mcp_gateway.policy.examiners import EXAMINERS, Examiner
from mcp_gateway.policy.explain import decision_to_json, explain, tables_without_schema
from mcp_gateway.policy.loader import load_policies

SUFFIX = ".toml"
NO_POLICIES = "names no policies to test, and none are configured; write their paths here, or give --policies"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """How one case went."""

    file: Path
    line: int
    name: str
    differences: tuple[str, ...]
    """One line for each expectation that was not met; none: it passed."""
    got: JSONObject
    """What it came to, with the facts."""
    because: tuple[str, ...] = ()
    """Of one that differs: the policies that determined the decision, with their reasons, and what else led there."""

    @property
    def passed(self) -> bool:
        """Whether everything came as expected."""
        return not self.differences

    def to_json(self) -> JSONObject:
        """One row for `--json`."""
        return {
            "id": f"{self.file.name}: {self.name}",
            "file": str(self.file),
            "line": self.line,
            "passed": self.passed,
            "differences": list(self.differences),
            "because": list(self.because),
            "got": self.got,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How all of them went."""

    results: tuple[CaseResult, ...]
    uncovered: tuple[str, ...]
    """Policies that no case is determined by, sorted."""

    @property
    def passed(self) -> bool:
        """Whether every case passed. What is uncovered is no failure."""
        return all(result.passed for result in self.results)


def run_cases(
    paths: Sequence[Path],
    *,
    policies: Sequence[Path] = (),
    configured: Sequence[Path] = (),
    targets: Sequence[Target] = (),
    interfaces: Mapping[str, Interface] | None = None,
    classes: Collection[str] = (),
    tools: Mapping[str, TargetKind] = NO_TOOLS,
    examiners: Mapping[str, Examiner] = EXAMINERS,
) -> Report:
    """Run the cases of these files, and of every `*.toml` in these folders.

    Args:
        paths: case files and folders of them.
        policies: the set to test; left out, each file says which it tests.
        configured: the set of the configuration, for files that do not say. It is read as a gateway reads it.
        targets: those of the configuration, which cases may name.
        interfaces: what is known of the APIs among them.
        classes: configured data classes.
        tools: configured further tools, and the kind of target that each is for.
        examiners: how raw arguments become facts, by tool.

    Raises:
        ConfigError: with all that is wrong in case files and policies.
    """
    files, problems = _read(paths, targets=targets, interfaces=interfaces or {})
    engines: list[tuple[Cases, PolicyEngine]] = []
    for cases in files:
        named = tuple(policies) or cases.policies
        try:
            if not named and not configured:
                raise ConfigError([Problem(file=str(cases.file), path="policies", message=NO_POLICIES)])
            engine = load_policies(
                named or configured, targets=cases.targets, classes=classes, tools=tools, guarded=not named
            )
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
        else:
            engines.append((cases, engine))
    if problems:
        raise ConfigError(problems)
    covered: set[str] = set()
    results = [
        _run(case, engine, classes={*classes, *_classes_of(cases)}, examiners=examiners, covered=covered)
        for cases, engine in engines
        for case in cases.cases
    ]
    everything = {name for _, engine in engines for name in engine.policies}
    return Report(results=tuple(results), uncovered=tuple(sorted(everything - covered)))


def question_of(case: Case, *, examiners: Mapping[str, Examiner] = EXAMINERS) -> Question:
    """The question that a case asks; raises `ValueError` where the call would be refused before any policy."""
    facts = examiners[case.tool](dict(case.arguments), case.interface)
    if isinstance(facts, SQLFacts):
        # The worst: no catalog says which classes the result carries.
        facts = replace(facts, inference=case.inference, returns=case.target.classes)
    return Question(
        caller=case.caller,
        target=case.target,
        tool=case.tool,
        facts=facts,
        door=case.door,
        token_age=case.token_age,
        time=case.time,
        approval=case.approval,
        history=case.history,
    )


def _read(
    paths: Sequence[Path], *, targets: Sequence[Target], interfaces: Mapping[str, Interface]
) -> tuple[list[Cases], list[Problem]]:
    found: list[Cases] = []
    problems: list[Problem] = []
    for path in paths:
        files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not files:
            problems.append(Problem(file=str(path), message=f"holds no *{SUFFIX} file"))
        for file in files:
            try:
                found.append(read_cases(file, targets=targets, interfaces=interfaces))
            except ConfigError as error:
                problems += error.problems
    return found, problems


def _classes_of(cases: Cases) -> frozenset[str]:
    return frozenset(BUILT_IN).union(*(target.classes for target in cases.targets))


def _run(
    case: Case,
    engine: PolicyEngine,
    *,
    classes: Collection[str],
    examiners: Mapping[str, Examiner],
    covered: set[str],
) -> CaseResult:
    try:
        question = question_of(case, examiners=examiners)
    except ValueError as refused:
        got: JSONObject = {"decision": "refused", "policies": [], "reasons": [str(refused)]}
    else:
        explanation = explain(engine, question, classes=classes)
        got = explanation.to_json()
        got["visible"] = (case.tool, case.target.name) in engine.visible(case.caller)
        covered.update(policy.id for policy in explanation.policies)
        for name in classes:
            covered.update(engine.evaluate_reveal(question, name).policies)
    differences = tuple(_differences(case.expect, got))
    because = tuple(_because(case, got, engine, examiners=examiners)) if differences else ()
    return CaseResult(file=case.file, line=case.line, name=case.name, differences=differences, got=got, because=because)


def _because(case: Case, got: JSONObject, engine: PolicyEngine, *, examiners: Mapping[str, Examiner]) -> Iterator[str]:
    """Why a case came to what it did, a line each."""
    if got["decision"] == "refused":
        yield f"it is refused before any policy: {'; '.join(got['reasons'])}"
        return
    for policy in (engine.policies[name] for name in got["policies"]):
        yield f"by {policy.effect} {policy.id!r} ({policy.place}){f': {policy.annotations.reason}' if policy.annotations.reason else ''}"
    if not got["policies"] and not got.get("error"):
        yield "no policy permits it"
    if case.inference is None and any(got["facts"].get("inference", {}).values()):
        told_nothing = question_of(replace(case, inference={}), examiners=examiners)
        otherwise = decision_to_json(engine.decide(told_nothing))["decision"]
        if otherwise != got["decision"]:
            yield (
                "no catalog says how it uses classified columns, so the worst is taken; with `inference = {}` in the case, "
                f"which says that it does not, it is {otherwise}"
            )


def _differences(expect: Expectation, got: JSONObject) -> list[str]:
    differences: list[str] = []

    def compare(name: str, expected: Any, came: Any) -> None:
        if expected is not None and expected != came:
            differences.append(f"{name}: expected {_shown(expected)}, got {_shown(came)}")

    compare("decision", expect.decision, got["decision"])
    compare("policies", None if expect.policies is None else sorted(expect.policies), got["policies"])
    unmatched = tables_without_schema(got.get("facts", {})) if differences else []
    compare("approvers", expect.approvers, got.get("approvers", {}))
    compare("revealed", None if expect.revealed is None else sorted(expect.revealed), got.get("revealed", []))
    compare("visible", expect.visible, got.get("visible"))
    if differences and got.get("error"):
        differences.append(f"error: {got['error']}")
    if unmatched:
        differences.append(f"no schema is written before {', '.join(unmatched)}, and cases ask no catalog for it")
    return differences


def _shown(value: Any) -> str:
    match value:
        case list():
            return ", ".join(map(str, value)) or "none"
        case dict():
            return ", ".join(f"{count} of {group}" for group, count in sorted(value.items())) or "nobody"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)
