"""Connections as the HTTP door takes them: uvicorn's own, with bounds on what clients can hold open, and for how long.

What is beyond a bound is hung up on without a word, before anything is read of it: whoever opens many or reads slowly
costs a descriptor and a little memory, and the others nothing.

1. At most so many connections, and of one address: an IPv6 one counts by its /64, which is one customer's.
2. A request arrives whole within a time, from the first byte of it, or from the connection's beginning. Blank lines before it
   are bytes of it: to uvicorn they end the time that a connection may be idle, and to the parser no request begins with them.
3. An answer is read within a time, and what waits to be read by all clients together is bounded: the one that has kept
   its answer waiting longest goes first. An answer counts as what it takes in memory, which is all of it until its last
   byte has left: else whoever reads all but a little would be no reader that is slow. Closing a connection gracefully
   would wait for such a client.
4. A head, and a request as a whole, have a size; the parser itself would take any. So have those that wait on a connection
   for the answer to one before them: of the smallest, what comes in one reading takes a hundred times its size in memory.
   What follows a body in chunks is no part of the head, and is left out (RFC 9110 section 6.5.1).
5. A target in absolute form names a host of its own, which counts in place of `Host` (RFC 9112 section 3.2.2) and which
   uvicorn drops: then what the guard checks would not be what the client asked for. Only targets in origin form pass,
   and of HTTP only what can be read here: the parser takes a line of HTTP/0.9 or HTTP/2 with the rest as of HTTP/1.1.
6. What is no HTTP is answered only where no answer is owed to an earlier request of the same connection; else the client
   would take it for that one.
7. Small answers leave at once and in one piece, big ones bit by bit (`gathered`): uvicorn leaves the first to the loop,
   and asyncio's does not do it for a socket it did not make. No more is written while some waits to leave.
8. Every request of a connection that is over learns of it. uvicorn tells the latest alone: an earlier one, which is being
   answered while others wait, would go on for nobody and then write to what is closed.
9. All of this counts for connections over TLS from their first moment: their handshake is a part of the first request.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import Counter, deque
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import anyio
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mcp_gateway.doors.departures import GONE
from mcp_gateway.doors.gathered import Gathered
from mcp_gateway.doors.tls import Secured

log = structlog.get_logger(__name__)

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""On the wire, with what frames it; a body that may be as large as the door takes is far below."""
MAX_WAITING_REQUESTS = 32
"""Of one connection, behind the one that is being answered."""
MAX_UNREAD_BYTES = 64 * 1024 * 1024
"""Of answers, in this process, of all connections together, with what has been read of them."""
LINGER_SECONDS = 1.0
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
SEND_BUFFER_BYTES = 128 * 1024
"""What the system keeps of an answer, for each connection; left to itself it would keep some megabytes."""
LOOKS = 20
"""How often a connection is looked at within the shorter of its times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBounds:
    """What clients may hold open."""

    most: int = 1000
    most_per_address: int = 500
    request_within: timedelta = timedelta(seconds=30)
    read_within: timedelta = timedelta(seconds=60)


class Connections:
    """All connections of one server."""

    def __init__(self, bounds: ConnectionBounds, *, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self._bounds = bounds
        self._open: set[Connection] = set()
        self._by_address: Counter[str] = Counter()
        self._refused = 0

    def connection(self, **given: Any) -> Connection:
        """What uvicorn calls for each that it accepts."""
        return Connection(self, **given)

    def admit(self, connection: Connection) -> bool:
        """Whether there is room for one more."""
        address = connection.address
        # 1.
        if len(self._open) >= self._bounds.most or self._by_address[address] >= self._bounds.most_per_address:
            self._refused += 1
            return False
        self._open.add(connection)
        self._by_address[address] += 1
        return True

    def forget(self, connection: Connection) -> None:
        """One is over."""
        if connection in self._open:
            self._open.remove(connection)
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    async def watch(self) -> None:
        """Hang up on whoever takes too long, for as long as this runs."""
        request, read = self._bounds.request_within.total_seconds(), self._bounds.read_within.total_seconds()
        while True:
            await anyio.sleep(min(1.0, min(request, read) / LOOKS))
            now = anyio.current_time()
            for connection in tuple(self._open):
                # 2.
                late = now - connection.waited_for_since(now) > request
                # 3.
                if late or now - connection.unread_since(now) > read:
                    log.info(
                        "http_client_slow", address=connection.address, waiting_for="request" if late else "reader"
                    )
                    connection.transport.abort()
            self._bound_unread(now)
            if self._refused:
                log.warning("http_connections_refused", count=self._refused, open=len(self._open))
                self._refused = 0

    def _bound_unread(self, now: float) -> None:
        taken = {connection: connection.unread_takes for connection in self._open}
        total = sum(taken.values())
        for connection in sorted(taken, key=lambda item: item.unread_since(now)):
            if total <= MAX_UNREAD_BYTES:
                return
            log.info("http_client_slow", address=connection.address, waiting_for="reader", unread=total)
            connection.transport.abort()
            total -= taken[connection]


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._connections = connections
        self.address = ""
        self._arriving_since: float | None = None
        self._unread_since: float | None = None
        self._is_in_head = True
        self._is_refused = False
        self._head_bytes = 0
        self._request_bytes = 0
        self._secured: Secured | None = None
        self._unanswered: deque[RequestResponseCycle] = deque()
        """Requests, oldest first; answered ones are taken out when another comes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take it, or hang up."""
        # 9.
        if self._connections.tls is not None:
            self._secured = Secured(transport, self._connections.tls)
        self._gathered = Gathered(self._secured or transport, loop=self.loop)
        super().connection_made(cast("asyncio.Transport", self._gathered))
        self.address = _address(transport)
        if not self._connections.admit(self):
            transport.abort()
            return
        self._arriving_since = self.loop.time()
        # 7.
        own = transport.get_extra_info("socket")
        if own is not None and own.family in {socket.AF_INET, socket.AF_INET6}:
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._connections.forget(self)
        # 8.
        for cycle in self._unanswered:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
                cast("dict[str, Any]", cycle.scope)[GONE].set_result(None)
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """The transport has sent enough to take more, of what waits first."""
        self._gathered.go_on()
        # 7.
        if not self._gathered.is_behind:
            super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Take some bytes."""
        # 9.
        for plain in [data] if self._secured is None else self._secured.received(data):
            self._take(plain)

    def _take(self, data: bytes) -> None:
        # 4.
        self._request_bytes += len(data)
        if self._request_bytes > MAX_REQUEST_BYTES:
            self.transport.abort()
        if self._is_refused or self._request_bytes > MAX_REQUEST_BYTES:
            return
        # 2.
        if self._arriving_since is None and not self._is_answering:
            self._arriving_since = self.loop.time()
        self._head_bytes += len(data) if self._is_in_head else 0
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_in_head, self._head_bytes = True, 0
        self._arriving_since = self._arriving_since or self.loop.time()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or leave out a trailer."""
        # 4.
        if not self._is_in_head:
            return
        if len(self.headers) >= MAX_HEADERS:
            raise ValueError(f"more than {MAX_HEADERS} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Take a request whose head is there. What is raised here the parser reports as a request that is no HTTP."""
        self._is_in_head = False
        # 4.
        size, codings = len(self.url), []
        for name, value in self.headers:
            size += len(name) + len(value)
            if name == b"transfer-encoding":
                codings.append(value.lower())
        if size > MAX_HEAD_BYTES:
            raise ValueError(f"a head of more than {MAX_HEAD_BYTES} bytes")
        if len(self.pipeline) >= MAX_WAITING_REQUESTS:
            raise ValueError(f"more than {MAX_WAITING_REQUESTS} requests before the answer to an earlier one")
        # 5.
        if not self.url.startswith(b"/") or self.parser.get_http_version() not in {"1.0", "1.1"}:
            raise ValueError("this is no request of HTTP/1.1 in origin form")
        if codings and codings != [b"chunked"]:
            raise ValueError("a transfer coding other than chunked alone, which readers understand in different ways")
        super().on_headers_complete()
        # 8.
        while self._unanswered and self._unanswered[0].response_complete:
            self._unanswered.popleft()
        self._unanswered.append(self.cycle)
        cast("dict[str, Any]", self.cycle.scope)[GONE] = self.loop.create_future()

    def on_message_complete(self) -> None:
        """It has arrived."""
        self._arriving_since, self._request_bytes = None, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, and hang up."""
        # 6.
        if self._is_answering:
            self.transport.close()
            return
        super().send_400_response(msg)

    def waited_for_since(self, now: float) -> float:
        """Since when a request arrives that is not whole; `now` where none does, or the gateway itself reads no further."""
        if self._arriving_since is None:
            return now
        if self.flow.read_paused:
            self._arriving_since = now
        return self._arriving_since

    @property
    def unread_bytes(self) -> int:
        """What this process still holds of answers on this connection."""
        transport = self.transport
        return transport.get_write_buffer_size()

    @property
    def unread_takes(self) -> int:
        """What that takes of the memory for all. An answer of more than half of it counts as a half when the rest is read.

        So the largest that a target's `max_bytes` lets through leaves room for others while its client reads it.
        """
        unread = self.unread_bytes
        return max(unread, min(self._gathered.kept_bytes, MAX_UNREAD_BYTES // 2)) if unread else 0

    def unread_since(self, now: float) -> float:
        """Since when something waits to be read, by all looks at it so far; `now` where nothing does."""
        if not self.unread_bytes:
            self._unread_since = None
            return now
        if self._unread_since is None:
            self._unread_since = now
        return self._unread_since

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _refuse_head(self) -> None:
        """Say so and read on for a moment: to close over what has come would reset the connection under the answer."""
        if self._is_answering or self.transport.is_closing():
            self.transport.close()
            return
        self._is_refused = True
        self.transport.write(TOO_LARGE)
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


def _address(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    if not peer:
        return ""
    try:
        found = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except ValueError:
        return str(peer[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
