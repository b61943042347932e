"""How often a scenario is run: a little with every commit, in full by `make faults`."""

from __future__ import annotations

import os

FULL = os.environ.get("FAULTS") == "full"
"""Set by `make faults`."""


def times(*, commit: int, full: int) -> int:
    """How often in this run; the table in `docs/reliability.md` names both."""
    return full if FULL else commit
