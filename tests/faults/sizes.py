"""How often a scenario is run: a little with every commit, in full by `make faults`."""

from __future__ import annotations

import os

import pytest

FULL = os.environ.get("FAULTS") == "full"
"""Set by `make faults`."""


in_full = pytest.mark.skipif(not FULL, reason="in full only: `make faults`")
"""For a scenario that costs more than it shows beyond others, with every commit."""


def times(*, commit: int, full: int) -> int:
    """How often in this run; the table in `docs/reliability.md` names both."""
    return full if FULL else commit


def long(*, minutes: float) -> pytest.MarkDecorator:
    """What takes so many minutes in full: `make faults` begins with the longest, so that no worker is left alone with one."""
    return pytest.mark.long(minutes)


def longest_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """An order for two workers, of whom each begins with one half and takes from the end of the other's when it is done."""
    took = {item: marker.args[0] for item in items if (marker := item.get_closest_marker("long")) is not None}
    ranked = sorted(took, key=lambda item: -took[item])
    others = [item for item in items if item not in took]
    ours = len(items) // 2 - len(ranked[::2])
    return [*ranked[::2], *others[:ours], *ranked[1::2], *others[ours:]]
