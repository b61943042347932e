"""The line that a problem is about, and the place in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_gateway.cli.excerpts import excerpt
from mcp_gateway.cli.output import columns_of
from mcp_gateway.errors import Problem


def shown(tmp_path: Path, text: str, *, line: int, column: int, room: int = 80, name: str = "p.cedar") -> list[str]:
    (tmp_path / name).write_bytes(text.encode())
    return [*excerpt(Problem(message="", file=str(tmp_path / name), line=line, column=column), room=room)]


def test_the_mark_stands_below_the_place(tmp_path: Path) -> None:
    assert shown(tmp_path, "one\n  two three\n", line=2, column=7) == ["2 |   two three", "  |       ^"]


@pytest.mark.parametrize(
    ("line", "column", "expected"),
    [
        ("\t\tcontext.x", 3, ["1 |   context.x", "  |   ^"]),
        ("你好 x\r", 4, ["1 | 你好 x", "  |      ^"]),
        ("a\u202eb x", 5, ["1 | a<U+202E>b x", "  |            ^"]),
        ("\x1b[31mx", 6, ["1 | <U+001B>[31mx", "  |             ^"]),
    ],
)
def test_columns_are_those_that_are_drawn(tmp_path: Path, line: str, column: int, expected: list[str]) -> None:
    assert shown(tmp_path, line, line=1, column=column) == expected


@pytest.mark.parametrize("column", [1, 20, 300, 599, 600])
@pytest.mark.parametrize("content", ["x", "你", "\x1b"])
@pytest.mark.parametrize("room", [40, 80])
def test_a_long_line_is_cut_around_the_place(tmp_path: Path, column: int, content: str, room: int) -> None:
    line = content * (column - 1) + "@" + content * (600 - column)
    text, mark = shown(tmp_path, line, line=1, column=column, room=room)
    assert columns_of(text) <= room
    assert columns_of(text[: text.index("@")]) == mark.index("^")
    assert text.endswith("..." if column < 590 else (content, "@", ">"))


@pytest.mark.parametrize(
    ("line", "column", "name"),
    [(0, 0, "p.cedar"), (3, 1, "p.cedar"), (1, 0, "p.cedar"), (1, 9, "p.cedar"), (1, 1, "gateway.toml")],
)
def test_nothing_is_shown_where_there_is_no_such_place(tmp_path: Path, line: int, column: int, name: str) -> None:
    assert shown(tmp_path, "abc", line=line, column=column, name=name) == []


def test_nothing_is_shown_of_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "p.cedar").write_bytes(b"\xff")
    assert [*excerpt(Problem(message="", file=str(tmp_path / "p.cedar"), line=1, column=1), room=80)] == []
    assert [*excerpt(Problem(message="", file=str(tmp_path / "gone.cedar"), line=1, column=1), room=80)] == []
    assert shown(tmp_path, "abc", line=1, column=1, room=20) == []
