"""What commands print: nothing an agent wrote acts on a terminal, nothing is cut, JSON is plain ASCII."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.cli.output import (
    columns_of,
    fold,
    print_beginning,
    print_below,
    print_error,
    print_fields,
    print_json,
    print_json_document,
    print_json_laid_out,
    print_line,
    print_note,
    print_table,
    print_warning,
    progress,
)
from mcp_gateway.errors import ConfigError, Problem, StoreError
from tests.cli.running import run_on_a_terminal

HOSTILE = "a\x1b[31m\u202eb\rc\x00"
SHOWN = "a<U+001B>[31m<U+202E>b<U+000D>c<U+0000>"


@pytest.mark.requirement("R37")
def test_nothing_that_is_printed_acts_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(HOSTILE)
    print_below(HOSTILE)
    print_beginning(HOSTILE)
    print_fields([(HOSTILE, HOSTILE)])
    print_table(["one"], [[HOSTILE]], empty="")
    print_note(HOSTILE)
    print_warning(HOSTILE)
    print_error(StoreError(HOSTILE))
    print_error(ConfigError([Problem(message=HOSTILE)]))

    said = capsys.readouterr()
    beginning = SHOWN.replace("<U+000D>", " ")
    assert said.out == f"{SHOWN}\n    {SHOWN}\n    {beginning}\n{SHOWN}  {SHOWN}\none\n{SHOWN}\n"
    assert said.err == (f"{SHOWN}\nmcp-gateway: warning: {SHOWN}\nmcp-gateway: {SHOWN}\nmcp-gateway: {SHOWN}\n")


@pytest.mark.requirement("R37")
def test_json_is_ascii_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for printed in (print_json, print_json_laid_out, print_json_document):
        printed({"a": "é\u202e\x1b\x7f\x9b\ud800"})

    assert "".join(capsys.readouterr().out.split()) == r'{"a":"\u00e9\u202e\u001b\u007f\u009b\ud800"}' * 3


def test_json_knows_no_numbers_that_are_none() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        print_json(float("nan"))


def test_a_table_has_columns_and_cuts_nothing_off(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "what"], [["a", "x" * 300], ["bcdef", "y"]], empty="none")

    assert capsys.readouterr().out == f"name   what\na      {'x' * 300}\nbcdef  y\n"


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name"], [], empty="there are none")

    assert capsys.readouterr().out == "there are none\n"


@pytest.mark.requirement("R37")
def test_lines_of_a_value_cannot_pass_for_fields(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields([("statement", "SELECT 1\npolicy     nothing to see"), ("policy", "asks")])

    assert capsys.readouterr().out == ("statement  SELECT 1\n           policy     nothing to see\npolicy     asks\n")


def test_progress_says_nothing_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("verifying") as tell:
        tell(1, 2)

    assert capsys.readouterr() == ("", "")


WIDE = "你好" * 30


@pytest.mark.parametrize(
    "line", ["", "short", "word " * 40, "x" * 200, "a" * 79 + " " + "b" * 79, WIDE, "\t" * 30, "é" * 81]
)
@pytest.mark.parametrize("room", [20, 40, 79])
def test_folding_loses_nothing_and_keeps_to_its_room(line: str, room: int) -> None:
    pieces = list(fold(line, room=room))

    assert "".join(pieces) == line
    assert all(sum(8 if c == "\t" else 2 if c in WIDE else 1 for c in piece) <= room for piece in pieces)


def test_folding_is_between_words() -> None:
    assert list(fold("one two three four five", room=20)) == ["one two three four ", "five"]


@pytest.mark.requirement("R37")
def test_a_long_value_cannot_pass_for_a_field_on_a_terminal() -> None:
    """The terminal would break after 80 columns, and what follows would stand where names stand."""
    statement = "SELECT 1 /*" + " x" * 29 + " policy     nothing to see */"
    shown = on_a_terminal(f"print_fields([('statement', {statement!r}), ('policy', 'asks')])", columns=80)

    assert [line[:11].strip() for line in shown] == ["statement", "", "policy"]
    assert max(map(len, shown)) <= 80


def test_a_long_problem_is_folded_between_words_on_a_terminal() -> None:
    shown = on_a_terminal("print_error(GatewayError('no attribute ' * 12))", columns=80)

    assert shown == [
        "mcp-gateway: no attribute no attribute no attribute no attribute no",
        "    attribute no attribute no attribute no attribute no attribute no attribute",
        "    no attribute no attribute",
    ]


def test_a_problem_has_its_line_below_it_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "p.cedar").write_text("forbid (principal);")
    problem = f"Problem(message='no', file={str(tmp_path / 'p.cedar')!r}, line=1, column=9)"
    shown = on_a_terminal(f"print_error(ConfigError([{problem}]))", columns=500)

    assert shown == [f"mcp-gateway: {tmp_path}/p.cedar:1:9: no", "    1 | forbid (principal);", "      |         ^"]


TABLE = "['id', 'kind', 'what'], [['orders', 'postgres', 'orders and customers of the shop'], ['b', 'ssh', '']]"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (80, ["id      kind      what", "orders  postgres  orders and customers of the shop", "b       ssh"]),
        (
            34,
            ["id      kind      what", "orders  postgres  orders and", "                  customers of the", "                  shop", "b       ssh"],
        ),
        (
            26,
            ["id    orders", "kind  postgres", "what  orders and", "      customers of the", "      shop", "", "id    b", "kind  ssh", "what"],
        ),
    ],
)  # fmt: skip
def test_a_table_breaks_no_word_however_narrow_the_terminal_is(columns: int, expected: list[str]) -> None:
    shown = on_a_terminal(f"print_table({TABLE}, empty='none')", columns=columns)

    assert [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in shown] == expected


@pytest.mark.requirement("R37")
def test_a_cell_cannot_pass_for_another_row_on_a_narrow_terminal() -> None:
    shown = on_a_terminal("print_table(['name', 'state'], [['a', 'x' * 50 + '\\nname  b']], empty='none')", columns=40)

    assert [line[:6].strip() for line in shown] == ["name", "state", ""]


@pytest.mark.requirement("R37")
def test_a_long_name_moves_no_value_away(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields([("n" * 41, "1"), (" " * 500 + "x\n", "2"), ("a", "3")])

    assert capsys.readouterr().out.splitlines() == [
        "n" * 41,
        " " * 42 + "1",
        f"{'<500 spaces>x<U+000A>':<40}  2",
        f"{'a':<40}  3",
    ]


@pytest.mark.requirement("R37")
@pytest.mark.parametrize("columns", [30, 40, 80])
@pytest.mark.parametrize("text", ["你好" * 200, "SELECT 1 " * 99, "\u202e\x1b[2J" * 30, "x" * 500])
def test_nothing_in_a_list_stands_at_the_terminals_edge(text: str, columns: int) -> None:
    shown = on_a_terminal(f"print_beginning({text!r}); print_below({text[:150]!r})", columns=columns)

    assert shown[0].endswith(" ...")
    assert all(line.startswith("    ") and columns_of(line) <= columns for line in shown)


def test_the_beginning_of_a_text_is_cut_where_there_is_no_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_beginning("SELECT\n 1")
    print_beginning("x" * 66)
    print_beginning("x" * 67)

    assert capsys.readouterr().out == f"    SELECT 1\n    {'x' * 66}\n    {'x' * 66} ...\n"


def test_a_word_that_fits_on_a_line_of_its_own_is_not_broken() -> None:
    value = "e" * 64
    shown = on_a_terminal(f"print_fields([('    environment digest', {value!r}), ('    b', 'x')])", columns=80)

    assert shown == ["    environment digest", f"        {value}", "    b                   x"]
    assert on_a_terminal(f"print_fields([('name', {value!r})])", columns=60)[0] == f"name  {'e' * 54}"


def on_a_terminal(call: str, *, columns: int) -> list[str]:
    """The lines that a call of `output` writes to a terminal."""
    program = f"from mcp_gateway.cli.output import *; {call}"
    ran = run_on_a_terminal(sys.executable, "-I", "-c", program, columns=columns)
    assert ran.status == 0, ran.out
    return ran.out.splitlines()


def laid_out(
    capsys: pytest.CaptureFixture[str], value: object, *, columns: int, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    print_json_laid_out(value)
    return capsys.readouterr().out


def test_json_for_people_breaks_what_is_too_wide(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"id": None, "kinds": ["A", "B"], "tables": ["shop.orders", "shop.customers", "shop.items"], "none": []}

    assert laid_out(capsys, value, columns=40, monkeypatch=monkeypatch).splitlines() == [
        "{",
        '  "id": null,',
        '  "kinds": ["A", "B"],',
        '  "tables": [',
        '    "shop.orders", "shop.customers",',
        '    "shop.items"',
        "  ],",
        '  "none": []',
        "}",
    ]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=40,
)


@given(JSON_VALUES, st.integers(min_value=1, max_value=100))
def test_json_for_people_is_the_same_value_in_plain_ascii(value: object, columns: int) -> None:
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as out:
        patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "stdout", out)
        print_json_laid_out(value)
        said = out.getvalue()

    assert json.loads(said) == value
    assert said.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", said)


def test_json_that_is_nested_without_end_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    value: object = None
    for _ in range(400):
        value = [value]

    assert json.loads(laid_out(capsys, {"id": value}, columns=40, monkeypatch=monkeypatch)) == {"id": value}
