"""Standard input and output as a transport for the SDK: a line is a message (MCP 2026-07-28, transports, stdio).

The SDK's own transport hands every answer through threads, which costs more than the rest of a small call. Here the
event loop reads and writes, where the descriptors let it.

1. Standard output carries messages alone: descriptor 1 itself is standard error from here on, and descriptor 0 reads
   nothing, here and in children.
2. A message is sent when the system has taken all of it: a client that does not read makes its calls wait, and once too
   much waits for it, nothing more is read of what it says. What has begun meanwhile ends, and is recorded, all the same.
3. A line that is no message, or one that could be read in two ways (`members`), is answered here (JSON-RPC 2.0, section
   5.1), where the SDK is silent or takes one of the two.

How much of what it asks may be under way is `intake`'s.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import FileIO
from typing import BinaryIO, Literal, Protocol

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage

from mcp_gateway.doors.members import MAX_VALUES, flaw
from mcp_gateway.doors.splice import filled

MAX_LINE_BYTES = 8 * 1024 * 1024
MAX_UNSENT = 256
MAX_UNSENT_BYTES = 16 * 1024 * 1024
"""More messages, or more of them, wait for the client only where its calls were under way already."""
LOOK_SECONDS = 0.1
"""How often it is looked for what nobody tells of: the end of what the client says, room that a cancelled sender leaves."""
NO_MESSAGE = b"?"
PARSE_ERROR = types.JSONRPCError(
    jsonrpc="2.0",
    id=None,
    error=types.ErrorData(code=types.PARSE_ERROR, message="Parse error: a line is no JSON-RPC message"),
)
UNFIT = {
    "a member twice": "Invalid Request: an object has a member twice",
    "too many values": f"Invalid Request: a message holds more than {MAX_VALUES:,} values",
}


class Lines(Protocol):
    """Where lines come from."""

    @property
    def ended(self) -> bool:
        """Whether no more can come than what is here."""

    async def next(self) -> bytes:
        """The next line, empty at the end; in the place of one that is too long, something that is no message."""


class Writer(Protocol):
    """Where lines go."""

    @property
    def kept(self) -> int:
        """Bytes that were handed over and that the system has not taken."""

    async def write(self, line: Sequence[bytes]) -> None:
        """Hand over all of it, in its pieces. Cancelled meanwhile, all of it is still sent: never half a line."""


@asynccontextmanager
async def standard_streams() -> AsyncIterator[tuple[Incoming, Outgoing]]:
    """The messages of the process that started us.

    Raises:
        ConnectionError: nobody reads standard output any more; what runs in the block is cancelled first.
    """
    stdin, stdout = _claim(0, os.O_RDONLY), _claim(1, os.O_WRONLY, becomes=2)
    async with (
        _reading(stdin) as lines,
        _writing(stdout, also=stdin) as writer,
        anyio.create_task_group() as group,
    ):
        outgoing = Outgoing(writer)
        group.start_soon(outgoing.raise_when_broken)
        yield Incoming(lines, outgoing), outgoing
        group.cancel_scope.cancel()


class Incoming:
    """What the client says, as the SDK iterates it."""

    def __init__(self, lines: Lines, answers: Outgoing) -> None:
        self._lines = lines
        self._answers = answers

    async def __aenter__(self) -> Incoming:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def aclose(self) -> None:
        """For the SDK; the block of `standard_streams` closes."""

    def __aiter__(self) -> Incoming:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def receive(self) -> SessionMessage:
        """The next message. Raises `anyio.EndOfStream` when the client has said its last."""
        while line := await self._next_line():
            if line.isspace():
                continue
            if (message := UNFIT.get(flaw(line.strip()) or "")) is not None:
                error = types.ErrorData(code=types.INVALID_REQUEST, message=message)
                await self._answers.send(SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=None, error=error)))
                continue
            try:
                return SessionMessage(types.jsonrpc_message_adapter.validate_json(line.decode("utf-8"), by_name=False))
            except ValueError:  # also what is no UTF-8: with characters replaced it would be another call
                await self._answers.send(SessionMessage(PARSE_ERROR))
        raise anyio.EndOfStream

    async def _next_line(self) -> bytes:
        while not self._answers.has_room:
            if self._lines.ended:
                return b""  # Nobody waits for what it still asked: whatever is under way at the end is cancelled.
            await self._answers.look_again()
        return await self._lines.next()


class Outgoing:
    """What the client is told."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._broken = anyio.Event()
        self._unsent = 0
        self._unsent_bytes = 0
        self._sent = anyio.Event()

    async def __aenter__(self) -> Outgoing:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def aclose(self) -> None:
        """For the SDK; the block of `standard_streams` closes."""

    async def send(self, item: SessionMessage) -> None:
        """Send one message. Raises `anyio.BrokenResourceError` when nobody reads any more."""
        await self.send_line(filled(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"))

    async def send_line(self, line: Sequence[bytes]) -> None:
        """Send one message that is ready, in its pieces, with its line's end. Raises likewise."""
        size = sum(map(len, line))
        self._unsent += 1
        self._unsent_bytes += size
        try:
            await self._writer.write(line)
        except ConnectionError as error:
            self._broken.set()
            raise anyio.BrokenResourceError from error
        finally:
            self._unsent -= 1
            self._unsent_bytes -= size
            self._sent.set()

    @property
    def has_room(self) -> bool:
        """Whether so little is unsent that the client may say more."""
        return self._unsent < MAX_UNSENT and max(self._unsent_bytes, self._writer.kept) < MAX_UNSENT_BYTES

    async def look_again(self) -> None:
        """Wait until something was sent, or for a moment."""
        self._sent = anyio.Event()
        with anyio.move_on_after(LOOK_SECONDS):
            await self._sent.wait()

    async def raise_when_broken(self) -> None:
        """End everything when nobody reads any more."""
        await self._broken.wait()
        raise BrokenPipeError("nobody reads standard output any more")


def _claim(descriptor: int, flags: int, *, becomes: int | None = None) -> int:
    """A standard stream for the protocol alone: the descriptor itself becomes another one, or the null device."""
    private = os.dup(descriptor)
    if becomes is not None:
        os.dup2(becomes, descriptor)
        return private
    nothing = os.open(os.devnull, flags)
    os.dup2(nothing, descriptor)
    os.close(nothing)
    return private


def _is_evented(descriptor: int) -> bool:
    """Whether an event loop can wait for it: a pipe or a socket, no file and no device."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _for_event_loop(descriptor: int, mode: Literal["rb", "wb"]) -> FileIO:
    """A descriptor as an event loop takes it, which closes it when the transport ends, once.

    uvloop closes the descriptor, and after that the file. Between the two another thread can be given its number, as the
    audit store's are when they open its files, so there the file must not close anything.
    """
    closes_both = type(asyncio.get_running_loop()).__module__.partition(".")[0] == "uvloop"
    return open(descriptor, mode, buffering=0, closefd=not closes_both)


@asynccontextmanager
async def _reading(descriptor: int) -> AsyncIterator[Lines]:
    """Lines as they come; from a file, which makes nobody wait, as well."""
    if not (_is_evented(descriptor) or os.isatty(descriptor)):
        with os.fdopen(descriptor, "rb") as file:
            yield _FromFile(file)
        return
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    lines = _FromPipe(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: lines, _for_event_loop(descriptor, "rb"))
    try:
        yield lines
    finally:
        transport.close()


class _FromFile:
    ended = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def next(self) -> bytes:
        return self._file.readline(MAX_LINE_BYTES)


class _FromPipe(asyncio.StreamReaderProtocol):
    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self._lines = reader
        self.ended = False

    def eof_received(self) -> bool | None:
        self.ended = True
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
        super().connection_lost(error)

    async def next(self) -> bytes:
        try:
            return await self._lines.readline()
        except ValueError:  # a line beyond the limit: the reader drops it to its end
            return NO_MESSAGE


@asynccontextmanager
async def _writing(descriptor: int, *, also: int) -> AsyncIterator[Writer]:
    """By the event loop, which makes the descriptor non-blocking: not where it is one file with standard error or input,
    whose reader or writer would then be surprised, nor a file or a terminal. There by a thread.
    """
    if not _is_evented(descriptor) or any(
        os.path.samestat(os.fstat(descriptor), os.fstat(other)) for other in (also, 2)
    ):
        yield _ByThread(descriptor)
        return
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), _for_event_loop(descriptor, "wb")
    )
    transport.set_write_buffer_limits(high=0)
    try:
        yield _ByLoop(asyncio.StreamWriter(transport, protocol, None, loop))
    finally:
        transport.close()


class _ByLoop:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    @property
    def kept(self) -> int:
        return self._writer.transport.get_write_buffer_size()

    async def write(self, line: Sequence[bytes]) -> None:
        if self._writer.transport.is_closing():  # asyncio would drop it; uvloop raises what is no ConnectionError
            raise BrokenPipeError
        for piece in line:
            self._writer.write(piece)
        await self._writer.drain()


class _ByThread:
    kept = 0
    """A line is kept by who sends it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._turn = anyio.Lock()

    async def write(self, line: Sequence[bytes]) -> None:
        def write_all() -> None:
            for piece in line:
                left = memoryview(piece)
                while left:
                    left = left[os.write(self._descriptor, left) :]

        async with self._turn:
            await anyio.to_thread.run_sync(write_all)
