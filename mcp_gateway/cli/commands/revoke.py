"""`mcp-gateway revoke`: refuse a token, a person or an agent from now on, in every gateway on this store."""

from __future__ import annotations

from typing import Annotated, Literal

import anyio
import typer

from mcp_gateway.cli.output import print_line

app = typer.Typer(no_args_is_help=True, help="Refuse a token, a person or an agent from now on.")
Note = Annotated[str, typer.Option(help="Why, for the record.")]


def _revoke(context: typer.Context, what: Literal["token", "subject", "agent"], value: str, note: str) -> None:
    from mcp_gateway.cli.records import opened_records
    from mcp_gateway.identity.system_user import operating_system_user

    settings = context.obj.settings()

    async def main() -> None:
        async with opened_records(settings) as records:
            await records.revocations.revoke(what=what, value=value, by=operating_system_user(), note=note)

    anyio.run(main)
    print_line(f"{what} {value} is refused from now on, in every gateway on this store")


@app.command()
def token(context: typer.Context, value: Annotated[str, typer.Argument(metavar="TOKEN_ID")], note: Note = "") -> None:
    """Refuse one token, by its `jti`."""
    _revoke(context, "token", value, note)


@app.command()
def subject(context: typer.Context, value: Annotated[str, typer.Argument(metavar="SUBJECT")], note: Note = "") -> None:
    """Refuse a person: `sub`, `issuer|sub` or e-mail address."""
    _revoke(context, "subject", value, note)


@app.command()
def agent(context: typer.Context, value: Annotated[str, typer.Argument(metavar="AGENT")], note: Note = "") -> None:
    """Refuse an agent."""
    _revoke(context, "agent", value, note)
