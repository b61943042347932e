from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mcp_gateway.aside import SWITCH_SECONDS
from mcp_gateway.cli.assemble import running
from mcp_gateway.config import load_settings

pytestmark = pytest.mark.anyio


async def test_a_gateway_keeps_to_the_configured_limits(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    config = tmp_path / "gateway.toml"
    config.write_text(
        f"""
        [gateway]
        data_dir = "{tmp_path / "data"}"
        [server]
        max_calls_per_caller = 5
        [identity]
        issuer = "local"
        [targets.api]
        kind = "http"
        base_url = "http://127.0.0.1:1/"
        labels = {{ env = "dev" }}
        max_calls = 3
        """
    )
    config.chmod(0o600)
    before = sys.getswitchinterval()
    try:
        async with running(load_settings(config), doors=["stdio"]) as gateway:
            assert gateway.registry.targets["api"].max_calls == 3
            assert gateway.road._.shares._each == 5
            # A thread that masks is not to keep the event loop from its turn.
            assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    finally:
        sys.setswitchinterval(before)
