"""Tools of other distributions: entry points of the group `mcp_gateway.tools` that `[gateway] tools` names.

An entry point has the name of its tool and leads to something that makes it when called without arguments, such as
the tool's class. What the configuration does not name is not even imported: it would run inside the gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

import structlog

from mcp_gateway.calls import TargetKind
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.registry import AnyTool
from mcp_gateway.tool import Arguments

log = structlog.get_logger(__name__)

GROUP = "mcp_gateway.tools"
KEY = "gateway.tools"


def load_further_tools(names: Sequence[str]) -> list[AnyTool]:
    """Import and make the named tools. Raises `ConfigError` with all that is wrong."""
    found: list[AnyTool] = []
    problems: list[Problem] = []
    for name in names:
        try:
            found.append(_made(name, _only_one(name)))
        except _Unusable as unusable:
            problems.append(Problem(path=KEY, message=f"{name!r} {unusable}"))
    if problems:
        raise ConfigError(problems)
    return found


class _Unusable(Exception):
    """Why a named tool cannot be used; the end of a sentence that begins with its name."""


def _only_one(name: str) -> EntryPoint:
    points = list(entry_points(group=GROUP, name=name))
    if not points:
        known = sorted({point.name for point in entry_points(group=GROUP)})
        others = f"; installed are {', '.join(known)}" if known else ""
        raise _Unusable(f"is no tool of an installed distribution (entry points of {GROUP}){others}")
    if len(points) > 1:
        owners = " and ".join(sorted(point.dist.name if point.dist else "?" for point in points))
        raise _Unusable(f"is claimed by more than one distribution: {owners}; uninstall all but one")
    return points[0]


def _made(name: str, point: EntryPoint) -> AnyTool:
    try:
        tool: Any = point.load()()
    except Exception as error:
        # Whatever the foreign code raises stops the start, and the message says whose it was.
        log.exception("tool_not_loaded", tool=name)
        raise _Unusable(f"cannot be made from {point.value!r}: {type(error).__name__}") from None
    missing = [
        part for part in ("examine", "preview", "execute", "size", "mask", "mask_error") if not hasattr(tool, part)
    ]
    missing += [
        part for part in ("description", "read_only_hint", "result_schema", "Arguments") if not hasattr(tool, part)
    ]
    if missing:
        raise _Unusable(f"is no tool: it has no {', '.join(missing)}")
    if getattr(tool, "name", None) != name:
        raise _Unusable(f"calls itself {getattr(tool, 'name', None)!r}; the entry point and the tool share one name")
    if getattr(tool, "kind", None) not in get_args(TargetKind):
        raise _Unusable(f"is for targets of kind {getattr(tool, 'kind', None)!r}, which there is not")
    if not (isinstance(tool.Arguments, type) and issubclass(tool.Arguments, Arguments)):
        raise _Unusable("has no Arguments that derive from mcp_gateway.tool.Arguments")
    return tool  # type: ignore[no-any-return]  # checked above as far as it can be
