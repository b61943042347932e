"""`mcp-gateway serve`: the gateway for the network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

from mcp_gateway.cli import collector
from mcp_gateway.cli.output import print_note, print_warning

if TYPE_CHECKING:
    from mcp_gateway.config import Settings

app = typer.Typer(add_completion=False)

NO_TOKENS = (
    "the local issuer gives agents no token, so none gets in over HTTP: they come in over stdio; "
    "to serve them here, name an OpenID provider in identity.issuer"
)


@app.command()
def serve(context: typer.Context) -> None:
    """Serve MCP over HTTP until SIGTERM or Ctrl-C."""
    collector.hold()
    from mcp_gateway.cli.logs import log_to_stderr
    from mcp_gateway.cli.serving import run_loop, run_serve

    settings = context.obj.settings()
    log_to_stderr()
    local = settings.identity.issuer == "local"
    print_note(setup_line(local=local))
    if local:
        print_warning(NO_TOKENS)
    warn_of_credentials(settings)
    run_loop(lambda: run_serve(settings, started=lambda url: print_note(f"serving {url}/mcp")))


def warn_of_credentials(settings: Settings) -> None:
    """Say which are not at hand: a gateway starts without, for the sake of the other targets."""
    from mcp_gateway.cli.findings import find_missing_credentials

    for missing in find_missing_credentials(settings, environ=os.environ):
        print_warning(missing)


def setup_line(*, local: bool, stdio: bool = False) -> str:
    """Which of the two set-ups this is, in one line. Over stdio the agent's host runs as the gateway's own user."""
    if local:
        return "set-up: a safeguard, not a boundary: the local issuer proves only who is signed in on this machine"
    if stdio:
        return "set-up: a safeguard, not a boundary: what started this process runs as the same user"
    return "set-up: a boundary, as long as no agent runs as this user on this machine"
