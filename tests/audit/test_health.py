"""What a store that fails tells the operator: what is wrong, and what to do, also where no gateway is running."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mcp_gateway.audit.health import failure


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SQLITE_FULL", "there is no space left for it (SQLITE_FULL); free some"),
        ("SQLITE_IOERR_SHMSIZE", "there is no space left for it (SQLITE_IOERR_SHMSIZE); free some"),
        ("SQLITE_READONLY", "it cannot be written (SQLITE_READONLY); make its file system writable"),
        ("SQLITE_BUSY", "another process keeps it locked (SQLITE_BUSY); end that process"),
        ("SQLITE_IOERR", "its disk fails (SQLITE_IOERR); check the disk; when it works again"),
    ],
)
def test_trouble_that_passes_says_what_to_do(name: str, said: str) -> None:
    error = sqlite3.OperationalError("whatever")
    error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, name), name

    told = str(failure(error, path=Path("/d/audit.db")))

    assert told.removeprefix(f"the audit store '/d/audit.db' refuses: {said}") in {
        "; a running gateway goes on by itself within seconds",
        " a running gateway goes on by itself within seconds",
    }
