"""How long a statement may take, and who waits meanwhile."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta

import anyio
import pytest

from mcp_gateway.errors import RequestError
from mcp_gateway.facts.worker import COMMAND, NOT_NOW, ONE_STATEMENT, TOO_COMPLEX, SQLWorker
from mcp_gateway.turns import working_for
from tests.facts.workers import SLOW, child_of, worker

__all__ = ["worker"]

pytestmark = pytest.mark.anyio


async def test_a_statement_has_a_second_at_most() -> None:
    assert timedelta(seconds=1) == ONE_STATEMENT


@pytest.mark.requirement("I7")
async def test_a_statement_that_waits_for_a_processor_is_examined_all_the_same(worker: SQLWorker) -> None:
    await worker.start()
    os.kill(first := child_of(worker), signal.SIGSTOP)
    examined: list[bool] = []

    async def ask() -> None:
        examination, _ = await worker.examine("SELECT 1")
        examined.append(examination.facts.read_only)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.sleep(ONE_STATEMENT.total_seconds() * 1.2)  # more than it may take of the processor
        os.kill(first, signal.SIGCONT)

    assert examined == [True]
    assert child_of(worker) == first


@pytest.mark.requirement("I7")
async def test_a_child_that_does_not_run_is_replaced_and_its_statement_not_called_complex() -> None:
    worker = SQLWorker(limit=timedelta(milliseconds=100))
    await worker.start()
    os.kill(first := child_of(worker), signal.SIGSTOP)
    try:
        with pytest.raises(RequestError) as caught:
            await worker.examine("SELECT 1")
        examination, _ = await worker.examine("SELECT 1")

        assert (caught.value.code, caught.value.message) == ("internal", NOT_NOW)
        assert examination.facts.read_only
        assert child_of(worker) != first
    finally:
        await worker.aclose()


@pytest.mark.requirement("I7")
async def test_the_time_is_over_whatever_signals_the_child_was_started_to_ignore() -> None:
    ignoring = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGPROF, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})\n"
        f"os.execv(sys.executable, {[*COMMAND]!r} + sys.argv[1:])\n"
    )
    worker = SQLWorker(limit=timedelta(milliseconds=300), command=(sys.executable, "-c", ignoring))
    try:
        with pytest.raises(RequestError) as caught:
            await worker.examine(SLOW)
        assert caught.value.message == TOO_COMPLEX
    finally:
        await worker.aclose()


@pytest.mark.requirement("I7")
async def test_a_statement_that_takes_too_long_is_refused_and_the_next_one_works() -> None:
    worker = SQLWorker(limit=timedelta(milliseconds=300))
    await worker.start()
    first = child_of(worker)
    try:
        with pytest.raises(RequestError) as caught:
            await worker.examine(SLOW)
        examination, _ = await worker.examine("SELECT 1")

        assert (caught.value.code, caught.value.message) == ("invalid_arguments", TOO_COMPLEX)
        assert examination.facts.read_only
        assert child_of(worker) != first
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
    finally:
        await worker.aclose()


@pytest.mark.requirement("I7")
async def test_statements_that_take_too_long_leave_a_child_to_others() -> None:
    worker, answered = SQLWorker(limit=timedelta(seconds=60)), list[str]()
    await worker.start()

    async def ask(sql: str) -> None:
        with suppress(RequestError):
            await worker.examine(sql)
        answered.append(sql)

    try:
        with anyio.fail_after(50):
            async with anyio.create_task_group() as group:
                group.start_soon(ask, SLOW)
                await anyio.wait_all_tasks_blocked()
                for number in range(3):
                    await ask(f"SELECT {number}")

                assert answered == ["SELECT 0", "SELECT 1", "SELECT 2"]
                assert len(worker.pids) == 2
                await worker.aclose()
        assert answered[3:] == [SLOW]
    finally:
        await worker.aclose()


@pytest.mark.requirement("R8")
async def test_a_caller_waits_behind_itself_alone() -> None:
    worker = SQLWorker(limit=timedelta(seconds=60))
    answered: list[str] = []
    await worker.start()

    async def ask(caller: str, sql: str) -> None:
        working_for.set(caller)
        with suppress(RequestError):
            await worker.examine(sql)
        answered.append(sql)

    try:
        with anyio.fail_after(50):
            async with anyio.create_task_group() as group:
                group.start_soon(ask, "alice", SLOW)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(ask, "alice", "SELECT 1")
                await anyio.wait_all_tasks_blocked()
                for number in range(2, 5):
                    await ask("bob", f"SELECT {number}")

                assert answered == ["SELECT 2", "SELECT 3", "SELECT 4"]
                await worker.aclose()
    finally:
        await worker.aclose()


@pytest.mark.requirement("I7", "R32")
async def test_a_child_that_owes_an_answer_to_nobody_is_replaced_when_its_time_is_over() -> None:
    worker = SQLWorker(limit=timedelta(milliseconds=300), children=1)
    await worker.start()
    first = child_of(worker)
    try:
        with anyio.move_on_after(0.05):
            await worker.examine(SLOW)
        with anyio.fail_after(30):
            examination, _ = await worker.examine("SELECT 1")

        assert examination.facts.read_only
        assert child_of(worker) != first
    finally:
        await worker.aclose()
