"""A gateway on standard streams: whoever started it dies or does not read, and whatever a library prints; nothing is left,
nothing is mixed, and nothing grows without an end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import orjson
import pytest

from tests.audit.records import ROOT
from tests.doors.noisy_program import NOISE
from tests.doors.token_doors import INITIALIZE, INITIALIZED, call
from tests.end_to_end.test_stdio import an_api, configure
from tests.faults.sizes import FULL, in_full, times
from tests.invariants.world import HAS_PROC, World, descendants, read_store, start_time
from tests.memory import MIB
from tests.peers.api import answer
from tests.pipes import write_all

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R33"), pytest.mark.timeout(times(commit=300, full=3600))]

GONE_SECONDS = 2.0 if FULL else 30.0
"""With every commit the machine may be busy with other tests; in full it has 2 s."""
POLL_SECONDS = 0.01

PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(sys.argv[1], "wb"))
for line in sys.stdin.buffer:
    child.stdin.write(line)
    child.stdin.flush()
while True:
    time.sleep(60)
"""
"""A host that starts a gateway, passes on what it is told, and then does nothing until it is killed."""


@pytest.mark.skipif(not HAS_PROC, reason="this system has no /proc")
async def test_a_gateway_ends_with_its_parent_and_leaves_no_child_and_no_open_call(
    tmp_path: Path, world: World
) -> None:
    took: list[float] = []
    for number in range(times(commit=1, full=20)):
        folder = tmp_path / str(number)
        folder.mkdir(mode=0o700)
        async with an_api(folder) as api:
            api.stall = True
            command = [sys.executable, "-c", PARENT, str(folder / "stderr.log"), *configure(folder, api, world)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0) as parent:
                assert parent.stdin is not None
                for message in (INITIALIZE, INITIALIZED, call()):
                    parent.stdin.write(orjson.dumps(message) + b"\n")
                parent.stdin.close()
                with anyio.fail_after(60):
                    while not api.requests:
                        await anyio.sleep(POLL_SECONDS)
                world.look()
                left = {pid: start_time(pid) for pid in descendants(parent.pid)}
                assert len(left) >= 1, "the gateway, and what it has started"
                parent.kill()
                killed = time.monotonic()
                with anyio.fail_after(GONE_SECONDS):
                    while any(start_time(pid) == since for pid, since in left.items() if since):
                        await anyio.sleep(POLL_SECONDS)
                took.append(time.monotonic() - killed)
                parent.wait()
        kinds = [row.kind for row in read_store(folder / "data").rows]
        assert kinds[-4:] == ["Started", "Cancelled", "Answered", "GatewayStopped"]
        assert b"Traceback" not in (folder / "stderr.log").read_bytes()
    print(f"{len(took)} gateways gone after their parents within {max(took):.2f} s")


async def test_nothing_but_json_rpc_is_on_standard_output_whatever_a_library_prints(
    tmp_path: Path, world: World
) -> None:
    folder = tmp_path / "noisy"
    folder.mkdir(mode=0o700)
    noisy: Any = call()
    noisy["params"]["name"] = "call_noisily"
    messages = [INITIALIZE, INITIALIZED, noisy, call(2), {"jsonrpc": "2.0", "id": 3, "method": "ping"}]

    def run() -> tuple[bytes, bytes, int]:
        with subprocess.Popen(
            [sys.executable, "-W", "default", "-m", "tests.doors.noisy_program", str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            said = b""
            for message in messages:
                process.stdin.write(orjson.dumps(message) + b"\n")
                process.stdin.flush()
                if "id" in message:
                    said += process.stdout.readline()
            out, err = process.communicate(timeout=60)
            return said + out, err, process.returncode

    out, err, status = await anyio.to_thread.run_sync(run)
    answers = [json.loads(line) for line in out.splitlines()]

    assert [item["id"] for item in answers] == [0, 1, 2, 3]
    assert [answers[number]["result"]["isError"] for number in (1, 2)] == [False, False]
    assert NOISE.encode() not in out
    assert err.count(NOISE.encode()) >= 8
    assert status == 0


LARGE, MANY, AT_ONCE = 1_000_000, 1000, 200
"""Bytes of an answer, how many calls a client makes that reads none, and how many before it waits for what comes of them."""
GROWN = 256 * MIB
"""16 MiB that wait, and the results of 32 calls that were under way: some MiB each while they are masked and written."""


@pytest.mark.requirement("R20", "I8")
@pytest.mark.skipif(not HAS_PROC, reason="this system has no /proc")
@pytest.mark.parametrize("end", ["it says no more", pytest.param("it hears no more", marks=in_full), "SIGTERM"])
async def test_a_client_that_does_not_read_is_read_no_more_and_every_outcome_is_recorded(
    tmp_path: Path, world: World, end: str
) -> None:
    async with an_api(tmp_path) as api:
        api.answers = [answer(b"x" * LARGE)]
        command = configure(tmp_path, api, world)
        with (
            (tmp_path / "stderr.log").open("wb") as errors,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            for message in (INITIALIZE, INITIALIZED):
                process.stdin.write(orjson.dumps(message) + b"\n")
            await anyio.to_thread.run_sync(process.stdout.readline)
            before, found = memory(process.pid), Counter[str]()
            # Not all at once: they may all be read before the first of them has an answer that could wait.
            for first in range(1, MANY + 1, AT_ONCE):
                calls = b"".join(orjson.dumps(call(number)) + b"\n" for number in range(first, first + AT_ONCE))
                await anyio.to_thread.run_sync(write_all, process.stdin, calls)
                found = await stands_still(tmp_path / "data")
            grown = memory(process.pid) - before
            print(f"of {MANY} calls {found['Received']} taken, {found['Finished']} ran, {grown / MIB:.0f} MiB more")
            assert found["Received"] < MANY / 2
            assert found["Finished"] == found["Started"] == len(api.requests) >= 16
            assert grown <= GROWN

            match end:
                case "it says no more":
                    process.stdin.close()
                case "it hears no more":
                    process.stdout.close()
                case _:
                    process.terminate()
            with anyio.fail_after(GONE_SECONDS):
                assert await anyio.to_thread.run_sync(process.wait) == 0
    rows = read_store(tmp_path / "data").rows
    assert rows[-1].kind == "GatewayStopped"
    assert sum(row.kind == "Received" for row in rows) == sum(row.kind == "Answered" for row in rows)
    assert b"Traceback" not in (tmp_path / "stderr.log").read_bytes()


BURST, GROWN_BY_A_BURST = 3000, 48 * MIB
"""As many as there may be are some 15 MiB; were all of them under way, these small ones would be some 70."""


@pytest.mark.requirement("R20", "R23", "I8")
@pytest.mark.skipif(not HAS_PROC, reason="this system has no /proc")
@pytest.mark.parametrize("cancelled", [False, True])
async def test_of_thousands_of_calls_at_once_a_bounded_number_is_under_way(
    tmp_path: Path, world: World, cancelled: bool
) -> None:
    async with an_api(tmp_path) as api:
        command = configure(tmp_path, api, world)
        with (
            (tmp_path / "stderr.log").open("wb") as errors,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            stdin, stdout = process.stdin, process.stdout
            opening = b"".join(orjson.dumps(message) + b"\n" for message in (INITIALIZE, INITIALIZED))
            write_all(stdin, opening)
            await anyio.to_thread.run_sync(stdout.readline)
            before, answers = memory(process.pid, "VmHWM"), dict[int, Any]()

            def read_for(numbers: set[int]) -> None:
                while not numbers <= answers.keys():
                    answer = orjson.loads(stdout.readline())
                    assert answer["id"] not in answers
                    answers[answer["id"]] = answer

            async with anyio.create_task_group() as group:
                messages = [orjson.dumps(message) + b"\n" for message in burst(cancelled=cancelled)]
                group.start_soon(anyio.to_thread.run_sync, write_all, stdin, b"".join(messages))
                # What is cancelled gets no answer, or had it before.
                await anyio.to_thread.run_sync(read_for, {BURST + 1} if cancelled else set(range(1, BURST + 2)))
            # All before the ping has been read. What was cancelled may not be over, and takes the place of one more.
            for last in count(BURST + 2):
                write_all(stdin, orjson.dumps(call(last)) + b"\n")
                await anyio.to_thread.run_sync(read_for, {last})
                if b"limit_exceeded" not in orjson.dumps(answers[last]):
                    break
                await anyio.sleep(POLL_SECONDS)
            # Before the gateway ends, which would end them.
            await all_ended(tmp_path / "data")
            grown = memory(process.pid, "VmHWM") - before
            stdin.close()
            assert await anyio.to_thread.run_sync(process.wait) == 0
    found = Counter(row.kind for row in read_store(tmp_path / "data").rows)
    refused = [number for number, answer in answers.items() if "error" in answer]
    print(f"of {last - 1} calls {found['Received']} taken, {len(refused)} refused at once, {grown / MIB:.0f} MiB more")
    assert {answers[number]["error"]["code"] for number in refused} <= {-32005}
    assert not answers[last]["result"]["isError"]
    assert found["Received"] == found["Answered"]
    assert cancelled or found["Received"] == last - 1 - len(refused)
    assert grown <= GROWN_BY_A_BURST


def burst(*, cancelled: bool) -> Iterator[dict[str, Any]]:
    """Calls, each of them cancelled behind it or none, and a ping."""
    for number in range(1, BURST + 1):
        yield call(number)
        if cancelled:
            yield {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
    yield {"jsonrpc": "2.0", "id": BURST + 1, "method": "ping"}


async def stands_still(data: Path) -> Counter[str]:
    """Wait until calls have ended and no more come in; how often each kind of event is recorded then.

    For a client that reads nothing: that nothing comes is all that it can see of not being read. One that reads waits
    for its answers.
    """
    before: Counter[str] = Counter()
    with anyio.fail_after(120):
        while True:
            found = await all_ended(data)
            if found == before:
                return found
            before = found
            await anyio.sleep(0.5)


async def all_ended(data: Path) -> Counter[str]:
    """Wait until every call that has come in is over; how often each kind of event is recorded then."""
    with anyio.fail_after(120):
        while True:
            found = Counter(row.kind for row in read_store(data).rows)
            if found["Answered"] and found["Answered"] == found["Received"]:
                return found
            await anyio.sleep(POLL_SECONDS)


def memory(pid: int, name: str = "VmRSS") -> int:
    """What a process has in memory, in bytes; `VmHWM` is the most that it ever had."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024
