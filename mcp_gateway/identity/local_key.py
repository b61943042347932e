"""The local issuer's private key: a file in the data directory that nobody else may read or replace.

Several gateway processes may start at once on a new machine: the file appears under its name complete and once, and
all of them read the same key.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from mcp_gateway.errors import ConfigError, Problem

KEY_FILE = "local-issuer.pem"
MAX_KEY_BYTES = 4096
PRIVATE_MODE = 0o600


def open_local_key(data_dir: Path, *, unique: str) -> ECKey:
    """Read the key, or make one. `unique` names the temporary file; no two processes may give the same.

    1. The directory is a directory of ours that nobody else can write to.
    2. A missing key is written beside its place, made durable, and linked to its name: the first process wins.
    3. The key file is a regular file of ours that nobody else can read or write.
    4. It holds a P-256 private key.

    Raises:
        ConfigError: it is not so; the file is never repaired or replaced, as somebody else may have read it.
    """
    try:
        with _directory(data_dir) as folder:
            try:
                pem = _read(folder, path=data_dir / KEY_FILE)
            except FileNotFoundError:
                _create(folder, unique=unique)
                pem = _read(folder, path=data_dir / KEY_FILE)
    except OSError as error:
        raise _problem(data_dir / KEY_FILE, f"cannot be used: {error.strerror}") from error
    # 4.
    try:
        key = ECKey.import_key(pem)
    except (JoseError, ValueError, TypeError):
        raise _problem(data_dir / KEY_FILE, "holds no private key") from None
    if not key.is_private or key.curve_name != "P-256":
        raise _problem(data_dir / KEY_FILE, "holds no P-256 private key")
    return key


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    # 1.
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(folder)
        if found.st_uid != os.geteuid():
            raise _problem(path, f"belongs to the user {found.st_uid}, expected {os.geteuid()}")
        if found.st_mode & 0o022:
            raise _problem(path, f"can be written by others (mode {stat.S_IMODE(found.st_mode):04o}); chmod 700 it")
        yield folder
    finally:
        os.close(folder)


def _create(folder: int, *, unique: str) -> None:
    # 2.
    temporary = f".{KEY_FILE}.{unique}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(temporary, flags, PRIVATE_MODE, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), PRIVATE_MODE)
            file.write(ECKey.generate_key("P-256", private=True).as_pem(private=True))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, KEY_FILE, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            return
    finally:
        os.unlink(temporary, dir_fd=folder)
        os.fsync(folder)


def _read(folder: int, *, path: Path) -> bytes:
    # 3. O_NONBLOCK: a pipe under this name must not hold the gateway up.
    handle = os.open(KEY_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise _problem(path, "is not a regular file")
        if found.st_uid != os.geteuid():
            raise _problem(path, f"belongs to the user {found.st_uid}, expected {os.geteuid()}")
        if found.st_mode & 0o077:
            mode = f"{stat.S_IMODE(found.st_mode):04o}"
            raise _problem(path, f"can be used by others (mode {mode}); delete it to get a new key, then restart")
        if found.st_size > MAX_KEY_BYTES:
            raise _problem(path, f"is longer than {MAX_KEY_BYTES} bytes")
        return file.read(MAX_KEY_BYTES)


def _problem(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(file=str(path), message=message)])
