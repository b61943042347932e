"""How the servers that are measured serve: uvicorn on a free loopback port, each with the same options."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import anyio
import uvicorn

Application = Callable[..., Awaitable[None]]


async def serve_application(application: Application, *, lifespan: Literal["on", "off"] = "off") -> None:
    """Serve, and print the URL when it can be called; until SIGTERM."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            application,
            lifespan=lifespan,
            log_config=None,
            access_log=False,
            ws="none",
            http="httptools",
            loop="uvloop",
        )
        print(f"serving http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
        await uvicorn.Server(config).serve(sockets=[listener])


def run_server(serve: Callable[..., Awaitable[None]], description: str | None, *options: str) -> None:
    """The command line of such a server: the database's DSN, and switches, which `serve` takes by their names."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("dsn")
    for option in options:
        parser.add_argument(option, action="store_true")
    found: dict[str, Any] = vars(parser.parse_args())
    dsn = found.pop("dsn")
    anyio.run(lambda: serve(dsn, **found), backend_options={"use_uvloop": True})
