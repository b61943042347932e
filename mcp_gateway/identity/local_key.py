"""The local issuer's private key: a file in the data directory that nobody else may read or replace.

Several gateway processes may start at once on a new machine: the file appears under its name complete and once, and
all of them read the same key. A file that others could have read or written is refused and never repaired.
"""

from __future__ import annotations

import os
from pathlib import Path

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.trusted_files import UntrustedFileError, check_folder, read_trusted

KEY_FILE = "local-issuer.pem"
MAX_KEY_BYTES = 4096
PRIVATE_MODE = 0o600


def open_local_key(data_dir: Path, *, unique: str) -> ECKey:
    """Read the key, or make one. `unique` names the temporary file; no two processes may give the same.

    1. Nobody else can write to the directory or to the way to it.
    2. A missing key is written beside its place, made durable, and linked to its name: the first process wins.
    3. The key file is a regular file of ours that nobody else can read or write.
    4. It holds a P-256 private key.

    Raises:
        ConfigError: it is not so.
    """
    path = data_dir / KEY_FILE
    try:
        # 1.
        check_folder(data_dir)
        # 2.
        if not os.path.lexists(path):
            _create(path, unique=unique)
        # 3.
        pem = read_trusted(path, max_bytes=MAX_KEY_BYTES, private=True)
    except (UntrustedFileError, OSError) as error:
        raise _problem(path, str(error)) from None
    # 4.
    try:
        key = ECKey.import_key(pem)
    except (JoseError, ValueError, TypeError):
        raise _problem(path, "it holds no private key") from None
    if not key.is_private or key.curve_name != "P-256":
        raise _problem(path, "it holds no P-256 private key")
    return key


def _create(path: Path, *, unique: str) -> None:
    temporary = path.with_name(f".{path.name}.{unique}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, PRIVATE_MODE), "wb") as file:
            os.fchmod(file.fileno(), PRIVATE_MODE)
            file.write(ECKey.generate_key("P-256", private=True).as_pem(private=True))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _problem(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(file=str(path), path="the local issuer's key", message=message)])
