"""The transport for standard streams, in a process of its own that answers every request with what it was asked."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar

import anyio
import mcp_types as types
import orjson
import pytest
import uvloop
from mcp.shared.message import SessionMessage

from mcp_gateway.doors import standard_streams
from mcp_gateway.doors.standard_streams import PARSE_ERROR, Outgoing, _reading, _writing
from tests.pipes import write_all

pytestmark = pytest.mark.timeout(180)

PROGRAM = """
import os, sys, anyio, mcp_types as types
from mcp.shared.message import SessionMessage
from mcp_gateway.doors.standard_streams import standard_streams

async def main():
    try:
        async with standard_streams() as (incoming, outgoing):
            print("a stray line", flush=True)
            assert not sys.stdin.read()
            async with anyio.create_task_group() as group:
                async for item in incoming:
                    answer = types.JSONRPCResponse(jsonrpc="2.0", id=item.message.id, result=item.message.params or {})
                    group.start_soon(outgoing.send, SessionMessage(answer))
    except* (ConnectionError, anyio.BrokenResourceError) as errors:
        sys.exit(5 if errors.subgroup(ConnectionError) else 6)

anyio.run(main, backend_options={"use_uvloop": True})
"""
END_SECONDS = 20
PIPE = subprocess.PIPE


def message(number: int, text: str = "") -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": number, "method": "echo", "params": {"text": text}}) + b"\n"


@contextmanager
def running(**streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    command = ["env", "--default-signal=INT", sys.executable, "-I", "-c", PROGRAM]
    with subprocess.Popen(command, bufsize=0, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def ids(said: bytes) -> list[int]:
    return [orjson.loads(line)["id"] for line in said.splitlines()]


def test_messages_alone_are_on_standard_output_and_strays_on_standard_error() -> None:
    with running(stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        out, errors = process.communicate(
            b"\n \n" + message(1) + b'\xff{"' + b"\n" + message(2, "ö\u2028"), END_SECONDS
        )

    answers = [orjson.loads(line) for line in out.split(b"\n")[:-1]]
    assert sorted(answer["id"] or 0 for answer in answers) == [0, 1, 2]
    assert [answer["error"]["code"] for answer in answers if answer["id"] is None] == [-32700]
    assert [answer["result"]["text"] for answer in answers if answer["id"] == 2] == ["ö\u2028"]
    assert (process.returncode, errors) == (0, b"a stray line\n")


@pytest.mark.requirement("R14", "R21")
def test_a_message_that_can_be_read_in_two_ways_is_answered_as_none() -> None:
    twice = message(1).replace(b'"text":""', b'"text":"a", "te\\u0078t":"b"')
    with running(stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        out, _ = process.communicate(twice + message(1).replace(b'"id":1', b'"id":3,"id":1') + message(2), END_SECONDS)

    answers = [orjson.loads(line) for line in out.splitlines()]
    error = {"code": -32600, "message": "Invalid Request: an object has a member twice"}
    assert answers[:2] == [{"jsonrpc": "2.0", "id": None, "error": error}] * 2
    assert [answer["id"] for answer in answers[2:]] == [2]


@pytest.mark.requirement("R22")
def test_a_message_of_more_values_than_any_call_may_have_is_answered_as_none() -> None:
    many = message(1).replace(b'"text":""', b'"json":[' + b",".join([b"1"] * 60_000) + b"]")
    with running(stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        out, _ = process.communicate(many + message(2), END_SECONDS)

    refused, answer = (orjson.loads(line) for line in out.splitlines())
    error = {"code": -32600, "message": "Invalid Request: a message holds more than 50,000 values"}
    assert refused == {"jsonrpc": "2.0", "id": None, "error": error}
    assert answer["id"] == 2


@pytest.mark.parametrize("shared", [False, True])
def test_files_serve_as_well_as_pipes(tmp_path: Path, shared: bool) -> None:
    (tmp_path / "in").write_bytes(b"".join(message(number, "x" * 100_000) for number in range(20)))
    with (
        (tmp_path / "in").open("rb") as given,
        (tmp_path / "out").open("wb") as out,
        running(stdin=given, stdout=out, stderr=out if shared else PIPE) as process,
    ):
        assert process.wait(END_SECONDS) == 0

    said = (tmp_path / "out").read_bytes().replace(b"a stray line\n", b"")
    assert sorted(ids(said)) == list(range(20))


def test_one_socket_serves_both_ways() -> None:
    ours, theirs = socket.socketpair()
    with ours, running(stdin=theirs, stdout=theirs, stderr=PIPE) as process:
        theirs.close()
        ours.sendall(message(1) + message(2))
        said = b""
        while said.count(b"\n") < 2:
            said += ours.recv(65536)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(END_SECONDS) == 0
    assert sorted(ids(said)) == [1, 2]


def test_standard_error_in_the_same_pipe_stays_blocking() -> None:
    with running(stdin=PIPE, stdout=PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"a stray line\n"
        assert os.get_blocking(process.stdout.fileno())
        write_all(process.stdin, message(1))
        assert ids(process.stdout.readline()) == [1]


def test_a_person_at_a_terminal_can_speak_to_it() -> None:
    ours, theirs = pty.openpty()
    with running(stdin=theirs, stdout=theirs, stderr=PIPE) as process:
        os.write(ours, message(1))
        said = b""
        while b'"result"' not in said:
            said += os.read(ours, 65536)
        os.write(ours, b"\x04")
        assert process.wait(END_SECONDS) == 0
    os.close(ours)
    os.close(theirs)


def test_a_client_that_does_not_read_makes_answers_wait_and_gets_them_all() -> None:
    text = "x" * 300_000
    with running(stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(20):
            write_all(process.stdin, message(number, text))
        process.stdin.close()
        said = process.stdout.read()
        assert process.wait(END_SECONDS) == 0
    assert sorted(ids(said)) == list(range(20))


@pytest.mark.requirement("R20")
def test_a_client_that_reads_nothing_is_read_no_more_until_it_does() -> None:
    sent: list[int] = []

    def write(stdin: IO[bytes]) -> None:
        for number in range(600):
            write_all(stdin, message(number, "x" * 100_000))
            sent.append(number)

    with running(stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        writer = threading.Thread(target=write, args=[process.stdin], daemon=True)
        writer.start()
        before = -1
        while before < len(sent) < 600:
            before = len(sent)
            writer.join(0.5)
        taken = len(sent)
        with open(process.stdout.fileno(), "rb", closefd=False) as answers:
            said = [answers.readline() for _ in range(600)]
        writer.join()
        process.stdin.close()  # not before: what is still unread then is answered to nobody
        assert process.wait(END_SECONDS) == 0
    assert taken < 600, "60 MB, of which nothing was read"
    assert sorted(ids(b"".join(said))) == list(range(600))


class Unread:
    """A place for lines of which nothing is taken before `gate`; `kept` is what its buffer holds."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.kept = 0

    async def write(self, line: Sequence[bytes]) -> None:
        size = sum(map(len, line))
        self.kept += size
        await self.gate.wait()
        self.kept -= size


@pytest.mark.anyio
@pytest.mark.requirement("R20")
@pytest.mark.parametrize(("size", "most"), [(1, 256), (4 * 1024 * 1024, 4)])
async def test_there_is_no_room_while_too_much_is_unsent_be_it_of_who_was_cancelled(size: int, most: int) -> None:
    unread = Unread()
    outgoing = Outgoing(unread)
    answer = types.JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "x" * size})
    async with anyio.create_task_group() as group:
        for number in range(most):
            assert outgoing.has_room, number
            group.start_soon(outgoing.send, SessionMessage(answer))
            await anyio.wait_all_tasks_blocked()
        assert not outgoing.has_room
        if size > 1:
            group.cancel_scope.cancel()
        unread.gate.set()
    assert outgoing.has_room == (size == 1)
    unread.kept = 0
    assert outgoing.has_room


def test_a_client_that_does_not_read_does_not_hold_the_end_up() -> None:
    with running(stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        write_all(process.stdin, message(1, "x" * 300_000))
        assert process.stdout.read(1) == b"{"
        process.send_signal(signal.SIGINT)
        assert process.wait(END_SECONDS) != 0


def test_it_ends_when_nobody_reads_any_more() -> None:
    with running(stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        write_all(process.stdin, message(1))
        assert ids(process.stdout.readline()) == [1]
        process.stdout.close()
        write_all(process.stdin, message(2))
        assert process.wait(END_SECONDS) == 5


@pytest.mark.anyio
async def test_what_is_sent_when_nobody_reads_any_more_is_a_broken_stream() -> None:
    reader, writer = os.pipe()
    async with _writing(writer, also=0) as write:
        os.close(reader)
        for _ in range(3):
            with pytest.raises(anyio.BrokenResourceError):
                await Outgoing(write).send(SessionMessage(PARSE_ERROR))
        assert Outgoing(write).has_room


class Watched(io.FileIO):
    """A file whose descriptor's number is given to somebody else where it is free before the file is closed."""

    stolen: ClassVar[list[int]] = []

    def close(self) -> None:
        if self.closed:
            return
        number = self.fileno()
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDONLY)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            self.stolen.append(number)
        super().close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_descriptor_that_was_closed_is_not_closed_for_its_next_owner(
    monkeypatch: pytest.MonkeyPatch, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """uvloop closes a pipe, then its file: a store that opened its database in between found it closed."""
    (reading, theirs), (other, writing) = os.pipe(), os.pipe()
    monkeypatch.setattr(Watched, "stolen", [])
    monkeypatch.setattr(
        standard_streams,
        "open",
        lambda of, mode, *, closefd, **_: Watched(of, mode[:1], closefd=closefd),
        raising=False,
    )

    async def use_both() -> None:
        async with _reading(reading) as lines, _writing(writing, also=theirs) as writer:
            assert not lines.ended
            assert not writer.kept
        for _ in range(10):
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(use_both())

    for number in Watched.stolen:
        os.fstat(number)
        os.close(number)
    for number in {reading, writing} - set(Watched.stolen):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
    os.close(theirs)
    os.close(other)
