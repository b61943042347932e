"""A call as raw HTTP of the 2026-07-28 revision, for clients that no library would be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

REVISION = "2026-07-28"
JSON_HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


def call_headers(tool: str) -> dict[str, str]:
    """What goes along with a call beside the token."""
    return JSON_HEADERS | {"mcp-protocol-version": REVISION, "mcp-method": "tools/call", "mcp-name": tool}


def call_body(tool: str, arguments: Mapping[str, Any]) -> bytes:
    """The message."""
    meta = {
        PROTOCOL_VERSION_META_KEY: REVISION,
        CLIENT_INFO_META_KEY: {"name": "faults", "version": "1"},
        CLIENT_CAPABILITIES_META_KEY: {},
    }
    params = {"name": tool, "arguments": dict(arguments), "_meta": meta}
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def call_request(tool: str, arguments: Mapping[str, Any], *, host: str, token: str) -> bytes:
    """The whole request, for a connection of one's own."""
    body = call_body(tool, arguments)
    headers = call_headers(tool) | {"host": host, "authorization": f"Bearer {token}", "content-length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body


def said(text: str, content_type: str) -> str:
    """The last message of an answer, which may be a stream of events."""
    if not content_type.startswith("text/event-stream"):
        return text
    return next(line.removeprefix("data: ") for line in reversed(text.splitlines()) if line.startswith("data: {"))
