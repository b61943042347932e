"""OpenAI Agents SDK. For an agent: `Agent(name="...", mcp_servers=[server])`.

The SDK answers no elicitation, so a call that needs a person comes back as `approval_pending`; the model reads that it is
to call again with the same arguments once somebody has approved.
"""

from __future__ import annotations

import asyncio

from agents.mcp import MCPServerStreamableHttp
from gateway import WAIT_SECONDS, asked, headers, url


async def main() -> None:
    """List the tools, make one call, print its text."""
    tool, arguments = asked()
    async with MCPServerStreamableHttp(
        params={"url": url(), "headers": headers()}, client_session_timeout_seconds=WAIT_SECONDS
    ) as server:
        print("tools:", *sorted(item.name for item in await server.list_tools()))
        answer = await server.call_tool(tool, arguments)
        print(*(part.text for part in answer.content if part.type == "text"))


asyncio.run(main())
