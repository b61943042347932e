"""The set of policies in force, and its replacement by a better one or by none.

A reload that fails keeps the set that is in force: a typing mistake must neither open nor close the gateway.
"""

from __future__ import annotations

from collections.abc import Callable

from mcp_gateway.errors import ConfigError
from mcp_gateway.policy.engine import PolicyEngine


class Policies:
    """What everybody asks for the engine, each time anew: `.current`."""

    def __init__(self, load: Callable[[], PolicyEngine]) -> None:
        """Load for the first time; raises `ConfigError`, since without policies there is no start."""
        self._load = load
        self.current = load()

    def reload(self) -> PolicyEngine | ConfigError:
        """Load again. The new engine, now in force; or what is wrong, and nothing changed."""
        try:
            loaded = self._load()
        except ConfigError as error:
            return error
        self.current = loaded
        return loaded
