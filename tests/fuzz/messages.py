"""Messages as clients send them, before anything is done to them: valid ones of both eras, and the labelled bad ones."""

from __future__ import annotations

import base64
import os
import zlib
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from tests.corpora import CORPORA, cases

Era = Literal["modern", "legacy", "sse", "stdio"]
MODERN = "2026-07-28"
LEGACY = "2025-06-18"
ACCEPT = b"application/json, text/event-stream"
MARK = "fuzz-"
"""How the path of each call begins."""


@dataclass(slots=True, kw_only=True)
class Message:
    """One HTTP request, or for stdio one line, as it will be sent."""

    verb: str = "POST"
    path: str = "/mcp"
    query: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    cuts: tuple[int, ...] = ()
    """Where the body is cut into pieces."""
    breaks_off: bool = False
    """The client goes away in the middle of the body."""


def call(number: int, **arguments: Any) -> dict[str, Any]:
    """A call with a path of its own, by which what it does at the target is known."""
    given = {"target": "api", "path": f"{MARK}{number}", "method": "GET"} | arguments
    return request("tools/call", {"name": "call_api", "arguments": given}, number)


def request(method: str, params: dict[str, Any] | None, number: int | str) -> dict[str, Any]:
    """A request."""
    return {"jsonrpc": "2.0", "id": number, "method": method} | ({} if params is None else {"params": params})


def notification(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """A notification."""
    return {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})


def initialize(number: int | str, version: str = LEGACY) -> dict[str, Any]:
    """What opens a session of the older era."""
    capabilities = {"elicitation": {}, "sampling": {}, "roots": {"listChanged": True}}
    client = {"name": "fuzz", "version": "1"}
    return request(
        "initialize", {"protocolVersion": version, "capabilities": capabilities, "clientInfo": client}, number
    )


INITIALIZED = notification("notifications/initialized")


def valid(number: int, choice: int) -> dict[str, Any]:
    """One of the messages that clients send, without what an era adds."""
    forms: list[dict[str, Any]] = [
        call(number),
        call(number, query={"a": "1", "b": ["2", "3"]}, headers={"accept": "text/plain"}),
        call(number, method="POST", json={"a": [1, 2.5, None, True], "b": {"c": "d"}}, reason="because"),
        call(number, method="PUT", body="text"),
        call(number, repeat_of=None, path=f"{MARK}{number}?q=1"),
        request("tools/call", {"name": "list_targets", "arguments": {}}, number),
        request(
            "tools/call",
            {
                "name": "call_api",
                "arguments": {"target": "api", "path": f"{MARK}{number}"},
                "_meta": {"progressToken": number, "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"},
            },
            number,
        ),
        request(
            "tools/call",
            {
                "name": "call_api",
                "arguments": {"target": "api", "path": f"{MARK}{number}", "method": "PUT"},
                "inputResponses": {"confirm": {"action": "accept", "content": {}}},
                "requestState": "v1.AAAA.BBBB",
            },
            number,
        ),
        request("tools/list", {}, number),
        request("tools/list", {"cursor": "x"}, number),
        request("ping", None, number),
        initialize(number),
        request("server/discover", {}, number),
        request("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, number),
        request("logging/setLevel", {"level": "debug"}, number),
        request("resources/read", {"uri": "file:///etc/passwd"}, number),
        request("prompts/get", {"name": "x", "arguments": {"a": "b"}}, number),
        request(
            "completion/complete", {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "a", "value": "b"}},
            number,
        ),
        INITIALIZED,
        notification("notifications/cancelled", {"requestId": number - 1, "reason": "no"}),
        notification("notifications/progress", {"progressToken": number - 1, "progress": 1, "total": 2}),
        notification("notifications/roots/list_changed"),
        {"jsonrpc": "2.0", "id": number, "result": {"action": "accept", "content": {}}},
        {"jsonrpc": "2.0", "id": number, "error": {"code": -1, "message": "no", "data": [1]}},
    ]  # fmt: skip
    return forms[choice % len(forms)]


CALLS = 5
"""How many of the first of these are calls of a tool that reaches the target."""


def modern(message: dict[str, Any]) -> dict[str, Any]:
    """With what every request of 2026-07-28 says of its client."""
    params = dict(message.get("params", {}))
    meta = {
        PROTOCOL_VERSION_META_KEY: MODERN,
        CLIENT_INFO_META_KEY: {"name": "fuzz", "version": "1"},
        CLIENT_CAPABILITIES_META_KEY: {"elicitation": {}},
    }
    if "result" in message or "error" in message:
        return message
    return message | {"params": params | {"_meta": params.get("_meta", {}) | meta}}


def corpus() -> list[bytes]:
    """The labelled malformed messages, made to name the tool that is served; where they are not at hand, the worst few."""
    found = [b"", b"[]", b"[1]", b"{}", b"null", b'"', b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000]
    if not CORPORA.exists() and os.environ.get("CI") != "true":
        return found
    for case in cases("jsonrpc.jsonl"):
        given = case["input"]
        body = base64.b64decode(given.get("body_b64") or given["body_zlib_b64"])
        body = zlib.decompress(body) if "body_zlib_b64" in given else body
        found.append(body.replace(b"run_ssh_command", b"call_api"))
    return found


def headers_for(era: Era, message: object, *, token: str, host: str, session: str) -> list[tuple[bytes, bytes]]:
    """The headers that belong to a message."""
    found = [
        (b"host", host.encode()),
        (b"authorization", f"Bearer {token}".encode()),
        (b"accept", ACCEPT),
        (b"content-type", b"application/json"),
    ]
    if era == "modern":
        found.append((b"mcp-protocol-version", MODERN.encode()))
        if isinstance(message, dict):
            found.append((b"mcp-method", str(message.get("method", "")).encode()))
            params = message.get("params")
            name = (params.get("name") or params.get("uri")) if isinstance(params, dict) else None
            found += [(b"mcp-name", str(name).encode())] if name else []
    elif era == "legacy":
        found.append((b"mcp-protocol-version", LEGACY.encode()))
        found += [(b"mcp-session-id", session.encode())] if session else []
    return found


def dumps(message: object) -> bytes:
    """As a client would write it."""
    return orjson.dumps(message)
