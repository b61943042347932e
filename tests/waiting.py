"""Waiting for what another thread, process or server shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread


async def until(condition: Callable[[], Any], *, seconds: float = 30) -> Any:
    """What the condition gives once it is true; it may block, and is asked in a thread."""
    with anyio.fail_after(seconds):
        while not (found := await anyio.to_thread.run_sync(condition)):
            await anyio.sleep(0.02)
        return found
