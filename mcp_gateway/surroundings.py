"""What libraries below the gateway would take from the environment, and may not: trust, configuration and routes.

Whoever starts a program sets its environment, and MCP hosts start the gateway in an agent's workspace, where an `.envrc`
or a host's own settings may come from anybody. OpenSSL takes authorities, modules and whole configurations from
there, the resolver other names for hosts, SQLite the folder of its temporary files. So these names are taken out of
the environment before anything that reads them is imported: this module imports nothing that looks at them. Authorities are
named in the configuration (`tls_ca`). libpq's variables stay, since nothing here reads them unless a credential source
names one (`targets.postgres_driver`). `LD_PRELOAD` and its like act before any code of ours and are out of reach.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

AUTHORITIES = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"})
"""Whom to trust."""
FORGOTTEN = AUTHORITIES | frozenset(
    {
        "SSLKEYLOGFILE", "OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES",
        "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS",
        "SQLITE_TMPDIR",
        "SSH_AUTH_SOCK", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE",
        "PYTHON_KEYRING_BACKEND",
    }
)  # fmt: skip
KEYRING_PREFIX = "KEYRING_PROPERTY_"
PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "no_proxy"})
"""In any case of their letters."""
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for by name: the gateway starts none so, but a library may, and `PATH` may begin with a folder
of the workspace."""
NO_PATH = "/nonexistent"

was_set: frozenset[str] = frozenset()
"""Which of them were there; what they said is not kept."""


def forget_surroundings() -> None:
    """Take them out of the environment of this process and of what it starts, and leave the system's path."""
    global was_set  # noqa: PLW0603 - the environment is one, too
    was_set |= {
        name for name in os.environ if name in FORGOTTEN or name.lower() in PROXIES or name.startswith(KEYRING_PREFIX)
    }
    for name in was_set:
        os.environ.pop(name, None)
    os.environ["PATH"] = SYSTEM_PATH


@contextmanager
def no_programs() -> Iterator[None]:
    """In the block no program is found by its name: some libraries, when imported, ask a compiler where others lie."""
    before = os.environ.get("PATH", SYSTEM_PATH)
    os.environ["PATH"] = NO_PATH
    try:
        yield
    finally:
        os.environ["PATH"] = before
