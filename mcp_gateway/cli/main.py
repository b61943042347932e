"""The console script `mcp-gateway`: finds the command, runs it, and turns what went wrong into words and a status.

Commands stand in files of their own and are imported when they are called: MCP hosts start this program anew for
each session, and `--help` needs none of it. So nothing heavy is imported here, at the top or by way of others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
import typer.main

from mcp_gateway import __version__
from mcp_gateway.cli.failures import GatewayAwayError, MisuseError, OutputError, ReaderGoneError
from mcp_gateway.cli.output import JSON_OPTION, PROGRAM, help_columns, print_error, print_json, print_note
from mcp_gateway.cli.statuses import MISUSED, NEGATIVE, OK, UNAVAILABLE, UNREAD
from mcp_gateway.cli.streams import abandon_output, prepare_streams
from mcp_gateway.errors import (
    ConfigError,
    CredentialError,
    GatewayError,
    IssuerAway,
    RequestError,
    StoreError,
    TargetTimeout,
    TargetUnavailable,
)

if TYPE_CHECKING:
    from mcp_gateway.config import Settings

COMMANDS: Mapping[str, str] = {
    "demo": "See the whole road at work on this machine.",
    "init": "Write a first configuration and the starter policies.",
    "check": "Read the configuration and the policies, and say what they come to.",
    "serve": "Serve the network: streamable HTTP, SSE, the approvals API.",
    "stdio": "Serve the MCP host that started this process.",
    "client-config": "Print or write what an MCP host has to be told.",
    "targets": "List and test what stands behind the gateway.",
    "policy": "Check, test and explain policies.",
    "inspect": "Show what the gateway makes of a statement, a command, a URL or a text.",
    "approvals": "See and decide what waits for a person.",
    "revoke": "Refuse a token, a person, an agent, a target or all calls from now on.",
    "audit": "Search, show and verify what was recorded.",
}
"""Every command and what it does, in the order of `--help`. Each is the `app` of `mcp_gateway.cli.commands.<name>`."""


UsageError: Any = typer.BadParameter.__base__
"""Of every command line that is none; Typer has a public name for this one of them."""


@dataclass(slots=True, kw_only=True)
class Invocation:
    """What was said before the command, and whether it is to answer in JSON."""

    config: str | None = None
    as_json: bool = False

    def settings(self) -> Settings:
        """The configuration. Raises `ConfigError`."""
        import os

        from mcp_gateway.config import find_config, load_settings

        return load_settings(find_config(self.config, os.environ))

    def settings_if_any(self) -> Settings | None:
        """The configuration; None where nobody named one and there is none in the user's folder."""
        import os

        from mcp_gateway.config import FILE_NAME, VARIABLE, config_folder

        if self.config is not None or os.environ.get(VARIABLE):
            return self.settings()
        try:
            is_there = (config_folder() / FILE_NAME).exists()
        except ConfigError:  # who has no folder has none in it
            return None
        return self.settings() if is_there else None


class LazyGroup(typer.core.TyperGroup):
    """The commands of the table above, each imported when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the form of the base class
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one."""
        if cmd_name not in COMMANDS:
            from difflib import get_close_matches

            close = get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(f"No such command {cmd_name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        module = import_module(f"mcp_gateway.cli.commands.{cmd_name.replace('-', '_')}")
        module.app.rich_markup_mode = None
        command = typer.main.get_command(module.app)
        _call_arguments_by_name(command)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the form of the base class
        """Write the table without importing what it names."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _call_arguments_by_name(command: Any) -> None:
    """In help, where Typer adds the type that Python has for an argument, such as `<list[str]>`."""
    for inner in getattr(command, "commands", {}).values():
        _call_arguments_by_name(inner)
    for parameter in command.params:
        if isinstance(parameter, typer.core.TyperArgument):
            parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]  # noqa: ARG005


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit status: 0 done; 1 done, and the answer is no; 2 wrong command line or configuration; 3 not there now; 130 Ctrl-C.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from mcp_gateway.build import examination_is_compiled

        typer.echo(f"{PROGRAM} {__version__}{', examination of SQL compiled' if examination_is_compiled() else ''}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The configuration, as an absolute path.", show_default=False),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """A governed road from AI agents to databases, hosts and APIs.

    The configuration is the file of --config, else of MCP_GATEWAY_CONFIG, else gateway.toml in your configuration
    folder; never one in the current folder.
    """
    ctx.obj.config = config


def main() -> None:
    """The console script."""
    try:
        prepare_streams()
    except OutputError as error:
        sys.exit(_fail([error]))
    status = run(sys.argv[1:])
    try:
        # A result that did not get out is no success.
        sys.stdout.flush()
    except OutputError as error:
        status = max(status, _fail([error]))
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit status."""
    asked = Invocation()
    command = typer.main.get_command(app)
    try:
        return (
            command.main(
                list(arguments),
                prog_name=PROGRAM,
                standalone_mode=False,
                obj=asked,
                terminal_width=help_columns(),
            )
            or OK
        )
    except UsageError as error:
        if _asks_for_json(arguments, error.ctx):
            return _fail([MisuseError(error.format_message())], as_json=True)
        _show_misuse(error)
        return MISUSED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else OK
    except UnicodeEncodeError:
        # Only file names may be any bytes; what is looked for in a store, say, has to be text.
        odd = [argument for argument in arguments if not _is_text(argument)]
        if not odd:
            raise
        expected = f"expected text in UTF-8, got {', '.join(map(repr, odd))}"
        if asked.as_json:
            return _fail([MisuseError(expected)], as_json=True)
        print_note(f"Error: {expected}")
        return MISUSED
    except GatewayError as error:
        return _fail([error], as_json=asked.as_json)
    except BaseExceptionGroup as group:
        # Task groups wrap what their tasks raise. Whatever else is in there is a defect and keeps its traceback.
        known, unknown = group.split(GatewayError)
        if unknown is not None or known is None:
            raise
        return _fail(list(_leaves(known)), as_json=asked.as_json)


def _show_misuse(error: Any) -> None:
    """What Typer would print of a command line that is none, folded to the terminal; help asked for by no arguments is as it is."""
    if type(error).show is not UsageError.show:
        error.show()
        return
    if error.ctx is not None:
        sys.stderr.write(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n\n")
    print_note(f"Error: {error.format_message()}")


def _asks_for_json(arguments: Sequence[str], context: Any) -> bool:
    """Whether `--json` stands there as an option. A command line that is none is not read to its end, where it may stand."""
    options = list(takewhile(lambda argument: argument != "--", arguments))
    with_value = {
        name
        for parameter in (context.command.params if context is not None else ())
        if isinstance(parameter, typer.core.TyperOption) and not parameter.is_flag
        for name in parameter.opts
    }
    return any(option == JSON_OPTION and before not in with_value for before, option in pairwise(["", *options]))


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fail(errors: Sequence[GatewayError], *, as_json: bool = False) -> int:
    """Say what went wrong, where JSON was asked for as JSON if it can be written, and give the exit status."""
    if any(isinstance(error, OutputError) for error in errors):
        abandon_output()
    elif as_json:
        try:
            print_json(_told(errors))
            sys.stdout.flush()
        except OutputError as refused:
            return _fail([*errors, refused])
        return max(map(status_of, errors))
    for error in errors:
        if not isinstance(error, ReaderGoneError):
            print_error(error)
    return max(map(status_of, errors))


def _told(errors: Sequence[GatewayError]) -> dict[str, Any]:
    """What went wrong in words, and the mistakes in files one by one."""
    problems = [problem.to_json() for error in errors if isinstance(error, ConfigError) for problem in error.problems]
    return {"error": "\n".join(map(str, errors)), "problems": problems}


def _leaves(group: BaseExceptionGroup[GatewayError]) -> Iterator[GatewayError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def status_of(error: GatewayError) -> int:
    """The exit status that an error comes to."""
    match error:
        case ConfigError() | RequestError() | MisuseError():
            return MISUSED
        case ReaderGoneError():
            return UNREAD
        case GatewayAwayError() | OutputError() | IssuerAway():
            return UNAVAILABLE
        case StoreError() | CredentialError() | TargetUnavailable() | TargetTimeout():
            return UNAVAILABLE
        case _:
            return NEGATIVE
