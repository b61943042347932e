"""`mcp-gateway demo`: the whole road on this machine, with real targets and a scripted agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from mcp_gateway.cli.output import print_note
from mcp_gateway.cli.statuses import INTERRUPTED

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    serve: Annotated[bool, typer.Option("--serve", help="Stay up for a real MCP client.")] = False,
) -> None:
    """Show a governed agent at work: a database, a host, an API, an approver, the audit."""
    from rich.console import Console

    from mcp_gateway.cli.logs import log_to_stderr
    from mcp_gateway.cli.serving import run_loop
    from mcp_gateway.demo.run import run_demo
    from mcp_gateway.demo.story import StoryError
    from mcp_gateway.demo.world import DemoError

    log_to_stderr(quiet=True)
    console = Console(highlight=False)
    try:
        ended = run_loop(lambda: run_demo(console, serve=serve))
    except* (DemoError, StoryError) as group:
        for error in _leaves(group):
            print_note(f"mcp-gateway: {error}")
        raise typer.Exit(1) from None
    if not ended and not serve:  # with --serve an interrupt is how it ends
        raise typer.Exit(INTERRUPTED)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """What task groups within task groups wrapped."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
