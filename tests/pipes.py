"""Pipes to a process that tests talk to."""

from __future__ import annotations

from typing import IO


def write_all(pipe: IO[bytes], data: bytes) -> None:
    """Write all of it, unbuffered: a signal that comes meanwhile, such as of another child's end, cuts one write short."""
    left = memoryview(data)
    while left:
        left = left[pipe.write(left) :]
