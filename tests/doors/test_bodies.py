"""One text in every encoding, and cut at every place: only whole JSON in UTF-8 is let in."""

from __future__ import annotations

import json

import pytest
from starlette.types import Message

from mcp_gateway.doors.bodies import (
    GONE,
    MAX_BODY_BYTES,
    MAX_OPEN_BYTES,
    NO_JSON,
    NO_TEXT,
    TOO_LARGE,
    TOO_MUCH,
    TWICE,
    Fits,
    OpenBodies,
    Unfit,
    replayed,
    whole_body,
)

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R21")]
CALL = '{"method":"tools/call","path":"xé\u2028😀"}'


async def read(*pieces: bytes, goes: bool = False, length: bytes = b"", fits: Fits = lambda _: True) -> bytes | Unfit:
    """What is made of a body that comes in pieces."""
    left: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    left.append({"type": "http.disconnect"} if goes else {"type": "http.request", "more_body": False})

    async def receive() -> Message:
        return left.pop(0)

    headers = [(b"content-length", length)] if length else []
    return await whole_body({"type": "http", "headers": headers}, receive, fits=fits)


async def test_utf8_arrives_as_it_was_sent_however_it_is_cut() -> None:
    body = CALL.encode()
    for cut in range(len(body) + 1):
        assert await read(body[:cut], b"", body[cut:]) == body


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"]
)
async def test_no_other_encoding_is_let_in(encoding: str) -> None:
    body = CALL.encode(encoding)
    assert json.loads(body)["method"] == "tools/call"
    assert await read(body) == NO_TEXT
    assert await read(body[:1], body[1:]) == NO_TEXT


@pytest.mark.parametrize("wrong", [b"\xed\xa0\x80", b"\x00", b"\xff", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe2\x80"])
async def test_what_is_no_utf8_is_not_let_in(wrong: bytes) -> None:
    assert await read(b'{"path":"x' + wrong + b'"}') == NO_TEXT


async def test_a_client_that_goes_in_the_middle_has_sent_nothing() -> None:
    assert await read(CALL.encode(), goes=True) == GONE


@pytest.mark.requirement("R22")
async def test_a_body_beyond_the_limit_is_refused_by_what_it_says_and_by_what_it_is() -> None:
    for length in (str(MAX_BODY_BYTES + 1).encode(), b"9" * 5000):
        assert await read(length=length) == TOO_LARGE
    first, second = b'"' + b"x" * (MAX_BODY_BYTES // 2 - 1), b"x" * (MAX_BODY_BYTES // 2 - 1) + b'"'
    assert await read(first, second) == first + second
    assert await read(first, second, b" ") == TOO_LARGE
    assert await read(first, second, b" ", length=b"1") == TOO_LARGE


async def test_what_is_no_json_or_names_a_member_twice_is_not_let_in_however_it_is_cut() -> None:
    for body, unfit in ((b'{"a":1,"a":2}', TWICE), (b'{"a":1,', NO_JSON), (b" ", NO_JSON)):
        for cut in range(len(body) + 1):
            assert await read(body[:cut], body[cut:]) == unfit
    assert await read(b"", b"") == b""


async def test_what_was_read_is_told_again_and_then_what_comes() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    again = replayed(b"x", receive)
    assert await again() == {"type": "http.request", "body": b"x", "more_body": False}
    assert await again() == {"type": "http.disconnect"}


@pytest.mark.requirement("R22", "R23")
async def test_what_a_person_has_open_is_bounded_in_bytes_while_it_arrives_and_once_it_is_read() -> None:
    bodies = OpenBodies()
    with bodies.counted("alex") as fits:
        assert fits(MAX_OPEN_BYTES - 10)
        with bodies.counted("alex") as further:
            assert await read(b'"', b"x" * 10, b'"', fits=further) == TOO_MUCH
        with bodies.counted("alex") as further:
            assert await read(b'"', b"x" * 7, b'"', fits=further) == b'"xxxxxxx"'
        with bodies.counted("sam") as others:
            assert await read(b'"', b"x" * 10, b'"', fits=others) == b'"xxxxxxxxxx"'
    many = b"[" + b",".join([b"[]"] * 40_000) + b"]"
    with bodies.counted("alex") as fits:
        assert fits(MAX_OPEN_BYTES - 2 * len(many))
        with bodies.counted("alex") as further:
            assert await read(many, fits=further) == TOO_MUCH
    with bodies.counted("alex") as alone:
        assert alone(2 * MAX_OPEN_BYTES)
    assert not bodies._sizes
