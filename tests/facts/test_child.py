from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

import anyio
import pytest

from mcp_gateway.facts.child import Child
from mcp_gateway.facts.frames import FrameError

pytestmark = pytest.mark.anyio

FRAMES = "import sys, struct; frame = lambda text: struct.pack('>I', len(text)) + text; out = sys.stdout.buffer\n"
ECHO = FRAMES + (
    "while head := sys.stdin.buffer.read(4):\n"
    "    out.write(frame(sys.stdin.buffer.read(*struct.unpack('>I', head))[::-1])); out.flush()\n"
)
SECONDS = 30.0


def program(text: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", text)


async def test_each_question_has_its_answer() -> None:
    child = await Child.start(program(ECHO))
    try:
        for size in (0, 1, 100_000, 3):
            assert await child.ask(b"ab" * size, within=SECONDS) == b"ba" * size
    finally:
        await child.end()
    assert not child.runs
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


async def test_an_answer_that_came_while_the_event_loop_was_held_up_is_in_time() -> None:
    child = await Child.start(program(ECHO))
    try:
        asyncio.get_running_loop().call_later(0, time.sleep, 1)
        assert await child.ask(b"ab", within=0.5) == b"ba"
    finally:
        await child.end()


async def test_an_answer_in_pieces_is_one() -> None:
    slow = FRAMES + (
        "import time\nfor byte in frame(b'ready'):\n    out.write(bytes([byte])); out.flush(); time.sleep(0.001)\n"
        "sys.stdin.read()\n"
    )
    child = await Child.start(program(slow))
    try:
        assert await child.hear(within=SECONDS) == b"ready"
    finally:
        await child.end()


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("out.write(frame(b'a') + frame(b'b'))", FrameError),
        ("out.write(frame(b'a') + b'x')", FrameError),
        ("out.write(struct.pack('>I', 2**31))", FrameError),
        ("out.write(b'\\0\\0\\0\\5abc'); out.close()", EOFError),
        ("sys.exit(3)", EOFError),
        ("out.flush(); sys.stdin.read()", TimeoutError),
    ],
)
async def test_what_is_no_answer_is_an_error(says: str, error: type[Exception]) -> None:
    child = await Child.start(program(f"{FRAMES}{says}\nout.flush()\nsys.stdin.read()\n"))
    try:
        with pytest.raises(error):
            await child.hear(within=SECONDS if error is not TimeoutError else 0.1)
    finally:
        await child.end()


async def test_what_was_said_unasked_is_never_the_answer_to_a_question() -> None:
    child = await Child.start(program(f"{FRAMES}out.write(frame(b'early')); out.flush()\n{ECHO}"))
    try:
        with anyio.fail_after(SECONDS):
            while not child._held:
                await anyio.sleep(0.01)
        with pytest.raises(FrameError, match="unasked"):
            await child.ask(b"a question", within=SECONDS)
    finally:
        await child.end()


async def test_a_process_that_has_ended_is_not_asked() -> None:
    child = await Child.start(program("pass"))
    await child.end()
    with pytest.raises(EOFError):
        await child.ask(b"a question", within=SECONDS)


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False})], ids=["asyncio"])
async def test_a_child_that_is_killed_is_reaped_by_the_event_loop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else asks for its end first takes it away: then asyncio warns, and knows no exit status."""
    may_reap, wait = threading.Event(), asyncio.ThreadedChildWatcher._do_waitpid  # type: ignore[attr-defined]

    def wait_later(*given: object) -> None:
        may_reap.wait(SECONDS)
        wait(*given)

    monkeypatch.setattr(asyncio.ThreadedChildWatcher, "_do_waitpid", wait_later)
    child = await Child.start(program(ECHO))
    child.kill()
    with anyio.fail_after(SECONDS):
        while is_running(child.pid):
            await anyio.sleep(0.01)
    child.kill()
    ending = asyncio.create_task(child.end())
    await asyncio.sleep(0)  # as far as it goes until the process is reaped
    may_reap.set()
    await ending
    assert child._transport.get_returncode() == -signal.SIGKILL


def is_running(pid: int) -> bool:
    """Whether a process has not ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


async def test_children_leave_no_descriptor() -> None:
    for content in ("pass", "input()"):
        child = await Child.start(program(content))
        handle = child._handle
        if content == "pass":
            await child._gone.wait()
        child.kill()
        await child.end()
        assert child._handle is None
        assert handle is None or not Path(f"/proc/self/fd/{handle}").is_symlink()
