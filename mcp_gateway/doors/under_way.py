"""A call that was begun before the SDK, for whoever answers it: `fast_path` with its result, or the SDK's handler.

It runs in a task of its own, so that the two can wait for it one after the other. What runs is what was read first; a
handler that has read something else gets nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import anyio
from starlette.requests import Request

from mcp_gateway.answers import Answer, Masked
from mcp_gateway.approval.holding import InputRequired
from mcp_gateway.calls import JSONObject

KEY = "mcp_gateway.call_under_way"
"""Of the call in the ASGI scope."""


class CallUnderWay:
    """One call on its road, in a task of its own, so that whoever waits for it can be another one later."""

    def __init__(self, work: Awaitable[Answer | InputRequired], *, tool: str, arguments: JSONObject) -> None:
        self._work = work
        self._tool = tool
        self._arguments = arguments
        self._scope = anyio.CancelScope()
        self.taken = False
        """Whether the SDK's handler has taken it over."""
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

    async def end(self) -> None:
        """Cancel it at its target unless it has ended, and wait until that is recorded."""
        if self.task.done():
            return
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({self.task})

    async def take_over(self, *, tool: str, arguments: JSONObject) -> Answer | InputRequired:
        """Wait for the answer, as the SDK's handler of what it read as this call; cancelled, the call is."""
        self.taken = True
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


def taken_over(request: object) -> CallUnderWay | None:
    """The call that runs already for the request that an SDK's handler has before it."""
    found = request.scope.get(KEY) if isinstance(request, Request) else None
    return found if isinstance(found, CallUnderWay) else None
