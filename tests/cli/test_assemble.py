from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
import structlog

from mcp_gateway.aside import SWITCH_SECONDS
from mcp_gateway.audit.verify import verify
from mcp_gateway.cli.assemble import build_registry, keep_expiring, running
from mcp_gateway.clock import SteadyClock
from mcp_gateway.config import load_settings, parse_settings
from mcp_gateway.errors import ConfigError
from mcp_gateway.facts.worker import SQLWorker
from tests.audit.records import refusing, reopened
from tests.roads import POST, Bench, asked, laid, refusal

pytestmark = pytest.mark.anyio


async def until_recorded(bench: Bench, kind: str) -> None:
    while True:
        rows = await bench.store.read(
            lambda connection: connection.execute("SELECT 1 FROM events WHERE kind = ?", (kind,)).fetchall()
        )
        if rows:
            return
        await anyio.sleep(0.02)


@pytest.mark.requirement("R16")
async def test_when_the_clock_is_set_back_what_is_approved_runs_no_more(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        clock = SteadyClock(wall=bench.clock, boot=bench.clock.now.timestamp)
        approved = await asked(bench)
        await bench.vote(approved)
        bench.clock.now -= timedelta(seconds=61)
        with anyio.fail_after(20), structlog.testing.capture_logs() as logs:
            async with anyio.create_task_group() as group:
                with refusing(tmp_path / "data", "ApprovalExpired"):
                    group.start_soon(keep_expiring, bench.approvals, clock)
                    while "approvals_not_expired" not in [entry["event"] for entry in logs]:
                        await anyio.sleep(0.02)
                await reopened(bench.store)
                await until_recorded(bench, "ApprovalExpired")
                group.cancel_scope.cancel()

        fresh = refusal(await bench.call(POST))

        assert fresh.code == "approval_pending"
        assert fresh.approval is not None
        assert fresh.approval.id != approved
        assert bench.api.requests == []


@pytest.mark.requirement("R16", "I6")
async def test_records_keep_their_order_whatever_the_clock_does(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        ids = []
        for step in (0, -3600, 7200, -300):
            bench.clock.now += timedelta(seconds=step)
            ids.append((await bench.call()).call_id)
        rows = await bench.store.read(
            lambda connection: connection.execute(
                "SELECT call_id FROM events WHERE kind = 'Received' ORDER BY sequence"
            ).fetchall()
        )

        assert [row[0] for row in rows] == ids
        assert verify(tmp_path / "data").flaw is None


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
            assert gateway.road._parts.shares.each == 5
            # A thread that masks is not to keep the event loop from its turn.
            assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    finally:
        sys.setswitchinterval(before)


def test_a_file_of_programs_that_cannot_be_used_stops_the_start() -> None:
    settings = parse_settings(
        '[identity]\nissuer = "local"\n[commands]\nprograms = ["/nowhere/programs.toml"]\n', file="gateway.toml"
    )

    with pytest.raises(ConfigError, match=r"^/nowhere/programs\.toml: there is no such file$"):
        build_registry(settings, SQLWorker())
