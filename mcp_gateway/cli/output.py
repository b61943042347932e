"""How commands speak: results to standard output, everything else to standard error.

Agents write much of what is shown here (statements, reasons, names of things), and approvers and operators read it
on a terminal. So every text that is printed for people goes through `make_visible`, which leaves no control or
bidirectional character standing, and JSON is printed in ASCII.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, repeat
from typing import Annotated, Any, TextIO, TypeAlias
from unicodedata import east_asian_width

import typer

from mcp_gateway.errors import ConfigError, GatewayError, Problem

PROGRAM = "mcp-gateway"
JSON_OPTION = "--json"
LEAST_ROOM = 20
"""Columns; in less, a text is easier to read as the terminal breaks it."""
TAB_COLUMNS = 8
USUAL_COLUMNS = 80
"""Of a terminal that does not tell."""
INDENTED = "    "
BEGINNING = 66
"""Columns of a text in a list: with the room before and the mark after it a line of 80, further in by as much again."""
CUT = " ..."
COLUMN_GAP = 2
HELP_MARGIN = 2
MOST_OF_A_NAME = 40
"""Columns that all values are moved to the right for; a longer name has a line of its own."""
DEEPEST = 6
"""Levels of a JSON value that are laid out; what is below stands on one line."""


def json_wanted(context: typer.Context, wanted: bool) -> bool:
    """The callback of `--json`, so that errors are told so as well."""
    context.obj.as_json = wanted
    return wanted


AsJSON: TypeAlias = Annotated[bool, typer.Option(JSON_OPTION, callback=json_wanted, help="Print JSON.")]


def print_json(value: Any) -> None:
    """One JSON value on one line."""
    _write_json(json.dumps(value, ensure_ascii=True, allow_nan=False))


def print_json_document(value: Any) -> None:
    """One JSON value over several lines, to be copied into a file."""
    _write_json(json.dumps(value, ensure_ascii=True, allow_nan=False, indent=2))


def _write_json(text: str) -> None:
    """Of the control characters in ASCII, JSON leaves one as it is."""
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")


def print_json_laid_out(value: Any) -> None:
    """One JSON value for people who look at it: over several lines, and what fits into the terminal's width on one."""
    room = _width(sys.stdout)
    _write_json(_laid_out(value, room=room, whole=isinstance(value, dict)))


def json_laid_out(value: Any, *, before: int, otherwise: str) -> str:
    """The same as a text to be printed after `before` columns; where there is no terminal, `otherwise`.

    Letters of every script stay as they are: whoever prints it makes it visible.
    """
    if not sys.stdout.isatty():
        return otherwise
    return _laid_out(value, room=_width(sys.stdout) - before, whole=isinstance(value, dict), ascii_only=False)


def print_line(text: str = "") -> None:
    """One line for people."""
    sys.stdout.write(_visible(text) + "\n")


def print_sentence(text: str) -> None:
    """One line for people to read, not to copy; on a terminal folded between words where it is too long."""
    _write_folded(text, stream=sys.stdout)


def print_below(text: str) -> None:
    """One line of a list below its entry's first, further in; on a terminal folded, so that nothing stands at its edge."""
    room = _width(sys.stdout) - 2 * len(INDENTED) if sys.stdout.isatty() else 0
    pieces = fold(_visible(text), room=room)
    sys.stdout.write(INDENTED + f"\n{2 * INDENTED}".join(piece.rstrip() for piece in pieces) + "\n")


def print_beginning(text: str) -> None:
    """How a text begins, on one such line, white space as single spaces. Nobody decides by this."""
    line = _visible(" ".join(text.split()))
    room = BEGINNING
    if sys.stdout.isatty():
        room = min(room, max(LEAST_ROOM, _width(sys.stdout) - len(INDENTED + CUT)))
    taken = accumulate(map(_columns, line))
    kept = sum(columns <= room for columns in taken)
    sys.stdout.write(INDENTED + (line if kept == len(line) else line[:kept].rstrip() + CUT) + "\n")


def print_note(text: str) -> None:
    """A sentence beside the result, to standard error."""
    sys.stdout.flush()
    _write_folded(text, stream=sys.stderr)


def _write_folded(text: str, *, stream: TextIO) -> None:
    room = _width(stream) - len(INDENTED) if stream.isatty() else 0
    pieces = fold(_visible(text), room=room)
    stream.write(f"\n{INDENTED}".join(piece.rstrip() for piece in pieces) + "\n")


def print_warning(text: str) -> None:
    """Something that works and should not stay so, to standard error."""
    print_note(f"{PROGRAM}: warning: {text}")


def print_error(error: GatewayError) -> None:
    """What went wrong, one line for each problem, to standard error."""
    problems = error.problems if isinstance(error, ConfigError) else (error,)
    for problem in problems:
        print_note(f"{PROGRAM}: {problem}")
        if isinstance(problem, Problem):
            print_excerpt(problem)


def print_excerpt(problem: Problem) -> None:
    """The line of policy that a problem is about, below it; on a terminal alone, so that programs read one line each."""
    if not sys.stderr.isatty():
        return
    from mcp_gateway.cli.excerpts import excerpt

    for line in excerpt(problem, room=_width(sys.stderr) - len(INDENTED)):
        sys.stderr.write(f"{INDENTED}{line}\n")


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
    """Names and values, one a line; further lines of a value are indented below its first.

    On a terminal long lines are folded here: the terminal would go on at its left edge, where names stand, and so a
    long statement could write a field of its own. A word that fits on a line of its own, such as a hash, is not broken.
    """
    names = [_visible(name) for name, _ in fields]
    width = min(MOST_OF_A_NAME, max(map(len, names), default=0))
    columns = _width(sys.stdout) if sys.stdout.isatty() else 0
    room = columns - width - 2
    for name, (_, value) in zip(names, fields, strict=True):
        text = _visible(value, block=True)
        below = _beginning_of(name) + INDENTED
        fits_below = 0 < room < columns_of(text) <= columns - len(below) and " " not in text and "\n" not in text
        if fits_below or len(name) > width:
            pieces = fold(name, room=columns - len(below))
            sys.stdout.write(f"\n{below}".join(pieces) + "\n")
        if fits_below:
            sys.stdout.write(f"{below}{text}\n")
            continue
        lines = [piece for line in text.split("\n") for piece in fold(line, room=room)]
        for mark, line in zip(chain([name if len(name) <= width else ""], repeat("")), lines, strict=False):
            sys.stdout.write(f"{mark.ljust(width)}  {line}".rstrip() + "\n")


def _beginning_of(name: str) -> str:
    return name[: len(name) - len(name.lstrip())]


def fold(line: str, *, room: int) -> Iterator[str]:
    """A line in pieces that take at most `room` columns each, between words where there are some; whole if too narrow.

    Joined, the pieces are the line.
    """
    if room < LEAST_ROOM or (line.isascii() and len(line) <= room and "\t" not in line):
        yield line
        return
    piece, columns, space = 0, 0, 0
    for at, character in enumerate(line):
        taken = _columns(character)
        if columns + taken > room:
            end = space if space > piece else at
            yield line[piece:end]
            columns = sum(map(_columns, line[end:at]))
            piece = end
        columns += taken
        if character == " ":
            space = at + 1
    yield line[piece:]


def columns_of(text: str) -> int:
    """How wide a text is drawn at most."""
    return sum(map(_columns, text))


def help_columns() -> int:
    """How wide help is: as usual, and no wider than the terminal. Click asks `shutil`, which cannot tell (`_width`)."""
    return min(USUAL_COLUMNS, _width(sys.stdout) if sys.stdout.isatty() else USUAL_COLUMNS) - HELP_MARGIN


def _width(stream: TextIO) -> int:
    """Columns of the terminal that a stream leads to. `shutil` asks the stream that `cli.streams` has taken apart."""
    said = os.environ.get("COLUMNS", "")
    if said.isascii() and said.isdigit() and len(said) < 6 and int(said):
        return int(said)
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError):
        return USUAL_COLUMNS


def _columns(character: str) -> int:
    """How wide a character is drawn at most."""
    if character == "\t":
        return TAB_COLUMNS
    return 2 if east_asian_width(character) in {"W", "F", "A"} else 1


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how far long work is, once it has come somewhere, on a terminal's standard error; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield _tell_nobody
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_interactive:  # as TERM=dumb says
        yield _tell_nobody
        return
    bar = Progress(console=console, transient=True)
    task = bar.add_task(what, total=None)

    def tell(done: int, of: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=of)

    try:
        yield tell
    finally:
        if bar.live.is_started:
            bar.stop()


def _tell_nobody(_done: int, _of: int) -> None:
    pass


def _laid_out(
    value: Any, *, room: int, before: int = 0, depth: int = 1, whole: bool = False, ascii_only: bool = True
) -> str:
    """`before`: columns that are taken where it begins. If `whole`, it is broken into lines though it may fit."""
    line = json.dumps(value, ensure_ascii=ascii_only, allow_nan=not ascii_only)
    if not isinstance(value, dict | list) or not value or depth > DEEPEST:
        return line
    if not whole and before + len(line) < room:
        return line
    indent = "  " * depth
    names = (
        [f"{json.dumps(name, ensure_ascii=ascii_only)}: " for name in value]
        if isinstance(value, dict)
        else [""] * len(value)
    )
    inner = value.values() if isinstance(value, dict) else value
    parts = [
        name + _laid_out(part, room=room, before=len(indent + name), depth=depth + 1, ascii_only=ascii_only)
        for name, part in zip(names, inner, strict=True)
    ]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    lines = parts if whole or any("\n" in part for part in parts) else _filled(parts, room=room - len(indent))
    return f"{opened}\n{indent}" + f",\n{indent}".join(lines) + f"\n{indent[2:]}{closed}"


def _filled(parts: Sequence[str], *, room: int) -> list[str]:
    """As many on a line as fit."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(f"{lines[-1]}, {part},") <= room:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines


def _print_rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Cells are folded between words. Where there is no room for the longest words side by side, each row is a list."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    widths = _widths(columns, rows)
    if widths is None:
        for number, row in enumerate(rows):
            if number:
                print_line()
            print_fields(list(zip(columns, row, strict=True)))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False, width=_width(sys.stdout)).print(table)


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int] | None:
    """Of each column, at least its longest word; None where these do not fit beside each other."""
    cells = list(zip(columns, *rows, strict=True))
    least = [max(columns_of(word) for cell in column for word in (cell.split() or [""])) for column in cells]
    spare = _width(sys.stdout) - COLUMN_GAP * (len(columns) - 1) - sum(least)
    if spare < 0:
        return None
    widths = []
    for column, width in zip(cells, least, strict=True):
        more = min(spare, max(map(columns_of, column)) - width)
        widths.append(width + more)
        spare -= more
    return widths


def _visible(text: str, *, block: bool = False) -> str:
    from mcp_gateway.masking.visible import make_visible

    return make_visible(text, block=block)
