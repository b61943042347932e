"""Where a stdio gateway's and a command's token comes from: a file that is read for every call, or the local issuer.

Never from an environment variable: children inherit it, crash reports keep it, and other processes of the user can
read it. `MCP_GATEWAY_TOKEN_FILE` holds a path. What comes out is verified like any other token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from mcp_gateway.calls import Secret
from mcp_gateway.errors import IdentityError
from mcp_gateway.identity.claims import MAX_TOKEN_BYTES
from mcp_gateway.identity.local import TOKEN_LIFETIME, LocalIssuer
from mcp_gateway.trusted_files import UntrustedFileError, read_trusted

TOKEN_FILE_VARIABLE = "MCP_GATEWAY_TOKEN_FILE"  # noqa: S105 - the name of a variable
MAX_FILE_BYTES = MAX_TOKEN_BYTES + 2
"""The token and a line end."""


class TokenSource(Protocol):
    """Gives a token for one call."""

    def token(self) -> Secret:
        """A token, not verified. Raises `IdentityError` when there is none."""


class FileTokenSource:
    """A token that another program keeps fresh in a file: CI, a workload identity, a projected volume."""

    def __init__(self, path: Path) -> None:
        """Raises `IdentityError` for a path that is not absolute: hosts start gateways where agents can write."""
        if not path.is_absolute():
            # Not quoted: it may be the token itself, put in the variable by mistake.
            raise IdentityError(f"{TOKEN_FILE_VARIABLE} is no absolute path")
        self._path = path

    def token(self) -> Secret:
        """Read the file, as it is now: only we or the system can have written it, and nobody else can read it."""
        try:
            content = read_trusted(self._path, max_bytes=MAX_FILE_BYTES, private=True)
        except UntrustedFileError as error:
            raise IdentityError(f"token file {str(self._path)!r}: {error}") from None
        token = content.removesuffix(b"\n").removesuffix(b"\r")
        if not token:
            raise IdentityError(f"token file {str(self._path)!r}: it is empty")
        return Secret(token)


class LocalTokenSource:
    """Tokens of the local issuer for the operating-system user; a new one when half of the last one's life is over."""

    def __init__(self, issuer: LocalIssuer, *, client_id: str, clock: Callable[[], datetime]) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._clock = clock
        self._minted: tuple[datetime, Secret] | None = None

    def token(self) -> Secret:
        """The token at hand, or a new one."""
        now = self._clock()
        if self._minted is not None and timedelta(0) <= now - self._minted[0] < TOKEN_LIFETIME / 2:
            return self._minted[1]
        self._minted = (now, self._issuer.mint(client_id=self._client_id))
        return self._minted[1]


class NoTokenSource:
    """There is no way to a token: every call is refused, and says what to do."""

    def token(self) -> Secret:
        """Raises `IdentityError`."""
        raise IdentityError(f"no token: {TOKEN_FILE_VARIABLE} is not set; it names the file with yours")


def token_source(environment: Mapping[str, str], *, local: LocalTokenSource | None) -> TokenSource:
    """Choose the source: the token file if it is named, else the local issuer if it is configured.

    Raises:
        IdentityError: the file's path is not absolute.
    """
    path = environment.get(TOKEN_FILE_VARIABLE)
    if path:
        return FileTokenSource(Path(path))
    return local if local is not None else NoTokenSource()
