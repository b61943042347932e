"""The examples, run as they stand: agent frameworks as clients of a gateway that serves over HTTP.

Each runs in an environment of its own with the framework's own pins; `make test-clients` builds them. None is given a
model: what a model would choose stands on the command line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from tests.doors.servers import Served, served
from tests.invariants.world import World
from tests.peers.api import API
from tests.peers.parts import missing

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "examples"
CLIENTS = Path(sys.prefix) / "clients"
FRAMEWORKS = {
    "with_fastmcp": Path(sys.executable),
    "with_google_adk": CLIENTS / "modern/bin/python",
    "with_langchain": CLIENTS / "legacy/bin/python",
    "with_llama_index": CLIENTS / "modern/bin/python",
    "with_openai_agents": CLIENTS / "modern/bin/python",
    "with_pydantic_ai": CLIENTS / "modern/bin/python",
}
HINT = "run make test-clients"


def check_installed(name: str) -> None:
    if not FRAMEWORKS[name].exists():
        missing(f"the environment of {name} is missing", hint=HINT)


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("with_*.py")} == FRAMEWORKS.keys()


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    folder = tmp_path / "gateway"
    folder.mkdir()
    async with served(folder, world=world) as found:
        yield found


@pytest.fixture(params=sorted(FRAMEWORKS))
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    check_installed(name)
    return name


async def run(framework: str, server: Served, folder: Path, arguments: dict[str, Any], *, path: str = "/mcp") -> str:
    """What the example prints for one call of `call_api`."""
    token = folder / "token"
    token.write_text(server.token())
    with anyio.fail_after(100):
        done = await anyio.run_process(
            [
                str(FRAMEWORKS[framework]),
                str(EXAMPLES / f"{framework}.py"),
                "call_api",
                orjson.dumps({"target": "api", "path": "x"} | arguments).decode(),
            ],
            stderr=subprocess.STDOUT,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "MCP_GATEWAY_URL": f"{server.url}{path}",
                "MCP_GATEWAY_TOKEN_FILE": str(token),
            },
        )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


def posts(api: API) -> int:
    return sum(request.startswith(b"POST") for request in api.requests)


async def test_an_agent_lists_its_tools_and_a_held_call_runs_when_it_calls_again_after_the_yes(
    framework: str, server: Served, tmp_path: Path
) -> None:
    held = await run(framework, server, tmp_path, {"method": "POST"})
    assert "tools: call_api list_targets" in held
    assert "waits for an approval by a person of 'dba'" in held
    assert posts(server.bench.api) == 0

    async with server.approver() as dana:
        (pending,) = (await dana.get("/api/approvals")).json()
        await dana.post(f"/api/approvals/{pending['id']}/approve")

    assert "call_id" in await run(framework, server, tmp_path, {"method": "POST"})
    assert posts(server.bench.api) == 1


async def test_an_agent_reads_why_it_is_refused(framework: str, server: Served, tmp_path: Path) -> None:
    assert "nobody deletes" in await run(framework, server, tmp_path, {"method": "DELETE"})
    assert server.bench.api.requests == []


async def test_the_older_transport_serves_as_well(server: Served, tmp_path: Path) -> None:
    check_installed("with_langchain")

    assert "call_id" in await run("with_langchain", server, tmp_path, {}, path="/sse")
