"""`mcp-gateway check`: everything that would stop or weaken the gateway, before it starts."""

from __future__ import annotations

import os
from typing import Any

import typer

from mcp_gateway import surroundings
from mcp_gateway.cli.output import (
    PROGRAM,
    AsJSON,
    print_error,
    print_fields,
    print_json,
    print_line,
    print_note,
    print_sentence,
    print_warning,
)

app = typer.Typer(add_completion=False)


@app.command()
def check(context: typer.Context, as_json: AsJSON = False) -> None:
    """Read the configuration, the policies and the files they name; say what was found and what is wrong."""
    from mcp_gateway.config import find_config, load_settings
    from mcp_gateway.errors import ConfigError

    try:
        path = find_config(context.obj.config, os.environ)
        settings = load_settings(path)
        _check(settings, config=str(path), as_json=as_json)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"problems": [str(problem) for problem in error.problems], "warnings": [], "notes": []})
        raise typer.Exit(2) from None


def _check(settings: Any, *, config: str, as_json: bool) -> None:
    from mcp_gateway.cli.findings import absent_approvers, find_file_problems, find_warnings, odd_servers
    from mcp_gateway.cli.loading import bases_of, load_engine, load_interfaces, load_knowledge, targets_of
    from mcp_gateway.errors import ConfigError
    from mcp_gateway.policy.reach import findings_on

    engine = load_engine(settings)
    knowledge = load_knowledge(settings)
    interfaces = load_interfaces(settings)
    problems = find_file_problems(settings)
    warnings = find_warnings(settings, environ=os.environ, forgotten=surroundings.was_set)
    odd = findings_on(engine.compiled, targets=targets_of(settings), bases=bases_of(settings))
    warnings += [str(warning) for warning in odd.warnings]
    notes = [str(note) for note in odd.notes]
    notes += [f"{place} replaces what is built in" for place in knowledge.replaced]
    notes += absent_approvers(settings, engine.policies.values())
    notes += odd_servers(interfaces)
    found = _found(settings, config=config, engine=engine)
    if as_json:
        problem_texts = [str(problem) for problem in problems]
        print_json(found | {"problems": problem_texts, "warnings": warnings, "notes": notes})
    else:
        _print(found)
        for note in notes:
            print_note(f"{PROGRAM}: note: {note}")
        for warning in warnings:
            print_warning(warning)
        if problems:
            print_error(ConfigError(problems))
    if problems:
        raise typer.Exit(1)


def _found(settings: Any, *, config: str, engine: Any) -> dict[str, Any]:
    from mcp_gateway.cli.commands.serve import setup_line
    from mcp_gateway.cli.commands.targets import describe

    local = settings.identity.issuer == "local"
    return {
        "id": config,
        "setup": "safeguard" if local else "boundary",
        "setup_line": setup_line(local=local),
        "issuer": settings.identity.issuer,
        "people": _people(settings) if local else [],
        "data_dir": str(settings.gateway.data_dir),
        "fingerprint": settings.fingerprint,
        "policies": len(engine.policies),
        "policy_version": engine.version,
        "targets": [describe(name, target) for name, target in settings.targets.items()],
    }


def _people(settings: Any) -> list[dict[str, Any]]:
    """Whom the local issuer knows: whoever runs this, who is somebody in any case, and those who are configured."""
    from mcp_gateway.identity.system_user import operating_system_user

    you = operating_system_user()
    people = settings.identity.local.people
    return [
        {"id": name, "you": name == you, "groups": sorted(people[name].groups) if name in people else []}
        for name in dict.fromkeys([you, *people])
    ]


def _print(found: dict[str, Any]) -> None:
    from mcp_gateway.cli.commands.targets import print_targets

    print_fields(
        [
            ("configuration", found["id"]),
            ("issuer", found["issuer"]),
            *([("people", "; ".join(map(_person_text, found["people"])))] if found["people"] else []),
            ("data", found["data_dir"]),
            ("policies", f"{found['policies']}, version {found['policy_version'][:12]}"),
            ("targets", str(len(found["targets"]))),
        ]
    )
    if found["targets"]:
        print_line()
        print_targets(found["targets"])
        print_line()
    print_sentence(found["setup_line"])


def _person_text(person: dict[str, Any]) -> str:
    name = f"{person['id']} (you)" if person["you"] else person["id"]
    return f"{name}, of {', '.join(person['groups'])}" if person["groups"] else f"{name}, in no group"
