"""R4, R28: the n-th system call on the store's log fails under a gateway that serves, for every n that a call comes to.

As SQLite tests itself: the first write of a call fails, then the second, and so on until a call needs no more. After each
the call is refused or answered with its outcome on record, and calls run again by themselves.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from mcp_gateway.audit.verify import verify
from tests.faults.gateways import REQUEST, Targets, standing
from tests.faults.power import ATTACHED
from tests.faults.sizes import FULL, long
from tests.faults.stores import RECOVERY_SECONDS, recovered, settled
from tests.invariants.world import World, open_intents

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(3500),
    pytest.mark.requirement("R4", "R28", "I1", "I2", "I3", "I6"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace"),
]

CALLS = ("pwrite64", "fdatasync")
ERRORS = ("EIO", "ENOSPC", "EROFS", "EDQUOT")
HANG_SECONDS = 13.0
"""Longer than the store waits for its disk."""
MOST = 60
"""More than a call comes to."""
INJECTED = "(INJECTED)"


@contextmanager
def failing(pid: int, path: Path, *, call: str, way: str, number: int, log: Path) -> Iterator[None]:
    """Have one system call on a file go wrong, the `number`-th of its thread from here on."""
    rule = f"inject={call}:{way}:when={number}"
    command = ["strace", "-f", "-e", f"trace={call}", "-e", rule, "-P", str(path), "-o", str(log), "-p", str(pid)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = b""
        while ATTACHED.encode() not in said:
            more = os.read(process.stderr.fileno(), 4096)
            assert more, said
            said += more
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.stderr.read()


def faults() -> Iterator[tuple[str, str, int | None]]:
    """Which call fails how; with every commit a few, in full all of them one after the other (None)."""
    if FULL:
        yield from ((call, error, None) for call in CALLS for error in ERRORS)
    else:
        yield from (("fdatasync", random.choice(ERRORS), number) for number in (1, 2))
        yield from (("pwrite64", random.choice(ERRORS), random.randrange(1, 12)) for _ in range(3))


@long(minutes=3)
async def test_whichever_write_or_sync_fails_the_call_is_refused_or_on_record(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    world.expected_errors = frozenset({"audit_unavailable"})
    log, failed = tmp_path / "trace", 0
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        await gateway.start()
        assert await gateway.code(*REQUEST) == "ok"
        wal = gateway.data / "audit.db-wal"
        for call, error, only in faults():
            for number in [only] if only is not None else range(1, MOST):
                with failing(gateway.pid, wal, call=call, way=f"error={error}", number=number, log=log):
                    code = await gateway.code(*REQUEST)
                injected = INJECTED in log.read_text()
                assert code in ({"ok", "audit_unavailable"} if injected else {"ok"}), (call, error, number, code)
                failed += injected
                await recovered(gateway)
                await settled(lambda: not open_intents(gateway.data), seconds=RECOVERY_SECONDS)
                if not injected and only is None:
                    break
            else:
                assert only is not None, "a call comes to more than was tried"
        assert failed >= 2
        assert await gateway.end() == 0
    assert verify(gateway.data).flaw is None


@pytest.mark.skipif(not FULL, reason="waits for longer than the store does; `make faults`")
async def test_a_disk_that_hangs_is_given_up_and_what_it_wrote_after_all_is_closed(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    world.expected_errors = frozenset({"audit_unavailable"})
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        await gateway.start()
        assert await gateway.code(*REQUEST) == "ok"
        wal, way = gateway.data / "audit.db-wal", f"delay_enter={HANG_SECONDS * 1e6:.0f}"
        with failing(gateway.pid, wal, call="fdatasync", way=way, number=1, log=tmp_path / "trace"):
            requests, begin = len(targets.api.requests), anyio.current_time()
            assert await gateway.code(*REQUEST) == "audit_unavailable"
            assert anyio.current_time() - begin < HANG_SECONDS
            assert len(targets.api.requests) == requests
            await recovered(gateway, seconds=HANG_SECONDS + RECOVERY_SECONDS)
        await settled(lambda: not open_intents(gateway.data), seconds=RECOVERY_SECONDS)
        assert await gateway.end() == 0
