"""R35, R40: calls at saturation. Intents, outcomes and the targets' own logs agree to the last call, and so does a copy of
the store that was taken meanwhile.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import orjson
import pytest

from mcp_gateway.audit.verify import verify
from tests.audit.records import rows
from tests.faults.gateways import Gateway, Targets, standing
from tests.faults.sizes import long, times
from tests.faults.wire import call_body, call_headers, said
from tests.invariants.world import World, open_intents

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3500)]

CALLERS = ("alex", "sam")
AT_ONCE = 12
"""Of each caller: more than the targets take at once, so that some wait for their turn all the time."""
STATEMENTS_EVERY = 4
COUNTS = "SELECT kind, count(*) FROM events GROUP BY kind"


def arguments_of(number: int) -> tuple[str, dict[str, Any]]:
    """A call that can be told from all others at its target."""
    if number % STATEMENTS_EVERY == 0:
        return "query_database", {"target": "db", "sql": f"SELECT id, text FROM notes WHERE id <> {8_000_000 + number}"}
    return "call_api", {"target": "api", "path": f"x/{8_000_000 + number}", "method": "GET"}


async def saturate(gateway: Gateway, *, calls: int) -> Counter[str]:
    """Make so many calls, as many at once as there are callers; how they were answered."""
    codes: Counter[str] = Counter()
    numbers = iter(range(calls))

    async def caller(person: str) -> None:
        async with gateway.client(person) as http:
            for number in numbers:
                tool, arguments = arguments_of(number)
                # A token ends before so many calls do.
                headers = call_headers(tool) | {"authorization": f"Bearer {gateway.token(person)}"}
                answer = await http.post("/mcp", content=call_body(tool, arguments), headers=headers)
                result = orjson.loads(said(answer.text, answer.headers.get("content-type", "")))["result"]
                codes[result["structuredContent"]["error"]["code"] if result.get("isError") else "ok"] += 1

    async with anyio.create_task_group() as group:
        for person in CALLERS:
            for _ in range(AT_ONCE):
                group.start_soon(caller, person)
    return codes


def copy_online(source: Path, target: Path) -> None:
    """As an operator backs it up: by SQLite's own online backup, beside the gateway that writes."""
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as read,
        closing(sqlite3.connect(target)) as write,
    ):
        read.backup(write, pages=200, sleep=0.001)
    target.chmod(0o600)


@pytest.mark.requirement("R35", "R40", "I1", "I3", "I6")
@long(minutes=12)
async def test_every_call_is_in_every_record_once_and_a_copy_taken_meanwhile_restores(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    calls = times(commit=120, full=100_000)
    copy = tmp_path / "copy"
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        await gateway.start()
        codes: Counter[str] = Counter()

        async def load() -> None:
            codes.update(await saturate(gateway, calls=calls))

        async with anyio.create_task_group() as group:
            group.start_soon(load)
            while len(targets.api.requests) < calls // 3:
                await anyio.sleep(0.02)
            await anyio.to_thread.run_sync(copy_online, gateway.data / "audit.db", copy)
        assert await gateway.end() == 0
        assert open_intents(gateway.data) == frozenset()

        assert codes == Counter(ok=calls)
        kinds = Counter(dict(rows(gateway.data, COUNTS)))
        assert kinds["Received"] == kinds["Started"] == kinds["Finished"] == kinds["Answered"] == calls
        statements = [line for line in targets.database.log_lines() if "execute" in line and "WHERE id <> 8" in line]
        assert len(statements) == -(-calls // STATEMENTS_EVERY)
        assert len(targets.api.requests) == calls - len(statements)
        assert len(set(targets.api.requests)) == len(targets.api.requests)

        await restored(gateway, copy)


async def restored(gateway: Gateway, copy: Path) -> None:
    """A gateway goes on with the copy, whose chain is the beginning of the one that was copied."""
    aside = gateway.folder.parent / "aside"
    aside.mkdir(mode=0o700)
    gateway.data.rename(aside / "data")
    gateway.data.mkdir(mode=0o700)
    for path in (aside / "data").iterdir():
        if path.is_file() and not path.name.startswith("audit."):
            shutil.copy2(path, gateway.data / path.name)
    copy.rename(gateway.data / "audit.db")
    kept = verify(gateway.data)
    assert kept.flaw is None
    whole = verify(aside / "data", expected=kept.head)
    assert whole.flaw is None
    assert 0 < kept.events < whole.events

    await gateway.start()
    # What ran while the copy was taken is closed as unknown: this store will never hear of it.
    with anyio.fail_after(5):
        while open_intents(gateway.data):
            await anyio.sleep(0.02)
    # What a target would see is not in the store that is judged at the end.
    assert await gateway.code("list_targets", {}) == "ok"
    assert await gateway.end() == 0
    assert verify(gateway.data, expected=kept.head).flaw is None
    # The judge looks at the store that saw everything.
    shutil.rmtree(gateway.data)
    (aside / "data").rename(gateway.data)
