"""The ceiling: as little as can answer `tools/call` in Python, without the SDK, and nothing governed or checked.

    python -m benchmarks.raw_server DSN

An ASGI application over an asyncpg pool that reads the message, runs whatever SQL it is sent and answers with the rows as
arrays, once, as JSON. It is no MCP server: it knows two methods, validates nothing and supports nothing else. It shows
what the SDK costs the floor. It prints its URL when it serves, and serves until SIGTERM.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import asyncpg
import orjson

from benchmarks.serving import run_server, serve_application

Message: TypeAlias = MutableMapping[str, Any]
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "raw", "version": "1"}}
HEADERS = [(b"content-type", b"application/json")]


class RawServer:
    """`initialize` and `tools/call`, by POST, on any path."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        del scope
        body, more = b"", True
        while more:
            part = await receive()
            body += part.get("body", b"")
            more = part.get("more_body", False)
        message = orjson.loads(body)
        answer = b"" if "id" not in message else await self._answer(message)
        headers = [*HEADERS, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200 if answer else 202, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, message: dict[str, Any]) -> bytes:
        if message["method"] == "initialize":
            return orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": HELLO})
        rows = await self._pool.fetch(message["params"]["arguments"]["sql"])
        content = {"columns": list(rows[0].keys()) if rows else [], "rows": list(map(tuple, rows))}
        result = {"content": [], "structuredContent": content}
        return orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}, default=str)


async def serve(dsn: str) -> None:
    """Serve on a free loopback port."""
    async with asyncpg.create_pool(dsn, min_size=10, max_size=10) as pool:
        await serve_application(RawServer(pool))


if __name__ == "__main__":
    run_server(serve, __doc__)
