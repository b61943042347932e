"""Certificate authorities: the system's, and those of a file of its own for whom the system does not vouch for."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.trusted_files import UntrustedFileError, read_trusted

MAX_AUTHORITY_BYTES = 4 * 1024 * 1024


@cache
def trusting_system() -> ssl.SSLContext:
    """TLS that trusts whom the system trusts, for all targets alike: to read its certificates takes 30 ms of a start."""
    return ssl.create_default_context()


def trusting(path: Path | None, *, key: str) -> ssl.SSLContext | None:
    """TLS that trusts the certificates of this file alone, in place of the system's; None where there is no file.

    Whoever can write the file can be anybody, so it is read as what decides is.

    Raises:
        ConfigError: it cannot be used. `key` is where the configuration names it.
    """
    if path is None:
        return None
    try:
        certificates = read_trusted(path, max_bytes=MAX_AUTHORITY_BYTES)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks names and certificates
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cadata=certificates.decode("ascii"))
    except UntrustedFileError as error:
        raise ConfigError([Problem(file=str(path), path=key, message=str(error))]) from None
    except (ssl.SSLError, ValueError):
        problem = "it holds no certificate that can be read; expected PEM"
        raise ConfigError([Problem(file=str(path), path=key, message=problem)]) from None
    return context
