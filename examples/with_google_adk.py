"""Google Agent Development Kit. For an agent: `LlmAgent(name="...", model="...", tools=[toolset])`."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from gateway import WAIT_SECONDS, asked, headers, url
from google.adk.tools.mcp_tool import McpToolset, StreamableHTTPConnectionParams


async def main() -> None:
    """List the tools, make one call, print its result."""
    tool, arguments = asked()
    toolset = McpToolset(
        connection_params=StreamableHTTPConnectionParams(url=url(), headers=headers(), timeout=WAIT_SECONDS)
    )
    try:
        tools = {item.name: item for item in await toolset.get_tools()}
        print("tools:", *sorted(tools))
        # A model's call comes with a context; one that is made by hand has none.
        print(await tools[tool].run_async(args=arguments, tool_context=cast("Any", None)))
    finally:
        await toolset.close()


asyncio.run(main())
