"""What is done to messages: to their bytes, their structure, their encoding, their headers and their framing.

Everything follows from the generator that is handed in, so that a number gives its message again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz.messages import CALLS, Era, Message, dumps, headers_for, modern, valid

TOKENS = [
    b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\u0000",
    b"\\ud800", b"\xed\xa0\x80", b"null", b"true", b"1e999", b"-0", b"NaN", b"Infinity", b"9" * 400, b"\r\n", b"\n\n",
    b"\xe2\x80\xa8", b"/*", b"{}", b"[]", b'"id":', b'"method":"tools/call",', b'"name":"call_api",', b"\x1b[2J",
    b"data: x\n\n", b"Content-Length: 0\r\n\r\n", b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
]  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53 + 1, -(2**63), 2**64, 10**30, 1.5, -0.0, 1e308, "", " ", "0", "null", "\x00",
    "\ud800", "a" * 70, "x" * 5000, "../..", "//evil", "http://169.254.169.254/", "api\x00", "API", "call_api ", "\u0441\u0430ll_api",
    "\u202e\u200b", "%2e%2e/", "?a#b", "\r\nX: y", [], {}, [[]], [{}], {"": ""}, {"a": {"a": {"a": {}}}}, ["a", 1, None],
    {"__proto__": 1}, "tools/call", "call_api", "api", "2.0", "2026-07-28", "2025-06-18", "1.0", "accept", "GET", "DELETE",
    "POST", "TRACE",
)  # fmt: skip
KEYS = [
    "id", "ID", "Id", "method", "Method", "params", "jsonrpc", "name", "Name", "arguments", "Arguments", "_meta", "target",
    "path", "Path", "json", "json_", "body", "headers", "query", "reason", "repeat_of", "", "\x00", "progressToken",
    "requestState", "inputResponses", "result", "error", "io.modelcontextprotocol/protocolVersion", "x" * 3000,
]  # fmt: skip
HEADER_NAMES = [
    b"host", b"origin", b"authorization", b"accept", b"content-type", b"content-length", b"content-encoding",
    b"transfer-encoding", b"mcp-protocol-version", b"mcp-session-id", b"mcp-method", b"mcp-name", b"mcp-param-x",
    b"last-event-id", b"x-forwarded-for", b"x-forwarded-host", b"forwarded", b"connection", b"upgrade", b"expect",
    b"cookie", b"traceparent", b"x-http-method-override", b"range", b"te",
]  # fmt: skip
HEADER_VALUES = [
    b"", b" ", b"*/*", b"application/json", b"text/event-stream", b"application/json;charset=utf-16", b"text/plain",
    b"Bearer", b"Bearer x.y.z", b"Basic YTpi", b"null", b"http://evil.example", b"2026-07-28", b"2025-06-18", b"2024-11-05",
    b"1999-01-01", b"chunked", b"gzip", b"0", b"-1", b"99999999999999999999", b"close", b"100-continue", b"websocket",
    b"tools/call", b"call_api", b"=?base64?Y2FsbF9hcGk=?=", b"=?base64?!!?=", b"\xff\xfe", b"a" * 5000, b"\t x \t",
]  # fmt: skip
VERBS = ["POST"] * 12 + ["GET", "DELETE", "PUT", "OPTIONS", "HEAD", "PATCH", "TRACE"]
PATHS = [
    "/mcp/", "/MCP", "/mcp/x", "//mcp", "/", "/sse", "/messages/", "/healthz", "/readyz", "/api/approvals",
    "/api/approvals/x/approve", "/.well-known/oauth-protected-resource", "/mcp\x00", "/mcp/../mcp", "/mcp;x", "/метр",
]  # fmt: skip


class Mutator:
    """The messages of one door, by their numbers."""

    def __init__(self, era: Era, *, token: str, host: str, corpus: list[bytes]) -> None:
        self._era = era
        self.token = token
        self._host = host
        self._corpus = corpus

    def message(
        self, random: Random, number: int, *, session: str = "", endpoint: tuple[str, bytes] | None = None
    ) -> Message:
        """The message of this number. `session` is a session's id, `endpoint` where an SSE session takes messages."""
        choice = random.randrange(64)
        decoded = valid(number, choice if choice < 32 else random.randrange(CALLS))
        modern_form = self._era == "modern" or (self._era == "stdio" and random.random() < 0.5)
        decoded = modern(decoded) if modern_form else decoded
        headers = headers_for(self._era, decoded, token=self.token, host=self._host, session=session)
        body = random.choice(self._corpus) if random.random() < 0.12 else self._body(random, decoded)
        found = Message(headers=headers, body=body)
        if endpoint is not None:
            found.path, found.query = endpoint
        if self._era != "stdio":
            self._around(random, found)
        return found

    def _body(self, random: Random, decoded: dict[str, Any]) -> bytes:
        body = None
        if random.random() < 0.6:
            decoded = json.loads(json.dumps(decoded))
            for _ in range(random.choice((1, 1, 1, 2, 4))):
                decoded = structure(random, decoded)
        if random.random() < 0.05:
            body = doubled(random, decoded)
        body = body if body is not None else _written(decoded)
        if random.random() < 0.45:
            for _ in range(random.choice((1, 1, 2, 8))):
                body = raw(random, body, self._corpus)
        if random.random() < 0.03:
            body = encoded(random, body)
        return body

    def _around(self, random: Random, message: Message) -> None:
        if random.random() < 0.25:
            for _ in range(random.choice((1, 1, 2, 5))):
                headers(random, message.headers)
        if random.random() < 0.06:
            message.verb = random.choice(VERBS)
        if random.random() < 0.04:
            message.path = random.choice(PATHS)
        if random.random() < 0.04:
            message.query = random.choice(
                (b"session_id=x", b"a=b&a=c", b"%ff=%00", b"session_id=" + b"0" * 32, b"a" * 3000)
            )
        if random.random() < 0.2:
            message.cuts = tuple(sorted(random.randrange(len(message.body) + 1) for _ in range(random.randrange(5))))
        message.breaks_off = random.random() < 0.01


def _written(decoded: Any) -> bytes:
    try:
        return dumps(decoded)
    except TypeError:  # a lone surrogate, or nested beyond what it writes
        pass
    try:
        return json.dumps(decoded).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b'{"jsonrpc":' + b"[" * 2000 + b"]" * 2000 + b"}"


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(node, dict):
        items: list[tuple[Any, Any]] = list(node.items())
    else:
        items = list(enumerate(node)) if isinstance(node, list) else []
    for key, item in items:
        found += _places(item, (*path, key))
    return found


def value(random: Random) -> Any:
    """One of the values, which may be changed further."""
    return copy.deepcopy(random.choice(VALUES))


def structure(random: Random, decoded: Any) -> Any:
    """Change one thing of a JSON value, in place where that can be."""
    places = _places(decoded)
    if not places or random.random() < 0.03:
        return random.choice((decoded, [decoded], [decoded, decoded], {"params": decoded}, value(random)))
    path = random.choice(places)
    parent = decoded
    for step in path[:-1]:
        parent = parent[step]
    key = path[-1]
    match random.randrange(8):
        case 0 | 1 | 2:
            parent[key] = value(random)
        case 3:
            del parent[key]
        case 4 if isinstance(parent, dict):
            parent[random.choice(KEYS)] = parent.pop(key)
        case 5 if isinstance(parent, dict):
            parent[random.choice(KEYS)] = value(random)
        case 6:
            parent[key] = random.choice(([parent[key]], {"a": parent[key]}, str(parent[key]), [parent[key]] * 30))
        case _:
            nested: Any = parent[key]
            for _ in range(random.choice((2, 20, 80, 300))):
                nested = [nested]
            parent[key] = nested
    return decoded


def doubled(random: Random, decoded: Any) -> bytes:
    """One key twice, with another value or in another spelling."""
    text = _written(decoded)
    key = random.choice(KEYS[:20])
    given = json.dumps(random.choice(VALUES)).encode("utf-8", "surrogatepass")
    at = random.choice([index for index, byte in enumerate(text) if byte in b"{,"] or [0]) + 1
    return text[:at] + json.dumps(key).encode() + b":" + given + b"," + text[at:]


def raw(random: Random, body: bytes, corpus: list[bytes]) -> bytes:
    """Change bytes."""
    at = random.randrange(len(body) + 1)
    to = min(len(body), at + random.choice((1, 2, 4, 16, 200)))
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: body[:at] + bytes([random.randrange(256)]) + body[at + 1 :],
        lambda: body[:at] + bytes([body[at] ^ (1 << random.randrange(8))]) + body[at + 1 :] if at < len(body) else body,
        lambda: body[:at] + random.randbytes(random.choice((1, 2, 8))) + body[at:],
        lambda: body[:at] + body[to:],
        lambda: body[:to] + body[at:to] * random.choice((1, 2, 50)) + body[to:],
        lambda: body[:at],
        lambda: body[at:] + body[:at],
        lambda: body[:at] + random.choice(TOKENS) + body[at:],
        lambda: body[:at] + random.choice(TOKENS) * random.choice((1, 3, 200)) + body[at:],
        lambda: body[:at] + random.choice(TOKENS) + body[to:],
        lambda: body[:at] + random.choice(corpus)[:2000] + body[at:],
        lambda: body + body,
    )
    return random.choice(changes)()[:200_000]


def encoded(random: Random, body: bytes) -> bytes:
    """The same text in another encoding."""
    text = body.decode("utf-8", "replace")
    match random.randrange(6):
        case 0:
            return text.encode("utf-16")
        case 1:
            return text.encode("utf-32-le")
        case 2:
            return b"\xef\xbb\xbf" + body
        case 3:
            return text.encode("utf-7", "replace")
        case 4:
            return text.encode("latin-1", "replace")
        case _:
            return b" \t\r\n" * 20 + body + b"\n" * 20


def headers(random: Random, found: list[tuple[bytes, bytes]]) -> None:
    """Change one header."""
    at = random.randrange(len(found)) if found else 0
    match random.randrange(6):
        case 0 if found:
            del found[at]
        case 1 if found:
            found[at] = (found[at][0], random.choice(HEADER_VALUES))
        case 2 if found:
            found.append(found[at])
        case 3 if found:
            value = found[at][1]
            cut = random.randrange(len(value) + 1)
            found[at] = (found[at][0], value[:cut] + random.choice((b"", b" ", b",", b"\xff", b"x")) + value[cut + 1 :])
        case 4 if found:
            random.shuffle(found)
        case _:
            found.insert(at, (random.choice(HEADER_NAMES), random.choice(HEADER_VALUES)))
