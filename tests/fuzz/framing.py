"""What is done to the bytes of HTTP/1.1 on a connection, and how a reader understands them that keeps to RFC 9112."""

from __future__ import annotations

import re
from random import Random
from urllib.parse import unquote

from tests.fuzz.messages import Message

ENDS = (b"\r\n", b"\n", b"\r", b" \r\n", b"\x00\r\n", b"\r\n ")
STRANGE_LINES = (
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding: chunked, identity", b"Content-Length: 0", b"Content-Length: 5",
    b"Content-Length: -1", b"Content-Length: +7", b"Content-Length: 0x10", b"Content-Length: 1e3",
    b"Content-Length: 99999999999999999999999", b"Content-Length: 7, 7", b"Expect: 100-continue", b"Expect: x",
    b"Upgrade: h2c", b"Connection: Upgrade\r\nUpgrade: websocket", b"Connection: close", b"Connection: keep-alive",
    b"Host: evil.example", b"Host:", b"X: \x00", b"X: \xff\xfe", b"X y: z", b": z", b"X", b" folded", b"\tX: y",
    b"X: " + b"a" * 20_000, b"TE: trailers", b"Trailer: Host", b"Proxy-Connection: x",
)  # fmt: skip
REQUEST_LINES = (
    b"POST /mcp HTTP/1.0", b"POST /mcp", b"POST /mcp HTTP/1.1 x", b"POST  /mcp HTTP/1.1", b"post /mcp HTTP/1.1",
    b"POST http://evil.example/mcp HTTP/1.1", b"POST /mcp HTTP/2.0", b"PRI * HTTP/2.0", b"CONNECT x:1 HTTP/1.1",
    b"OPTIONS * HTTP/1.1", b"GET /mcp HTTP/1.1", b"POST //mcp HTTP/1.1", b"POST /mcp?\xff HTTP/1.1", b"POST /%2e HTTP/1.1",
    b"POST /\x00 HTTP/1.1", b"", b"\x16\x03\x01\x02\x00\x01", b"POST /" + b"a" * 70_000 + b" HTTP/1.1", b"POST ? HTTP/1.1",
)  # fmt: skip
REQUEST_LINE = re.compile(rb"([A-Z]+) +([!-~]+) HTTP/1\.([01])")
FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t -~]*)?")


def framed(random: Random, message: Message) -> bytes:
    """One request as bytes, well framed or not."""
    target = message.path.encode("utf-8", "replace") + (b"?" + message.query if message.query else b"")
    lines = [b"%s %s HTTP/1.1" % (message.verb.encode(), target)]
    lines += [b"%s: %s" % header for header in message.headers]
    body = message.body
    if random.random() < 0.3:
        lines.append(b"Transfer-Encoding: chunked")
        body = chunked(random, body)
    else:
        lines.append(b"Content-Length: %d" % len(body))
    end = b"\r\n"
    if random.random() < 0.35:
        for _ in range(random.choice((1, 1, 2, 4))):
            end = _unframe(random, lines, end)
    return end.join(lines) + end * 2 + body


def _unframe(random: Random, lines: list[bytes], end: bytes) -> bytes:
    at = random.randrange(len(lines))
    match random.randrange(6):
        case 0 | 1:
            lines.insert(random.randrange(1, len(lines) + 1), random.choice(STRANGE_LINES))
        case 2:
            lines[0] = random.choice(REQUEST_LINES)
        case 3:
            cut = random.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:cut] + random.randbytes(1) + lines[at][cut + 1 :]
        case 4:
            lines[at] += lines[at]
        case _:
            return random.choice(ENDS)
    return end


def chunked(random: Random, body: bytes) -> bytes:
    """A body in chunks, of which one may lie."""
    found, at = b"", 0
    lies = random.random() < 0.2
    while at < len(body):
        piece = body[at : at + random.choice((1, 7, 100, 5000))]
        at += len(piece)
        head = b"%x" % len(piece)
        if lies and random.random() < 0.3:
            head = random.choice(
                (b"%x" % (len(piece) + 1), b"-1", b"0", b"ffffffffffffffffff", b"", head + b";x=\xff", b"0x1", b"g")
            )
        found += head + b"\r\n" + piece + (b"\r\n" if not lies or random.random() < 0.8 else b"")
    return found + random.choice((b"0\r\n\r\n",) * 6 + (b"0\r\nHost: x\r\n\r\n", b"0\r\n", b"", b"00000\r\n\r\n"))


def requests_in(data: bytes) -> list[Message]:
    """The whole requests in what one connection carries, up to where RFC 9112 is not kept to the letter any more."""
    found: list[Message] = []
    while True:
        while data.startswith(b"\r\n"):
            data = data[2:]
        head, ended, rest = data.partition(b"\r\n\r\n")
        message = _head(head) if ended else None
        body = _body(message, rest) if message is not None else None
        if message is None or body is None:
            return found
        message.body, data = body
        found.append(message)
        if head.partition(b"\r\n")[0].endswith(b"0") or _given(message, b"connection") not in ([], [b"keep-alive"]):
            return found


def _head(head: bytes) -> Message | None:
    first, *lines = head.split(b"\r\n")
    words = REQUEST_LINE.fullmatch(first)
    fields = [FIELD.fullmatch(line) for line in lines]
    if words is None or not all(fields):
        return None
    target, _, query = words[2].partition(b"?")
    return Message(
        verb=words[1].decode(),
        path=unquote(target.decode()),
        query=query,
        headers=[(field[1].lower(), field[2].strip(b" \t")) for field in fields if field is not None],
    )


def _body(message: Message, rest: bytes) -> tuple[bytes, bytes] | None:
    lengths, codings = _given(message, b"content-length"), _given(message, b"transfer-encoding")
    if codings:
        return _dechunked(rest) if codings == [b"chunked"] and not lengths else None
    if not lengths:
        return b"", rest
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 10 or int(lengths[0]) > len(rest):
        return None
    return rest[: int(lengths[0])], rest[int(lengths[0]) :]


def _dechunked(rest: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = CHUNK.fullmatch(line)
        if size is None:
            return None
        length = int(size[1], 16)
        if not length:
            break
        if rest[length : length + 2] != b"\r\n":
            return None
        body, rest = body + rest[:length], rest[length + 2 :]
    while True:  # trailers
        line, ended, rest = rest.partition(b"\r\n")
        if not ended or (line and not FIELD.fullmatch(line)):
            return None
        if not line:
            return body, rest


def _given(message: Message, name: bytes) -> list[bytes]:
    return [value.lower() for key, value in message.headers if key == name]
