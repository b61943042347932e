"""The examples, run as they stand: agent frameworks as clients of a gateway that serves over HTTP.

Each runs in an environment of its own with the framework's own pins; `make test-clients` builds them. None is given a
model: what a model would choose stands on the command line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
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


AGENT = """
import json, runpy, sys
example, end = sys.argv.pop(1), sys.argv.pop(1)
sys.path.insert(0, example.rpartition("/")[0])
for line in sys.stdin:
    sys.argv[:] = [example, *json.loads(line)]
    runpy.run_path(example, run_name="__main__")
    print(end, flush=True)
"""
"""Runs an example as often as it is told to, with what stands on its command line. To load a framework takes seconds."""
END = b"over and out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A framework's process, which runs its example for each call."""

    process: anyio.abc.Process
    server: Served
    token: Path

    async def call(self, arguments: dict[str, Any]) -> str:
        """What the example prints for one call of `call_api`."""
        self.token.write_text(self.server.token())
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        words = ["call_api", orjson.dumps({"target": "api", "path": "x"} | arguments).decode()]
        said = b""
        with anyio.fail_after(100):
            await self.process.stdin.send(orjson.dumps(words) + b"\n")
            try:
                while END not in said:
                    said += await self.process.stdout.receive()
            except anyio.EndOfStream:
                raise AssertionError(said.decode()) from None
        return said.decode()


@asynccontextmanager
async def agent(framework: str, server: Served, folder: Path, *, path: str = "/mcp") -> AsyncIterator[Agent]:
    """An agent of a framework, which ends without an error."""
    token = folder / "token"
    command = [str(FRAMEWORKS[framework]), "-c", AGENT, str(EXAMPLES / f"{framework}.py"), END.decode()]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MCP_GATEWAY_URL": f"{server.url}{path}",
        "MCP_GATEWAY_TOKEN_FILE": str(token),
    }
    async with await anyio.open_process(command, stderr=subprocess.STDOUT, env=environment) as process:
        yield Agent(process=process, server=server, token=token)
        assert process.stdin is not None
        await process.stdin.aclose()
        with anyio.fail_after(100):
            assert await process.wait() == 0


def posts(api: API) -> int:
    return sum(request.startswith(b"POST") for request in api.requests)


async def test_an_agent_reads_why_it_is_refused_and_a_held_call_runs_when_it_calls_again_after_the_yes(
    framework: str, server: Served, tmp_path: Path
) -> None:
    async with agent(framework, server, tmp_path) as client:
        assert "nobody deletes" in await client.call({"method": "DELETE"})
        assert server.bench.api.requests == []

        held = await client.call({"method": "POST"})
        assert "tools: call_api list_targets" in held
        assert "waits for an approval by a person of 'dba'" in held
        assert posts(server.bench.api) == 0

        async with server.approver() as dana:
            (pending,) = (await dana.get("/api/approvals")).json()
            await dana.post(f"/api/approvals/{pending['id']}/approve")

        assert "call_id" in await client.call({"method": "POST"})
        assert posts(server.bench.api) == 1


async def test_the_older_transport_serves_as_well(server: Served, tmp_path: Path) -> None:
    check_installed("with_langchain")

    async with agent("with_langchain", server, tmp_path, path="/sse") as client:
        assert "call_id" in await client.call({})
