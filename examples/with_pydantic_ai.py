"""Pydantic AI. For an agent: `Agent("...", toolsets=[toolset])`."""

from __future__ import annotations

import asyncio

from fastmcp.exceptions import ToolError
from gateway import WAIT_SECONDS, asked, headers, url
from pydantic_ai.mcp import MCPToolset


async def main() -> None:
    """List the tools, make one call, print its result."""
    tool, arguments = asked()
    toolset: MCPToolset[None] = MCPToolset(
        url(), headers=headers(), read_timeout=WAIT_SECONDS, tool_error_behavior="error"
    )
    async with toolset:
        print("tools:", *sorted(item.name for item in await toolset.list_tools()))
        try:
            print(await toolset.direct_call_tool(tool, arguments))
        except ToolError as refused:
            print(refused)


asyncio.run(main())
