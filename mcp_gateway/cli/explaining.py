"""One imagined call for `policy explain`: nobody is verified and no target is asked, so nothing can come of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from mcp_gateway.calls import Assurance, JSONObject, SQLFacts
from mcp_gateway.cli.examining import examiners
from mcp_gateway.cli.loading import load_engine, load_interfaces
from mcp_gateway.clock import utc_now
from mcp_gateway.config import Settings, to_target
from mcp_gateway.decisions import Approved
from mcp_gateway.errors import RequestError
from mcp_gateway.facts.requests import PLAIN
from mcp_gateway.inference import KINDS
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.policy.case_files import TOOL_OF_KIND, CallerCase, imagined_caller
from mcp_gateway.policy.engine import Question
from mcp_gateway.policy.explain import explain
from mcp_gateway.usage import History, Usage, imagined_usage

TOKEN_AGE_SECONDS = 60
ASSURANCES = get_args(Assurance)


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


def explain_call(settings: Settings, asked: Imagined, *, policies: Sequence[Path] = ()) -> JSONObject:
    """Facts, decision and determining policies.

    Raises:
        RequestError: there is no such target, or the call would be refused before any policy.
        ConfigError: the policies cannot be used.
    """
    if asked.assurance not in ASSURANCES:
        raise _refused(f"--assurance: expected {', '.join(ASSURANCES)}, got {asked.assurance!r}", "")
    configured = settings.targets.get(asked.target)
    if configured is None:
        known = ", ".join(sorted(settings.targets)) or "none"
        raise _refused(f"there is no target {asked.target!r}", f"the configuration has {known}")
    engine = load_engine(settings, paths=policies)
    target = to_target(asked.target, configured, mode=settings.policy.mode)
    tool = TOOL_OF_KIND[target.kind]
    try:
        with examiners(settings) as examine:
            facts = examine[tool](_arguments(asked, tool), load_interfaces(settings).get(target.name, PLAIN))
        if isinstance(facts, SQLFacts):
            facts = replace(facts, returns=target.classes)  # the worst: no catalog says which of them
            if asked.inference:
                facts = replace(facts, inference=_inference(asked.inference, classes=settings.classes | target.classes))
        caller = imagined_caller(
            CallerCase.model_validate(
                {
                    "groups": asked.groups,
                    "subject": asked.subject,
                    "issuer": settings.identity.issuer,
                    "actor": asked.actor,
                    "assurance": asked.assurance,
                }
            )
        )
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise _refused(f"there is no such caller: {wrong}", "see --help") from None
    except ValueError as error:
        raise _refused(f"refused before any policy: {error}", "") from None
    question = Question(
        caller=caller,
        target=target,
        tool=tool,
        facts=facts,
        door="cli",
        token_age=TOKEN_AGE_SECONDS,
        time=utc_now(),
        approval=Approved(by=frozenset(asked.approved_by), approvers=len(set(asked.approved_by))),
        history=History(person=_usage(asked.usage)),
    )
    return explain(engine, question, classes=settings.classes).to_json()


def _inference(given: Sequence[str], *, classes: Collection[str]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for pair in () if tuple(given) == ("none",) else given:
        kind, _, name = pair.partition("=")
        if kind not in KINDS:
            raise _refused(f"there is no kind of inference {kind!r}", f"there are {', '.join(KINDS)}")
        if name not in {*classes, *BUILT_IN}:
            raise _refused(f"there is no data class {name!r}", "write KIND=CLASS, or `none` alone")
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
            raise _refused(f"--usage: expected NAME=NUMBER or touched_1h=CLASS, got {pair!r}", "")
    try:
        return imagined_usage(found)
    except ValueError as error:
        raise _refused(f"--usage: {error}", "") from None


def _arguments(asked: Imagined, tool: str) -> JSONObject:
    given = {"query_database": asked.sql, "run_ssh_command": asked.command, "call_api": asked.path}
    if given[tool] is None or any(value is not None for name, value in given.items() if name != tool):
        wanted = {"query_database": "--sql", "run_ssh_command": "--command", "call_api": "--path"}
        raise _refused(f"{asked.target!r} takes {wanted[tool]}, and nothing else of its kind", "see --help")
    match tool:
        case "query_database":
            return {"sql": asked.sql}
        case "run_ssh_command":
            return {"command": asked.command}
        case _:
            return {"method": asked.method, "path": asked.path}


def _refused(message: str, next_step: str) -> RequestError:
    return RequestError(f"{message}; {next_step}" if next_step else message, next_step=next_step)
