"""`mcp-gateway stdio`: the gateway for the MCP host that started it. Standard output carries JSON-RPC alone."""

from __future__ import annotations

import sys

import typer

from mcp_gateway.cli import collector
from mcp_gateway.cli.output import print_note

app = typer.Typer(add_completion=False)

BY_HAND = (
    "waiting for an MCP client on standard input; an MCP host starts this command itself, "
    "`mcp-gateway client-config` says how; Ctrl-C ends it"
)


@app.command()
def stdio(context: typer.Context) -> None:
    """Serve one MCP client over standard input and output."""
    collector.hold()
    from mcp_gateway.cli.commands.serve import setup_line, warn_of_credentials
    from mcp_gateway.cli.logs import log_to_stderr
    from mcp_gateway.cli.serving import run_loop, run_stdio

    settings = context.obj.settings()
    log_to_stderr()
    print_note(setup_line(local=settings.identity.issuer == "local", stdio=True))
    warn_of_credentials(settings)
    if sys.stdin is not None and sys.stdin.isatty():
        print_note(BY_HAND)
    run_loop(lambda: run_stdio(settings))
