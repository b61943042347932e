from __future__ import annotations

import re
from pathlib import Path

from tests.requirements import REQUIREMENTS

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"requirement\(([^)]*)\)")


def shown() -> set[str]:
    """Every requirement that some test is marked with."""
    texts = (path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    return {name for text in texts for mark in MARK.findall(text) for name in re.findall(r'"([^"]+)"', mark)}


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
