"""The MCP conformance suite against the HTTP door, both requirement sets, through the gateway's own road.

The suite cannot send a token, and authentication is never switched off, so a loopback proxy adds one. What the gateway
does not serve stands in `tests/peers/node/expected-failures.yaml` with its reason; a scenario that passes although it is
listed there is a failure.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from tests.doors.servers import served
from tests.invariants.world import World
from tests.peers.bearer_proxy import bearer_proxy
from tests.peers.conformance_tools import POLICIES, fixtures
from tests.peers.node_programs import FOLDER, node_program


@pytest.mark.anyio
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_the_door_meets_the_requirements_of_a_revision(tmp_path: Path, world: World, revision: str) -> None:
    suite = node_program("conformance")
    folder = tmp_path / "gateway"
    folder.mkdir()
    async with served(folder, world=world, policies=POLICIES, tools=fixtures(), wait=timedelta(seconds=5)) as server:
        port = int(server.url.rpartition(":")[2])
        async with bearer_proxy(port=port, token=server.token()) as url:
            done = await anyio.run_process(
                [
                    *suite, "server", "--url", f"{url}/mcp", "--requirements", revision,
                    "--output-dir", str(tmp_path / "results"),
                    "--expected-failures", str(FOLDER / "expected-failures.yaml"),
                ],
                check=False,
                cwd=tmp_path,
            )  # fmt: skip

    said = done.stdout.decode()
    assert done.returncode == 0, said[said.rfind("=== SUMMARY") :]
    assert "Baseline check passed" in said
