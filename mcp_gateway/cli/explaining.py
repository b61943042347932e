"""One imagined call for `policy explain`: nobody is verified, and a target is asked for its catalog alone, so nothing can
come of it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import anyio
from pydantic import ValidationError

from mcp_gateway.calls import Assurance, Caller, Facts, JSONObject, SQLFacts, Target
from mcp_gateway.cli.catalogs import configured_target, examine_by_catalog, refused
from mcp_gateway.cli.examining import examiners
from mcp_gateway.cli.loading import load_engine, load_interfaces
from mcp_gateway.clock import utc_now
from mcp_gateway.config import Settings, to_target
from mcp_gateway.decisions import Approved
from mcp_gateway.facts.requests import PLAIN
from mcp_gateway.inference import KINDS
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.policy.case_files import TOOL_OF_KIND, imagined_caller
from mcp_gateway.policy.case_models import CallerCase
from mcp_gateway.policy.engine import PolicyEngine, Question
from mcp_gateway.policy.examiners import facts_of
from mcp_gateway.policy.explain import explain
from mcp_gateway.usage import History, Usage, imagined_usage

TOKEN_AGE_SECONDS = 60
ASSURANCES = get_args(Assurance)
WITHOUT_CATALOG = "--no-catalog explains without it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imagined:
    """A call as the command line describes it."""

    target: str
    sql: str | None
    command: str | None
    path: str | None
    method: str
    groups: tuple[str, ...]
    subject: str
    actor: str
    assurance: str
    approved_by: tuple[str, ...]
    inference: tuple[str, ...] = ()
    """`KIND=CLASS`, or `none` alone: what the target's catalog would tell of a query. Nothing: the worst."""
    usage: tuple[str, ...] = ()
    """`NAME=NUMBER` or `touched_1h=CLASS`: what the caller did before."""
    by_catalog: bool = True
    """Whether a database is asked for its catalog; without it, what only a catalog could tell is taken as the worst."""


def explain_call(settings: Settings, asked: Imagined, *, policies: Sequence[Path] = ()) -> JSONObject:
    """Facts, decision and determining policies; in `catalog` what the facts of a statement rest on, null for none.

    Raises:
        RequestError: there is no such target, or the call would be refused before any policy.
        ConfigError: the policies cannot be used.
        TargetUnavailable: the target's catalog cannot be read. StoreError: that look cannot be recorded.
    """
    if asked.assurance not in ASSURANCES:
        raise refused(f"--assurance: expected {', '.join(ASSURANCES)}, got {asked.assurance!r}", "")
    configured = configured_target(settings, asked.target)
    engine = load_engine(settings, paths=policies)
    target = to_target(asked.target, configured, mode=settings.policy.mode)
    tool = TOOL_OF_KIND[target.kind]
    arguments, caller = _arguments(asked, tool), _caller(asked, issuer=settings.identity.issuer)
    inference = _inference(asked.inference, classes=settings.classes | target.classes)
    history = History(person=_usage(asked.usage))
    try:
        facts, catalog = _examined(settings, target, tool, arguments, by_catalog=asked.by_catalog)
    except ValueError as error:
        raise refused(f"refused before any policy: {error}", "") from None
    if isinstance(facts, SQLFacts) and asked.inference:
        facts = replace(facts, inference=inference)
    question = Question(
        caller=caller,
        target=target,
        tool=tool,
        facts=facts,
        door="cli",
        token_age=TOKEN_AGE_SECONDS,
        time=utc_now(),
        approval=Approved(by=frozenset(asked.approved_by), approvers=len(set(asked.approved_by))),
        history=history,
    )
    return explain(engine, question, classes=settings.classes).to_json() | {
        "catalog": catalog,
        "looks_at_plan": engine.looks_at_plan,
        "unnamed_groups": _unnamed(asked.groups, engine),
    }


def _examined(
    settings: Settings, target: Target, tool: str, arguments: JSONObject, *, by_catalog: bool
) -> tuple[Facts, JSONObject | None]:
    """The facts, and the catalog that they rest on. `ValueError`: it would be refused before policy."""
    if tool == "query_database" and by_catalog:
        work = partial(examine_by_catalog, settings, target.name, arguments["sql"], otherwise=WITHOUT_CATALOG)
        catalog, examination = anyio.run(work)
        if examination.refusal is not None and examination.absent:
            lacking = ", no ".join(map(str, sorted(examination.absent)))
            raise ValueError(f"{examination.refusal}; its catalog has no {lacking}")
        return facts_of(examination), catalog.to_json(of=examination)
    with examiners(settings) as examine:
        facts = examine[tool](arguments, load_interfaces(settings).get(target.name, PLAIN))
    if isinstance(facts, SQLFacts):
        facts = replace(facts, returns=target.classes)  # the worst: no catalog says which of them
    return facts, None


def _unnamed(groups: Sequence[str], engine: PolicyEngine) -> list[str]:
    """Those that stand in no policy, so that belonging to them changes nothing: misspelt ones."""
    texts = [policy.text for policy in engine.policies.values()]
    return sorted({name for name in groups if not any(json.dumps(name, ensure_ascii=False) in text for text in texts)})


def _caller(asked: Imagined, *, issuer: str) -> Caller:
    try:
        return imagined_caller(
            CallerCase.model_validate(
                {
                    "groups": asked.groups,
                    "subject": asked.subject,
                    "issuer": issuer,
                    "actor": asked.actor,
                    "assurance": asked.assurance,
                }
            )
        )
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise refused(f"there is no such caller: {wrong}", "see --help") from None


def _inference(given: Sequence[str], *, classes: Collection[str]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for pair in () if tuple(given) == ("none",) else given:
        kind, _, name = pair.partition("=")
        if kind not in KINDS:
            raise refused(f"there is no kind of inference {kind!r}", f"there are {', '.join(KINDS)}")
        if name not in {*classes, *BUILT_IN}:
            raise refused(f"there is no data class {name!r}", "write KIND=CLASS, or `none` alone")
        found[kind] = found.get(kind, frozenset()) | {name}
    return found


def _usage(given: Sequence[str]) -> Usage:
    found: dict[str, int | frozenset[str]] = {}
    for pair in given:
        name, _, value = pair.partition("=")
        if name.startswith("touched_"):
            before = found.get(name, frozenset())
            found[name] = (before if isinstance(before, frozenset) else frozenset()) | {value}
        elif value.isdecimal():
            found[name] = int(value)
        else:
            raise refused(f"--usage: expected NAME=NUMBER or touched_1h=CLASS, got {pair!r}", "")
    try:
        return imagined_usage(found)
    except ValueError as error:
        raise refused(f"--usage: {error}", "") from None


def _arguments(asked: Imagined, tool: str) -> JSONObject:
    given = {"--sql": asked.sql, "--command": asked.command, "--path": asked.path}
    wanted = {"query_database": "--sql", "run_ssh_command": "--command", "call_api": "--path"}[tool]
    others = [option for option, value in given.items() if value is not None and option != wanted]
    if others:
        raise refused(f"{asked.target!r} takes {wanted}, not {' and '.join(others)}", "see --help")
    if given[wanted] is None:
        raise refused(f"what is to be explained is missing: give {wanted}, which {asked.target!r} takes", "see --help")
    match tool:
        case "query_database":
            return {"sql": asked.sql}
        case "run_ssh_command":
            return {"command": asked.command}
        case _:
            return {"method": asked.method, "path": asked.path}
