"""`mcp-gateway inspect`: what the gateway makes of something, as JSON, for people who write policies and for test suites.

One item from standard input, or one a line with `--jsonl`; one JSON object each, in order. A bad item gets an object
with an `error` and stops nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mcp_gateway.cli.groups import CommandGroup
from mcp_gateway.cli.output import print_note

if TYPE_CHECKING:
    from mcp_gateway.cli.catalogs import TargetCatalog
    from mcp_gateway.facts.programs import Knowledge
    from mcp_gateway.facts.requests import Interface

WITHOUT_CATALOG = "without --target it is inspected by none"

app = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    no_args_is_help=True,
    help="Show what the gateway makes of a statement, a command, a URL or a text.",
)

Lines = Annotated[bool, typer.Option("--jsonl", help="Read one JSON object a line.")]
AsJSON = Annotated[bool, typer.Option("--json", help="As it is in any case.")]


@app.command()
def sql(
    context: typer.Context,
    target: Annotated[
        str, typer.Option(metavar="NAME", help="Read the catalog of this configured database, and judge by it.")
    ] = "",
    jsonl: Lines = False,
    as_json: AsJSON = False,  # noqa: ARG001 - JSON is all there is
) -> None:
    """A statement on standard input: text, or {"id", "sql"}.

    With --target the database is asked for its catalog once, as a running gateway asks it, and that look is recorded;
    nothing of a statement is sent. Without, what only a catalog could tell is taken as the worst.
    """
    if not target:
        _inspect("sql", jsonl=jsonl)
        return
    from functools import partial

    import anyio

    from mcp_gateway.cli.catalogs import read_catalog
    from mcp_gateway.cli.logs import log_to_stderr

    log_to_stderr(quiet=True)
    work = partial(read_catalog, context.obj.settings(), target, otherwise=WITHOUT_CATALOG)
    _inspect("sql", jsonl=jsonl, catalog=anyio.run(work))


@app.command()
def shell(context: typer.Context, jsonl: Lines = False, as_json: AsJSON = False) -> None:  # noqa: ARG001 - JSON is all there is
    """A command on standard input: text, or {"id", "command"} or {"id", "argv"}. By the configured programs, if there is a configuration."""
    from mcp_gateway.cli.loading import load_knowledge

    _inspect("shell", jsonl=jsonl, knowledge=load_knowledge(context.obj.settings_if_any()))


@app.command()
def url(
    jsonl: Lines = False,
    as_json: AsJSON = False,  # noqa: ARG001 - JSON is all there is
    graphql: Annotated[str, typer.Option(metavar="PATH", help="Where the API's GraphQL is, below base_url.")] = "",
    openapi: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The API's OpenAPI document.")
    ] = None,
) -> None:
    """A request on standard input: {"id", "base_url", "path", "method"?, "headers"?, "json"?, "body"?, "addresses"?}."""
    from mcp_gateway.cli.loading import read_document
    from mcp_gateway.config_values import parse_path_below
    from mcp_gateway.facts.requests import Interface

    if graphql:
        try:
            parse_path_below(graphql)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--graphql") from None
    document = read_document(openapi) if openapi is not None else None
    _inspect("url", jsonl=jsonl, interface=Interface(graphql=graphql, document=document))


@app.command()
def text(
    jsonl: Lines = False,
    as_json: AsJSON = False,  # noqa: ARG001 - JSON is all there is
    detectors: Annotated[
        list[str] | None, typer.Option("--detector", metavar="NAME", help="As in [masking] detectors; repeatable.")
    ] = None,
) -> None:
    """A text on standard input: as it is, or {"id", "text"}."""
    _inspect("text", jsonl=jsonl, detectors=detectors or ["default"])


def _inspect(
    kind: Literal["sql", "shell", "url", "text"],
    *,
    jsonl: bool,
    detectors: list[str] | None = None,
    catalog: TargetCatalog | None = None,
    knowledge: Knowledge | None = None,
    interface: Interface | None = None,
) -> None:
    import sys

    import anyio

    from mcp_gateway.cli.inspecting import inspect_stream, inspector_for
    from mcp_gateway.cli.logs import log_to_stderr
    from mcp_gateway.facts.requests import Interface

    log_to_stderr(quiet=True)
    if sys.stdin is None:
        raise typer.BadParameter("expected something on standard input, which is closed", param_hint=kind)
    if sys.stdin.isatty():
        print_note("reading from the terminal; end with Ctrl-D")
    inspector = inspector_for(
        kind, detectors=detectors or [], catalog=catalog, knowledge=knowledge, interface=interface or Interface()
    )
    anyio.run(lambda: inspect_stream(inspector, sys.stdin.buffer, jsonl=jsonl))
