"""A mark that changes with every revocation, in a small file that all processes of a store share.

The events are the truth, and the mark only says whether it is worth looking at them: one small read in place of a query.
It is random, so that two processes which change it at once cannot leave it as it was. Where it cannot be read, or is
not a mark, nothing is known of it and whoever asks has to look.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mcp_gateway.audit.files import check_file, make_file
from mcp_gateway.errors import StoreError

MARK_BYTES = 16


class Mark:
    """The mark as one process sees it. The file is made when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def read(self) -> bytes | None:
        """What it is now; None where that cannot be known."""
        try:
            found = os.pread(self._opened(), MARK_BYTES, 0)
        except (OSError, StoreError):
            self.close()
            return None
        return found if len(found) == MARK_BYTES else None

    def change(self) -> bool:
        """Make it another one; whether that was done."""
        try:
            return os.pwrite(self._opened(), os.urandom(MARK_BYTES), 0) == MARK_BYTES
        except (OSError, StoreError):
            self.close()
            return False

    def close(self) -> None:
        """Let go of the file. The next use opens it again."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        if self._descriptor is None:
            make_file(self._path)
            check_file(self._path)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            if os.fstat(self._descriptor).st_size != MARK_BYTES:
                os.pwrite(self._descriptor, os.urandom(MARK_BYTES), 0)
        return self._descriptor
