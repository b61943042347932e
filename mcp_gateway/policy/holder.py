"""The set of policies in force."""

from __future__ import annotations

from mcp_gateway.held import Held
from mcp_gateway.policy.engine import PolicyEngine


class Policies(Held[PolicyEngine]):
    """What everybody asks for the engine, each time anew: `.current`."""
