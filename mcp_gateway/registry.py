"""What is registered: targets with the way to each, and the tools that work on them. A name is claimed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mcp_gateway.calls import Target
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.rates import Rate
from mcp_gateway.tool import Connector, Tool

AnyTool = Tool[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A target, its connector and its own limits."""

    target: Target
    connector: Connector
    timeout: timedelta
    max_rows: int
    max_bytes: int
    detectors: tuple[str, ...]
    max_calls: int = 10
    """How many calls run on it at once; more wait for their turn."""
    place: str = ""
    """Where it is, for the log of whoever configured it: there causes have gone through the detectors, addresses with them."""
    rate: Rate | None = None
    """How many calls it gets in a time; more are refused."""


class Registry:
    """All targets and tools of a gateway; fixed once built."""

    def __init__(self, *, targets: Iterable[Registered], tools: Iterable[AnyTool]) -> None:
        self.targets: Mapping[str, Registered] = _once({}, ((item.target.name, item) for item in targets), "target")
        self.tools: Mapping[str, AnyTool] = _once({}, ((tool.name, tool) for tool in tools), "tool")

    def tools_for(self, target: Target) -> tuple[str, ...]:
        """The names of the tools that work on this kind of target."""
        return tuple(sorted(name for name, tool in self.tools.items() if tool.kind == target.kind))


def _once(found: dict[str, Any], items: Iterable[tuple[str, Any]], what: str) -> dict[str, Any]:
    for name, item in items:
        if name in found:
            raise ConfigError([Problem(message=f"the {what} {name!r} is registered twice; names must be unique")])
        found[name] = item
    return found
