"""How many messages are sent, and from which seed: a few thousand with every commit, a million by `make fuzz`.

A finding names its door, seed and number; `FUZZ_SEED=… FUZZ_ONLY=number` sends that one again.
"""

from __future__ import annotations

import os
from random import Random

from mcp_gateway.audit.store import Pace

FULL = os.environ.get("FUZZ") == "full"
SEED = os.environ.get("FUZZ_SEED", "1")
ONLY = os.environ.get("FUZZ_ONLY", "")

PATIENT = Pace(answer_seconds=300)
"""A machine that has much else to do may keep its disk busy for longer than a store waits; here that is no finding."""


def messages(*, commit: int, full: int) -> range:
    """The numbers of the messages of one test."""
    if ONLY:
        return range(int(ONLY), int(ONLY) + 1)
    return range(1, 1 + (full if FULL else commit))


def generator(name: str, number: int) -> Random:
    """Where the message of this number comes from."""
    return Random(f"{SEED}/{name}/{number}")
