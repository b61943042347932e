from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.invariants.checks import judge
from tests.invariants.world import World, until

DEMO = [sys.executable, "-I", "-m", "mcp_gateway", "demo"]
KEPT = ("ada.berg@example.com", "536-22-8726", "4111111111111111")
"""Of the demo's customers: masked in every answer."""
CONFIG = re.compile(r"export MCP_GATEWAY_CONFIG=(/\S+)/gateway\.toml")
STORY = ("approval_pending", "already_run", "approval_denied", "invalid_arguments", "as they were recorded")


@pytest.mark.timeout(300)
@pytest.mark.early
def test_the_demo_tells_its_whole_story(world: World) -> None:
    """The embedded PostgreSQL, an SSH server, an API, a gateway, an agent over MCP, an approver by the real command."""
    world.no_store = "the demo takes its folder away when it ends; the next test looks into it"
    world.canaries |= {value: value.encode() for value in KEPT}
    done = subprocess.run(DEMO, capture_output=True, text=True, timeout=280, check=False)
    world.add_log("what it printed", (done.stdout + done.stderr).encode())

    assert done.returncode == 0, done.stdout + done.stderr
    assert all(told in done.stdout for told in STORY)
    for said in ("policy  allow: every verified caller may read (read-databases)", "--note 'not on this host'"):
        assert said in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.timeout(300)
@pytest.mark.early
def test_the_demos_gateway_keeps_the_invariants(tmp_path: Path, world: World) -> None:
    """It stays up when its story is over, so that its store can be judged; an interrupt ends it and leaves nothing."""
    said = tmp_path / "out"
    with said.open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen([*DEMO, "--serve"], stdout=out, stderr=err)
        try:
            ready = until(
                lambda: process.poll() is not None or CONFIG.search(said.read_text()) is not None, seconds=240
            )
            assert ready, said.read_text()
            assert process.poll() is None, said.read_text() + (tmp_path / "err").read_text()
            folder = Path(CONFIG.findall(said.read_text())[0])
            plant(world, folder)
            world.look()
            violations = judge(world)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)

    assert world.processes
    assert violations == [f"I8: process {pid} of a gateway is still there" for pid in world.processes]
    assert not folder.exists()
    world.data_dirs.clear()
    world.no_store = "it was judged while it was there"


def plant(world: World, folder: Path) -> None:
    """Say where everything of the running demo is."""
    world.data_dirs.append(folder / "data")
    world.folders.append(folder)
    # The database is the target's own.
    world.sources |= {folder / "agent_key", folder / "api_token", folder / "postgres"}
    world.canaries |= {value: value.encode() for value in KEPT}
    world.canaries["the API's token"] = (folder / "api_token").read_bytes()
    world.canaries["the SSH key"] = b"".join((folder / "agent_key").read_bytes().splitlines()[1:3])


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files that PostgreSQL's user can reach, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="demo-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.timeout(300)
def test_a_demo_that_is_interrupted_leaves_nothing_and_is_no_success(folder: Path, world: World) -> None:
    world.no_store = "the demo takes its folder away when it ends"
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
