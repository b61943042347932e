"""R29: a gateway is asked to end while much runs and much is held, and while its store refuses; others open its store."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest

from mcp_gateway.audit.database import connect
from mcp_gateway.audit.verify import verify
from mcp_gateway.identity.local import LocalPerson
from tests.audit.programs import line, running
from tests.audit.records import evidence, loaded, opened_store, rows
from tests.faults.gateways import REQUEST, BrokenOffError, Gateway, Targets, standing
from tests.faults.sizes import FULL, times
from tests.faults.stores import RECOVERY_SECONDS, refused_to_start, settled
from tests.invariants.world import World, open_intents
from tests.peers.api import API, running_api

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800), pytest.mark.requirement("R29", "I2", "I3")]

APIS = 5
"""A target takes 20 calls at once."""
CALLERS = [f"caller{number}" for number in range(8)]
PEOPLE = {name: LocalPerson(groups=frozenset({"dev"})) for name in CALLERS} | {
    "alex": LocalPerson(groups=frozenset({"dev"})),
    "dana": LocalPerson(groups=frozenset({"dba"})),
}
END_SECONDS = 40.0
"""20 s of grace, 5 s to record, and a slow machine."""


@asynccontextmanager
async def further(tmp_path: Path) -> AsyncIterator[tuple[list[API], str]]:
    """More APIs that answer nothing yet, and the tables that make targets of them."""
    async with AsyncExitStack() as stack:
        apis, tables = [], []
        for number in range(APIS):
            log = tmp_path / f"api{number}.api.log"
            api = await stack.enter_async_context(running_api(log=log, store=tmp_path / "gateway" / "data"))
            api.held = anyio.Event()
            apis.append(api)
            tables.append(
                f'[targets.api{number}]\nkind = "http"\nlabels = {{ env = "dev" }}\nbase_url = "{api.url}"\n'
                'networks = ["127.0.0.0/8"]\nmax_calls = 20\ntimeout = "4m"'
            )
        yield apis, "\n".join(tables)


@pytest.mark.parametrize(
    "answers",
    [True, pytest.param(False, marks=pytest.mark.skipif(not FULL, reason="takes the whole grace; `make faults`"))],
)
async def test_what_runs_is_finished_or_cancelled_and_what_is_held_is_answered(
    tmp_path: Path, world: World, targets: Targets, answers: bool
) -> None:
    many = times(commit=20, full=100)
    codes: dict[str, Counter[str]] = {"GET": Counter(), "POST": Counter()}
    async with (
        further(tmp_path) as (apis, tables),
        standing(
            tmp_path / "gateway",
            targets,
            world=world,
            more=tables,
            server='answer_within = "10m"',
            wait="5m",
            people=PEOPLE,
        ) as gateway,
    ):
        await gateway.start()

        async def call(number: int, method: str) -> None:
            arguments = {"target": f"api{number % APIS}", "path": f"x/{number}", "method": method}
            try:
                code = await gateway.code("call_api", arguments, person=CALLERS[number % len(CALLERS)])
            except BrokenOffError:
                code = "broken off"
            codes[method][code] += 1

        async with anyio.create_task_group() as group:
            for number in range(many):
                group.start_soon(call, number, "GET")
                group.start_soon(call, number, "POST")
            await settled(lambda: sum(len(api.requests) for api in apis) == many, seconds=180)
            await settled(lambda: len(asked(gateway)) == many, seconds=180)
            assert len(open_intents(gateway.data)) == many
            group.start_soon(ended, gateway.end)
            await settled(lambda: codes["POST"].total() == many, seconds=END_SECONDS)
            for api in apis if answers else ():
                assert api.held is not None
                api.held.set()
        assert gateway.process is not None
        assert gateway.process.returncode == 0
    assert codes["POST"] == Counter(approval_pending=many)
    assert codes["GET"] == Counter({"ok" if answers else "broken off": many}), codes
    assert open_intents(gateway.data) == frozenset()
    cancelled = rows(gateway.data, "SELECT 1 FROM events WHERE kind = 'Cancelled'")
    assert len(cancelled) == (0 if answers else many)
    assert rows(gateway.data, "SELECT kind FROM events ORDER BY sequence DESC LIMIT 1") == [("GatewayStopped",)]


async def ended(end: Callable[[], Awaitable[int]]) -> None:
    with anyio.fail_after(END_SECONDS):
        assert await end() == 0


def asked(gateway: Gateway) -> list[object]:
    return rows(gateway.data, "SELECT 1 FROM events WHERE kind = 'Asked'")


async def test_a_gateway_ends_while_its_store_refuses(tmp_path: Path, world: World, targets: Targets) -> None:
    """What it could not record is withheld, and closed as unknown by the next start."""
    world.expected_errors = frozenset({"audit_unavailable"})
    codes: list[str] = []
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        await gateway.start()
        targets.api.held = anyio.Event()

        async def call() -> None:
            codes.append(await gateway.code(*REQUEST))

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await settled(lambda: open_intents(gateway.data), seconds=30)
            with running("lock_database", gateway.data) as process:
                assert line(process) == "ready"
                group.start_soon(ended, gateway.end)
                targets.api.held.set()
                await settled(
                    lambda: gateway.process is not None and gateway.process.returncode == 0, seconds=END_SECONDS
                )
        assert codes == ["audit_unavailable"]
        left = open_intents(gateway.data)
        assert len(left) == 1
        await gateway.start()
        await settled(lambda: not open_intents(gateway.data), seconds=RECOVERY_SECONDS)
        assert rows(gateway.data, "SELECT call_id FROM events WHERE kind = 'OutcomeUnknown'") == [(*left,)]
        assert await gateway.end() == 0


@pytest.mark.requirement("R29", "I6")
async def test_an_older_store_is_brought_up_and_a_newer_one_refused(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        # As the first version made it: without the tables of approvals and the index of revocations.
        async with opened_store(gateway.data) as store:
            for number in range(5):
                await store.append(loaded(number))
        old = verify(gateway.data).head
        await gateway.start()
        assert await gateway.code(*REQUEST) == "ok"
        assert await gateway.end() == 0
        assert verify(gateway.data, expected=old).flaw is None

        # Back: that version knows nothing of the tables of others, and goes on with the chain.
        async with opened_store(gateway.data) as store:
            await store.append(loaded(6))
        back = verify(gateway.data)
        assert back.flaw is None
        assert back.events > old.sequence

        with closing(connect(gateway.data / "audit.db")) as connection:
            connection.execute("INSERT INTO migrations VALUES ('audit-2', 'of a version to come')")
        before = evidence(gateway.data)
        said = await refused_to_start(gateway)
        assert "was made by a newer version of the gateway: it has 'audit-2'" in said
        assert evidence(gateway.data) == before
