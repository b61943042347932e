"""A loopback proxy that adds a bearer token: the conformance suite cannot send one, and nothing switches it off.

One connection in is one connection out. Of each request's head two lines change: the token is added, and the proxy's
own name in `Host` (and `Origin`) becomes the gateway's; a foreign name stays as it is, so that the gateway refuses it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketAttribute, SocketStream

END_OF_HEAD = b"\r\n\r\n"


@asynccontextmanager
async def bearer_proxy(*, port: int, token: str) -> AsyncIterator[str]:
    """Proxy to the gateway on a loopback port; gives the proxy's URL."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        own = listener.extra(SocketAttribute.local_port)

        async def serve(client: SocketStream) -> None:
            async with client, await anyio.connect_tcp("127.0.0.1", port) as gateway, anyio.create_task_group() as both:
                both.start_soon(_requests, client, gateway, own, port, token)
                await _pass(gateway, client)
                both.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, serve)
            yield f"http://127.0.0.1:{own}"
            group.cancel_scope.cancel()


async def _pass(source: SocketStream, sink: SocketStream) -> None:
    try:
        async for data in source:
            await sink.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


async def _requests(client: SocketStream, gateway: SocketStream, own: int, port: int, token: str) -> None:
    """Requests one after the other: each head is changed, each body passed on by its length or its chunks."""
    data = b""
    try:
        while True:
            while END_OF_HEAD not in data:
                data += await client.receive()
            head, _, data = data.partition(END_OF_HEAD)
            await gateway.send(_changed(head, own, port, token) + END_OF_HEAD)
            data = await _body(head, data, client, gateway)
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await gateway.send_eof()


def _changed(head: bytes, own: int, port: int, token: str) -> bytes:
    mine, theirs = str(own).encode(), str(port).encode()
    lines = [line.replace(b":" + mine, b":" + theirs) if _names(line) else line for line in head.split(b"\r\n")]
    return b"\r\n".join([*lines, b"authorization: Bearer " + token.encode()])


def _names(line: bytes) -> bool:
    return line.lower().startswith((b"host:", b"origin:"))


async def _body(head: bytes, data: bytes, client: SocketStream, gateway: SocketStream) -> bytes:
    """Pass a body on; what came behind it is given back."""
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n"))
    }
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        while b"0\r\n\r\n" not in data:
            data += await client.receive()
        body, _, rest = data.partition(b"0\r\n\r\n")
        await gateway.send(body + b"0\r\n\r\n")
        return rest
    length = int(headers.get(b"content-length", b"0"))
    while len(data) < length:
        data += await client.receive()
    if length:
        await gateway.send(data[:length])
    return data[length:]
