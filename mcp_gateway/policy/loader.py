"""Policy files from disk to an engine: the one place of this package that reads files.

Whoever can write a policy file decides what agents may do, so files and the folders that hold them have to belong
to root or to the account that runs this, and nobody else may write to them or replace a folder on the way there.
`compiling` does the rest.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from mcp_gateway.calls import Target
from mcp_gateway.errors import ConfigError, Problem
from mcp_gateway.policy.compiling import compile_policies
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.split import MAX_FILE_CHARACTERS, Source

SUFFIX = ".cedar"
MAX_FILE_BYTES = 4 * MAX_FILE_CHARACTERS
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def load_policies(
    paths: Sequence[Path], *, targets: Sequence[Target], classes: Collection[str], guarded: bool = True
) -> PolicyEngine:
    """Load every `*.cedar` file of these files and folders; no policy at all denies everything.

    Args:
        paths: absolute paths; a folder gives the files directly in it.
        targets: what environments, labels and classes of the schema are taken from.
        classes: configured data classes beside the built-in ones and the targets' own.
        guarded: whether owner and mode are checked. Off only where nothing is enforced: tests of a candidate set.

    Raises:
        ConfigError: with every problem in every file.
    """
    sources, problems = read_sources(paths, guarded=guarded)
    try:
        compiled = compile_policies(sources, targets=targets, classes=classes)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return PolicyEngine(compiled, targets=targets)


def read_sources(paths: Sequence[Path], *, guarded: bool = True) -> tuple[list[Source], list[Problem]]:
    """Read the text of every policy file; a file that two paths lead to is read once."""
    sources: dict[Path, Source] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            files = _files(path, guarded=guarded)
        except _UNUSABLE as error:
            problems.append(_problem(path, error))
            continue
        for file in files:
            try:
                real = file.resolve(strict=True)
                if real not in sources:
                    sources[real] = Source(file=str(file), text=_text(real, shown=file, guarded=guarded))
            except _UNUSABLE as error:
                problems.append(_problem(file, error))
    return list(sources.values()), problems


class _UnusableError(Exception):
    """A path that gives no policies."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message


_UNUSABLE = (_UnusableError, OSError)


def _problem(path: Path, error: _UnusableError | OSError) -> Problem:
    if isinstance(error, _UnusableError):
        return Problem(file=str(error.path), message=error.message)
    return Problem(file=str(path), message=f"cannot be read: {error.strerror}")


def _files(path: Path, *, guarded: bool) -> list[Path]:
    if not path.is_absolute():
        raise _UnusableError(path, "is not an absolute path")
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        if path.suffix != SUFFIX:
            raise _UnusableError(path, f"is not a *{SUFFIX} file")
        return [path]
    if not stat.S_ISDIR(mode):
        raise _UnusableError(path, f"is neither a folder nor a *{SUFFIX} file")
    if guarded:
        _check_owner(path, path.stat())
        _check_mode(path, path.stat())
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    for entry in entries:
        # A folder in the folder would otherwise look as if it were in force.
        if entry.is_dir() and any(entry.glob(f"*{SUFFIX}")):
            raise _UnusableError(entry, "is not searched, though it holds policies; name it in [policy] paths")
    return [entry for entry in entries if entry.suffix == SUFFIX and not entry.is_dir()]


def _text(file: Path, *, shown: Path, guarded: bool) -> str:
    if guarded:
        for folder in (shown.parent, file.parent):
            _check_owner(folder, folder.stat())
        for folder in {*shown.parents, *file.parents}:
            _check_mode(folder, folder.stat(), sticky_is_safe=True)
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _UnusableError(shown, "is not a regular file")
        if guarded:
            _check_owner(shown, status)
            _check_mode(shown, status)
        content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise _UnusableError(shown, f"has more than {MAX_FILE_BYTES:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _UnusableError(shown, f"is not UTF-8: byte {error.start} cannot be read") from None


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise _UnusableError(
            path, f"belongs to user {status.st_uid}; policies have to belong to root or to user {os.geteuid()}"
        )


def _check_mode(path: Path, status: os.stat_result, *, sticky_is_safe: bool = False) -> None:
    """In a sticky folder such as /tmp others can add entries, but not replace those of root or of this user."""
    if status.st_mode & WRITABLE_BY_OTHERS and not (sticky_is_safe and status.st_mode & stat.S_ISVTX):
        raise _UnusableError(
            path, f"can be written by others (mode {stat.S_IMODE(status.st_mode):04o}); `chmod go-w {path}` mends it"
        )
