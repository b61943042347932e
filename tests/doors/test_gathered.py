"""A response leaves in one piece, and nothing of what was written is lost or held."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_gateway.doors.gathered import HELD_BYTES, Gathered

pytestmark = pytest.mark.anyio


class Carrier:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed, "nothing is written to a connection that is over"
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 7

    def get_extra_info(self, name: str) -> Any:
        return name


def gathered() -> tuple[Gathered, Carrier]:
    carrier = Carrier()
    return Gathered(carrier, loop=asyncio.get_running_loop()), carrier


async def test_what_is_written_in_one_turn_of_the_loop_leaves_together() -> None:
    one, carrier = gathered()

    one.write(b"head")
    one.write(b"body")
    assert (carrier.written, one.get_write_buffer_size()) == ([], len(b"headbody") + 7)
    await asyncio.sleep(0)
    one.write(b"next")
    await asyncio.sleep(0)

    assert (carrier.written, one.get_write_buffer_size()) == ([b"headbody", b"next"], 7)


async def test_what_waits_is_sent_before_the_connection_is_closed() -> None:
    one, carrier = gathered()

    one.write(b"answer")
    one.close()
    await asyncio.sleep(0)

    assert (carrier.written, carrier.closed) == ([b"answer"], True)


async def test_nothing_is_sent_to_a_connection_that_was_aborted() -> None:
    one, carrier = gathered()

    one.write(b"answer")
    one.abort()
    one.write(b"more")
    await asyncio.sleep(0)

    assert carrier.written == []


async def test_much_is_not_held() -> None:
    one, carrier = gathered()

    one.write(b"x" * HELD_BYTES)
    one.write(b"y")
    assert carrier.written == [b"x" * HELD_BYTES + b"y"]
    one.write(b"z")
    await asyncio.sleep(0)

    assert carrier.written[1:] == [b"z"]


async def test_whatever_else_is_asked_is_the_carriers_to_say() -> None:
    one, carrier = gathered()

    assert one.get_extra_info("peername") == "peername"
    assert one.is_closing() is carrier.closed
