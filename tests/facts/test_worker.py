from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from mcp_gateway.errors import RequestError
from mcp_gateway.facts.frames import SHAPE
from mcp_gateway.facts.parser import SQLSyntaxError
from mcp_gateway.facts.worker import COMMAND, SQLWorker
from tests.facts.workers import SLOW, child_of, users, worker

__all__ = ["worker"]

pytestmark = pytest.mark.anyio


async def test_a_statement_is_examined_in_another_process(worker: SQLWorker) -> None:
    examination, lineage = await worker.examine("SELECT name FROM users")

    assert examination.facts.read_only
    assert lineage is None
    assert child_of(worker) != os.getpid()


async def test_with_a_catalog_it_also_tells_the_lineage(worker: SQLWorker) -> None:
    examination, lineage = await worker.examine(
        "SELECT id, ssn AS x FROM users",
        catalog_key="shop",
        catalog=users("id", "ssn"),
        classify={"public.users.ssn": "pii"},
    )

    assert examination.facts.reads == {"public.users"}
    assert lineage is not None
    assert lineage.columns is not None
    assert [column.classes for column in lineage.columns] == [frozenset(), frozenset({"pii"})]


async def test_with_a_catalog_columns_are_told_apart_whether_or_not_any_is_classified(worker: SQLWorker) -> None:
    examination, _ = await worker.examine(
        "SELECT id FROM users WHERE ssn = '1'", catalog_key="shop", catalog=users("id", "ssn")
    )
    without, _ = await worker.examine("SELECT id FROM users WHERE ssn = '1'")
    open_to, _ = await worker.examine("SELECT id FROM users NATURAL JOIN orders WHERE users.ssn = '1'")

    assert examination.facts.context()["returned_columns"] == ["public.users.id"]
    assert examination.facts.context()["condition_columns"] == ["public.users.ssn"]
    assert without.facts.context()["returned_columns"] == ["users.id"]
    assert without.facts.context()["condition_columns"] == ["users.ssn"]
    assert open_to.facts.returned_columns is None
    assert open_to.facts.context()["returned_columns"] == ["users.ssn"]


async def test_a_syntax_error_comes_back_as_such(worker: SQLWorker) -> None:
    with pytest.raises(SQLSyntaxError) as caught:
        await worker.examine("SELECT )")

    assert caught.value.position == 8
    first = child_of(worker)
    await worker.examine("SELECT 1")
    assert child_of(worker) == first


@pytest.mark.parametrize("sql", ["SELECT 1\0", "\ud800", "x" * 40_000])
async def test_what_cannot_be_parsed_does_not_reach_the_child(worker: SQLWorker, sql: str) -> None:
    with pytest.raises(SQLSyntaxError):
        await worker.examine(sql)

    assert worker.pids == []


async def test_one_after_the_other_needs_one_child(worker: SQLWorker) -> None:
    for number in range(5):
        await worker.examine(f"SELECT {number}")

    assert len(worker.pids) == 1


async def test_there_are_never_more_children_than_two(worker: SQLWorker) -> None:
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(worker.examine, f"SELECT {number}")

    assert len(worker.pids) <= 2


@pytest.mark.requirement("I7")
async def test_a_child_that_dies_between_two_calls_is_replaced(worker: SQLWorker) -> None:
    await worker.start()
    first = child_of(worker)
    os.kill(first, signal.SIGKILL)

    outcomes = []
    for number in range(3):
        try:
            await worker.examine(f"SELECT {number}")
            outcomes.append("examined")
        except RequestError:
            outcomes.append("refused")

    assert outcomes[1:] == ["examined", "examined"]
    assert child_of(worker) != first


@pytest.mark.requirement("I7")
async def test_a_child_that_dies_over_a_statement_refuses_that_one_alone(worker: SQLWorker) -> None:
    await worker.start()
    outcomes: list[str] = []

    async def ask(sql: str) -> None:
        try:
            await worker.examine(sql)
            outcomes.append("examined")
        except RequestError as error:
            outcomes.append(error.code)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(ask, SLOW)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(ask, "SELECT 1")
            os.kill(child_of(worker), signal.SIGSEGV)

    assert sorted(outcomes) == ["examined", "invalid_arguments"]


async def test_many_callers_get_each_their_own_answer(worker: SQLWorker) -> None:
    found: dict[int, frozenset[str]] = {}

    async def ask(number: int) -> None:
        examination, _ = await worker.examine(f"SELECT * FROM table_{number}")
        found[number] = examination.facts.reads

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(ask, number)

    assert found == {number: {f"table_{number}"} for number in range(100)}


@pytest.mark.requirement("R32")
async def test_a_cancelled_caller_leaves_no_answer_to_the_next(worker: SQLWorker) -> None:
    await worker.start()
    first = child_of(worker)
    for number in range(50):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(worker.examine, f"SELECT * FROM cancelled_{number}")
                for _ in range(number % 5):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
        examination, _ = await worker.examine(f"SELECT * FROM kept_{number}")
        assert examination.facts.reads == {f"kept_{number}"}

    assert first in worker.pids


async def test_the_same_text_is_examined_once(worker: SQLWorker) -> None:
    first = await worker.examine("SELECT 1")

    assert await worker.examine("SELECT 1") is first


async def test_a_changed_catalog_under_the_same_key_is_sent_anew(worker: SQLWorker) -> None:
    sql = "SELECT * FROM users"
    before, _ = await worker.examine(sql, catalog_key="shop", catalog=users("id"))
    after, _ = await worker.examine(sql, catalog_key="shop", catalog=users("id", "name"))

    assert before.facts.columns == {"public.users.id"}
    assert after.facts.columns == {"public.users.id", "public.users.name"}


async def test_a_changed_classification_under_the_same_key_counts(worker: SQLWorker) -> None:
    catalog = users("id", "ssn", version="1")
    _, before = await worker.examine("SELECT ssn FROM users", catalog_key="shop", catalog=catalog, classify={})
    _, after = await worker.examine(
        "SELECT ssn FROM users", catalog_key="shop", catalog=catalog, classify={"public.users.ssn": "pii"}
    )

    assert before is not None
    assert after is not None
    assert before.touch == frozenset()
    assert after.touch == {"pii"}


async def test_equal_snapshots_are_sent_once(worker: SQLWorker) -> None:
    for _ in range(3):
        await worker.examine("SELECT id FROM users", catalog_key="shop", catalog=users("id", version="1"))
    await worker.examine("SELECT 2", catalog_key="shop", catalog=users("id", version="1"))

    (child,) = (place.child for place in worker._places)
    assert child is not None
    assert len(child.held) == 1


async def test_targets_do_not_see_each_others_catalogs(worker: SQLWorker) -> None:
    for key, column in (("a", "x"), ("b", "y"), ("a", "x"), ("b", "y")):
        examination, _ = await worker.examine(
            "SELECT * FROM users", catalog_key=key, catalog=users(column, version=key)
        )
        assert examination.facts.columns == {f"public.users.{column}"}


async def test_snapshots_in_the_child_are_bounded(worker: SQLWorker) -> None:
    for number in range(80):
        await worker.examine("SELECT 1", catalog_key=f"target {number}", catalog=users("id", version=str(number)))

    (child,) = (place.child for place in worker._places)
    assert child is not None
    assert len(child.held) <= 65
    assert len(worker._snapshots.values()) <= 64


async def test_a_closed_worker_leaves_no_process_and_refuses() -> None:
    worker = SQLWorker()
    await worker.start()
    pid = child_of(worker)

    await worker.aclose()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RequestError) as caught:
        await worker.examine("SELECT 1")
    assert caught.value.code == "internal"


async def test_a_worker_whose_child_has_died_closes_all_the_same() -> None:
    worker = SQLWorker()
    await worker.start()
    os.kill(pid := child_of(worker), signal.SIGKILL)
    with anyio.fail_after(10), suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            await anyio.sleep(0.01)

    await worker.aclose()

    assert worker.pids == []


async def test_closing_refuses_what_still_waits() -> None:
    worker = SQLWorker(limit=timedelta(seconds=60))
    await worker.start()
    refused = []

    async def ask() -> None:
        try:
            await worker.examine(SLOW)
        except RequestError:
            refused.append(True)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await worker.aclose()

    assert refused == [True]
    assert worker.pids == []


READY = f"""
import struct, sys
say = lambda b: (sys.stdout.buffer.write(struct.pack('>I', len(b)) + b), sys.stdout.flush())
say(b'{{"ready":"{SHAPE}"}}')
"""


@pytest.mark.requirement("I7")
@pytest.mark.parametrize(
    "answer",
    [
        "say(b'not json')",
        "say(b'{}')",
        "say(b'[]')",
        'say(b\'{"examination": {}, "lineage": null}\')',
        'say(b\'{"examination": {"facts": {"read_only": true}, "refusal": null, "harmless": true}, "lineage": null}\')',
        'say(b\'{"failed": "MemoryError"}\')',
        "sys.stdout.buffer.write(b'\\xff\\xff\\xff\\xff'); sys.stdout.flush()",
        "sys.stdout.buffer.write(b'\\0\\0'); sys.stdout.flush()",
        "sys.exit(0)",
    ],
)
async def test_an_answer_that_is_not_the_agreed_one_is_a_refusal(answer: str) -> None:
    worker = SQLWorker(command=(sys.executable, "-c", f"{READY}\nsys.stdin.buffer.read(4)\n{answer}\nsys.stdin.read()"))
    try:
        with pytest.raises(RequestError):
            await worker.examine("SELECT 1")
        assert worker.pids == []
    finally:
        await worker.aclose()


@pytest.mark.parametrize(
    "command",
    [
        ("/nonexistent",),
        (sys.executable, "-c", "pass"),
        (sys.executable, "-c", "print('hello world')"),
        (sys.executable, "-c", READY.replace(SHAPE, SHAPE[::-1]) + "sys.stdin.read()"),
    ],
)
async def test_a_child_that_does_not_start_refuses_every_call(command: tuple[str, ...]) -> None:
    worker = SQLWorker(command=command)
    try:
        for _ in range(2):
            with pytest.raises(RequestError) as caught:
                await worker.examine("SELECT 1")
            assert caught.value.code == "internal"
    finally:
        await worker.aclose()


@pytest.mark.requirement("I5")
async def test_the_child_has_no_environment_and_no_workspace(
    worker: SQLWorker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("orjson", "postgast", "mcp_gateway", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("GATEWAY_CANARY", "canary-5d1f")

    await worker.examine("SELECT 1")

    assert not (tmp_path / "ran").exists()
    assert COMMAND[1] == "-I"
    environ = Path(f"/proc/{child_of(worker)}/environ")
    if environ.exists():
        assert b"canary" not in environ.read_bytes()
        assert Path(f"/proc/{child_of(worker)}/cwd").resolve() == Path("/")


@pytest.mark.requirement("I5")
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a process has open is asked of Linux")
async def test_the_child_has_no_descriptor_that_was_meant_for_other_children(worker: SQLWorker, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    with (tmp_path / "secret").open() as inheritable:
        os.set_inheritable(inheritable.fileno(), True)
        await worker.examine("SELECT 1")

    held = Path(f"/proc/{child_of(worker)}/fd")
    assert tmp_path / "secret" not in {one.readlink() for one in held.iterdir()}
    assert {int(one.name) for one in held.iterdir()} <= set(range(5))


ORPHANING = """
import asyncio, sys
import anyio
from mcp_gateway.facts.worker import SQLWorker

async def main():
    worker = SQLWorker()
    await worker.start()
    print(*worker.pids, flush=True)
    await asyncio.Event().wait()

anyio.run(main, backend_options={"use_uvloop": True})
"""


@pytest.mark.requirement("R33")
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux can wait for a process that is no child")
async def test_a_killed_gateway_leaves_no_child_behind() -> None:
    async with await anyio.open_process([sys.executable, "-c", ORPHANING], stderr=None) as gateway:
        assert gateway.stdout is not None
        child = os.pidfd_open(int(await gateway.stdout.receive()))
        try:
            gateway.kill()
            with anyio.fail_after(10):
                await anyio.wait_readable(child)
        finally:
            os.close(child)
