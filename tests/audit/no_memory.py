"""A group of commits whose SQLite has little memory: `python -m tests.audit.no_memory DATA_DIR BYTES`.

In a process of its own, since the limit is for all of it and can only be lowered (sqlite.org/pragma.html, hard_heap_limit).
It says which units were acknowledged; nothing where the whole group was refused.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from mcp_gateway.audit.database import Database, Pace
from mcp_gateway.audit.files import Paths
from mcp_gateway.audit.transaction import Transaction
from mcp_gateway.errors import StoreError
from tests.audit.records import ROOT, received, started

LARGE = 3_000_000


def acknowledged_with(limit: int, data_dir: Path) -> list[str]:
    """Run it; the names of those units."""
    command = [sys.executable, "-m", "tests.audit.no_memory", str(data_dir), str(limit)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()


def main() -> None:
    def large(tx: Transaction) -> None:
        tx.append(received("large", arguments={"x": "y" * LARGE}))
        tx.append(started("large"))

    def reads(tx: Transaction) -> None:
        tx.execute("SELECT 1").fetchone()

    def small(tx: Transaction) -> None:
        tx.append(received("small"))

    database = Database(Paths(Path(sys.argv[1])), migrations=(), pace=Pace())
    database.open()
    database.run([lambda tx: tx.append(received("before"))])
    connection = database._connection
    assert connection is not None
    connection.execute(f"PRAGMA hard_heap_limit = {int(sys.argv[2])}")
    with contextlib.suppress(StoreError):
        found = database.run([large, reads, small])
        print(*(name for name, one in zip(("large", "reads", "small"), found, strict=True) if one.error is None))


if __name__ == "__main__":
    main()
