"""The lock that processes take in turn around each group of commits.

SQLite's own lock is what keeps the database whole; but a process that waits for it sleeps blindly, and starves among
busy neighbours for up to a second. A `flock` on a side file gives fair shares, and the kernel drops it when its holder
dies. The side file also holds the store's id: a store that is missing where one has been is refused, not made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from mcp_gateway.audit.files import Paths, check_file, make_file, os_failure
from mcp_gateway.errors import StoreError

LOCK_PAUSE_SECONDS = 0.0002
"""How long a waiting process sleeps between two attempts: less than the time that a group takes to commit."""
ID_MAX_BYTES = 64


class CommitLock:
    """The lock of one process. Used by the writer's thread alone."""

    def __init__(self, paths: Paths, *, wait_seconds: float) -> None:
        self._path = paths.lock
        self._wait_seconds = wait_seconds
        make_file(self._path)
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise os_failure(self._path, error) from None
        found, opened = check_file(self._path), os.fstat(self._descriptor)
        if (found.st_dev, found.st_ino) != (opened.st_dev, opened.st_ino):
            os.close(self._descriptor)
            raise StoreError(f"{str(self._path)!r} was replaced while it was opened", next_step="start again")

    @contextlib.contextmanager
    def held(self) -> Iterator[float]:
        """Hold the lock; gives the seconds waited. Raises `StoreError` when others hold it for longer than the wait."""
        waited = self._acquire()
        try:
            yield waited
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return str(self._path)

    @property
    def store_id(self) -> str:
        """The id of the store that this directory has held, or nothing if there was none yet."""
        return os.pread(self._descriptor, ID_MAX_BYTES, 0).decode("ascii", "replace").strip()

    def remember(self, store_id: str) -> None:
        """Keep the id of the store, durably."""
        os.pwrite(self._descriptor, store_id.encode("ascii") + b"\n", 0)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of the file, and so of the lock."""
        os.close(self._descriptor)

    def _acquire(self) -> float:
        begin = time.monotonic()
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() - begin >= self._wait_seconds:
                    raise StoreError(
                        f"another process has held {str(self._path)!r} for {self._wait_seconds:g} s",
                        next_step="find out which with `fuser` or `lsof`, and end it",
                    ) from None
                time.sleep(LOCK_PAUSE_SECONDS)
            except OSError as error:
                raise os_failure(self._path, error) from None
            else:
                return time.monotonic() - begin
