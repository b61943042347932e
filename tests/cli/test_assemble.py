from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from mcp_gateway.aside import SWITCH_SECONDS
from mcp_gateway.audit.store import Transaction
from mcp_gateway.audit.verify import verify
from mcp_gateway.cli.assemble import keep_expiring, running
from mcp_gateway.clock import SteadyClock
from mcp_gateway.config import load_settings
from mcp_gateway.errors import StoreError
from mcp_gateway.events import Event
from tests.roads import Bench, laid, refusal

pytestmark = pytest.mark.anyio
POST = {"method": "POST"}


async def until_recorded(bench: Bench, kind: str) -> None:
    while True:
        rows = await bench.store.read(
            lambda connection: connection.execute("SELECT 1 FROM events WHERE kind = ?", (kind,)).fetchall()
        )
        if rows:
            return
        await anyio.sleep(0.02)


async def asked(bench: Bench) -> str:
    approval = refusal(await bench.call(POST)).approval
    assert approval is not None
    return approval.id


@pytest.mark.requirement("R16")
async def test_when_the_clock_is_set_back_what_is_approved_runs_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with laid(tmp_path) as bench:
        clock = SteadyClock(wall=bench.clock, boot=bench.clock.now.timestamp)
        approved = await asked(bench)
        await bench.vote(approved)
        bench.clock.now -= timedelta(seconds=61)
        tried = 0
        real = Transaction.append

        def append(tx: Transaction, event: Event) -> int:
            nonlocal tried
            tried += event.kind == "ApprovalExpired"
            if tried == 1:
                raise StoreError("the disk is full")
            return real(tx, event)

        monkeypatch.setattr(Transaction, "append", append)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(keep_expiring, bench.approvals, clock)
                await until_recorded(bench, "ApprovalExpired")
                group.cancel_scope.cancel()

        fresh = refusal(await bench.call(POST))

        assert tried == 2
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
            assert gateway.road._parts.shares._each == 5
            # A thread that masks is not to keep the event loop from its turn.
            assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    finally:
        sys.setswitchinterval(before)
