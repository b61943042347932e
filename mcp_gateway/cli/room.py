"""Whether the audit store's disk takes anything more, seen without writing: for `check` and for `/readyz`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mcp_gateway.errors import StoreError
from mcp_gateway.quantities import format_size


def check_room(data_dir: Path, *, least_bytes: int) -> None:
    """Raises `StoreError`: the directory cannot be written to, or its disk has less than `least_bytes` free."""
    name = str(data_dir)
    try:
        read_only = bool(os.statvfs(data_dir).f_flag & os.ST_RDONLY) or not os.access(data_dir, os.W_OK)
        free = shutil.disk_usage(data_dir).free
    except OSError as error:
        raise StoreError(
            f"{name!r} cannot be used: {error.strerror}", next_step="check the disk and data_dir"
        ) from None
    if read_only:
        raise StoreError(f"{name!r} cannot be written to", next_step="mount it for writing, or set data_dir elsewhere")
    if free < least_bytes:
        raise StoreError(
            f"the disk of {name!r} has {format_size(free // 1024 * 1024)} free, expected at least "
            f"{format_size(least_bytes)}",
            next_step="free some; the gateway refuses every call that it cannot record",
        )
