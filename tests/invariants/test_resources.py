from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.invariants import resources
from tests.invariants.resources import left_over, own_footprint
from tests.invariants.world import HAS_PROC, descendants, listed_descendants, until

pytestmark = [pytest.mark.requirement("I8"), pytest.mark.skipif(not HAS_PROC, reason="this system has no /proc")]


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "SETTLING_SECONDS", 0.1)


def test_an_open_file_is_found(tmp_path: Path) -> None:
    before = own_footprint()
    with (tmp_path / "left").open("wb"):
        assert left_over(before) == [f"1 more of {tmp_path / 'left'}"]
    assert left_over(before) == []


def test_a_child_is_found() -> None:
    before = own_footprint()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert f"child process {child.pid}" in left_over(before)
    assert left_over(before) == []


def test_what_the_kernel_lists_is_what_all_of_proc_comes_to() -> None:
    program = "import subprocess; subprocess.run(['cat'])"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as child:
        assert until(lambda: len(descendants(child.pid)) == 1, seconds=20)
        assert set(listed_descendants(os.getpid())) == set(descendants(os.getpid())) > {child.pid}


def test_a_thread_is_found() -> None:
    before = own_footprint()
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    assert left_over(before) == ["1 more threads"]
    release.set()
    thread.join()


@pytest.mark.anyio
async def test_a_task_is_found() -> None:
    check = resources.tasks_return.__wrapped__()  # type: ignore[attr-defined]  # pytest keeps the function there
    await anext(check)
    task = asyncio.create_task(asyncio.sleep(60))
    with pytest.raises(AssertionError, match="tasks are left"):
        await anext(check, None)
    task.cancel()
