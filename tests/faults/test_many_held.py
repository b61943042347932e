"""Thousands of held calls beside normal traffic: what they cost, and how soon they are listed, decided and ended (R15)."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from mcp_gateway.approval.store import ApprovalStore
from mcp_gateway.approval.tables import MIGRATIONS
from mcp_gateway.approval.ticket import Ticket
from mcp_gateway.audit.revocations import MIGRATIONS as REVOCATIONS
from mcp_gateway.audit.store import AuditStore, Transaction
from mcp_gateway.cli.keys import open_key
from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.identity.local import LocalPerson
from tests.approval.tickets import a_ticket
from tests.faults.gateways import PEOPLE, REQUEST, BrokenOffError, Gateway, Targets, standing
from tests.faults.sizes import FULL, times
from tests.invariants.world import World
from tests.peers.moved_clock import MOVED, MovedClock, clock_library, moved_clock

__all__ = ["clock_library", "moved_clock"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3600)]

EACH = 20
"""As many as one caller may have pending."""
CALLERS = times(commit=3, full=50)
CROWD = {f"dev{number}": LocalPerson(groups=frozenset({"dev"})) for number in range(CALLERS)}
SEEDED = times(commit=500, full=9_000)
"""Held besides those that wait on their connections: for other callers, from before the gateway was started."""
SEEDED_AT_ONCE = 500
OPENED_AT_ONCE = 50
MAX_RSS = 300 * 1024 * 1024
ANSWERED_WITHIN, RESUMED_WITHIN = 0.2, 1.0
"""Seconds: a list and a decision (median), and a call that waited (99 of 100)."""
CALLS_A_SECOND, LOAD_SECONDS = times(commit=20, full=100), times(commit=1, full=20)
DECIDED = times(commit=20, full=100)
SLOWER_AT_MOST, NOISE = 2.0, 0.05
PATIENT = (
    'answer_within = "10m"\nmax_connections = 4000\nmax_connections_per_address = 4000\nmax_calls_per_caller = 256'
)
UNANSWERED_AT_MOST = 50
"""Of the traffic beside; a machine that is slower is given less."""


def post(number: int) -> dict[str, Any]:
    return {"target": "api", "path": f"{number}", "method": "POST"}


class Crowd:
    """Everybody's held calls: when each was answered, and how."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.codes: dict[tuple[str, int], str] = {}
        self.answered: dict[tuple[str, int], float] = {}

    async def call(self, http: httpx2.AsyncClient, name: str, number: int) -> None:
        try:
            self.codes[name, number] = await self.gateway.code("call_api", post(number), http=http)
        except BrokenOffError:
            self.codes[name, number] = "broken off"
        self.answered[name, number] = time.monotonic()

    async def hold(self, group: Any, clients: dict[str, httpx2.AsyncClient]) -> None:
        """Have everybody ask for as much as they may, not all at once."""
        opened = 0
        for number in range(EACH):
            for name, http in clients.items():
                group.start_soon(self.call, http, name, number)
                opened += 1
                if opened % OPENED_AT_ONCE == 0:
                    await self.until_asked(opened)
        await self.until_asked(opened)

    async def until_asked(self, count: int) -> None:
        """Wait until so many are answered or wait."""
        with anyio.fail_after(300):
            while self.asked() < SEEDED + count:
                await anyio.sleep(0.1)

    def asked(self) -> int:
        with closing(sqlite3.connect(f"file:{self.gateway.data / 'audit.db'}?mode=ro", uri=True)) as rows:
            return int(rows.execute("SELECT count(*) FROM approvals").fetchone()[0])


async def seed(gateway: Gateway) -> None:
    """Open approvals in the store, as a gateway before would have left them."""
    store = await AuditStore.open(gateway.data, clock=utc_now, migrations=(*MIGRATIONS, *REVOCATIONS))
    key = open_key(gateway.data / "approval.key")
    approvals = ApprovalStore(store, key=key, clock=utc_now, new_id=new_id)
    now = utc_now()

    def ticket(number: int) -> Ticket:
        return a_ticket(
            id=new_id(),
            call_id=new_id(),
            digest=f"{number:064}",
            issuer="local",
            subject=f"seed{number // EACH}",
            email=None,
            shown={"statement": f"DELETE FROM orders WHERE id = {number} -- {'x' * 500}"},
            created_at=now,
            deadline=now + timedelta(hours=1),
        )

    def open_some(tx: Transaction, first: int) -> None:
        for number in range(first, min(first + SEEDED_AT_ONCE, SEEDED)):
            approvals.open_or_continue(tx, ticket(number))

    try:
        for first in range(0, SEEDED, SEEDED_AT_ONCE):
            await store.transact(partial(open_some, first=first))
    finally:
        await store.aclose()


async def load(gateway: Gateway, took: list[float]) -> None:
    """So many calls a second that need nobody, whether or not the ones before are answered."""
    unanswered = 0

    async def one(http: httpx2.AsyncClient) -> None:
        nonlocal unanswered
        unanswered += 1
        began = time.monotonic()
        assert await gateway.code(*REQUEST, http=http) in {"ok", "limit_exceeded"}
        took.append(time.monotonic() - began)
        unanswered -= 1

    async with gateway.client("sam") as http, anyio.create_task_group() as group:
        began = time.monotonic()
        for number in range(CALLS_A_SECOND * LOAD_SECONDS):
            await anyio.sleep(max(0.0, began + number / CALLS_A_SECOND - time.monotonic()))
            if unanswered < UNANSWERED_AT_MOST:
                group.start_soon(one, http)


def call_of(item: dict[str, Any]) -> tuple[str, int]:
    """Whose call it is, and which."""
    path = item["shown"].get("request", "").rpartition("/")[2]
    return item["subject"], int(path or -1)


async def timed(work: Callable[[], Awaitable[httpx2.Response]]) -> tuple[float, httpx2.Response]:
    began = time.monotonic()
    answer = await work()
    assert answer.status_code == 200, answer.text
    return time.monotonic() - began, answer


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99) - 1]


def rss(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


@pytest.mark.requirement("R15")
@pytest.mark.early
async def test_thousands_of_held_calls_cost_little_and_are_decided_soon(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    people, long = {**PEOPLE, **CROWD}, 'ttl = "1h"'
    async with standing(
        tmp_path / "gateway", targets, world=world, people=people, server=PATIENT, approvals=long, wait="9m"
    ) as gateway:
        await gateway.start()
        alone: list[float] = []
        await load(gateway, alone)
        await gateway.end()
        await seed(gateway)
        await gateway.start()
        crowd = Crowd(gateway)
        clients = {name: gateway.client(name) for name in CROWD}
        async with anyio.create_task_group() as group:
            await crowd.hold(group, clients)
            count = SEEDED + CALLERS * EACH
            one_more = await gateway.code("call_api", post(EACH), person="dev0")
            assert one_more == "limit_exceeded"

            beside: list[float] = []
            listed, decided = [], []
            async with gateway.approver() as dana, anyio.create_task_group() as loading:
                loading.start_soon(load, gateway, beside)
                ids: list[tuple[str, tuple[str, int]]] = []
                url = "/api/approvals"
                while url:
                    seconds, page = await timed(lambda url=url: dana.get(url))  # type: ignore[misc]  # mypy infers no default of a lambda
                    listed.append(seconds)
                    ids += [(item["id"], call_of(item)) for item in page.json()]
                    url = page.links.get("next", {}).get("url", "")
                assert len(ids) == len(set(ids)) == count
                held_memory = rss(gateway.pid)
                resumed: list[float] = []
                waits = [(approval, key) for approval, key in ids if key[0] in CROWD][:DECIDED]
                for approval, key in waits:
                    seconds, _ = await timed(lambda a=approval: dana.post(f"/api/approvals/{a}/approve"))  # type: ignore[misc]  # as above
                    decided.append(seconds)
                    said = time.monotonic()
                    with anyio.fail_after(30):
                        while key not in crowd.answered:
                            await anyio.sleep(0.005)
                    resumed.append(crowd.answered[key] - said)
                    assert crowd.codes[key] == "ok"
            print(
                f"{count} held: {held_memory >> 20} MB; list {statistics.median(listed):.3f} s, at most {max(listed):.3f};"
                f" decide {statistics.median(decided):.3f} s; resumed p99 {p99(resumed):.3f} s;"
                f" traffic p99 {p99(alone):.3f} s alone, {p99(beside):.3f} s beside"
            )
            assert held_memory < MAX_RSS
            if FULL:
                assert statistics.median(listed) < ANSWERED_WITHIN
                assert statistics.median(decided) < ANSWERED_WITHIN
                assert p99(resumed) < RESUMED_WITHIN
            group.cancel_scope.cancel()  # whoever still waits goes away
        for http in clients.values():
            await http.aclose()
        await gateway.end()
        again: list[float] = []
        await gateway.start()
        await load(gateway, again)
        print(f"traffic p99 {p99(again):.3f} s with what is left held")
        if FULL:
            assert p99(beside) <= SLOWER_AT_MOST * max(p99(alone), p99(again)) + NOISE
        await gateway.end()


@pytest.mark.requirement("R15", "R16")
async def test_held_calls_end_at_their_deadline(
    tmp_path: Path, world: World, targets: Targets, moved_clock: MovedClock
) -> None:
    """Nobody can decide from the deadline on, and the record says so within a second or two."""
    world.moved = MOVED
    async with standing(
        tmp_path / "gateway", targets, world=world, people={**PEOPLE, **CROWD}, approvals='ttl = "1m"'
    ) as gateway:
        await gateway.start(environ=moved_clock.environ)
        callers = list(CROWD)[:3]
        async with anyio.create_task_group() as group:
            for name in callers:
                group.start_soon(ask_all, gateway, name)
        count = len(callers) * EACH
        # The deadlines are seconds away, and come while it looks at them.
        moved_clock.sleep((first_deadline(gateway) - utc_now()).total_seconds() - 2)
        with anyio.fail_after(60):
            while sum(row.kind == "ApprovalExpired" for row in gateway.store().rows) < count:
                await anyio.sleep(0.2)
        store = gateway.store()
        late = []
        for row in store.rows:
            if row.kind == "ApprovalExpired":
                (asked,) = [one for one in store.history(row.body["approval_id"]) if one.kind == "Asked"]
                late.append(datetime.fromisoformat(row.at) - datetime.fromisoformat(asked.body["deadline"]))
        print(f"expired {min(late).total_seconds():.3f} to {max(late).total_seconds():.3f} s after the deadline")
        assert min(late) >= timedelta(0)
        assert max(late) <= timedelta(seconds=1.5 if FULL else 10)
        assert targets.api.requests == []
        await gateway.end()


def first_deadline(gateway: Gateway) -> datetime:
    return min(datetime.fromisoformat(row.body["deadline"]) for row in gateway.store().rows if row.kind == "Asked")


async def ask_all(gateway: Gateway, name: str) -> None:
    async with gateway.client(name) as http:
        for number in range(EACH):
            assert await gateway.code("call_api", post(number), http=http) == "approval_pending"
