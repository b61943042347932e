"""The end of an HTTP server: what runs is finished and answered, and whoever only listens is let go.

A client of the older protocol, or of SSE, keeps a stream open for as long as it lives; to wait for its end would be to wait
for nothing. So the server ends when nothing is being asked any more, and in any case when its time is over: then the
connections are closed, and what still runs is cancelled at its target like any call whose client has gone.
The only module that looks into uvicorn's state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import uvicorn

GRACE_SECONDS = 20
"""How long running calls have at a shutdown before they are cancelled at their targets."""
RECORD_SECONDS = 5
"""How long that, and recording it, may take then."""
POLL_SECONDS = 0.02
QUIET_SECONDS = 0.2
"""How long nothing may be asked before all is answered: an answer over SSE leaves by another request than its question's."""


async def end_in_order(server: uvicorn.Server, *, is_idle: Callable[[], bool], seconds: float) -> None:
    """Take no more connections, wait until all is answered, and close those that are left.

    `is_idle` tells whether no call is under way; `server` ends by itself once its connections have.
    """
    server.should_exit = True
    with anyio.move_on_after(seconds):
        quiet = 0.0
        while quiet < QUIET_SECONDS:
            await anyio.sleep(POLL_SECONDS)
            quiet = quiet + POLL_SECONDS if is_idle() and not _is_asked(server) else 0.0
    close_connections(server)


def close_connections(server: uvicorn.Server) -> None:
    """Hang up on every client; what has been written is still sent."""
    connections: list[Any] = list(server.server_state.connections)
    for connection in connections:
        connection.transport.close()


def _is_asked(server: uvicorn.Server) -> bool:
    """Whether some request that is no standing stream has not had its answer."""
    connections: list[Any] = list(server.server_state.connections)
    cycles = [connection.cycle for connection in connections if connection.cycle is not None]
    return any(not cycle.response_complete and cycle.scope["method"] != "GET" for cycle in cycles)
