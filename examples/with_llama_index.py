"""LlamaIndex. For an agent: `FunctionAgent(tools=tools, llm=...)`."""

from __future__ import annotations

import asyncio

from gateway import WAIT_SECONDS, asked, headers, url
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec


async def main() -> None:
    """List the tools, make one call, print its result."""
    tool, arguments = asked()
    client = BasicMCPClient(url(), headers=headers(), timeout=WAIT_SECONDS)
    tools = {item.metadata.name: item for item in await McpToolSpec(client).to_tool_list_async()}
    print("tools:", *sorted(tools))
    print(await tools[tool].acall(**arguments))


asyncio.run(main())
