"""`mcp-gateway revoke`: refuse a token, a person or an agent from now on, in every gateway on this store."""

from __future__ import annotations

from typing import Annotated, Literal

import anyio
import typer

from mcp_gateway.cli.groups import CommandGroup
from mcp_gateway.cli.output import AsJSON, print_json, print_line

app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    no_args_is_help=True,
    help="Refuse a token, a person or an agent from now on.",
)
Note = Annotated[str, typer.Option(help="Why, for the record.")]


def _revoke(
    context: typer.Context, what: Literal["token", "subject", "agent"], value: str, *, note: str, as_json: bool
) -> None:
    from mcp_gateway.cli.records import opened_records
    from mcp_gateway.identity.system_user import operating_system_user

    if not value.strip():
        raise typer.BadParameter(
            "expected something to revoke, got nothing", param_hint="TOKEN_ID" if what == "token" else what.upper()
        )
    settings = context.obj.settings()

    async def main() -> None:
        async with opened_records(settings) as records:
            await records.revocations.revoke(what=what, value=value, by=operating_system_user(), note=note)

    anyio.run(main)
    if as_json:
        print_json({"id": value, "what": what, "note": note})
        return
    print_line(f"{what} {value} is refused from now on, in every gateway on this store")
    if what == "subject" and "@" in value and "|" not in value:
        print_line(
            "as an address it counts for tokens that carry it, verified or not; revoke the 'sub' as well to be sure"
        )


@app.command()
def token(
    context: typer.Context,
    value: Annotated[str, typer.Argument(metavar="TOKEN_ID")],
    note: Note = "",
    as_json: AsJSON = False,
) -> None:
    """Refuse one token, by its `jti`."""
    _revoke(context, "token", value, note=note, as_json=as_json)


@app.command()
def subject(
    context: typer.Context,
    value: Annotated[str, typer.Argument(metavar="SUBJECT")],
    note: Note = "",
    as_json: AsJSON = False,
) -> None:
    """Refuse a person: `sub`, `issuer|sub` or e-mail address."""
    _revoke(context, "subject", value, note=note, as_json=as_json)


@app.command()
def agent(
    context: typer.Context,
    value: Annotated[str, typer.Argument(metavar="AGENT")],
    note: Note = "",
    as_json: AsJSON = False,
) -> None:
    """Refuse an agent."""
    _revoke(context, "agent", value, note=note, as_json=as_json)
