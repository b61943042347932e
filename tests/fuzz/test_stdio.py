"""Mutated lines to a real process over its standard input: each batch is followed by a message that has to be answered."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import anyio
import anyio.abc
import orjson
import pytest

from tests.end_to_end.test_stdio import configure
from tests.fuzz.findings import MODEST_GROWTH, TROUBLE, Findings, is_json_rpc
from tests.fuzz.messages import corpus
from tests.fuzz.mutations import Mutator
from tests.fuzz.oracle import call_in, effect_of_request_line
from tests.fuzz.sizes import generator, messages
from tests.invariants.checks import judge
from tests.invariants.world import HAS_PROC, World, footprint
from tests.memory import MIB
from tests.peers.api import API, running_api

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R21", "R22", "R33", "I7", "I8"), pytest.mark.timeout(3600)]
BATCH = 50
ANSWER_SECONDS = 60.0
WARM = 0.3


@dataclass(slots=True, kw_only=True)
class Process:
    """A gateway over stdio."""

    process: anyio.abc.Process
    out: bytearray = field(default_factory=bytearray)

    async def read_until(self, wanted: bytes) -> list[bytes]:
        """The lines up to and with the one that has this in it."""
        assert self.process.stdout is not None
        with anyio.fail_after(ANSWER_SECONDS):
            while wanted not in self.out or not self.out.endswith(b"\n"):
                self.out += await self.process.stdout.receive()
        found = bytes(self.out).splitlines()
        self.out.clear()
        return found

    @property
    def resident(self) -> int:
        found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024


@pytest.mark.skipif(not HAS_PROC, reason="this system has no /proc")
async def test_mutated_lines_do_nothing_but_what_they_validly_ask(tmp_path: Path) -> None:
    mine = messages(commit=600, full=60_000)
    world = World(folders=[tmp_path])
    findings = Findings(door="stdio")
    mutator = Mutator("stdio", token="", host="", corpus=corpus())
    started = monotonic()
    async with running_api(log=tmp_path / "api.api.log", store=tmp_path / "data") as api:
        with (tmp_path / "stderr.log").open("wb") as errors:
            command = configure(tmp_path, api, world)
            async with await anyio.open_process(command, stderr=errors, stdout=subprocess.PIPE) as process:
                gateway = Process(process=process)
                warm, before = None, 0
                for numbers in _batches(mine):
                    await _batch(gateway, api, mutator, findings, numbers)
                    if warm is None and numbers[-1] >= mine[0] + len(mine) * WARM:
                        warm, before = footprint(process.pid), gateway.resident
                assert warm is not None
                with anyio.move_on_after(10):
                    while more := _left(footprint(process.pid).more_than(warm)):
                        await anyio.sleep(0.05)
                growth = gateway.resident - before
                assert process.stdin is not None
                await process.stdin.aclose()
                with anyio.fail_after(60):
                    assert await process.wait() == 0
    rate = len(mine) / (monotonic() - started)
    print(f"stdio: {len(mine):,}, {rate:,.0f}/s, {findings.done:,} calls, {growth / MIB:.0f} MiB more")
    said = (tmp_path / "stderr.log").read_bytes()
    assert b"Traceback" not in said, said[-2000:]
    assert growth <= MODEST_GROWTH
    assert not more
    findings.check()
    violations = judge(world)
    assert not violations, "\n".join(violations[:20])


def _left(more: list[str]) -> list[str]:
    """Without threads: those for work that blocks come as they are needed, up to a number."""
    return [one for one in more if "thread" not in one]


def _batches(numbers: range) -> Iterator[range]:
    for start in range(0, len(numbers), BATCH):
        yield numbers[start : start + BATCH]


async def _batch(gateway: Process, api: API, mutator: Mutator, findings: Findings, numbers: range) -> None:
    """Send some lines and one that is valid; look at all that comes until that is answered."""
    lines: list[bytes] = []
    for number in numbers:
        body = mutator.message(generator("stdio", number), number).body
        for line in body.replace(b"\r", b"\n").split(b"\n"):
            lines.append(line + b"\n")
            allowed = call_in(line)
            if allowed is not None:
                findings.possible[allowed] += 1
    still = f"still-{numbers[-1]}"
    lines.append(orjson.dumps({"jsonrpc": "2.0", "id": still, "method": "ping"}) + b"\n")
    assert gateway.process.stdin is not None
    found: list[bytes] = []
    sent = b"".join(lines)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(gateway.process.stdin.send, sent)
            found += await gateway.read_until(f'"id":"{still}"'.encode())
    except* (anyio.EndOfStream, anyio.BrokenResourceError, TimeoutError):
        findings.add("it ended or hangs", number=numbers[0], message=sent)
        findings.check()
    for line in found:
        if not is_json_rpc(line) or TROUBLE.search(line):
            findings.add(f"{line[:300]!r}", number=numbers[0], message=sent)
    requests, api.requests[:] = list(api.requests), []
    effects = [effect_of_request_line(one.partition(b"\r\n")[0].decode("latin-1")) for one in requests]
    findings.effects(effects, number=numbers[0], message=sent)
