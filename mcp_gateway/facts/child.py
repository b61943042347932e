"""A child process that answers questions, one at a time: the pipes to it, and its end.

On asyncio's transports themselves: a statement is examined in every call, and its answer is one frame that mostly comes in
one piece, for which streams would be several tasks' worth of waiting.

Only the event loop reaps it. `Popen`, by which asyncio's transport kills and closes, asks first whether the process has
ended, and reaps it then: the loop, which waits for it in a thread, would find no process any more. So a signal goes by
a descriptor of the process, which stays that of the process, and the transport is closed after the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from mcp_gateway.facts.frames import LENGTH, MAX_FRAME_BYTES, FrameError, framed

STDIN = 0
SECOND_LOOK = 0.05
"""Seconds: where the event loop itself was held up, what has come meanwhile is read before time is called."""


class Child(asyncio.SubprocessProtocol):
    """A running process."""

    def __init__(self) -> None:
        self._held = bytearray()
        """What has come of the next answer."""
        self._asked: asyncio.Future[bytes] | None = None
        self._owes = False
        self._gone = asyncio.Event()
        self._transport: asyncio.SubprocessTransport
        self._handle: int | None = None
        """A descriptor of the process; None where the system has no such thing, or it has ended."""

    @classmethod
    async def start(cls, command: Sequence[str]) -> Child:
        """Start it. Nothing of our environment, directory, terminal or streams reaches it; other descriptors it closes itself."""
        _, child = await asyncio.get_running_loop().subprocess_exec(
            cls, *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}, cwd="/", start_new_session=True
        )
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._transport.get_pid()

    @property
    def runs(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return not self._gone.is_set()

    @property
    def owes(self) -> bool:
        """Whether it was asked something and has not answered yet, whether or not anybody waits for that."""
        return self._owes

    async def ask(self, content: bytes, *, within: float) -> bytes:
        """Send one request and wait for its answer, for so many seconds. It is not asked again unless that went well."""
        if self._held or self._owes:
            raise FrameError("the process has said something unasked, or has not answered yet")
        pipe = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(STDIN))
        answer = self._expected()
        self._owes = True
        pipe.write(framed(content))
        return await self._in_time(answer, within=within)

    async def hear(self, *, within: float) -> bytes:
        """Wait for what it says unasked, or for an answer that nobody has waited for."""
        return await self._in_time(self._expected(), within=within)

    def kill(self) -> None:
        """Kill it, if it runs."""
        if not self.runs:
            return
        with suppress(ProcessLookupError):
            if self._handle is None:
                self._transport.kill()
            else:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    async def end(self) -> None:
        """Kill it and wait until it is reaped."""
        self.kill()
        try:
            await self._gone.wait()
        finally:
            self._transport.close()

    def _expected(self) -> asyncio.Future[bytes]:
        if not self.runs:
            raise EOFError("the process has ended")
        self._asked = asyncio.get_running_loop().create_future()
        self._take()
        return self._asked

    async def _in_time(self, answer: asyncio.Future[bytes], *, within: float) -> bytes:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(within, loop.call_later, SECOND_LOOK, _fail, answer, TimeoutError())
        try:
            return await answer
        finally:
            timer.cancel()
            self._asked = None

    def _take(self) -> None:
        """Give the answer to whoever waits, once it is whole."""
        if self._asked is None or len(self._held) < LENGTH.size:
            return
        (length,) = LENGTH.unpack_from(self._held)
        end = LENGTH.size + length
        if length > MAX_FRAME_BYTES:
            _fail(self._asked, FrameError(f"an answer of {length:,} bytes is too long"))
        elif len(self._held) > end:
            _fail(self._asked, FrameError("the process has said more than it was asked"))
        elif len(self._held) == end and not self._asked.done():
            self._asked.set_result(bytes(self._held[LENGTH.size :]))
            self._held.clear()
            self._owes = False

    # What the event loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has been started."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._handle = _handle_of(self.pid)

    def pipe_data_received(self, fd: int, data: Any) -> None:  # noqa: ARG002 - only one pipe is read
        """It has said something."""
        self._held += data
        self._take()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - whichever pipe, it is over
        """It has closed a pipe."""
        _fail(self._asked, EOFError("the process closed its streams"))

    def process_exited(self) -> None:
        """It has ended."""
        self._gone.set()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        _fail(self._asked, EOFError("the process has ended"))


def _handle_of(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # only Linux has them; a sandbox may forbid them; it may have ended already
        return None


def _fail(answer: asyncio.Future[bytes] | None, why: Exception) -> None:
    if answer is not None and not answer.done():
        answer.set_exception(why)
