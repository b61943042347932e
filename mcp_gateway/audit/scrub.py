"""The scrub: verify the whole chain once, slowly, beside the work of a running gateway.

A store is opened after its last events have been verified, so that a gateway starts at once however long its history
is. The rest follows in this thread; a flaw in it closes the store for good.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable

from mcp_gateway.audit import health
from mcp_gateway.audit.chain import genesis
from mcp_gateway.audit.database import TAIL_ROWS, connect
from mcp_gateway.audit.files import Paths
from mcp_gateway.audit.schema import store_id
from mcp_gateway.errors import StoreError

REST_SECONDS = 0.05
"""Between two chunks, which take about a tenth of that: the calls come first."""
STOP_SECONDS = 2.0


class Scrub:
    """The thread of one open store. `condemn` is called once, and only if the chain has a flaw."""

    def __init__(
        self, paths: Paths, *, condemn: Callable[[StoreError], None], rest_seconds: float = REST_SECONDS
    ) -> None:
        self._paths = paths
        self._condemn = condemn
        self._rest_seconds = rest_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-scrub", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon."""
        self._stop.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            with contextlib.closing(connect(self._paths.database, read_only=True)) as connection:
                self._verify(connection)
        except (sqlite3.Error, UnicodeDecodeError, StoreError) as error:
            # A locked or full store says so on the next write as well; damage may show to a full read alone.
            if isinstance(error, StoreError) or health.is_damage(error):
                self._condemn(StoreError(f"the audit store does not verify: {error}", next_step=health.EVIDENCE))

    def _verify(self, connection: sqlite3.Connection) -> None:
        empty = genesis(store_id(connection))
        last = health.read_head(connection, empty=empty).sequence
        if last <= TAIL_ROWS:
            return
        connection.text_factory = bytes
        for _, _, flaw in health.walk(connection, head=empty, upto=last):
            if flaw is not None:
                raise StoreError(str(flaw))
            if self._stop.wait(self._rest_seconds):
                return
