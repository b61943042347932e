"""What the demo looks like: 80 columns at most, the same on a terminal and in a file, nothing cut off."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mcp_gateway.calls import JSONObject

WIDTH = 80
INDENT = 10
COMMAND_INDENT = 4
COLOURS = {"ok": "green", "approval_pending": "yellow"}
FIELD = re.compile(r"( *\S(?: ?\S)* {2,})")
"""A name and the gap behind it: where the lines that follow have to begin."""


class Page:
    """One console, written from top to bottom."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = 0

    def title(self, title: str, text: str) -> None:
        """The head of the next step."""
        self._step += 1
        self._console.print()
        self._console.print(
            Panel(Text(text), title=f"{self._step}. {title}", title_align="left", border_style="blue", width=WIDTH)
        )

    def question(self, tool: str, *, target: str, text: str) -> None:
        """What the agent asks."""
        self._labelled("agent", "bold cyan", f"{tool} on {target}" if target else tool)
        if text:
            self.lines(text)

    def policy(self, text: str) -> None:
        """What was decided, and why."""
        self._labelled("policy", "bold blue", text)

    def answer(self, code: str, text: str) -> None:
        """What the gateway answered."""
        self._labelled("gateway", "bold", f"{code}  {text}".rstrip(), first_word=f"bold {COLOURS.get(code, 'red')}")

    def command(self, arguments: Sequence[str]) -> None:
        """A command as one would type it; options that have no room go to a line of their own."""
        whole = shlex.join(["mcp-gateway", *arguments])
        options = next((at for at, word in enumerate(arguments) if word.startswith("--")), len(arguments))
        pieces = [whole]
        if COMMAND_INDENT + len(whole) > WIDTH:
            pieces = [
                f"{shlex.join(['mcp-gateway', *arguments[:options]])} \\",
                f"    {shlex.join(arguments[options:])}",
            ]
        for mark, piece in zip(("$", " "), pieces, strict=False):
            self._console.print(Text.assemble((f"  {mark} ", "bold magenta"), piece), soft_wrap=True)

    def said(self, output: str) -> None:
        """What a command printed."""
        for line in output.rstrip().splitlines():
            self.lines(line, indent=COMMAND_INDENT)

    def lines(self, text: str, *, indent: int = INDENT) -> None:
        """A text, wrapped under its own beginning, or where it is a field under its value."""
        for line in text.splitlines():
            field = FIELD.match(line)
            hanging = len(field[1]) if field and len(field[1]) < WIDTH // 2 else len(line) - len(line.lstrip())
            for piece in _wrapped(line, width=WIDTH - indent, hanging=hanging):
                self._console.print(Text(f"{'':{indent}}{piece}"), soft_wrap=True)

    def table(self, result: JSONObject) -> None:
        """Rows under their columns; what is masked is dim."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in result["columns"]:
            table.add_column(Text(column["name"]), style="dim" if column["masked"] else "")
        for row in result["rows"]:
            table.add_row(*(Text(str(cell)) for cell in row))
        with self._console.capture() as captured:
            self._console.print(Padding(table, (0, 0, 0, INDENT)), width=WIDTH)
        for line in captured.get().splitlines():
            shown = Text.from_ansi(line)
            shown.rstrip()
            self._console.print(shown, soft_wrap=True)

    def json(self, value: Any) -> None:
        """JSON, as dense as it can be read."""
        self.lines(json.dumps(value, indent=1))

    def _labelled(self, label: str, style: str, text: str, *, first_word: str = "") -> None:
        first, *more = _wrapped(text, width=WIDTH - INDENT, hanging=0)
        word, space, rest = first.partition(" ")
        self._console.print(
            Text.assemble((f"  {label:<8}", style), (word, first_word), f"{space}{rest}"), soft_wrap=True
        )
        for line in more:
            self._console.print(Text(f"{'':{INDENT}}{line}"), soft_wrap=True)


def _wrapped(line: str, *, width: int, hanging: int) -> list[str]:
    if len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=" " * hanging, drop_whitespace=True, break_on_hyphens=False)
