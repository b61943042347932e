"""`mcp-gateway demo`: set up, play the story, clean up; or stay up for a real client."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from rich.console import Console

from mcp_gateway.calls import Secret
from mcp_gateway.cli.issuing import build_local_issuer
from mcp_gateway.cli.serving import bind, serving
from mcp_gateway.config import Settings, load_settings
from mcp_gateway.demo.configuration import APPROVER, HUMAN, write_configuration
from mcp_gateway.demo.story import Stage, play
from mcp_gateway.demo.world import standing

AGENT = "demo-agent"


async def run_demo(console: Console, *, serve: bool) -> None:
    """Play the demo, and with `serve` stay up until interrupted. Raises `DemoError` or `StoryError`."""
    console.print("setting up PostgreSQL, an SSH server, an API and the gateway on this machine ...")
    async with _gateway() as (config, settings, url):
        console.print(
            "this demo is a safeguard, not a boundary: agent, people and gateway are one user of this machine"
        )

        def token() -> Secret:
            return build_local_issuer(settings).mint(HUMAN, client_id=AGENT, actor=AGENT)

        await play(Stage(console=console, config=config, url=url, token=token))
        console.print("\n[bold green]done[/]: every answer above came from the running gateway")
        if serve:
            _explain(console, config=config, url=url)
            await anyio.sleep_forever()


@asynccontextmanager
async def _gateway() -> AsyncIterator[tuple[Path, Settings, str]]:
    # PostgreSQL runs as a user of its own where we are root, and has to reach its folder.
    folder = Path(tempfile.mkdtemp(prefix="mcp-gateway-demo-"))
    folder.chmod(0o711)  # noqa: ASYNC240 - before anything is served
    listener = bind("127.0.0.1:0")
    try:
        async with standing(folder) as world:
            port = listener.getsockname()[1]
            config = write_configuration(folder, world, port=port)
            settings = load_settings(config)
            async with serving(settings, listener=listener):
                yield config, settings, f"http://127.0.0.1:{port}"
    finally:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)


def _explain(console: Console, *, config: Path, url: str) -> None:
    command = f"{sys.executable} -I -m mcp_gateway --config {config}"
    console.print(
        f"""
The demo stays up until you press Ctrl-C.

Connect a client over stdio, for example Claude Code:
  claude mcp add demo -- {command} stdio
or anything that speaks MCP over HTTP, with a token that lasts five minutes:
  {url}/mcp

Decide on what waits:
  {command} approvals list --as {APPROVER}
  {command} approvals approve ID --as {APPROVER}
""",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
