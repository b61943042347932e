"""The SDK's own client, which tells the world what it is answered the moment that it is."""

from __future__ import annotations

from typing import Any

from mcp import Client
from mcp_types import CallToolResult

from tests.invariants.world import World


class HeardClient(Client):
    """A client whose answers are judged by I2, I5 and I7."""

    world: World

    async def call_tool(self, *arguments: Any, **more: Any) -> CallToolResult:
        """Call a tool."""
        result = await super().call_tool(*arguments, **more)
        self.world.hear(
            result.structured_content, is_error=bool(result.is_error), raw=result.model_dump_json().encode()
        )
        return result


def heard(world: World, server: Any, **more: Any) -> HeardClient:
    """A client that is not connected yet."""
    client = HeardClient(server, **more)
    client.world = world
    return client
