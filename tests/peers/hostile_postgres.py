"""A PostgreSQL server that keeps to the protocol until a test tells it not to. Its own bytes, no PostgreSQL behind it.

It lets everybody in, says of itself what a server says, and answers the gateway's own questions about the path, about
settings and about types. `misbehave` names one thing that it does wrong, and `at` names the moment. Everything that it is sent is
kept in `received`.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.peers.visits import say, visited

LOOPBACK = "127.0.0.1"
SSL_REQUEST, CANCEL_REQUEST = 80877103, 80877102
TEXT_OID = 25
TYPES = b'[[25, "text", "b", 0, ",", 0, null]]'
REPORTS = {
    "server_version": "15.18",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
}


def message(kind: str, body: bytes = b"") -> bytes:
    """One message of the protocol."""
    return kind.encode() + struct.pack("!i", len(body) + 4) + body


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def described(*names: str) -> bytes:
    fields = b"".join(text(name) + struct.pack("!ihihih", 0, 0, TEXT_OID, -1, -1, 0) for name in names)
    return message("T", struct.pack("!h", len(names)) + fields)


def row(*values: bytes) -> bytes:
    cells = b"".join(struct.pack("!i", len(value)) + value for value in values)
    return message("D", struct.pack("!h", len(values)) + cells)


def error(code: str | None, words: str = "canary-words", *, severity: str = "ERROR") -> bytes:
    fields = [("S", severity), ("V", severity), *([("C", code)] if code is not None else []), ("M", words)]
    return message("E", b"".join(name.encode() + text(value) for name, value in fields) + b"\0")


def ready(state: str = "I") -> bytes:
    return message("Z", state.encode())


AUTHENTICATED = message("R", struct.pack("!i", 0)) + message("K", struct.pack("!ii", 4711, 1))


@dataclass(slots=True, kw_only=True)
class Visit:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    asked: str = ""
    """The text that was parsed last."""
    state: str = "I"
    """`T` in a transaction."""
    settings: dict[str, str] = field(default_factory=dict)
    """What it was opened with."""

    async def send(self, data: bytes) -> None:
        await say(self.writer, data)

    async def hang(self) -> None:
        """Say nothing more until the other side leaves."""
        while await self.reader.read(65536):
            pass

    async def flood(self, data: bytes) -> None:
        """Send the same without end."""
        while True:
            await self.send(data)

    async def drip(self, data: bytes) -> None:
        """Send a byte a second."""
        for byte in data:
            await self.send(bytes([byte]))
            await asyncio.sleep(1)


Fault: TypeAlias = Callable[[Visit], Coroutine[Any, Any, bool | None]]
"""What is done wrong; True = the conversation goes on, otherwise the connection is closed."""


@dataclass(slots=True, kw_only=True)
class HostilePostgres:
    """A running one."""

    host: str = LOOPBACK
    port: int = 0
    name: str = "orders"
    user: str = "gateway"
    password: str = "never sent in the clear"
    reports: dict[str, str] = field(default_factory=lambda: dict(REPORTS))
    without: frozenset[str] = frozenset()
    """Settings that it does not take, which it does not say, as a connection pooler."""
    said_of_settings: bytes | None = None
    """In place of what is so."""
    misbehave: Fault | None = None
    at: str = ""
    """`connect`, `tls`, `login`, `parse` or `rows` of a statement of an agent's, or a command such as `COMMIT`."""
    received: list[str] = field(default_factory=list)
    """Every SQL text, in order."""
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody asked for a cancellation."""
    faults: int = 0
    """How often it has misbehaved."""

    visits: list[Visit] = field(default_factory=list)

    def dismiss(self) -> None:
        """Close every connection, so that nobody waits any longer for one that hangs."""
        for visit in self.visits:
            visit.writer.transport.abort()
        self.visits.clear()

    async def _fault(self, moment: str, visit: Visit) -> bool:
        if self.misbehave is None or moment != self.at:
            return False
        self.faults += 1
        return not await self.misbehave(visit)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its start to its end."""
        visit = Visit(reader=reader, writer=writer)
        self.visits.append(visit)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            if not await self._fault("connect", visit) and await self._start(visit):
                while await self._message(visit):
                    pass
        writer.close()

    async def _start(self, visit: Visit) -> bool:
        (size,) = struct.unpack("!i", await visit.reader.readexactly(4))
        body = await visit.reader.readexactly(size - 4)
        (code,) = struct.unpack_from("!i", body)
        if code == CANCEL_REQUEST:
            self.cancelled.set()
            return False
        if code == SSL_REQUEST:
            if await self._fault("tls", visit):
                return False
            await visit.send(b"N")
            return await self._start(visit)
        said = [part.decode() for part in body[4:].split(b"\0")]
        visit.settings = {
            name: value for name, value in zip(said[::2], said[1::2], strict=False) if name not in self.without
        }
        if await self._fault("login", visit):
            return False
        reports = b"".join(message("S", text(name) + text(value)) for name, value in self.reports.items())
        await visit.send(AUTHENTICATED + reports + ready())
        return True

    async def _message(self, visit: Visit) -> bool:
        """Take one message; whether there is another one to wait for."""
        kind, size = struct.unpack("!ci", await visit.reader.readexactly(5))
        body = await visit.reader.readexactly(size - 4)
        match kind:
            case b"Q":
                return await self._command(visit, body[:-1].decode())
            case b"P":
                visit.asked = body.split(b"\0")[1].decode()
                self.received.append(visit.asked)
            case b"D":
                if self._is_of_agents(visit) and self.at == "parse":
                    return not await self._fault("parse", visit)
                parameters = struct.pack("!hi", 1, TEXT_OID) if "$1" in visit.asked else b"\0\0"
                await visit.send(message("1") + message("t", parameters) + described("answer"))
            case b"E":
                if self._is_of_agents(visit) and self.at == "rows":
                    return not await self._fault("rows", visit)
                await visit.send(message("2") + row(self._answer(visit)) + message("C", text("SELECT 1")))
            case b"S":
                await visit.send(ready(visit.state))
            case b"X":
                return False
            case _:
                pass
        return True

    async def _command(self, visit: Visit, sql: str) -> bool:
        self.received.append(sql)
        word = sql.split(maxsplit=1)[0]
        visit.state = "T" if word == "BEGIN" else "I"
        if self.at == word:
            return not await self._fault(word, visit)
        await visit.send(message("C", text(word)) + ready(visit.state))
        return True

    @staticmethod
    def _is_of_agents(visit: Visit) -> bool:
        return "pg_catalog." not in visit.asked

    def _answer(self, visit: Visit) -> bytes:
        if "current_schemas" in visit.asked:
            return b'["public"]'
        if "pg_settings" in visit.asked:
            return json.dumps(visit.settings).encode() if self.said_of_settings is None else self.said_of_settings
        return TYPES if "wanted" in visit.asked else b"fine"


@asynccontextmanager
async def hostile_postgres() -> AsyncIterator[HostilePostgres]:
    """Run one on a free port of the loopback."""
    peer = HostilePostgres()
    async with visited(peer.serve) as peer.port:
        yield peer
