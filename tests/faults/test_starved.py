"""Too few descriptors, threads, random bytes, and too little memory and room: what cannot be done is refused, nothing is done by halves."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream

from tests.faults import starved, without_entropy
from tests.faults.gateways import COMMAND, EACH_TOOL, QUERY, BrokenOffError, Gateway, Targets, standing
from tests.faults.served import all_work, kinds
from tests.faults.sizes import times
from tests.invariants.world import World
from tests.memory import MIB
from tests.peers.control_group import ControlGroup, control_group

__all__ = ["control_group"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R30"), pytest.mark.timeout(600)]

FILES = 64
THREADS = 32
CALLS = times(commit=24, full=400)
AT_ONCE = 8
BACK_SECONDS = 20.0
REFUSED = {"ok", "internal", "audit_unavailable", "target_unavailable", "failed", "limit_exceeded", "timeout"}
"""Codes of whoever has too little: a result, or an error that says so."""


async def storm(gateway: Gateway, calls: int) -> Counter[str]:
    """Calls of each tool, several at once; what became of them. A connection that breaks off counts as `broken`."""
    found: Counter[str] = Counter()
    left = iter(range(calls))

    async def some() -> None:
        for number in left:
            try:
                found[await gateway.code(*EACH_TOOL[number % 3])] += 1
            except (BrokenOffError, httpx2.TransportError):
                found["broken"] += 1

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(some)
    assert found.keys() <= REFUSED | {"broken"}, found
    return found


async def comes_back(gateway: Gateway) -> None:
    """Each tool works again soon."""
    with anyio.fail_after(BACK_SECONDS):
        for call in EACH_TOOL:
            while True:
                try:
                    if await gateway.code(*call) == "ok":
                        break
                except BrokenOffError:
                    pass
                await anyio.sleep(0.1)


def whole(gateway: Gateway) -> None:
    """Each call that started has one outcome."""
    found = kinds(gateway)
    outcomes = sum(found[kind] for kind in ("Finished", "Failed", "TimedOut", "Cancelled", "OutcomeUnknown"))
    assert found["Started"] == outcomes, found


def cpu_seconds(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_64_descriptors(tmp_path: Path, world: World, targets: Targets) -> None:
    world.expected_errors = frozenset({"internal", "audit_unavailable"})
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        await gateway.start(under=["prlimit", f"--nofile={FILES}:{FILES}"])
        await all_work(gateway)
        await storm(gateway, CALLS)
        idle: list[SocketStream] = []
        host, port = gateway.url.removeprefix("http://").split(":")
        for _ in range(2 * FILES):
            with anyio.move_on_after(1):
                idle.append(await anyio.connect_tcp(host, int(port)))
        with anyio.move_on_after(3):
            await storm(gateway, AT_ONCE)
        before = cpu_seconds(gateway.pid)
        await anyio.sleep(2)
        busy = cpu_seconds(gateway.pid) - before
        for stream in idle:
            await stream.aclose()
        await comes_back(gateway)
        assert await gateway.end() == 0
        whole(gateway)
    assert busy < 1.5, f"{busy:.1f} s of processor time in 2 s over connections that nobody can take"


async def test_32_threads(tmp_path: Path, world: World, targets: Targets) -> None:
    world.expected_errors = frozenset({"internal", "audit_unavailable"})
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        for threads in times_of_threads():
            gateway.program = (starved.__file__, str(threads))
            await gateway.start()
            await storm(gateway, CALLS)
            await comes_back(gateway)
            assert await gateway.end() == 0
            whole(gateway)


def times_of_threads() -> tuple[int, ...]:
    """As many as the scenario has, and as few as a gateway needs to start."""
    return (THREADS, 6)


async def large_results(gateway: Gateway) -> Counter[str]:
    """Results of megabytes, several at once; what became of the calls."""
    sql = "SELECT repeat('x ', 2000) FROM generate_series(1, 1000)"
    found: Counter[str] = Counter()

    async def large() -> None:
        try:
            found[await gateway.code("query_database", {"target": "db", "sql": sql})] += 1
        except (BrokenOffError, httpx2.TransportError):
            found["broken"] += 1

    async with anyio.create_task_group() as group:
        for _ in range(times(commit=8, full=24)):
            group.start_soon(large)
    assert found.keys() <= REFUSED | {"broken"}, found
    return found


async def test_memory_that_is_not_given(tmp_path: Path, world: World, targets: Targets) -> None:
    """A limit little above what a gateway at rest has, and results of megabytes at once."""
    world.expected_errors = frozenset({"internal", "audit_unavailable"})
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        await gateway.start()
        await all_work(gateway)
        data = data_bytes(gateway.pid)
        os.system(f"prlimit --pid {gateway.pid} --data={data + 24 * MIB}:")
        found = await large_results(gateway)
        assert gateway.process is not None
        if gateway.process.returncode is None:
            os.system(f"prlimit --pid {gateway.pid} --data=unlimited:")
            await comes_back(gateway)
            assert await gateway.end() == 0
        else:
            await gateway.start()
            await comes_back(gateway)
            assert await gateway.end() == 0
        whole(gateway)
    print(f"{dict(found)}")


@pytest.mark.parametrize("given", ["256 MiB", "almost nothing more"])
async def test_a_control_group_without_memory(
    tmp_path: Path, world: World, targets: Targets, control_group: ControlGroup, given: str
) -> None:
    """256 MiB for the gateway and its children are enough; with less than it needs the kernel kills one of them."""
    world.expected_errors = frozenset({"internal", "audit_unavailable"})
    control_group.limit(256 * MIB)
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        await gateway.start(under=control_group.under)
        await all_work(gateway)
        if given != "256 MiB":
            control_group.limit(control_group.usage + 4 * MIB)
        found = await large_results(gateway)
        print(f"{given}: {dict(found)}, {control_group.usage // MIB} MiB in use, killed {control_group.kills}")
        assert gateway.process is not None
        if given == "256 MiB":
            assert control_group.kills == 0
            assert gateway.process.returncode is None
        control_group.limit(256 * MIB)
        with anyio.move_on_after(1):
            await gateway.process.wait()
        if gateway.process.returncode is not None:
            await gateway.start(under=control_group.under)
        await comes_back(gateway)
        assert await gateway.end() == 0
        whole(gateway)


async def test_a_machine_without_entropy(tmp_path: Path, world: World, targets: Targets) -> None:
    """Whatever needs random bytes is refused, and what has started still ends once."""
    world.expected_errors = frozenset({"internal", "audit_unavailable"})
    none_left = tmp_path / "none left"
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        gateway.program = (without_entropy.__file__, str(none_left))
        await gateway.start()
        await all_work(gateway)
        none_left.touch()
        with anyio.fail_after(20):
            while none_left.exists():
                await anyio.sleep(0.01)
        found = await storm(gateway, CALLS)
        print(f"without entropy: {dict(found)}")
        assert await gateway.code(*COMMAND) == "target_unavailable"
        asks = {"target": "api", "path": "x", "method": "POST", "body": "kept encrypted"}
        assert await gateway.code("call_api", asks) == "internal"
        assert await gateway.end() == 0
        whole(gateway)
        gateway.program = ("-m", "mcp_gateway")
        await gateway.start()
        await comes_back(gateway)
        assert await gateway.end() == 0


def data_bytes(pid: int) -> int:
    """What counts for RLIMIT_DATA."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmData"))
    return int(line.split()[1]) * 1024


async def test_no_room_for_temporary_files(tmp_path: Path, world: World, targets: Targets) -> None:
    """Neither TMPDIR nor the home folder may be written to."""
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        await gateway.start(environ={"TMPDIR": "/proc/self/nothing", "SQLITE_TMPDIR": "/proc/self/nothing"})
        assert await storm(gateway, CALLS) == {"ok": CALLS}
        assert await gateway.end() == 0
        whole(gateway)


async def test_names_that_do_not_resolve(tmp_path: Path, world: World, targets: Targets) -> None:
    more = f"""
[targets.lost-db]
kind = "postgres"
labels = {{ env = "dev" }}
timeout = "2s"
host = "db.invalid"
database = "orders"
user = "gateway"
password = {{ file = "{tmp_path / "gateway" / "password"}" }}
[targets.lost-host]
kind = "ssh"
labels = {{ env = "dev" }}
timeout = "2s"
host = "host.invalid"
user = "gateway"
known_hosts = "{tmp_path / "gateway" / "known_hosts"}"
key = {{ file = "{targets.host.key}" }}
[targets.lost-api]
kind = "http"
labels = {{ env = "dev" }}
timeout = "2s"
base_url = "https://api.invalid"
"""
    async with standing(tmp_path / "gateway", targets, world=world, more=more) as gateway:
        key = targets.host.known_hosts.read_text().split(maxsplit=1)[1]
        known = tmp_path / "gateway" / "known_hosts"
        known.write_text(f"host.invalid {key}")
        known.chmod(0o600)
        await gateway.start()
        for target, (tool, arguments) in zip(("lost-db", "lost-host", "lost-api"), EACH_TOOL, strict=True):
            changed: dict[str, Any] = arguments | {"target": target}
            assert await gateway.code(tool, changed) in {"target_unavailable", "timeout"}, target
            assert await gateway.code(*QUERY) == "ok"
        assert await gateway.end() == 0
        whole(gateway)
