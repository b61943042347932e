"""Where a PostgreSQL server is and what it has to prove: its address, and TLS by libpq's names.

Below `postgres_driver`, which connects by them. Nothing here is read from the environment or from files of the user's.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

VERIFYING = frozenset({"verify-ca", "verify-full"})


class AuthorityUnreadable(OSError):
    """The configured certificates cannot be had, so no server can prove who it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server is and how it is spoken to. `host` may be the folder of a Unix socket."""

    host: str
    port: int
    database: str
    user: str
    tls: str
    tls_ca: Path | None = None

    @property
    def place(self) -> str:
        """Host and port, as messages have them."""
        return f"{self.host}:{self.port}"

    @property
    def verified(self) -> bool:
        """Whether the server has to prove who it is. As in libpq, a given authority makes `require` verify."""
        return not self.is_socket and (self.tls in VERIFYING or (self.tls == "require" and self.tls_ca is not None))

    @property
    def is_socket(self) -> bool:
        """Whether this is a Unix socket."""
        return self.host.startswith("/")

    @property
    def demands_tls(self) -> bool:
        """Whether nothing is sent to a server that does not offer TLS."""
        return self.tls not in {"allow", "prefer"}


def tls_context(address: Address) -> ssl.SSLContext | None:
    """TLS by libpq's names. Without an authority of its own the system's are trusted; never files of the user's."""
    if address.tls == "disable" or address.is_socket:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = address.tls == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if address.verified else ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])
    if address.verified:
        if address.tls_ca is not None:
            try:
                context.load_verify_locations(cafile=address.tls_ca)
            except ssl.SSLError:
                raise AuthorityUnreadable("'tls_ca' holds no certificate that can be read") from None
            except OSError as error:
                raise AuthorityUnreadable(f"'tls_ca' cannot be read: {error.strerror}") from None
        else:
            context.load_default_certs()
    return context
