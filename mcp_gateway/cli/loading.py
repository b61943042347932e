"""What commands load beside the configuration. Below the commands, beside `assemble`, and lighter than it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mcp_gateway.calls import Target
from mcp_gateway.cli.further_tools import load_further_tools
from mcp_gateway.config import HTTPTarget, Settings, to_target
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.loader import load_policies


def targets_of(settings: Settings) -> list[Target]:
    """The configured targets as policy sees them."""
    return [to_target(name, target) for name, target in settings.targets.items()]


def base_urls_of(settings: Settings) -> dict[str, str]:
    """The base URL of each HTTP target, by name."""
    return {name: target.base_url for name, target in settings.targets.items() if isinstance(target, HTTPTarget)}


def load_engine(settings: Settings, *, paths: Sequence[Path] = ()) -> PolicyEngine:
    """The configured policies, or those of `paths`, which nothing enforces and so may be anybody's.

    Raises:
        ConfigError: with every problem in every file, or what is wrong with a further tool.
    """
    return load_policies(
        paths or settings.policy.paths,
        targets=targets_of(settings),
        classes=settings.classes,
        tools={tool.name: tool.kind for tool in load_further_tools(settings.gateway.tools)},
        guarded=not paths,
    )
