from __future__ import annotations

import subprocess
import sys

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
