from __future__ import annotations

import contextlib
import fcntl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_gateway.audit.files import Paths
from mcp_gateway.audit.lock import CommitLock
from mcp_gateway.errors import StoreError


@contextlib.contextmanager
def lock(tmp_path: Path, *, wait_seconds: float = 0.05) -> Iterator[CommitLock]:
    with contextlib.closing(CommitLock(Paths(tmp_path), wait_seconds=wait_seconds)) as found:
        yield found


@pytest.mark.requirement("R5", "R31")
def test_a_lock_that_somebody_keeps_is_given_up_with_an_error(tmp_path: Path) -> None:
    with lock(tmp_path) as mine, (tmp_path / "audit.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        with pytest.raises(StoreError) as raised, mine.held():
            pass

    name = str(tmp_path / "audit.lock")
    assert str(raised.value) == (
        f"another process has held {name!r} for 0.05 s; find out which with `fuser` or `lsof`, and end it"
    )


def test_a_lock_is_taken_as_soon_as_the_other_lets_go(tmp_path: Path) -> None:
    held = threading.Event()
    release = threading.Event()

    def neighbour() -> None:
        with lock(tmp_path) as theirs, theirs.held():
            held.set()
            assert release.wait(10)

    thread = threading.Thread(target=neighbour)
    thread.start()
    assert held.wait(10)
    threading.Timer(0.02, release.set).start()
    with lock(tmp_path, wait_seconds=10) as mine, mine.held() as waited:
        assert waited > 0
    thread.join()


def test_a_lock_that_nobody_holds_is_taken_and_let_go(tmp_path: Path) -> None:
    with lock(tmp_path) as first, lock(tmp_path) as second:
        for _ in range(3):
            with first.held():
                pass
            with second.held():
                pass


def test_the_store_s_id_is_remembered_beside_the_lock(tmp_path: Path) -> None:
    with lock(tmp_path) as first:
        assert first.store_id == ""
        first.remember("abc")

    with lock(tmp_path) as second:
        assert second.store_id == "abc"
