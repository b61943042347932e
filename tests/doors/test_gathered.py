"""A response leaves in one piece, and nothing of what was written is lost or held."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_gateway.doors.gathered import HELD_BYTES, PIECE_BYTES, Gathered

pytestmark = pytest.mark.anyio


class Carrier:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False
        self.reads = True
        self.unsent = 7
        self.takes = True

    def write(self, data: bytes) -> None:
        assert not self.closed, "nothing is written to a connection that is over"
        self.written.append(data)
        if not self.takes:
            self.unsent += len(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, *, high: int) -> None:
        assert high == HELD_BYTES

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

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


def slow() -> tuple[Gathered, Carrier, bytes]:
    """Whose client does not read, and what was written to it."""
    one, carrier = gathered()
    carrier.takes = False
    content = bytes(range(256)) * (10 * PIECE_BYTES // 256)
    one.write(b"head")
    one.write(content)
    return one, carrier, b"head" + content


def read(one: Gathered, carrier: Carrier) -> None:
    """The client takes what was sent."""
    carrier.unsent = 0
    one.go_on()


async def test_of_much_a_client_that_does_not_read_is_given_one_piece_and_all_of_it_counts() -> None:
    one, carrier, content = slow()
    one.write(b"and more")

    assert one.is_behind
    for pieces in range(1, 11):
        await asyncio.sleep(0)
        assert sum(map(len, carrier.written)) <= pieces * PIECE_BYTES + HELD_BYTES
        assert (
            one.get_write_buffer_size()
            == len(content) + len(b"and more") - sum(map(len, carrier.written)) + carrier.unsent
        )
        read(one, carrier)
    read(one, carrier)

    assert (b"".join(carrier.written), one.is_behind) == (content + b"and more", False)
    carrier.unsent = HELD_BYTES + 1
    assert one.is_behind


async def test_much_is_kept_whole_until_the_carrier_has_nearly_all_of_it() -> None:
    one, carrier, content = slow()
    await asyncio.sleep(0)

    for _ in range(9):
        assert one.is_behind
        assert one.kept_bytes == len(content) + max(PIECE_BYTES, carrier.unsent)
        read(one, carrier)
    assert one.kept_bytes == len(content) + PIECE_BYTES > 5 * one.get_write_buffer_size()
    read(one, carrier)

    assert one.kept_bytes == one.get_write_buffer_size() == 0


async def test_a_piece_is_kept_whole_until_it_has_left() -> None:
    one, carrier = gathered()
    carrier.unsent = 0

    one.write(b"x" * HELD_BYTES)
    assert one.kept_bytes == HELD_BYTES
    one.write(b"y")
    carrier.unsent = 1
    assert (one.kept_bytes, one.get_write_buffer_size()) == (HELD_BYTES + 1, 1)
    carrier.unsent = 0
    assert one.kept_bytes == 0


async def test_what_is_written_while_much_waits_does_not_overtake_it() -> None:
    one, carrier, content = slow()

    one.write(b"next")
    await asyncio.sleep(0)
    for _ in range(12):
        read(one, carrier)

    assert b"".join(carrier.written) == content + b"next"


async def test_a_connection_that_is_closed_over_much_sends_it_and_reads_nothing_more() -> None:
    one, carrier, content = slow()

    one.close()
    one.resume_reading()
    assert (one.is_closing(), carrier.closed, carrier.reads) == (True, False, False)
    one.write(b"too late")
    for _ in range(12):
        read(one, carrier)

    assert (b"".join(carrier.written), carrier.closed) == (content, True)


async def test_a_connection_that_is_lost_over_much_keeps_nothing_of_it() -> None:
    one, carrier, _ = slow()
    sent = len(carrier.written)

    one.abort()
    carrier.unsent = 0
    one.go_on()

    assert (len(carrier.written), one.get_write_buffer_size()) == (sent, 0)
