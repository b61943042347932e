"""`mcp-gateway client-config`: what an MCP host has to be told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mcp_gateway.cli.output import PROGRAM, AsJSON, print_json, print_json_document, print_note, print_sentence

if TYPE_CHECKING:
    from mcp_gateway.calls import JSONObject
    from mcp_gateway.cli.client_config import Need

app = typer.Typer(add_completion=False)


@app.command()
def client_config(
    context: typer.Context,
    host: Annotated[str, typer.Argument(metavar="HOST", help="claude-desktop, claude-code, vscode or cursor.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="What the host calls this server.")] = "gateway",
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="A gateway that serves HTTP; without it the host starts one.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Merge it into the host's file and keep a backup.")] = False,
    path: Annotated[
        str | None, typer.Option(metavar="FILE", help="The file, if it is not where this host has it.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Print what to put into an MCP host's configuration, or put it there."""
    from mcp_gateway.cli.client_config import (
        KEYS,
        Host,
        default_path,
        document,
        merge,
        needs_of,
        program_entry,
        url_entry,
    )
    from mcp_gateway.config import find_config, load_settings

    if host not in KEYS:
        raise typer.BadParameter(f"expected one of {', '.join(KEYS)}, got {host!r}", param_hint="HOST")
    if not name.isprintable() or not name.strip():
        raise typer.BadParameter("expected a name that can be read", param_hint="--name")
    chosen = cast("Host", host)
    needs: list[Need] = []
    if url is None:
        config = find_config(context.obj.config, os.environ)
        needs = needs_of(load_settings(config))
        server = program_entry(chosen, config)
    else:
        server = url_entry(chosen, url)  # a gateway elsewhere needs no configuration here
    file = Path(path) if path else default_path(chosen)
    if not write:
        if as_json:
            print_json(document(chosen, name, server))
        else:
            print_json_document(document(chosen, name, server))
            print_note(f"put this into {file}, or call this command with --write")
        _tell(needs, server)
        return
    merged = merge(file, chosen, name, server)
    if as_json:
        print_json(
            {
                "id": name,
                "file": str(file),
                "changed": merged.changed,
                "backup": None if merged.backup is None else str(merged.backup),
                "needs": [need.to_json() for need in needs],
            }
        )
    elif not merged.changed:
        print_sentence(f"{file} has {name!r} already, and was not changed")
    else:
        print_sentence(
            f"wrote {name!r} into {file}" + (f"; the file as it was: {merged.backup}" if merged.backup else "")
        )
    _tell(needs, merged.server)


def _tell(needs: list[Need], server: JSONObject) -> None:
    """What the entry has not got, and the gateway will miss."""
    given = server.get("env")
    for need in needs:
        if not (isinstance(given, dict) and given.get(need.variable)):
            print_note(f"{PROGRAM}: note: {need}")
