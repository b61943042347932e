"""A public peer: `fastmcp` over an asyncpg pool, as its own documentation shows a server, and nothing governed.

    python -m benchmarks.fastmcp_server DSN

One tool, which runs whatever SQL it is sent and returns the rows as a list of objects; what becomes of them is up to the
framework. It prints its URL when it serves, and serves until SIGTERM.
"""

from __future__ import annotations

from typing import Any

import asyncpg
from fastmcp import FastMCP

from benchmarks.serving import run_server, serve_application


def build_server(pool: asyncpg.Pool[Any]) -> FastMCP[Any]:
    """The server with its one tool."""
    server: FastMCP[Any] = FastMCP("fastmcp")

    @server.tool
    async def query_database(sql: str) -> list[dict[str, Any]]:
        """Run one SQL statement."""
        return [dict(row) for row in await pool.fetch(sql)]

    return server


async def serve(dsn: str) -> None:
    """Serve on a free loopback port."""
    async with asyncpg.create_pool(dsn, min_size=10, max_size=10) as pool:
        await serve_application(build_server(pool).http_app(), lifespan="on")


if __name__ == "__main__":
    run_server(serve, __doc__)
