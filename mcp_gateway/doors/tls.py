"""TLS on a connection that is taken already, so that it counts and its time runs before anybody has begun to speak TLS.

An event loop that does this itself tells of a connection only once the handshake is over, and calls an answer read that
still waits in its own buffers: then whoever connects and says nothing, or reads nothing, would be without any bound.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.trusted_files import UntrustedFileError, check_trusted

READ_BYTES = 64 * 1024
CERTIFICATE, KEY = "server.tls_cert", "server.tls_key"


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server proves itself by.

    Whoever can read the key can be this server, so the files are looked at first, as those that decide are.

    Raises:
        ConfigError: they cannot be used, or are open to others.
    """
    problems = [*_untrusted(CERTIFICATE, certificate, private=False), *_untrusted(KEY, key, private=True)]
    if problems:
        raise ConfigError(problems)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate, key, password="")  # without one OpenSSL would ask at the terminal
    except (OSError, ValueError) as error:
        raise ConfigError([_unusable(certificate, key, str(getattr(error, "reason", "")))]) from None
    return context


def _untrusted(setting: str, path: Path, *, private: bool) -> list[Problem]:
    try:
        check_trusted(path, private=private)
    except UntrustedFileError as error:
        return [Problem(file=str(path), path=setting, message=str(error))]
    return []


def _unusable(certificate: Path, key: Path, reason: str) -> Problem:
    """Which of the two it is, and why, where OpenSSL takes them not; `reason` is its own word."""
    if reason == "KEY_VALUES_MISMATCH":
        return Problem(
            file=str(key), path=KEY, message=f"it does not belong to the certificate in {str(certificate)!r}"
        )
    if reason.endswith(("TOO_SMALL", "TOO_WEAK")):
        why = reason.lower().replace("_", " ")
        return Problem(file=str(certificate), path=CERTIFICATE, message=f"its certificates are no proof: {why}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=certificate)
    except OSError:
        problem = "it holds no certificate that can be read; expected PEM"
        return Problem(file=str(certificate), path=CERTIFICATE, message=problem)
    problem = "it holds no private key that can be read; expected PEM, without a passphrase"
    return Problem(file=str(key), path=KEY, message=problem)


class Secured:
    """A transport for plain bytes over one that carries TLS. Whatever is not here is the other's."""

    def __init__(self, carrier: asyncio.Transport, context: ssl.SSLContext) -> None:
        self._carrier = carrier
        self._context = context
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._established = False

    def received(self, data: bytes) -> Iterator[bytes]:
        """What the client said, of the bytes that came. A client that breaks TLS, or ends it, is hung up on."""
        self._incoming.write(data)
        try:
            if not self._established:
                self._tls.do_handshake()
                self._established = True
            while not self._carrier.is_closing() and (plain := self._tls.read(READ_BYTES)):
                yield plain
            self.close()
        except ssl.SSLWantReadError:
            self._send()
        except ssl.SSLError:
            self._send()  # the alert, which says why
            self._carrier.close()

    def write(self, data: bytes) -> None:
        """Encrypt and send; what is written before the client speaks TLS, or when it has gone, is lost."""
        if data and self._established and not self._carrier.is_closing():
            self._tls.write(data)
            self._send()

    def close(self) -> None:
        """Say that nothing more comes, send what waits, and hang up."""
        if self._carrier.is_closing():
            return
        if self._established:
            with suppress(ssl.SSLError):  # the client's own farewell is not waited for
                self._tls.unwrap()
            self._send()
        self._carrier.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As asyncio has it."""
        return self._context if name == "sslcontext" else self._carrier.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._carrier, name)

    def _send(self) -> None:
        if self._outgoing.pending and not self._carrier.is_closing():
            self._carrier.write(self._outgoing.read())
