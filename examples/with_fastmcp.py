"""FastMCP's client, for programs that are no agents."""

from __future__ import annotations

import asyncio

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from gateway import WAIT_SECONDS, asked, headers, url


async def main() -> None:
    """List the tools, make one call, print its text."""
    tool, arguments = asked()
    async with Client(StreamableHttpTransport(url(), headers=headers()), timeout=WAIT_SECONDS) as client:
        print("tools:", *sorted(item.name for item in await client.list_tools()))
        answer = await client.call_tool(tool, arguments, raise_on_error=False)
        print(*(part.text for part in answer.content if part.type == "text"))


asyncio.run(main())
