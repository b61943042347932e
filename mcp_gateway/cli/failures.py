"""What can fail in a command beside the gateway itself; `main` has the exit status of each."""

from __future__ import annotations

from mcp_gateway.errors import GatewayError


class MisuseError(GatewayError):
    """A command line that is none."""


class NoSuchError(GatewayError):
    """What was asked for by its id is not there, or the id is of several."""


class GatewayAwayError(GatewayError):
    """No gateway answers at the URL that somebody gave. Whether a move was made is then not known."""


class OutputError(GatewayError):
    """Standard output does not take what was found: its disk is full, or it is closed."""


class ReaderGoneError(OutputError):
    """Whoever read standard output went away, as `head` does; nobody is there to be told."""
