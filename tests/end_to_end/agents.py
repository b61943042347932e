"""Agents for end-to-end tests: real MCP clients, over every transport, in both eras of the protocol.

`fastmcp` and the SDK's own client differ in names only; here they answer alike, so that one test covers both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import fastmcp
import mcp_types as types
import orjson
from fastmcp.client.transports import SSETransport, StdioTransport, StreamableHttpTransport
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.dispatcher import ProgressFnT

from tests.cli.running import SCRIPT
from tests.end_to_end.gateways import HUMAN, Gateway
from tests.plain_http import plain_client

MODERN, LEGACY = "2026-07-28", "2025-11-25"
SECONDS = 150.0
"""How long a client waits for an answer."""

Action = Literal["accept", "decline"]
Confirm = Callable[[str], Action]
"""What the human says to a form with this text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Which client speaks over which transport, and what they agree on."""

    client: Literal["fastmcp", "sdk"]
    transport: Literal["http", "sse", "stdio"]
    protocol: str

    def __str__(self) -> str:
        return f"{self.client}-{self.transport}-{self.protocol}"

    @property
    def mode(self) -> Literal["auto", "legacy"]:
        """What the client is told."""
        return "auto" if self.protocol == MODERN else "legacy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer: its code, the structured content, the text."""

    code: str
    content: Any
    text: str

    @property
    def call_id(self) -> str:
        """The id of the call, in a result and in a refusal."""
        found: str = (self.content if self.code == "ok" else self.content["error"])["call_id"]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A client that is connected."""

    protocol: str
    list_tools: Callable[[], Awaitable[list[types.Tool]]]
    call_tool: Callable[[str, dict[str, Any], ProgressFnT | None], Awaitable[Any]]

    async def call(self, tool: str, *, progress: ProgressFnT | None = None, **arguments: Any) -> Said:
        """Call a tool and read its answer."""
        result = await self.call_tool(tool, arguments, progress)
        (block,) = result.content
        content = result.structured_content
        assert isinstance(block, types.TextContent)
        if not result.is_error:
            assert orjson.loads(block.text) == content
        return Said(code=content["error"]["code"] if result.is_error else "ok", content=content, text=block.text)


@asynccontextmanager
async def connected(
    gateway: Gateway, way: Way, *, person: str | None = HUMAN, confirm: Confirm | None = None
) -> AsyncIterator[Agent]:
    """An agent that acts for this person, or has no token; with `confirm` their client can show forms."""
    connect = _fastmcp if way.client == "fastmcp" else _sdk
    async with connect(gateway, way, person, confirm) as agent:
        yield agent


@asynccontextmanager
async def _fastmcp(gateway: Gateway, way: Way, person: str | None, confirm: Confirm | None) -> AsyncIterator[Agent]:
    headers = {"authorization": f"Bearer {gateway.backends.token(person)}"} if person else {}
    transport: Any
    match way.transport:
        case "http":
            transport = StreamableHttpTransport(f"{gateway.url}/mcp", headers=headers)
        case "sse":
            transport = SSETransport(f"{gateway.url}/sse", headers=headers)
        case "stdio":
            command, *arguments = _stdio(gateway)
            transport = StdioTransport(
                command,
                arguments,
                env=gateway.environment(person),
                cwd=str(gateway.folder),
                keep_alive=False,
                log_file=gateway.folder / "stdio-log",
            )

    async def elicit(message: str, *_: Any) -> fastmcp.client.elicitation.ElicitResult[Any]:
        assert confirm is not None
        action = confirm(message)
        return fastmcp.client.elicitation.ElicitResult(action=action, content={} if action == "accept" else None)

    async with fastmcp.Client(
        transport, mode=way.mode, timeout=SECONDS, elicitation_handler=elicit if confirm else None
    ) as client:

        async def call(tool: str, arguments: dict[str, Any], progress: ProgressFnT | None) -> Any:
            return await client.call_tool(tool, arguments, progress_handler=progress, raise_on_error=False)

        yield Agent(protocol=client.protocol_version or "", list_tools=client.list_tools, call_tool=call)


@asynccontextmanager
async def _sdk(gateway: Gateway, way: Way, person: str | None, confirm: Confirm | None) -> AsyncIterator[Agent]:
    headers = {"authorization": f"Bearer {gateway.backends.token(person)}"} if person else {}

    async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert confirm is not None
        action = confirm(params.message)
        return types.ElicitResult(action=action, content={} if action == "accept" else None)

    async with plain_client(headers=headers, timeout=SECONDS) as http:
        transport: Any
        match way.transport:
            case "http":
                transport = streamable_http_client(f"{gateway.url}/mcp", http_client=http)
            case "sse":
                transport = sse_client(f"{gateway.url}/sse", headers=headers)
            case "stdio":
                command, *arguments = _stdio(gateway)
                transport = stdio_client(
                    StdioServerParameters(command=command, args=arguments, env=gateway.environment(person))
                )
        async with Client(transport, mode=way.mode, elicitation_callback=elicit if confirm else None) as client:

            async def list_tools() -> list[types.Tool]:
                return (await client.list_tools()).tools

            async def call(tool: str, arguments: dict[str, Any], progress: ProgressFnT | None) -> Any:
                return await client.call_tool(tool, arguments, progress_callback=progress)

            yield Agent(protocol=str(client.protocol_version), list_tools=list_tools, call_tool=call)


def _stdio(gateway: Gateway) -> list[str]:
    return [str(SCRIPT), "--config", str(gateway.config), "stdio"]
