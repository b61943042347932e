"""Which build of the package this is."""

from __future__ import annotations

from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec


def examination_is_compiled() -> bool:
    """Whether what examines SQL would be loaded from a library, as after `make compiled`; it is found, not loaded."""
    found = find_spec("mcp_gateway.facts.sql")
    return found is not None and isinstance(found.loader, ExtensionFileLoader)
