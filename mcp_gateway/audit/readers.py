"""Reading beside the writer: a few read-only connections, each used by one thread at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from mcp_gateway.audit import health
from mcp_gateway.audit.database import Database, connect
from mcp_gateway.audit.files import Paths
from mcp_gateway.errors import StoreError

MAX_IDLE = 4
T = TypeVar("T")


class Readers:
    """The reading connections of one open store."""

    def __init__(self, paths: Paths, database: Database) -> None:
        self._paths = paths
        self._database = database
        self._idle: list[tuple[int, sqlite3.Connection]] = []
        self._guard = threading.Lock()

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on one snapshot; it reads all of its rows before it returns. Blocks."""
        self._database.check_files()
        opening = self._database.openings
        with health.translated(self._paths.database):
            connection = self._take(opening)
            try:
                return _in_snapshot(connection, work)
            except sqlite3.Error as error:
                if health.is_failure(error):
                    raise
                raise StoreError(f"the audit store refuses this query: {error}") from error
            finally:
                self._give_back(opening, connection)

    def close(self) -> None:
        """Close what is idle."""
        with self._guard:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _take(self, opening: int) -> sqlite3.Connection:
        with self._guard:
            while self._idle:
                since, connection = self._idle.pop()
                if since == opening:
                    return connection
                connection.close()
        return connect(self._paths.database, read_only=True)

    def _give_back(self, opening: int, connection: sqlite3.Connection) -> None:
        with self._guard:
            if len(self._idle) < MAX_IDLE and not connection.in_transaction and opening == self._database.openings:
                self._idle.append((opening, connection))
                return
        connection.close()


def _in_snapshot(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        connection.execute("ROLLBACK")
