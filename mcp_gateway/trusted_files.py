"""Files that decide what the gateway does: configuration, policies, keys, credentials.

Whoever can write one of them, or swap it for another, is the gateway's master; whoever can read a credential has
it. So before such a file is read:

1. Every folder on the way to it, symbolic links followed by hand, belongs to us or root and nobody else can write
   to it. A sticky folder such as /tmp is safe for names that are ours.
2. It is opened without blocking (a FIFO must not hang start-up), and everything after looks at the open file.
3. It is a regular file of ours or root's that nobody else can write to; a credential nobody else can read either.
4. It is no larger than its kind ever is.

Since (1) holds, nobody else can change the way between the look and the opening.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

MAX_LINKS = 40
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


class UntrustedFileError(ValueError):
    """A file that may not be used; the text says why and what to do, and never what is in it."""


def read_trusted(path: Path, *, max_bytes: int, private: bool = False) -> bytes:
    """Read a file that only we or root can have written.

    Args:
        path: absolute.
        max_bytes: the largest size that is plausible for its kind.
        private: it holds a credential, so that others may not even read it.

    Raises:
        UntrustedFileError: it is missing, unreadable, not a regular file, too large, or open to others.
    """
    try:
        descriptor = _open(path, private=private)
    except OSError as error:
        raise UntrustedFileError(_explain(error)) from None
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UntrustedFileError(_explain(error)) from None
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:  # (4)
        raise UntrustedFileError(_too_large(max_bytes))
    return content


def read_untrusted(path: Path, *, max_bytes: int) -> bytes:
    """Read whatever file somebody names on a command line, where nothing that is enforced comes of it.

    Raises:
        UntrustedFileError: it is missing, unreadable, a folder, or too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UntrustedFileError(_explain(error)) from None
    if len(content) > max_bytes:
        raise UntrustedFileError(_too_large(max_bytes))
    return content


def check_trusted(path: Path, *, private: bool = False) -> None:
    """Check a file as `read_trusted` does, without reading it.

    Raises:
        UntrustedFileError: as in `read_trusted`.
    """
    try:
        os.close(_open(path, private=private))
    except OSError as error:
        raise UntrustedFileError(_explain(error)) from None


def check_folder(path: Path) -> None:
    """Check that a folder and the way to it belong to us or root and that nobody else can write to them.

    Raises:
        UntrustedFileError: as in `read_trusted`.
    """
    try:
        real = _walk(path)
        state = real.stat()
    except OSError as error:
        raise UntrustedFileError(_explain(error)) from None
    if not stat.S_ISDIR(state.st_mode):
        raise UntrustedFileError("expected a folder")
    _check_owner(state, what="it")
    if state.st_mode & OTHERS_WRITE:
        raise UntrustedFileError(f"it has mode {_octal(state)}, so that others can write to it; run chmod go-w on it")


def _open(path: Path, *, private: bool) -> int:
    real = _walk(path)  # (1)
    descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)  # (2)
    try:
        _check_file(os.fstat(descriptor), private=private)  # (3)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _walk(path: Path) -> Path:
    """The path without symbolic links, each folder and link on the way checked."""
    if not path.is_absolute():
        raise UntrustedFileError("expected an absolute path")
    here = Path("/")
    left = list(reversed(path.parts[1:]))
    links = 0
    while left:
        _check_way(here)
        part = left.pop()
        if part == "..":
            here = here.parent
            continue
        state = (here / part).lstat()
        if not stat.S_ISLNK(state.st_mode):
            here /= part
            continue
        _check_owner(state, what=f"the symbolic link {str(here / part)!r}")
        links += 1
        if links > MAX_LINKS:
            raise UntrustedFileError("expected fewer symbolic links on the way to it")
        goal = (here / part).readlink()
        if goal.is_absolute():
            here = Path("/")
        left += [step for step in reversed(goal.parts) if step != "/"]
    return here


def _check_way(folder: Path) -> None:
    state = folder.stat()
    _check_owner(state, what=f"the folder {str(folder)!r}")
    if state.st_mode & OTHERS_WRITE and not state.st_mode & stat.S_ISVTX:
        raise UntrustedFileError(
            f"the folder {str(folder)!r} has mode {_octal(state)}, so that others can swap what is in it; "
            "run chmod go-w on it"
        )


def _check_file(state: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise UntrustedFileError("expected a regular file")
    _check_owner(state, what="it")
    if state.st_mode & OTHERS_WRITE:
        raise UntrustedFileError(f"it has mode {_octal(state)}, so that others can write to it; run chmod go-w on it")
    if private and state.st_mode & OTHERS_READ:
        raise UntrustedFileError(f"it has mode {_octal(state)}, so that others can read it; run chmod go= on it")


def _check_owner(state: os.stat_result, *, what: str) -> None:
    if state.st_uid not in {0, os.geteuid()}:
        raise UntrustedFileError(
            f"{what} belongs to user {state.st_uid}, expected root or the user that runs this ({os.geteuid()})"
        )


def _octal(state: os.stat_result) -> str:
    return f"{stat.S_IMODE(state.st_mode):04o}"


def _too_large(max_bytes: int) -> str:
    return f"expected at most {max_bytes:,} bytes, got more"


def _explain(error: OSError) -> str:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "there is no such file"
        case IsADirectoryError():
            return "expected a file, got a folder"
        case PermissionError():
            return f"the user that runs this ({os.geteuid()}) may not read it"
        case _:
            return f"it cannot be read: {error.strerror}"
