"""A control group that limits memory, for processes that a test starts. Root alone may make one, where Linux has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcp_gateway.clock import new_id

ROOT = Path("/sys/fs/cgroup")
EMPTY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """One that has been made, of either version."""

    folder: Path
    limit_file: str
    usage_file: str
    kills_file: str

    @property
    def under(self) -> list[str]:
        """The command below which a program runs in it, with all that it starts."""
        return ["sh", "-c", f'echo $$ > {self.folder / "cgroup.procs"} && exec "$@"', "sh"]

    @property
    def usage(self) -> int:
        """Bytes that its processes use, with what the kernel keeps for them."""
        return int((self.folder / self.usage_file).read_text())

    @property
    def kills(self) -> int:
        """How often the kernel has killed one of them for want of memory."""
        lines = (line.split() for line in (self.folder / self.kills_file).read_text().splitlines())
        return int(dict(lines)["oom_kill"])

    def limit(self, size: int) -> None:
        """Give so many bytes from now on."""
        (self.folder / self.limit_file).write_text(f"{size}\n")


@pytest.fixture
def control_group() -> Iterator[ControlGroup]:
    """One of this test's own, without a limit yet."""
    name = f"mcp-gateway-test-{new_id()}"
    first, second = ROOT / "memory" / name, ROOT / name
    if (ROOT / "memory" / "memory.limit_in_bytes").exists():
        found = ControlGroup(first, "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control")
    else:
        found = ControlGroup(second, "memory.max", "memory.current", "memory.events")
    try:
        found.folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if not (found.folder / found.limit_file).exists():
            pytest.skip("control groups limit no memory here")
        yield found
    finally:
        end = time.monotonic() + EMPTY_SECONDS
        while (found.folder / "cgroup.procs").exists() and (found.folder / "cgroup.procs").read_text():
            assert time.monotonic() < end, "processes are left in the control group"
            time.sleep(0.05)
        found.folder.rmdir()
