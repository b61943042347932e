"""`mcp-gateway policy`: whether the policies are valid, whether they do what was meant, and why they say what they say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcp_gateway.cli.groups import CommandGroup
from mcp_gateway.cli.output import (
    PROGRAM,
    AsJSON,
    print_excerpt,
    print_fields,
    print_json,
    print_line,
    print_note,
    print_warning,
    progress,
)
from mcp_gateway.cli.places import from_here
from mcp_gateway.cli.statuses import MISUSED
from mcp_gateway.cli.times import parse_time

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_gateway.cli.replaying import Replay
    from mcp_gateway.config import Settings
    from mcp_gateway.policy.cases import Report

MOST_CALLERS = 5

app = typer.Typer(
    cls=CommandGroup, add_completion=False, no_args_is_help=True, help="Check, test and explain policies."
)

Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policies", metavar="PATH", help="A file or folder to take in place of the configured policies; repeatable."
    ),
]


@app.command()
def check(
    context: typer.Context,
    policies: Policies = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 1 where there are warnings.")] = False,
    as_json: AsJSON = False,
) -> None:
    """Find mistakes in the policies, by the schema and the configured targets, and policies that can never decide anything.

    Exit status 0: they can be used. 1: they can, with warnings, and --strict. 2: they cannot.
    """
    from mcp_gateway.cli.loading import bases_of, load_engine, targets_of
    from mcp_gateway.errors import ConfigError
    from mcp_gateway.policy.reach import findings_on

    try:
        settings = context.obj.settings()
        engine = load_engine(settings, paths=_paths(policies))
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"problems": [problem.to_json() for problem in error.problems], "warnings": [], "notes": []})
        raise typer.Exit(MISUSED) from None
    found = findings_on(engine.compiled, targets=targets_of(settings), bases=bases_of(settings))
    if as_json:
        print_json(
            {
                "version": engine.version,
                "policies": [policy.to_json() for policy in engine.policies.values()],
                "problems": [],
                "warnings": [warning.to_json() for warning in found.warnings],
                "notes": [note.to_json() for note in found.notes],
            }
        )
    else:
        shadows = len(engine.policies) - len(engine.enforced)
        in_shadow = f" ({shadows} in shadow mode)" if shadows else ""
        print_line(f"{len(engine.policies)} policies{in_shadow}, version {engine.version[:12]}")
        for warning in found.warnings:
            print_warning(str(warning))
            print_excerpt(warning)
        for note in found.notes:
            print_note(f"{PROGRAM}: note: {note}")
    if strict and found.warnings:
        raise typer.Exit(1)


@app.command("test")
def run_tests(
    context: typer.Context,
    cases: Annotated[list[str], typer.Argument(metavar="PATH", help="Case files, or folders of them.")],
    policies: Policies = None,
    as_json: AsJSON = False,
) -> None:
    """Run cases from raw SQL, command or request to decision and policy ids.

    By the policies of --policies, else those that a file names, else the configured ones. Works without a configuration:
    then cases can use only the targets that their own file describes.

    Exit status 0: all came as expected. 1: some did not. 2: there are mistakes in cases or policies.
    """
    from mcp_gateway.errors import ConfigError

    try:
        report = _run_cases(context.obj.settings_if_any(), _paths(cases), policies=_paths(policies))
    except ConfigError as error:
        if not as_json:
            raise
        problems = [problem.to_json() for problem in error.problems]
        print_json({"passed": False, "problems": problems, "cases": [], "uncovered": []})
        raise typer.Exit(MISUSED) from None
    if as_json:
        results = [result.to_json() for result in report.results]
        print_json({"passed": report.passed, "problems": [], "cases": results, "uncovered": list(report.uncovered)})
    else:
        _print_report(report)
    if not report.passed:
        raise typer.Exit(1)


@app.command()
def explain(
    context: typer.Context,
    target: Annotated[str, typer.Option(metavar="NAME", help="A configured target.")],
    sql: Annotated[str | None, typer.Option(metavar="STATEMENT", help="For query_database.")] = None,
    command: Annotated[str | None, typer.Option(metavar="COMMAND", help="For run_ssh_command.")] = None,
    path: Annotated[str | None, typer.Option(metavar="PATH", help="For call_api.")] = None,
    method: Annotated[str, typer.Option(metavar="METHOD", help="For call_api.")] = "GET",
    groups: Annotated[
        list[str] | None, typer.Option("--group", metavar="GROUP", help="A group of the caller; repeatable.")
    ] = None,
    subject: Annotated[str, typer.Option(metavar="SUBJECT", help="The caller.")] = "somebody",
    actor: Annotated[str, typer.Option(metavar="AGENT", help="The agent that acts for the caller.")] = "agent",
    assurance: Annotated[str, typer.Option(metavar="ASSURANCE", help="token, local or local-demo.")] = "token",
    approved_by: Annotated[
        list[str] | None, typer.Option(metavar="GROUP", help="A group whose approval is given; repeatable.")
    ] = None,
    inference: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND=CLASS", help="What a query tells of masked data, or `none`; repeatable."),
    ] = None,
    usage: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What the caller did before, as rows_1h=20000; repeatable."),
    ] = None,
    no_catalog: Annotated[
        bool, typer.Option("--no-catalog", help="Connect to nothing: take what only a catalog could tell as the worst.")
    ] = False,
    all_facts: Annotated[
        bool, typer.Option("--all-facts", help="Show facts that say nothing, too: none, or no number.")
    ] = False,
    policies: Policies = None,
    as_json: AsJSON = False,
) -> None:
    """Say what would be decided for one call, by which policies, and why.

    Of a database the catalog is read, with the target's own credential, as a running gateway reads it; the look is
    recorded. Nothing of the statement is sent. With --no-catalog tables and columns stand as they are written, and for
    nothing else: write their schema, and mind what a view, a partition or a foreign key leads to. How a statement uses
    classified columns is then taken as the worst, unless --inference says it.

    Exit status 3: the catalog cannot be read, or the look not be recorded.
    """
    from mcp_gateway.cli.explaining import Imagined, explain_call
    from mcp_gateway.cli.logs import log_to_stderr

    log_to_stderr(quiet=True)
    asked = Imagined(
        target=target,
        sql=sql,
        command=command,
        path=path,
        method=method,
        groups=tuple(groups or ()),
        subject=subject,
        actor=actor,
        assurance=assurance,
        approved_by=tuple(approved_by or ()),
        inference=tuple(inference or ()),
        usage=tuple(usage or ()),
        by_catalog=not no_catalog,
    )
    explanation = explain_call(context.obj.settings(), asked, policies=_paths(policies))
    if as_json:
        print_json(explanation)
    else:
        _print_explanation(explanation, all_facts=all_facts)
        for name in explanation["unnamed_groups"]:
            print_warning(f"no policy names the group {name!r}: it changes nothing here")


@app.command()
def replay(
    context: typer.Context,
    since: Annotated[str, typer.Option(metavar="TIME", help="ISO 8601, or how long ago: 15m, 2h, 7d.")] = "7d",
    candidate: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="A file or folder of the policies to decide by; else the configured ones."),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Decide recorded calls again by other policies, and say what would be allowed, asked or denied that was not.

    Exit status 0: all as they were decided. 1: some are not.
    """
    from mcp_gateway.cli.loading import load_engine
    from mcp_gateway.cli.replaying import replay as run
    from mcp_gateway.cli.viewing import look_recorded

    begin, settings = parse_time(since, "--since"), context.obj.settings()
    engine = load_engine(settings, paths=_paths(candidate))
    with progress("deciding again") as tell:
        found = run(settings, since=begin, engine=engine, progress=tell)
    look_recorded(settings.gateway.data_dir, what=f"replay: {found.calls} calls")
    if as_json:
        print_json(found.to_json())
    else:
        print_replay(found)
    if found.changes:
        raise typer.Exit(1)


def _paths(given: list[str] | None) -> list[Path]:
    """Paths from the command line: relative to where the person is."""
    return [from_here(path) for path in given or ()]


def _run_cases(settings: Settings | None, paths: list[Path], *, policies: list[Path]) -> Report:
    from mcp_gateway.cli.examining import examiners
    from mcp_gateway.cli.loading import kinds_of_tools, load_interfaces, targets_of
    from mcp_gateway.policy.cases import run_cases

    with examiners(settings) as examine:
        if settings is None:
            return run_cases(paths, policies=policies, examiners=examine)
        return run_cases(
            paths,
            policies=policies,
            configured=settings.policy.paths,
            targets=targets_of(settings),
            interfaces=load_interfaces(settings),
            classes=settings.classes,
            tools=kinds_of_tools(settings),
            examiners=examine,
        )


def _print_report(report: Report) -> None:
    failed = [result for result in report.results if not result.passed]
    for result in failed:
        print_line(f"{result.file}:{result.line}: {result.name}")
        for line in (*result.differences, *result.because):
            print_line(f"    {line}")
    print_line(f"{len(report.results) - len(failed)} of {len(report.results)} cases passed")
    if report.uncovered:
        which = "policy" if len(report.uncovered) == 1 else f"{len(report.uncovered)} policies"
        print_warning(f"no case is determined by the {which} {', '.join(report.uncovered)}")


def print_replay(found: Replay) -> None:
    """What became of recorded calls, for people."""
    changed = sum(change.calls for change in found.changes.values())
    print_line(_outcome(found.same, changed))
    for change in found.ordered:
        what = change.what
        fields = [(what.name, f"{_calls(change.calls)} ({what.detail or f'{what.was} as recorded'})")]
        fields += [("error", what.error)] if what.error else []
        for name in what.policies:
            policy = found.engine.policies[name]
            fields.append((f"by {policy.effect}", f"{name} ({policy.place})"))
        if not what.policies and not what.error:
            fields.append(("by", "no policy permits it"))
        callers = change.callers.most_common(MOST_CALLERS)
        fields += [("caller", f"{_calls(count)} of {caller}") for caller, count in callers]
        others = len(change.callers) - len(callers)
        fields += [("", f"and {others} more callers")] if others else []
        fields.append(("such as", ", ".join(change.examples)))
        print_line("")
        print_fields(fields)
    if found.anew:
        print_note(f"{_calls(found.anew)} by facts found anew: their records lack some, and have the commands exactly")
    for why, count in found.skipped.most_common():
        print_warning(f"{_calls(count)} not decided again: {why}")


def _outcome(same: int, changed: int) -> str:
    """How many calls were decided as recorded and how many were not; what there is none of is left out."""
    if not same and not changed:
        return "no call was decided again"
    if not changed:
        return f"{_calls(same)} decided as recorded"
    return (
        f"{_calls(same)} decided as recorded, {_calls(changed)} not" if same else f"{_calls(changed)} decided otherwise"
    )


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"


def _print_explanation(found: dict[str, Any], *, all_facts: bool) -> None:
    """The decision, what led to it, and what it rests on: of the facts those that say something, if not all are wanted."""
    from mcp_gateway.approval.describe import NOTHING, people_text

    needs = found.get("approvers") or {}
    fields = [("decision", found["decision"] + ("" if found["enforced"] else ", but policy is only observed here"))]
    fields += [("needs", people_text(needs))] if needs else []
    if needs and (absent := (found["catalog"] or {}).get("absent")):
        names = ", no ".join(f"{one['kind']} {one['id']!r}" for one in absent)
        fields.append(
            ("but", f"the call is refused and nobody asked, if its server says as well that it has no {names}")
        )
    fields += [("why", why)] if (why := _why_denied(found)) else []
    fields += [("error", found["error"])] if found.get("error") else []
    for policy in found["determining"]:
        shadow_only = ", in shadow" if policy["mode"] == "shadow" else ""
        fields.append((policy["effect"], f"{policy['id']}{shadow_only} ({policy['file']}:{policy['line']})"))
        if policy["reason"]:
            fields.append(("", policy["reason"]))
    fields += _catalog_fields(found) if "reads" in found["facts"] else []
    if (shadow := found["shadow"]) is not None:
        fields.append(("in shadow", shadow["decision"]))
        fields += [("error", shadow["error"])] if shadow.get("error") else []
    fields += [("shown raw", ", ".join(found["revealed"]) or "no data class")]
    facts = sorted(found["facts"].items())
    fields += [
        ("fact", f"{name} = {_shown(value, found)}") for name, value in facts if all_facts or value not in NOTHING
    ]
    print_fields(fields)


def _catalog_fields(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Whose word the facts of a statement are, and what of it a running gateway would know beside them."""
    fields = [("catalog", _asked(found["catalog"]) if found["catalog"] else _unasked(found["facts"]))]
    if found["looks_at_plan"]:
        fields.append(("plan", "not asked for, though policies look at it: a running gateway knows the planned rows"))
    return fields


def _asked(catalog: dict[str, Any]) -> str:
    at = datetime.fromisoformat(catalog["read_at"]).astimezone(UTC)
    said = f"that of {catalog['target']}, read {at:%Y-%m-%d %H:%M:%S} UTC"
    return said + (f"; it does not know {', '.join(catalog['unknown'])}" if catalog["unknown"] else "")


def _unasked(facts: dict[str, Any]) -> str:
    """What a running gateway would know of a statement beside these facts: without it an allow may be none."""
    from mcp_gateway.policy.explain import tables_without_schema

    said = (
        "not asked, so a gateway may decide otherwise: it knows what views, partitions, foreign keys and code lead to"
    )
    names = tables_without_schema(facts)
    return said + (f", and the schema of {', '.join(names)}: write it here, policies name it" if names else "")


def _why_denied(found: dict[str, Any]) -> str:
    """What stands against a call, where no approval would change that: readers see the forbids below and ask for one."""
    if found["decision"] != "deny" or found.get("error"):
        return ""
    second = found["with_every_approval"]
    if second is not None and not second["policies"]:
        return "no policy permits this call to this caller, whoever approves it"
    return "a policy forbids this call, whoever approves it"


def _shown(value: Any, found: dict[str, Any]) -> str:
    from mcp_gateway.inference import KINDS

    match value:
        case list():
            return ", ".join(map(str, value)) or "none"
        case bool():
            return "yes" if value else "no"
        case dict() if value.keys() == set(KINDS) and len({*map(tuple, value.values())}) == 1:
            why = "" if found["catalog"] else ": no catalog is asked, so the worst; --inference says less"
            return f"every kind, of {_shown(value[KINDS[0]], found)}{why}"
        case dict():
            return "; ".join(f"{name} of {_shown(of, found)}" for name, of in value.items()) or "none"
        case _:
            return str(value)
