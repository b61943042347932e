"""`mcp-gateway` that writes down what lives in it when it is asked by SIGUSR1: the program of a soak.

Descriptors, threads and memory of a process can be seen from outside; its tasks and what its allocators have in use
cannot, and only that tells a leak of a few bytes per call from the allocators' own ups and downs.

    python -I watched.py REPORT --config gateway.toml serve
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from mcp_gateway.cli.main import main

MOST_COMMON = 400


class _Mallinfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks")
    ] + [("keepcost", ctypes.c_size_t)]


def native_bytes() -> int | None:
    """What malloc has given out; None where the C library does not say."""
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None
    ask.restype = _Mallinfo
    told = ask()
    return int(told.uordblks + told.hblkhd)


def report() -> dict[str, Any]:
    """What lives, garbage aside."""
    for _ in range(3):
        gc.collect()
    objects = gc.get_objects()
    return {
        "blocks": sys.getallocatedblocks(),
        "native": native_bytes(),
        "tasks": sum(isinstance(one, asyncio.Task) and not one.done() for one in objects),
        "types": Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in objects).most_common(
            MOST_COMMON
        ),
    }


def watch(path: Path) -> None:
    """Write a report whenever the signal comes."""

    def write(*_: object) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(orjson.dumps(report()))
        new.replace(path)

    signal.signal(signal.SIGUSR1, write)


if __name__ == "__main__":
    watch(Path(sys.argv.pop(1)))
    main()
