from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest


@pytest.mark.timeout(300)
def test_the_demo_tells_its_whole_story() -> None:
    """The embedded PostgreSQL, an SSH server, an API, a gateway, an agent over MCP, an approver by the real command."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", "mcp_gateway", "demo"], capture_output=True, text=True, timeout=280, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("approval_pending", "already_run", "approval_denied", "invalid_arguments", "as they were recorded"):
        assert said in done.stdout
    for said in ("policy  allow: every verified caller may read (read-databases)", "--note 'not on this host'"):
        assert said in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    for kept in ("ada.berg@example.com", "536-22-8726", "4111111111111111"):
        assert kept not in done.stdout


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files that PostgreSQL's user can reach, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="demo-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.timeout(300)
def test_a_demo_that_is_interrupted_leaves_nothing_and_is_no_success(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-I", "-m", "mcp_gateway", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder)},
    ) as running:
        assert running.stdout is not None
        with suppress(StopIteration):
            next(line for line in running.stdout if b"1. The agent looks around" in line)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=120)

    assert (running.returncode, said) == (130, b"")
    assert list(folder.glob("mcp-gateway-demo-*")) == []
