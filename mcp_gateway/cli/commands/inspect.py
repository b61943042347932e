"""`mcp-gateway inspect`: what the gateway makes of something, as JSON, for people who write policies and for test suites.

One item from the command line or from standard input, or one a line with `--jsonl`; one JSON object each, in order. A bad
item gets an object with an `error` and stops nothing. On a terminal a single object stands over several lines.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from mcp_gateway.cli.groups import CommandGroup
from mcp_gateway.cli.output import JSON_OPTION, PROGRAM, json_wanted, print_json, print_json_laid_out, print_note

if TYPE_CHECKING:
    from mcp_gateway.cli.catalogs import TargetCatalog
    from mcp_gateway.cli.inspecting import Kind
    from mcp_gateway.facts.programs import Knowledge
    from mcp_gateway.facts.requests import Interface

WITHOUT_CATALOG = "without --target it is inspected by none"

app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    no_args_is_help=True,
    help="Show what the gateway makes of a statement, a command, a URL or a text.",
)

Lines = Annotated[bool, typer.Option("--jsonl", help="Read one JSON object a line; a bad one is no failure then.")]
AsJSON = Annotated[
    bool, typer.Option(JSON_OPTION, callback=json_wanted, help="Print it on one line on a terminal, too.")
]
Item: TypeAlias = Annotated[str | None, typer.Argument(metavar="ITEM", help="In place of standard input.")]


@app.command()
def sql(
    context: typer.Context,
    item: Item = None,
    target: Annotated[
        str, typer.Option(metavar="NAME", help="Read the catalog of this configured database, and judge by it.")
    ] = "",
    jsonl: Lines = False,
    as_json: AsJSON = False,
) -> None:
    """A statement: text, or {"id", "sql"}. Exit status 1: it cannot be parsed.

    With --target the database is asked for its catalog once, as a running gateway asks it, and that look is recorded;
    nothing of a statement is sent. Without, what only a catalog could tell is taken as the worst.
    """

    def read() -> TargetCatalog:
        from functools import partial

        import anyio

        from mcp_gateway.cli.catalogs import read_catalog

        return anyio.run(partial(read_catalog, context.obj.settings(), target, otherwise=WITHOUT_CATALOG))

    _inspect("sql", item, jsonl=jsonl, as_json=as_json, read_catalog=read if target else None)


@app.command()
def shell(context: typer.Context, item: Item = None, jsonl: Lines = False, as_json: AsJSON = False) -> None:
    """A command: text, or {"id", "command"} or {"id", "argv"}. By the configured programs, if there is a configuration.

    What is not understood of a command, an open quote, say, makes it opaque: shells differ, and policy decides on that.
    Exit status 1: no shell could be given it.
    """
    from mcp_gateway.cli.loading import load_knowledge

    _inspect("shell", item, jsonl=jsonl, as_json=as_json, knowledge=load_knowledge(context.obj.settings_if_any()))


@app.command()
def url(
    item: Item = None,
    jsonl: Lines = False,
    as_json: AsJSON = False,
    graphql: Annotated[str, typer.Option(metavar="PATH", help="Where the API's GraphQL is, below base_url.")] = "",
    openapi: Annotated[Path | None, typer.Option(metavar="FILE", help="The API's OpenAPI document.")] = None,
) -> None:
    """A request: {"id", "base_url", "path", "method"?, "headers"?, "json"?, "body"?, "addresses"?}.

    Exit status 1: it cannot be understood.
    """
    from mcp_gateway.cli.loading import read_document
    from mcp_gateway.config_places import parse_path_below
    from mcp_gateway.facts.requests import Interface

    if graphql:
        try:
            parse_path_below(graphql)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--graphql") from None
    document = read_document(openapi) if openapi is not None else None
    _inspect("url", item, jsonl=jsonl, as_json=as_json, interface=Interface(graphql=graphql, document=document))


@app.command()
def text(
    item: Item = None,
    jsonl: Lines = False,
    as_json: AsJSON = False,
    detectors: Annotated[
        list[str] | None, typer.Option("--detector", metavar="NAME", help="As in [masking] detectors; repeatable.")
    ] = None,
) -> None:
    """A text: as it is, or {"id", "text"}."""
    _inspect("text", item, jsonl=jsonl, as_json=as_json, detectors=detectors or ["default"])


def _inspect(
    kind: Kind,
    item: str | None,
    *,
    jsonl: bool,
    as_json: bool,
    detectors: list[str] | None = None,
    read_catalog: Callable[[], TargetCatalog] | None = None,
    knowledge: Knowledge | None = None,
    interface: Interface | None = None,
) -> None:
    import os
    import sys

    import anyio

    from mcp_gateway.cli.inspecting import MAX_ITEM_BYTES, inspect_single, inspect_stream, inspector_for
    from mcp_gateway.cli.logs import log_to_stderr
    from mcp_gateway.facts.requests import Interface

    if jsonl and item is not None:
        raise typer.BadParameter("lines are read from standard input; give an item or --jsonl", param_hint="--jsonl")
    log_to_stderr(quiet=True)
    if item is None and sys.stdin is None:
        raise typer.BadParameter("expected something on standard input, which is closed", param_hint=kind)
    inspector = inspector_for(
        kind,
        detectors=detectors or [],
        catalog=read_catalog() if read_catalog is not None else None,
        knowledge=knowledge,
        interface=interface or Interface(),
    )
    if item is None and sys.stdin.isatty():
        print_note("reading from the terminal; end with Ctrl-D")
    if jsonl:
        anyio.run(inspect_stream, inspector, sys.stdin.buffer)
        return
    read = os.fsencode(item) if item is not None else sys.stdin.buffer.read(MAX_ITEM_BYTES + 1)
    found = anyio.run(inspect_single, inspector, read)
    if as_json or not sys.stdout.isatty():
        print_json(found)
    elif found["error"] is None:
        print_json_laid_out(found)
    else:  # the rest of it is what programs have to assume
        print_note(f"{PROGRAM}: {found['error']}")
    if found["error"] is not None:
        raise typer.Exit(1)
