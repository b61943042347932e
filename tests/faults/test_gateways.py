"""The harness itself: what it starts works, and what it kills is gone."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.gateways import EACH_TOOL, BrokenOffError, Targets, standing
from tests.invariants.world import World, open_intents
from tests.peers.api import running_api
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.mark.requirement("I1", "I3")
async def test_each_tool_runs_before_and_after_a_kill_and_the_end_is_clean(
    tmp_path: Path, world: World, postgres_database: PostgresDatabase, ssh_server: SSHServer
) -> None:
    folder = tmp_path / "gateway"
    async with running_api(log=tmp_path / "api.api.log", store=folder / "data") as api:
        targets = Targets(database=postgres_database, host=ssh_server, api=api)
        async with standing(folder, targets, world=world) as gateway:
            await gateway.start()
            assert [await gateway.code(*call) for call in EACH_TOOL] == ["ok"] * 3
            await gateway.kill()
            with pytest.raises(BrokenOffError):
                await gateway.call(*EACH_TOOL[0])

            await gateway.start()
            assert [await gateway.code(*call) for call in EACH_TOOL] == ["ok"] * 3
            gateway.signal(signal.SIGTERM)

            assert await gateway.end() == 0
            assert open_intents(gateway.data) == frozenset()
