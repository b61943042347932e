"""The floor: the official SDK's low-level server over an asyncpg pool, as anybody would write it, and nothing governed.

    python -m benchmarks.bare_server DSN [--text-only] [--stdio]

It runs whatever SQL it is sent, by a pool of ten connections, and answers with the rows as a list of objects: as
structured content, and as text beside it, which the specification asks for (2025-11-25, server/tools, "Structured
content"); with `--text-only` as text alone. It speaks both eras, with the SDK's defaults, and no token.

It prints its URL when it serves, and serves until SIGTERM; with `--stdio` it serves its parent over the SDK's own
transport for standard streams.
"""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.routing import Route

from benchmarks.serving import run_server, serve_application

TOOL = types.Tool(
    name="query_database",
    description="Run one SQL statement.",
    input_schema={
        "type": "object",
        "properties": {"target": {"type": "string"}, "sql": {"type": "string"}},
        "required": ["sql"],
    },
)


def build_server(pool: asyncpg.Pool[Any], *, text_only: bool) -> Server[Any]:
    """The server with its one tool."""

    async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
        del context, params
        return types.ListToolsResult(tools=[TOOL])

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        del context
        rows = [dict(row) for row in await pool.fetch((params.arguments or {})["sql"])]
        text = json.dumps({"rows": rows}, default=str)
        return types.CallToolResult(
            content=[types.TextContent(text=text)],
            structured_content=None if text_only else json.loads(text),
        )

    return Server("bare", version="1", on_list_tools=list_tools, on_call_tool=call_tool)


async def serve(dsn: str, *, text_only: bool, stdio: bool) -> None:
    """Serve on a free loopback port, or the parent."""
    async with asyncpg.create_pool(dsn, min_size=10, max_size=10) as pool:
        server = build_server(pool, text_only=text_only)
        if stdio:
            async with stdio_server() as (read, write):
                await server.run(read, write, server.create_initialization_options())
            return
        manager = StreamableHTTPSessionManager(app=server)
        async with manager.run():
            await serve_application(Starlette(routes=[Route("/mcp", StreamableHTTPASGIApp(manager))]))


if __name__ == "__main__":
    run_server(serve, __doc__, "--text-only", "--stdio")
