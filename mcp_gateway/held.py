"""What is in force of something that is loaded, and its replacement by a better one or by none.

A reload that fails keeps what is in force: a typing mistake must neither open nor close the gateway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from mcp_gateway.errors import ConfigError

T = TypeVar("T")


class Held(Generic[T]):
    """What everybody asks for it, each time anew: `.current`."""

    def __init__(self, load: Callable[[], T]) -> None:
        """Load for the first time; raises `ConfigError`, since without it there is no start."""
        self._load = load
        self.current = load()

    def read(self) -> T | ConfigError:
        """Load again: what could be put into force, or what is wrong. Nothing is changed. For any thread."""
        try:
            return self._load()
        except ConfigError as error:
            return error

    def replace(self, loaded: T) -> None:
        """Put another one into force: for everything from now on."""
        self.current = loaded
