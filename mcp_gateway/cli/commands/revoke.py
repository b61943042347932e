"""`mcp-gateway revoke`: refuse a token, a person, an agent, a target or everything, in every gateway on this store, and
see what is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from mcp_gateway.cli.groups import CommandGroup
from mcp_gateway.cli.output import AsJSON, print_json, print_sentence, print_table
from mcp_gateway.cli.statuses import NEGATIVE

if TYPE_CHECKING:
    from mcp_gateway.audit.revocations import What

app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    no_args_is_help=True,
    help="Refuse a token, a person, an agent, a target or all calls from now on; what runs is cancelled.",
)
Note = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")]
Lift = Annotated[bool, typer.Option("--lift", help="Refuse exactly this no longer.")]
EVERYWHERE = "in every gateway on this store"


def _revoke(context: typer.Context, what: What, value: str, *, note: str, lift: bool, as_json: bool) -> None:
    from mcp_gateway.cli.records import opened_records
    from mcp_gateway.identity.system_user import operating_system_user

    if not value.strip():
        raise typer.BadParameter("expected something to revoke, got nothing", param_hint=PLACES[what])
    settings = context.obj.settings()
    if what == "target" and not lift and value not in settings.targets:
        known = ", ".join(sorted(settings.targets)) or "none"
        raise typer.BadParameter(f"no target {value!r} is configured; there are: {known}", param_hint=PLACES[what])

    async def main() -> bool:
        by = operating_system_user()
        async with opened_records(settings) as records:
            if lift:
                return await records.revocations.lift(what=what, value=value, by=by, note=note)
            await records.revocations.revoke(what=what, value=value, by=by, note=note)
            return True

    done = anyio.run(main)
    if as_json:
        print_json({"id": value, "what": what, "note": note, "lifted": lift, "done": done})
    else:
        _say(what, value, lift=lift, done=done)
    if not done:
        raise typer.Exit(NEGATIVE)


PLACES: dict[What, str] = {"token": "TOKEN_ID", "subject": "SUBJECT", "agent": "AGENT", "target": "NAME", "all": "ALL"}
"""What each command calls its argument."""


def _say(what: What, value: str, *, lift: bool, done: bool) -> None:
    thing, verb = ("all calls", "are") if what == "all" else (f"{what} {value}", "is")
    if not done:
        print_sentence(
            f"{thing} {verb} not revoked, so there is nothing to lift; a revocation is lifted as it was written"
        )
        return
    if lift:
        print_sentence(f"{thing} {verb} refused no longer, {EVERYWHERE}")
        return
    print_sentence(f"{thing} {verb} refused from now on, {EVERYWHERE}")
    if what == "subject" and "@" in value and "|" not in value:
        print_sentence(
            "as an address it counts for tokens that carry it, verified or not; revoke the 'sub' as well to be sure"
        )


@app.command()
def token(
    context: typer.Context,
    value: Annotated[str, typer.Argument(metavar="TOKEN_ID")],
    note: Note = "",
    lift: Lift = False,
    as_json: AsJSON = False,
) -> None:
    """Refuse one token, by its `jti`."""
    _revoke(context, "token", value, note=note, lift=lift, as_json=as_json)


@app.command()
def subject(
    context: typer.Context,
    value: Annotated[str, typer.Argument(metavar="SUBJECT")],
    note: Note = "",
    lift: Lift = False,
    as_json: AsJSON = False,
) -> None:
    """Refuse a person: `sub`, `issuer|sub` or e-mail address."""
    _revoke(context, "subject", value, note=note, lift=lift, as_json=as_json)


@app.command()
def agent(
    context: typer.Context,
    value: Annotated[str, typer.Argument(metavar="AGENT")],
    note: Note = "",
    lift: Lift = False,
    as_json: AsJSON = False,
) -> None:
    """Refuse an agent."""
    _revoke(context, "agent", value, note=note, lift=lift, as_json=as_json)


@app.command()
def target(
    context: typer.Context,
    value: Annotated[str, typer.Argument(metavar="NAME")],
    note: Note = "",
    lift: Lift = False,
    as_json: AsJSON = False,
) -> None:
    """Refuse every call on a target."""
    _revoke(context, "target", value, note=note, lift=lift, as_json=as_json)


@app.command("all")
def everything(context: typer.Context, note: Note = "", lift: Lift = False, as_json: AsJSON = False) -> None:
    """Refuse every call of everybody; people can still see and decide approvals."""
    from mcp_gateway.audit.revocations import ALL

    _revoke(context, "all", ALL, note=note, lift=lift, as_json=as_json)


@app.command("list")
def listing(context: typer.Context, as_json: AsJSON = False) -> None:
    """List what is refused now: since when (UTC), by whom, and why."""
    from mcp_gateway.audit.revoked import standing

    found = standing(context.obj.settings().gateway.data_dir)
    if as_json:
        print_json([item.to_json() for item in found])
        return
    rows = [(item.what, item.value, _time(item.since), item.by, item.note) for item in found]
    print_table(("what", "value", "since", "by", "note"), rows, empty="nothing is revoked")


def _time(at: str) -> str:
    return at[:19].replace("T", " ")
