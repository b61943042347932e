"""LangChain and LangGraph. For an agent: `create_agent("...", tools)`."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from gateway import WAIT_SECONDS, asked, headers, url
from langchain_mcp_adapters.client import MultiServerMCPClient


async def main() -> None:
    """List the tools, make one call, print its result."""
    tool, arguments = asked()
    client = MultiServerMCPClient(
        {
            "gateway": {
                "transport": "sse" if url().endswith("/sse") else "streamable_http",
                "url": url(),
                "headers": headers(),
                "session_kwargs": {"read_timeout_seconds": timedelta(seconds=WAIT_SECONDS)},
            }
        }
    )
    tools = {item.name: item for item in await client.get_tools()}
    print("tools:", *sorted(tools))
    call = {"type": "tool_call", "id": "1", "name": tool, "args": arguments}
    print((await tools[tool].ainvoke(call)).content)


asyncio.run(main())
