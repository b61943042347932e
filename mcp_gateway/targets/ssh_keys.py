"""The keys of an SSH target as files hold them: those that its host may show, and the one that the gateway shows.

For `ssh`, which connects, and for `check`, which does not. A text of either file is the operator's, and never in a message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mcp_gateway.surroundings import no_programs
from mcp_gateway.trusted_files import UntrustedFileError, read_trusted

with no_programs():
    import asyncssh

MAX_KNOWN_HOSTS_BYTES = 16 * 1024 * 1024
EXPECTED_LINE = "expected HOST TYPE KEY, as ssh-keyscan prints it"
EXPECTED_KEY = "expected one in OpenSSH's format, without a passphrase"
ENCRYPTED = "the private key in it has a passphrase, which nobody is there to type; ssh-keygen -p takes it off a copy"
PUBLIC = (b"ssh-", b"ecdsa-", b"sk-")
PUBLIC_PEM = b" PUBLIC KEY-----"
"""How public keys begin, and what one in PEM has in its first line."""


class UnusableKeyError(ValueError):
    """A file or text of keys that cannot be used; the text says why and what to do."""


def read_known_hosts(path: Path) -> asyncssh.SSHKnownHosts:
    """Read a known_hosts file, which only we or root can have written: it says whom we trust.

    Raises:
        UnusableKeyError: it cannot be used as a whole.
    """
    try:
        text = read_trusted(path, max_bytes=MAX_KNOWN_HOSTS_BYTES).decode()
    except UntrustedFileError as error:
        raise UnusableKeyError(str(error)) from None
    except UnicodeDecodeError:
        raise UnusableKeyError("expected UTF-8") from None
    try:
        return asyncssh.import_known_hosts(text)
    except ValueError:
        raise UnusableKeyError(_first_that_is_none(text)) from None


def host_keys(known: asyncssh.SSHKnownHosts, *, host: str, port: int) -> Sequence[asyncssh.SSHKey]:
    """The keys of a host, and those of the authorities that may speak for it; never none.

    Raises:
        UnusableKeyError: the file has none.
    """
    try:
        trusted, authorities, *_ = asyncssh.match_known_hosts(known, host, "", port)
    except ValueError:
        raise UnusableKeyError(f"it names a certificate for {host}:{port}, expected a key") from None
    if not trusted and not authorities:
        raise UnusableKeyError(
            f"no host key of {host}:{port} is in it; add it after checking it, "
            f"for example with ssh-keyscan -p {port} {host}"
        )
    return (*trusted, *authorities)


def private_key(content: bytes) -> asyncssh.SSHKey:
    """The key that the gateway shows.

    Raises:
        UnusableKeyError: it is none, or encrypted.
    """
    try:
        return asyncssh.import_private_key(content)
    except (ValueError, OverflowError, re.error) as error:
        # What asyncssh and cryptography raise of damaged keys; asyncssh makes a regular expression of the first line.
        if isinstance(error, asyncssh.KeyEncryptionError) or "assphrase" in str(error):
            raise UnusableKeyError(ENCRYPTED) from None
    if content.startswith(PUBLIC) or PUBLIC_PEM in content:
        raise UnusableKeyError(f"it holds a public key, not the private one; {EXPECTED_KEY}")
    raise UnusableKeyError(f"it holds no private key that can be read; {EXPECTED_KEY}")


def _first_that_is_none(text: str) -> str:
    for number, line in enumerate(text.splitlines(), 1):
        try:
            asyncssh.import_known_hosts(line)
        except ValueError:
            return f"line {number} is none of a known_hosts file: {EXPECTED_LINE}"
    return f"it is no known_hosts file: {EXPECTED_LINE}"
