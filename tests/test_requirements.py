from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.requirements import REQUIREMENTS

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"requirement\(([^)]*)\)")
SCENARIOS = tuple(f"R{number}" for number in range(1, 43))
COLUMNS = 6


def shown() -> set[str]:
    """Every requirement that some test is marked with."""
    paths = Path(__file__).parent.rglob("test_*.py")
    return {name for path in paths for name in marks_in(path)}


def marks_in(path: Path) -> set[str]:
    """The requirements that tests of one file are marked with."""
    text = path.read_text(encoding="utf-8")
    return {name for mark in MARK.findall(text) for name in re.findall(r'"([^"]+)"', mark)}


def scenario_rows() -> dict[str, list[str]]:
    """The table of `docs/reliability.md`: each id to its cells, the id first."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    # `\\|` is a bar inside a cell.
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("| R")
    ]
    assert len(cells) == len({row[0] for row in cells}), "an id has one row"
    return {row[0]: row for row in cells}


def test_every_requirement_has_a_test() -> None:
    assert REQUIREMENTS.keys() - shown() == set()


def test_every_mark_names_a_requirement() -> None:
    assert shown() - REQUIREMENTS.keys() == set()


def test_the_threat_model_names_a_test_for_every_threat_and_each_exists() -> None:
    text = (ROOT / "docs" / "security" / "threat-model.md").read_text(encoding="utf-8")
    threats = text.partition("## Threats")[2].partition("## ")[0]
    rows = [line for line in threats.splitlines() if line.startswith("| ") and "shown by" not in line]

    assert rows
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)`", row)
        assert named, row
        assert [path for path in named if not (ROOT / path).is_file()] == [], row


def test_reliability_has_a_row_for_every_scenario_in_order() -> None:
    assert tuple(scenario_rows()) == SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_row_is_filled_and_names_tests_that_exist_and_are_marked_with_it(name: str) -> None:
    row = scenario_rows()[name]
    assert len(row) == COLUMNS, row
    _, scenario, injected, passed, counts, tests = row
    assert all((scenario, injected, passed, counts, tests)), row
    named = re.findall(r"`(tests/[\w/]+\.py)`", tests)
    assert named, tests
    assert [path for path in named if not (ROOT / path).is_file()] == []
    assert [path for path in named if name not in marks_in(ROOT / path)] == []
