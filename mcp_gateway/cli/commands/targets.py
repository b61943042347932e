"""`mcp-gateway targets`: what stands behind the gateway, and whether it can be reached and is set up safely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcp_gateway.cli.groups import CommandGroup
from mcp_gateway.cli.output import AsJSON, print_fields, print_json, print_line, print_table

if TYPE_CHECKING:
    from mcp_gateway.cli.target_checks import Checked

app = typer.Typer(
    cls=CommandGroup, add_completion=False, no_args_is_help=True, help="List and test what stands behind the gateway."
)


@app.command("list")
def listing(context: typer.Context, as_json: AsJSON = False) -> None:
    """List the configured targets."""
    targets = [describe(name, target) for name, target in context.obj.settings().targets.items()]
    if as_json:
        print_json(targets)
    else:
        print_targets(targets)


@app.command("test")
def check(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Default: all of them.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Connect to targets with their own credentials, and say what is wrong or wider than it need be.

    Nothing of an agent's runs. Each look is recorded.
    """
    import anyio

    from mcp_gateway.cli.logs import log_to_stderr
    from mcp_gateway.cli.target_checks import check_targets

    log_to_stderr(quiet=True)
    settings = context.obj.settings()
    unknown = sorted(set(names or ()) - settings.targets.keys())
    if unknown:
        message = f"there is no target {', '.join(map(repr, unknown))}"
        known = ", ".join(sorted(settings.targets)) or "none"
        raise typer.BadParameter(f"{message}; the configuration has {known}", param_hint="NAME")
    chosen = [name for name in settings.targets if not names or name in names]
    found = anyio.run(check_targets, settings, chosen)
    if as_json:
        print_json([checked.to_json() for checked in found])
    elif not found:
        print_line("there are no targets")
    else:
        for checked in found:
            _print_checked(checked)
    if found and all(checked.unavailable for checked in found):
        raise typer.Exit(3)
    if any(checked.problems for checked in found):
        raise typer.Exit(1)


def describe(name: str, target: Any) -> dict[str, Any]:
    """A target for people and scripts; no credential, only where it comes from."""
    place = target.base_url if target.kind == "http" else target.place
    return {
        "id": name,
        "kind": target.kind,
        "place": place,
        "labels": target.labels,
        "description": target.description,
        "classes": sorted(target.classes),
        "fingerprint": target.fingerprint(),
    }


def print_targets(targets: list[dict[str, Any]]) -> None:
    """A table of `describe`'s objects."""
    rows = [
        [
            target["id"],
            target["kind"],
            target["place"],
            " ".join(f"{key}={value}" for key, value in sorted(target["labels"].items())),
            target["description"],
        ]
        for target in targets
    ]
    print_table(["target", "kind", "place", "labels", "description"], rows, empty="there are no targets")


def _print_checked(checked: Checked) -> None:
    print_fields(
        [
            (checked.name, "ok" if not checked.problems else "failed"),
            *((("", checked.answer),) if checked.answer else ()),
            *(("problem", problem) for problem in checked.problems),
            *(("warning", warning) for warning in checked.warnings),
        ]
    )
