"""The page, the list and the tests of published failures say the same."""

from __future__ import annotations

import re
from pathlib import Path

from tests.published.failures import FAILURES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security" / "published-failures.md"
MARK = re.compile(r"mark\.published\(([^)]*)\)")
ROW = re.compile(r"^\| (?P<id>[^|]+?) +\| (?P<what>[^|]+?) +\| (?P<why>[^|]+?) +\| (?P<tests>[^|]+?) +\|$")


def shown() -> dict[str, set[str]]:
    """Id to the files whose tests show it."""
    found: dict[str, set[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for mark in MARK.findall(path.read_text(encoding="utf-8")):
            for name in re.findall(r'"([^"]+)"', mark):
                found.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    return found


def rows() -> dict[str, re.Match[str]]:
    """The rows of the page by id."""
    found = [ROW.match(line) for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert None not in found
    named = [match for match in found if match is not None and match["id"] != "id"]
    assert len({match["id"] for match in named}) == len(named)
    return {match["id"]: match for match in named}


def test_every_failure_has_a_test_and_every_mark_names_one() -> None:
    assert shown().keys() == FAILURES.keys()
    assert len(FAILURES) == 57


def test_the_page_lists_every_failure_with_what_happened_and_exactly_its_tests() -> None:
    page = rows()

    assert list(page) == list(FAILURES)
    for name, row in page.items():
        assert row["what"] == FAILURES[name]
        assert len(row["why"]) > 20, name
        assert set(re.findall(r"`([^`]+)`", row["tests"])) == shown()[name], name
