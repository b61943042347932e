"""The scrub: verify the whole chain once, slowly, beside the work of a running gateway.

A store is opened after its last events have been verified, so that a gateway starts at once however long its history
is. The rest follows in this thread, and its indexes last; a flaw closes the store for good.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable

from mcp_gateway.audit import health
from mcp_gateway.audit.chain import Head, genesis
from mcp_gateway.audit.database import TAIL_ROWS, connect
from mcp_gateway.audit.files import Paths
from mcp_gateway.audit.schema import store_id
from mcp_gateway.errors import StoreError

REST_SECONDS = 0.05
"""Between two chunks, which take about a tenth of that: the calls come first."""
CLOSED_SECONDS = 0.5
"""Between two looks at whether a closed store is open again."""
STOP_SECONDS = 2.0


class Scrub:
    """The thread of one open store. `condemn` is called once, and only if the chain has a flaw."""

    def __init__(
        self,
        paths: Paths,
        *,
        condemn: Callable[[StoreError], None],
        failure: Callable[[], StoreError | None],
        rest_seconds: float = REST_SECONDS,
    ) -> None:
        self._paths = paths
        self._condemn = condemn
        self._failure = failure
        self._rest_seconds = rest_seconds
        self._guard = threading.Lock()
        """Held while a chunk is read: between two of them the files may be closed and opened anew."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-scrub", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon."""
        self._stop.set()
        self._thread.join(STOP_SECONDS)

    def let_go(self) -> None:
        """Wait until no connection is open."""
        with self._guard:
            pass

    def _run(self) -> None:
        head: Head | None = None
        last = 0
        while not self._stop.is_set():
            if self._failure() is not None:
                self._stop.wait(CLOSED_SECONDS)
                continue
            try:
                with self._guard, contextlib.closing(connect(self._paths.database, read_only=True)) as connection:
                    if head is None:
                        head = genesis(store_id(connection))
                        last = health.read_head(connection, empty=head).sequence
                        if last <= TAIL_ROWS:
                            return  # all of it was verified when the store was opened
                    if head.sequence >= last:
                        health.check_indexes(connection)
                        return
                    head = _next(connection, head=head, upto=last)
            except (sqlite3.Error, UnicodeDecodeError, StoreError) as error:
                # A locked or full store says so on the next write as well; damage may show to a full read alone.
                if isinstance(error, StoreError) or health.is_damage(error):
                    where = "" if head is None or isinstance(error, StoreError) else f"event {head.sequence + 1}: "
                    why = f"the audit store does not verify: {where}{error}"
                    self._condemn(StoreError(why, next_step=health.EVIDENCE))
                    return
            self._stop.wait(self._rest_seconds)


def _next(connection: sqlite3.Connection, *, head: Head, upto: int) -> Head:
    """Verify one chunk after `head`; where it ends. Raises `StoreError` for the first event that does not fit."""
    connection.text_factory = bytes
    entries, following, flaw = next(health.walk(connection, head=head, upto=upto), ([], None, None))
    if following is None:
        raise StoreError(f"event {head.sequence + 1} is missing")
    if flaw is not None:
        raise StoreError(str(flaw))
    del entries
    return following
