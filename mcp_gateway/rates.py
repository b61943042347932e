"""How many calls may be made in a time: of one caller, and on one target. Pure: the time is an argument.

The generic cell rate algorithm (ITU-T I.371): a rate of 60 in a minute lets 60 come at once after a quiet minute, and one
a second from then on, and keeps one moment for each key. A call that is refused does not count. Of a target's rate one
caller has three quarters at most, so that something is left for the others. In memory: each process counts for itself, and
a restart begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from mcp_gateway.errors import LimitError
from mcp_gateway.quantities import format_duration

NOTHING = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many in a time."""

    count: int
    per: timedelta

    def __str__(self) -> str:
        """As it is written in a configuration."""
        return f"{self.count}/{format_duration(self.per)}"


class Meter:
    """One rate, kept for each key."""

    def __init__(self, rate: Rate) -> None:
        self._each = rate.per / rate.count
        self._ahead = rate.per - self._each
        self._due: dict[str, datetime] = {}
        """When a key's calls so far would all have been due, one after the other."""
        self._tidied: datetime | None = None
        self._per = rate.per

    def wait(self, key: str, *, now: datetime) -> timedelta:
        """How long until one more may come; nothing where it may now."""
        return max(NOTHING, self._due.get(key, now) - now - self._ahead)

    def count(self, key: str, *, now: datetime) -> None:
        """One has come."""
        self._tidy(now)
        self._due[key] = max(self._due.get(key, now), now) + self._each

    def _tidy(self, now: datetime) -> None:
        """Forget whoever has been quiet, at most once in the rate's own time."""
        if self._tidied is None or now - self._tidied >= self._per:
            self._due = {key: due for key, due in self._due.items() if due > now}
            self._tidied = now


@dataclass(frozen=True, slots=True)
class _OnTarget:
    rate: Rate
    all: Meter
    own: Meter


class Rates:
    """All rates of a gateway. For one event loop."""

    def __init__(self, *, per_caller: Rate | None, targets: Mapping[str, Rate | None]) -> None:
        self._rate = per_caller
        self._callers = Meter(per_caller) if per_caller is not None else None
        self._targets = {
            name: _OnTarget(rate, Meter(rate), Meter(Rate(count=max(1, rate.count * 3 // 4), per=rate.per)))
            for name, rate in targets.items()
            if rate is not None
        }

    def take_call(self, caller: str, *, now: datetime) -> None:
        """Count a call of a caller. Raises `LimitError` where it comes too soon."""
        if self._callers is None:
            return
        wait = self._callers.wait(caller, now=now)
        if wait:
            raise _too_soon(f"this caller makes more calls than {self._rate}", wait)
        self._callers.count(caller, now=now)

    def take_target(self, target: str, caller: str, *, now: datetime) -> None:
        """Count a call on a target. Raises `LimitError` where it comes too soon."""
        found = self._targets.get(target)
        if found is None:
            return
        own, all_ = found.own.wait(caller, now=now), found.all.wait("", now=now)
        if own or all_:
            whose = "this caller's share of them" if own > all_ else "its limit"
            raise _too_soon(f"the target {target!r} gets more calls than {whose}, {found.rate} in all", max(own, all_))
        found.own.count(caller, now=now)
        found.all.count("", now=now)


def _too_soon(message: str, wait: timedelta) -> LimitError:
    seconds = max(0.001, wait.total_seconds())
    return LimitError(
        message,
        next_step=f"call again in {seconds:.3g} s; nothing has run",
        retry_after=timedelta(seconds=seconds),
    )
