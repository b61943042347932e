"""How commands speak: results to standard output, everything else to standard error.

Agents write much of what is shown here (statements, reasons, names of things), and approvers and operators read it
on a terminal. So every text that is printed for people goes through `make_visible`, which leaves no control or
bidirectional character standing, and JSON is printed in ASCII.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeAlias

import typer

from mcp_gateway.errors import ConfigError, GatewayError

PROGRAM = "mcp-gateway"

AsJSON: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    """One JSON value on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=True, allow_nan=False) + "\n")


def print_line(text: str = "") -> None:
    """One line for people."""
    sys.stdout.write(_visible(text) + "\n")


def print_note(text: str) -> None:
    """One line beside the result, to standard error."""
    sys.stdout.flush()
    sys.stderr.write(_visible(text) + "\n")


def print_warning(text: str) -> None:
    """Something that works and should not stay so, to standard error."""
    print_note(f"{PROGRAM}: warning: {text}")


def print_error(error: GatewayError) -> None:
    """What went wrong, one line for each problem, to standard error."""
    problems = [str(problem) for problem in error.problems] if isinstance(error, ConfigError) else [str(error)]
    for problem in problems:
        print_note(f"{PROGRAM}: {problem}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Rows under headings, nothing cut off; `empty` in place of a table without rows."""
    if not rows:
        print_line(empty)
        return
    cells = [[_visible(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich_table(columns, cells)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in (columns, *cells):
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Names and values, one a line; further lines of a value are indented below its first."""
    width = max((len(name) for name, _ in fields), default=0)
    for name, value in fields:
        first, *more = _visible(value, block=True).split("\n")
        sys.stdout.write(f"{_visible(name).ljust(width)}  {first}".rstrip() + "\n")
        for line in more:
            sys.stdout.write(f"{'':{width}}  {line}".rstrip() + "\n")


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how far long work is, on a terminal's standard error; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _print_rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


def _visible(text: str, *, block: bool = False) -> str:
    from mcp_gateway.masking.visible import make_visible

    return make_visible(text, block=block)
