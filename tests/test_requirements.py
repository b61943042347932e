from __future__ import annotations

import re
from pathlib import Path

from tests.requirements import REQUIREMENTS

MARK = re.compile(r"requirement\(([^)]*)\)")


def shown() -> set[str]:
    """Every requirement that some test is marked with."""
    texts = (path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    return {name for text in texts for mark in MARK.findall(text) for name in re.findall(r'"([^"]+)"', mark)}


def test_every_requirement_has_a_test() -> None:
    assert REQUIREMENTS.keys() - shown() == set()


def test_every_mark_names_a_requirement() -> None:
    assert shown() - REQUIREMENTS.keys() == set()
