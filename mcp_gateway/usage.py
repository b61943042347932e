"""What somebody has done so far, as facts for policy: counts over sliding windows. Values; the counting is `audit.usage`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise, product
from types import MappingProxyType
from typing import TypeAlias

from mcp_gateway.calls import JSONObject

HISTORY = ("usage", "agent_usage")
"""The records in the Cedar context of every action: of the person, and of the agent."""
COUNTED = ("calls", "rows", "bytes", "refusals")
"""Calls that began, rows and bytes of their results, and calls that were refused, denied or stopped before they began."""
NO_REFUSALS = frozenset({"approval_pending", "input_required", "already_run"})
"""Codes of calls that did not begin and were not refused either."""
WINDOWS: Mapping[str, timedelta] = MappingProxyType(
    {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "24h": timedelta(hours=24)}
)
TOUCHED_WINDOWS = ("1h", "24h")
Count: TypeAlias = tuple[str, str]
"""Record and attribute, as `("usage", "calls_1h")`."""
BEGUN: Mapping[str, str] = MappingProxyType({f"calls_{window}": window for window in WINDOWS})
"""The attributes that count calls that began, and the window of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of one person, or of one agent."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """`calls_1m`, `rows_24h`, ...; what is missing is 0."""
    touched: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By window the data classes that came back in results, masked or raw."""

    def context(self) -> JSONObject:
        """The record of the Cedar context."""
        counts: JSONObject = {
            f"{name}_{window}": self.counts.get(f"{name}_{window}", 0) for name in COUNTED for window in WINDOWS
        }
        return counts | {
            f"touched_{window}": sorted(self.touched.get(window, frozenset())) for window in TOUCHED_WINDOWS
        }


def imagined_usage(given: Mapping[str, int | frozenset[str]]) -> Usage:
    """A usage that nobody had, by the names of its attributes: for cases and explanations. Raises `ValueError`.

    What is given of a window is in the longer ones as well, where no more is given of these.
    """
    known = Usage().context()
    counts: dict[str, int] = {}
    touched: dict[str, frozenset[str]] = {}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"there is no usage {name!r}; there are {', '.join(known)}")
        if name.startswith("touched_"):
            if not isinstance(value, frozenset):
                raise ValueError(f"{name} is data classes, got the number {value}")
            touched[name.removeprefix("touched_")] = value
        elif type(value) is not int or value < 0:
            got = value if isinstance(value, int) else "data classes"
            raise ValueError(f"{name} is a number from 0, got {got}")
        else:
            counts[name] = value
    for name, (short, long) in product(COUNTED, pairwise(WINDOWS)):
        least, given_of_long = counts.get(f"{name}_{short}", 0), counts.get(f"{name}_{long}")
        if given_of_long is not None and given_of_long < least:
            raise ValueError(
                f"{name}_{long}: expected at least {least}, which are in a shorter window, got {given_of_long}"
            )
        counts[f"{name}_{long}"] = given_of_long or least
    for short, long in pairwise(TOUCHED_WINDOWS):
        touched[long] = touched.get(long, frozenset()) | touched.get(short, frozenset())
    return Usage(counts=counts, touched=touched)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What is known of a caller: of the person, by whichever agent, and of the agent, for whichever person."""

    person: Usage = Usage()
    agent: Usage = Usage()


NO_HISTORY = History()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one call adds, at its beginning or at its end."""

    calls: int = 0
    rows: int = 0
    bytes: int = 0
    refusals: int = 0
    touched: frozenset[str] = frozenset()
