"""What the demo prints keeps to 80 columns and cuts nothing, on a terminal and in a file."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from mcp_gateway.demo.page import WIDTH, Page

LONG = "UPDATE orders SET status = 'refunded' WHERE " + " OR ".join(f"id = {number}" for number in range(30))
ID = "01a224d2-e51f-7165-9b99-bbed717b0974"


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def console(request: pytest.FixtureRequest) -> Console:
    return Console(file=io.StringIO(), force_terminal=request.param, width=120, highlight=False)


def written(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return Text.from_ansi(console.file.getvalue()).plain.splitlines()


def test_everything_keeps_to_its_columns(console: Console) -> None:
    page = Page(console)
    page.title("It changes production", "Policy asks a DBA; the call is held. " * 4)
    page.question("query_database", target="shop", text=LONG)
    page.policy("ask: " + "changes wait for a DBA " * 8)
    page.answer("approval_pending", "this call waits for an approval " * 8)
    page.table({"columns": [{"name": "name", "masked": []}] * 3, "rows": [["Ada Berg"] * 3]})
    page.json({"a": LONG})
    page.said(f"approval  {ID}\nstatement  {LONG}\n")
    page.command(["approvals", "show", ID, "--as", "dana", "--url", "http://127.0.0.1:43301"])

    lines = written(console)
    assert max(map(cell_len, lines)) <= WIDTH
    assert all(line == line.rstrip() for line in lines)
    assert " ".join(" ".join(lines).split()).count("id = 29") == 3


def test_a_statement_stands_under_its_question(console: Console) -> None:
    Page(console).question("query_database", target="shop", text="SELECT 1")

    assert written(console) == ["  agent   query_database on shop", "          SELECT 1"]


def test_a_long_value_goes_on_under_its_value(console: Console) -> None:
    Page(console).said("policy         " + "word " * 20)

    first, second = written(console)
    assert first.startswith("    policy         word word")
    assert second.startswith(" " * 19 + "word")


def test_a_command_can_be_copied(console: Console) -> None:
    Page(console).command(["approvals", "deny", ID, "--as", "dana", "--note", "not on this host"])

    assert written(console) == [
        f"  $ mcp-gateway approvals deny {ID} \\",
        "        --as dana --note 'not on this host'",
    ]
