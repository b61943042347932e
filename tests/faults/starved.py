"""`mcp-gateway` on a machine that has no more threads: the program of that scenario.

A limit of the system for threads counts those of a user's other processes, and none at all for root. So what the system
does at its limit is done here: beyond so many, no thread starts.

    python -I starved.py THREADS --config gateway.toml serve
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from mcp_gateway.cli.main import main


def allow(most: int) -> None:
    """Let so many threads live at once, by whatever way they are started."""
    start: Callable[..., Any] = threading.Thread.start

    def starting(thread: threading.Thread) -> None:
        if threading.active_count() >= most:
            raise RuntimeError("can't start new thread")
        start(thread)

    threading.Thread.start = starting  # type: ignore[method-assign, assignment]  # as the system would refuse


if __name__ == "__main__":
    allow(int(sys.argv.pop(1)))
    main()
