"""How a group of commands, such as `mcp-gateway audit`, lists them."""

from __future__ import annotations

from typing import Any

import typer.core

WHOLE = 1000
"""Characters of a summary, which is cut nowhere."""


class CommandGroup(typer.core.TyperGroup):
    """Commands with whole summaries, where the usual list ends them in dots to keep to one line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table."""
        names = self.list_commands(ctx)
        commands = [(name, command) for name in names if (command := self.get_command(ctx, name)) is not None]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(WHOLE)) for name, command in commands])
