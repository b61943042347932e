"""`mcp-gateway demo`: set up, play the story, clean up; or stay up for a real client."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import anyio
from rich.console import Console

from mcp_gateway.calls import Secret
from mcp_gateway.cli.issuing import build_local_issuer
from mcp_gateway.cli.serving import bind, heeded_signals, serving
from mcp_gateway.config import Settings, load_settings
from mcp_gateway.demo.configuration import APPROVER, HUMAN, write_configuration
from mcp_gateway.demo.page import Page
from mcp_gateway.demo.story import Stage, play
from mcp_gateway.demo.world import standing

AGENT = "demo-agent"
RENEW_SECONDS = 60.0
"""Tokens live for five minutes; whoever reads the file has four of them left at least."""


async def run_demo(console: Console, *, serve: bool) -> None:
    """Play the demo, and with `serve` stay up until interrupted. Raises `DemoError` or `StoryError`."""
    console.print("setting up PostgreSQL, an SSH server, an API and the gateway here ...")
    async with _interruptible(), _gateway() as (config, settings, url):
        console.print("a safeguard, not a boundary: one user of this machine plays everybody")

        def token() -> Secret:
            return build_local_issuer(settings).mint(HUMAN, client_id=AGENT, actor=AGENT)

        await play(Stage(page=Page(console), config=config, data_dir=settings.gateway.data_dir, url=url, token=token))
        console.print("\n[bold green]done[/]: every answer above came from the running gateway")
        if serve:
            await _stay(console, config=config, url=url, token=token)


@asynccontextmanager
async def _interruptible() -> AsyncIterator[None]:
    """Let every signal that ends `serve` end the block as Ctrl-C does: else PostgreSQL and the folder stayed behind."""
    async with anyio.create_task_group() as group:
        group.start_soon(_interrupt_on_signal)
        yield
        group.cancel_scope.cancel()


async def _interrupt_on_signal() -> None:
    others = [stop for stop in heeded_signals() if stop != signal.SIGINT]
    with anyio.open_signal_receiver(*others) as received:
        async for _ in received:
            if (
                signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            ):  # as whoever starts it in a script's background has it
                signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.raise_signal(signal.SIGINT)


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


async def _stay(console: Console, *, config: Path, url: str, token: Callable[[], Secret]) -> NoReturn:
    """Say how to connect, and keep a token at hand for who does so over HTTP; never returns."""
    file = config.with_name("agent_token")
    _keep_token(file, token())
    script = Path(sys.executable).with_name("mcp-gateway")
    command = shlex.quote(str(script)) if script.exists() else f"{shlex.quote(sys.executable)} -I -m mcp_gateway"
    console.print(
        f"""
The demo stays up until you press Ctrl-C. In another terminal:

  export MCP_GATEWAY_CONFIG={config}

Connect a real MCP client over stdio, for example Claude Code:

  claude mcp add demo -- {command} \\
    --config {config} stdio

or over HTTP, with the token of the demo's agent, which is renewed in its file:

  URL     {url}/mcp, or {url}/sse
  header  "Authorization: Bearer $(cat {file})"

Let it mark order 8 as refunded: that call waits for a DBA. Over stdio you
confirm it, too, where your client asks or by approving it without --as.
Be that DBA:

  {command} approvals list --as {APPROVER}
  {command} approvals approve ID --as {APPROVER}

and see what was recorded:

  {command} audit search
""",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    while True:
        await anyio.sleep(RENEW_SECONDS)
        _keep_token(file, token())


def _keep_token(file: Path, token: Secret) -> None:
    fresh = file.with_name(f"{file.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_text(token.reveal_text(), encoding="ascii")
    fresh.replace(file)
