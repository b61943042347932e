"""R3: the power goes at any moment. What was sent to a target has its intent on the disk, what was answered its outcome.

The order is read off the system calls of a running gateway; the store is then found as the disk had it at that moment,
with everything dropped that was not synced, and again with any parts of that.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_gateway.audit.verify import verify
from tests.audit.records import ROOT
from tests.faults.gateways import COMMAND, Gateway
from tests.faults.power import Disk, Step, steps, traced
from tests.faults.sizes import times
from tests.faults.stores import set_up
from tests.invariants.world import World
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(3000),
    pytest.mark.requirement("R3", "I1", "I2", "I6"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace"),
]

AT_ONCE = 4
TARGETS = ("db", "host", "api")


def calls(number: int) -> list[tuple[str, dict[str, Any]]]:
    """A call of each tool that can be told from all others, by the path, the statement or the order of the commands."""
    return [
        ("query_database", {"target": "db", "sql": f"SELECT id, text FROM notes WHERE id <> {9_000_000 + number}"}),
        COMMAND,
        ("call_api", {"target": "api", "path": f"x/{9_000_000 + number}", "method": "GET"}),
    ]


def events(data: Path) -> list[tuple[str, str, str]]:
    """Kind, call and body of every event of an image."""
    with closing(sqlite3.connect(data / "audit.db")) as connection:
        return connection.execute("SELECT kind, coalesce(call_id, ''), body FROM events ORDER BY sequence").fetchall()


async def test_what_is_sent_and_what_is_answered_is_on_the_disk_before(
    tmp_path: Path, world: World, postgres_database: PostgresDatabase, ssh_server: SSHServer
) -> None:
    rounds = times(commit=2, full=50)
    answered: dict[str, str] = {}
    async with set_up(tmp_path, world, postgres_database, ssh_server) as (gateway, api):
        await gateway.start()
        for call in calls(0):
            assert await gateway.code(*call) == "ok"
        base = tmp_path / "base"
        with traced(gateway.pid, tmp_path / "trace"):
            shutil.copytree(gateway.data, base)
            await run_calls(gateway, answered, rounds=rounds)
        assert await gateway.end() == 0
        ports = {postgres_database.port: "db", ssh_server.port: "host", api.port: "api"}
    found = steps(tmp_path / "trace")
    before = len([one for one in events(copied(base, tmp_path / "first")) if one[0] == "Started"])
    judged = judge(found, base=base, folder=tmp_path / "image", ports=ports, answered=answered)
    assert judged["answers"] == len(answered) == rounds * len(TARGETS)
    assert judged["api"] == rounds
    assert judged["db"] >= rounds  # what the server would not run in one exchange it is sent once more, step by step
    assert judged["host"] >= 1
    assert before == len(TARGETS)
    # The judge itself: a disk that never syncs keeps nothing of what was answered.
    never = [step for step in found if step.kind != "sync"]
    with pytest.raises(AssertionError, match=r"was on the disk|was answered and holds"):
        judge(never, base=base, folder=tmp_path / "image", ports=ports, answered=answered)


async def run_calls(gateway: Gateway, answered: dict[str, str], *, rounds: int) -> None:
    """Calls of each tool, some at once; commands one after the other."""
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def one(tool: str, arguments: dict[str, Any]) -> None:
        async with limit:
            result = await gateway.call(tool, arguments)
            answered[result["call_id"]] = result.get("code", "ok")

    async with anyio.create_task_group() as group:
        for number in range(1, rounds + 1):
            for call in calls(number):
                group.start_soon(one, *call)


def copied(data: Path, folder: Path) -> Path:
    return Disk.of(data).image(folder, chance=None)


def judge(
    found: Sequence[Step], *, base: Path, folder: Path, ports: dict[int, str], answered: dict[str, str]
) -> dict[str, int]:
    """Take the power away before each send that matters; how many there were of each sort."""
    disk, chance = Disk.of(base), random.Random(7)
    seen = dict.fromkeys([*TARGETS, "answers"], 0)
    told: set[str] = set()
    rounds = len(answered) // len(TARGETS)
    for number, step in enumerate(found):
        disk.take(number, step)
        if step.kind != "send":
            continue
        target = ports.get(step.port)
        # A statement goes out with the id of its call, too: what names one to a target is no answer.
        named = {call_id for call_id in answered if call_id.encode() in step.data and call_id not in told}
        ids = named if target is None else set()
        marks = (
            {mark for mark in range(9_000_001, 9_000_001 + rounds) if str(mark).encode() in step.data}
            if target
            else set()
        )
        if target is None and not ids:
            continue
        if target in {"db", "api"} and not marks:
            continue  # the gateway's own session control
        for dice in (None, chance):
            image = disk.image(folder, chance=dice)
            verified = verify(image)
            assert verified.flaw is None, verified.flaw
            kept = events(image)
            for call_id in ids:
                ends = [kind for kind, of, _ in kept if of == call_id]
                assert ends[-1] == "Answered", f"call {call_id} was answered and holds {ends}"
                assert "Finished" in ends
            started = {of for kind, of, _ in kept if kind == "Started"}
            for mark in marks:
                received = [of for kind, of, body in kept if kind == "Received" and str(mark) in body]
                assert received, f"{target} was sent {mark} before it was on the disk"
                assert set(received) & started, f"{target} was sent {mark} before its intent was on the disk"
            if target == "host":
                running = started - {of for kind, of, _ in kept if kind in {"Finished", "Failed"}}
                bodies = {of: body for kind, of, body in kept if kind == "Received"}
                assert any('"host"' in bodies[call_id] for call_id in running) or seen["host"] >= 1, (
                    "host was sent a command before its intent was on the disk"
                )
        told |= ids
        seen["answers"] += len(ids)
        if target is not None:
            seen[target] += 1
    return seen


def test_the_names_of_a_new_store_are_on_the_disk_before_its_first_record(tmp_path: Path) -> None:
    """A file whose folder was never synced may be gone with all that is in it."""
    data, log = tmp_path / "above" / "data", tmp_path / "trace"
    command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,write", "-o", str(log), sys.executable]
    done = subprocess.run(
        [*command, "-m", "tests.audit.programs", "make", str(data)],
        cwd=ROOT,
        input=b"\n",
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"begin\n"
    lines = log.read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if "fdatasync" in line and "audit.db-wal>" in line)
    synced = {line.partition("<")[2].partition(">")[0] for line in lines[:last] if "fsync(" in line}
    assert {str(tmp_path), str(data.parent), str(data), str(data / "audit.lock")} <= synced
