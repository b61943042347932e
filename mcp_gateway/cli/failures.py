"""What can fail in a command beside the gateway itself, and for which the exit status is "not there now"."""

from __future__ import annotations

from mcp_gateway.errors import GatewayError


class GatewayAwayError(GatewayError):
    """No gateway answers at the URL that somebody gave. Whether a move was made is then not known."""


class OutputError(GatewayError):
    """Standard output does not take what was found: its disk is full, or it is closed."""


class ReaderGoneError(OutputError):
    """Whoever read standard output went away, as `head` does; nobody is there to be told."""
