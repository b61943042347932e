"""The gateway's own symmetric keys: 32 random bytes in a file of the data directory that nobody else can read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from mcp_gateway.calls import Secret
from mcp_gateway.errors import ConfigError, Problem

APPROVAL_KEY, MASKING_KEY, STATE_KEY = "approval.key", "masking.key", "state.key"
"""Every key of the data directory that is made here, by the name of its file."""
KEY_BYTES = 32
FILE_MODE = 0o600


def open_key(path: Path) -> Secret:
    """Read a key, or make it. Two processes that make it at once end up with the same one.

    Raises:
        ConfigError: the file is not ours alone, or is no key.
    """
    try:
        return read_key(path)
    except FileNotFoundError:
        _make(path)
    return read_key(path)


def _make(path: Path) -> None:
    hidden = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(hidden)
    except FileExistsError:
        return  # Another process was quicker; its key counts.
    finally:
        hidden.unlink()


def read_key(path: Path) -> Secret:
    """Read a key.

    Raises:
        FileNotFoundError: there is none yet.
        ConfigError: the file is not ours alone, or is no key.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _problem(path, f"cannot be opened: {error.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise _problem(path, "is not a file of this user that nobody else can read; chmod 600 it")
        key = file.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise _problem(path, f"holds {len(key)} bytes where a key has {KEY_BYTES}")
    return Secret(key)


def _problem(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(file=str(path), message=message)])
