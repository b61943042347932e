"""A call that was begun before the SDK, for whoever answers it: `fast_path` with its result, or the SDK's handler.

It runs in a task of its own, so that the two can wait for it one after the other. What runs is what was read first; a
handler that has read something else gets nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context, ContextVar
from typing import Any

import anyio
from starlette.requests import Request

from mcp_gateway.answers import Answer, Masked
from mcp_gateway.approval.holding import Action, Channels, InputRequired
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.calls import JSONObject

KEY = "mcp_gateway.call_under_way"
"""Of the call in the ASGI scope."""


class GivenUpError(Exception):
    """Its client wants no answer to this call."""


class HandOver:
    """What a call may want of a session, which only the SDK's handler has: a form for the caller's human, and progress.

    Whoever wants one of them waits until the handler has taken the call over.
    """

    def __init__(self) -> None:
        self.wanted = False
        self.when_wanted: Callable[[], object] = lambda: None
        """Called once, when something is wanted."""
        self._came: anyio.Event | None = None
        self._channels: Channels | None = None

    def come(self, channels: Channels) -> None:
        """Say what the handler can do."""
        self._channels = channels
        if self._came is not None:
            self._came.set()

    async def confirm(self, ticket: Ticket, seconds: float) -> Action:
        """Ask the caller's human by a form."""
        confirm = (await self._brought()).confirm
        return await confirm(ticket, seconds) if confirm is not None else "cancel"

    async def progress(self, done: float, total: float, message: str) -> None:
        """Tell the client how far."""
        progress = (await self._brought()).progress
        if progress is not None:
            await progress(done, total, message)

    async def _brought(self) -> Channels:
        while self._channels is None:
            if self._came is None:
                self._came, self.wanted = anyio.Event(), True
                self.when_wanted()
            await self._came.wait()
        return self._channels


class CallUnderWay:
    """One call on its road, in a task of its own, so that whoever waits for it can be another one later."""

    def __init__(
        self, work: Awaitable[Answer | InputRequired], *, tool: str, arguments: JSONObject, hand_over: HandOver
    ) -> None:
        self.hand_over = hand_over
        self._work = work
        self._tool = tool
        self._arguments = arguments
        self._scope = anyio.CancelScope()
        self.taken = False
        """Whether the SDK's handler has taken it over."""
        self.given_up = False
        """Whether its client has said that it wants no answer."""
        self.handed = False
        """Whether the SDK hears of it before it hears of anything that its client says of it."""
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> Answer | InputRequired | None:
        with self._scope:
            return await self._work
        return None

    def result(self) -> Masked | None:
        """The result, if the call has ended with one."""
        if not self.task.done() or self.task.cancelled() or self.task.exception() is not None:
            return None
        answer = self.task.result()
        return answer.outcome if isinstance(answer, Answer) and isinstance(answer.outcome, Masked) else None

    @property
    def is_left(self) -> bool:
        """Whether nobody has taken it over who should have."""
        return not (self.taken or self.given_up)

    async def end(self) -> None:
        """Cancel it at its target unless it has ended, and wait until that is recorded."""
        if self.task.done():
            return
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({self.task})

    def give_up(self) -> None:
        """Cancel it at its target, because its client wants no answer. What is the SDK's by now, the SDK cancels."""
        if not (self.taken or self.handed or self.task.done()):
            self.given_up = True
            self._scope.cancel()

    async def take_over(self, *, tool: str, arguments: Mapping[str, Any], channels: Channels) -> Answer | InputRequired:
        """Wait for the answer, as the SDK's handler of what it read as this call; cancelled, the call is.

        Raises:
            GivenUpError: nobody waits for it any more.
        """
        if self.given_up:
            raise GivenUpError
        self.taken = True
        self.hand_over.come(channels)
        if (tool, arguments) != (self._tool, self._arguments):
            await self.end()
            raise RuntimeError("the SDK has read another call than the one that is under way")
        try:
            await asyncio.wait({self.task})
        except BaseException:
            await self.end()
            raise
        answer = self.task.result()
        if answer is None:
            raise RuntimeError("a call was cancelled that somebody still waits for")
        return answer


_handed: ContextVar[CallUnderWay] = ContextVar("handed")
"""The call that runs already for the request whose handler this is, where its transport has no scope."""


def handed_to(context: Context, call: CallUnderWay) -> None:
    """Let the handler that runs in this context take a call over."""
    call.handed = True
    context.run(_handed.set, call)


def taken_over(request: object) -> CallUnderWay | None:
    """The call that runs already for the request that an SDK's handler has before it."""
    if not isinstance(request, Request):
        return _handed.get(None)
    found = request.scope.get(KEY)
    return found if isinstance(found, CallUnderWay) else None
