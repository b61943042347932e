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

READ_BYTES = 64 * 1024


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server proves itself by. Raises `OSError` where the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(certificate, key)
    return context


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
