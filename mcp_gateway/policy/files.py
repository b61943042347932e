"""What the files of a policy set look like from outside: enough to see that somebody has changed them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = tuple[tuple[str, ...], ...]
"""A line for each path and file; two looks at files that nobody touched in between give the same."""


def stamp_of(paths: Sequence[Path], *, suffix: str) -> Stamp:
    """Look at files, and at the folders with all their files of this suffix, without reading any."""
    found: list[tuple[str, ...]] = []
    for path in paths:
        found.append(_look(path))
        try:
            entries = sorted(entry.name for entry in os.scandir(path) if entry.name.endswith(suffix))
        except OSError:  # a file, or nothing any more
            continue
        found += [_look(path / name) for name in entries]
    return tuple(found)


def _look(path: Path) -> tuple[str, ...]:
    try:
        state = path.stat()
    except OSError as error:
        return (str(path), str(error.errno))
    # A change of owner or mode changes ctime, too: a file that may no longer be used has changed.
    return (str(path), *map(str, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)))
