"""`mcp-gateway client-config`: what an MCP host has to be told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, cast

import typer

from mcp_gateway.cli.output import AsJSON, print_json, print_json_document, print_line, print_note

app = typer.Typer(add_completion=False)


@app.command()
def client_config(
    context: typer.Context,
    host: Annotated[str, typer.Argument(metavar="HOST", help="claude-desktop, claude-code, vscode or cursor.")],
    name: Annotated[str, typer.Option(help="What the host calls this server.")] = "gateway",
    url: Annotated[str | None, typer.Option(help="A gateway that serves HTTP; without it the host starts one.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Merge it into the host's file and keep a backup.")] = False,
    path: Annotated[str | None, typer.Option(help="The file, if it is not where this host has it.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Print what to put into an MCP host's configuration, or put it there."""
    from mcp_gateway.cli.client_config import KEYS, Host, default_path, document, entry, merge
    from mcp_gateway.config import find_config

    if host not in KEYS:
        raise typer.BadParameter(f"expected one of {', '.join(KEYS)}, got {host!r}", param_hint="HOST")
    if not name.isprintable() or not name.strip():
        raise typer.BadParameter("expected a name that can be read", param_hint="--name")
    chosen = cast("Host", host)
    server = entry(chosen, config=find_config(context.obj.config, os.environ), url=url)
    file = Path(path) if path else default_path(chosen)
    if not write:
        if as_json:
            print_json(document(chosen, name, server))
            return
        print_json_document(document(chosen, name, server))
        print_note(f"put this into {file}, or call this command with --write")
        return
    backup = merge(file, chosen, name, server)
    if as_json:
        print_json({"id": name, "file": str(file), "backup": None if backup is None else str(backup)})
        return
    print_line(f"wrote {name!r} into {file}" + (f"; the file as it was: {backup}" if backup else ""))
