"""Plain calls on the road, and their results as messages: what both kinds of transports do before the SDK.

Above are `fast_path` for HTTP and `stream_calls` for standard streams, below is the one road.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import orjson

from mcp_gateway.admission import Request
from mcp_gateway.answers import Answer
from mcp_gateway.approval.holding import Channels, InputRequired
from mcp_gateway.calls import Door, JSONObject
from mcp_gateway.doors.mcp import Identify, text_of
from mcp_gateway.doors.plain_calls import Declared, PlainCall
from mcp_gateway.doors.under_way import HandOver
from mcp_gateway.pipeline import Road

SESSION_END = b',"isError":false}}'


class Carrier:
    """One door's."""

    def __init__(
        self,
        road: Road,
        *,
        door: Door,
        result_meta: JSONObject,
        answer_within: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        """`result_meta` is the `_meta` of each result in the revisions without a handshake."""
        self._road = road
        self._door = door
        self._end = b',"isError":false,"resultType":"complete","_meta":%b}}' % orjson.dumps(result_meta)
        self._answer_within = answer_within
        self._clock = clock

    def call(
        self, plain: PlainCall, declared: Declared, *, identify: Identify, hand_over: HandOver
    ) -> Awaitable[Answer | InputRequired]:
        """The call's whole way; `declared` is what its client has said, here or to its session."""
        in_session = plain.declared is None
        return self._road.call(
            Request(
                door=self._door,
                tool=plain.tool,
                arguments=plain.arguments,
                identify=identify,
                client=replace(declared.client, trace=plain.trace) if plain.trace else declared.client,
                channels=Channels(
                    confirm=hand_over.confirm if in_session and declared.can_fill_in else None,
                    progress=hand_over.progress if plain.wants_progress else None,
                    can_require_input=declared.can_fill_in and not in_session,
                ),
                answer_by=self._clock() + self._answer_within,
            )
        )

    def result(self, plain: PlainCall, ready: bytes) -> list[bytes]:
        """The message that answers a call, in pieces, around the bytes that were recorded."""
        begin = b'{"jsonrpc":"2.0","id":%b,"result":{"content":[{"type":"text","text":%b}],"structuredContent":' % (
            orjson.dumps(plain.id),
            orjson.dumps(text_of(ready)),
        )
        return [begin, ready, self._end if plain.declared is not None else SESSION_END]
