"""What a governed call costs beside an ungoverned one: a SELECT of one row and of 1000 rows over streamable HTTP.

    python -m benchmarks.governed_call [--rounds N] [--seconds S] [--era ...] [--rows ...] [--texts ...] [--text-only]

The floor is `bare_server`: the SDK's low-level server over an asyncpg pool. Both servers and PostgreSQL are processes of
their own on loopback, and the callers (`callers`) are raw HTTP. Each call has other values in its text, as most of
agents' calls have; with `--texts shapes` another name, too, with `--texts same` all have one text. In every round floor
and gateway take turns at the same work, and each ratio is between neighbours; medians of the rounds are printed, with the
lowest and the highest. CPU is what /proc says: of the gateway with its child (the SQL parser's process, shown apart), and
of PostgreSQL. Any error ends the run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import uvloop

from benchmarks.callers import LEGACY, MODERN, Caller, Calls, Era, calling
from benchmarks.shop import (
    CUSTOMERS,
    ORDERS,
    Database,
    Server,
    children_seconds,
    cpu_seconds,
    running_database,
    running_floor,
    running_gateway,
)

Texts: TypeAlias = Literal["values", "shapes", "same"]
"""In what the texts of calls differ: in values, as agents' mostly do; each in a name, too; or in nothing."""

WARM_SECONDS = 0.3
MANY = 16
PAGE = 1000
SMALLEST = {1: 100, PAGE: 60_000}
"""Bytes that an answer of so many rows has at least: one that is shorter is not the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One kind of work."""

    era: Era
    rows: int
    callers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one server did in one round."""

    calls: int
    seconds: float
    own: float
    """CPU seconds of the server's process."""
    children: float
    database: float
    taken: list[float]

    @property
    def rate(self) -> float:
        return self.calls / self.seconds

    @property
    def cpu(self) -> float:
        """Milliseconds of CPU for one call, children included."""
        return 1000 * (self.own + self.children) / self.calls

    @property
    def child(self) -> float:
        return 1000 * self.children / self.calls

    @property
    def postgres(self) -> float:
        return 1000 * self.database / self.calls

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.taken)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def statement(rows: int, *, texts: Texts) -> Callable[[int], str]:
    """The text of the n-th call."""

    def one(number: int) -> str:
        number = 0 if texts == "same" else number
        name = number if texts == "shapes" else ""
        wanted = 1 + number % CUSTOMERS
        return f"SELECT id, name, email, city FROM customers AS c{name} WHERE id = {wanted} AND id <> -{number}"

    def many(number: int) -> str:
        number = 0 if texts == "same" else number
        name = number if texts == "shapes" else ""
        beyond = number % (ORDERS - PAGE)
        return (
            f"SELECT o.id, c{name}.name, c{name}.email, o.total, o.status, o.placed_at, o.note FROM orders AS o "
            f"JOIN customers AS c{name} ON c{name}.id = o.customer_id WHERE o.id > {beyond} ORDER BY o.id LIMIT {PAGE}"
        )

    return one if rows == 1 else many


async def measure(
    server: Server, database: Database, work: Work, *, sql: Callable[[int], str], seconds: float
) -> Measured:
    """One server at one kind of work, once, over HTTP."""
    callers = [Caller(server, era=work.era) for _ in range(work.callers)]
    try:
        for caller in callers:
            await caller.open()
        return await measure_callers(callers, server, database, work, sql=sql, seconds=seconds)
    finally:
        for caller in callers:
            caller.close()


async def measure_callers(
    callers: Sequence[Calls],
    server: Server,
    database: Database,
    work: Work,
    *,
    sql: Callable[[int], str],
    seconds: float,
) -> Measured:
    """One server at one kind of work, once, by callers that are ready."""
    for caller in callers:
        assert await caller.call(sql(0)) >= SMALLEST[work.rows]
    before = cpu_seconds(server.pid), children_seconds(server.pid), children_seconds(database.pid)
    begin = time.perf_counter()
    taken = await calling(callers, sql=sql, seconds=seconds)
    elapsed = time.perf_counter() - begin
    after = cpu_seconds(server.pid), children_seconds(server.pid), children_seconds(database.pid)
    own, children, postgres = (late - early for early, late in zip(before, after, strict=True))
    return Measured(calls=len(taken), seconds=elapsed, own=own, children=children, database=postgres, taken=taken)


async def run(
    servers: list[Server], database: Database, works: list[Work], *, rounds: int, seconds: float, texts: Texts
) -> dict[Work, list[list[Measured]]]:
    """All rounds; for each kind of work and round, the floor's and the gateway's."""
    found: dict[Work, list[list[Measured]]] = {work: [] for work in works}
    sent = {work.rows: statement(work.rows, texts=texts) for work in works}
    for work in works:
        for server in servers:
            await measure(server, database, work, sql=sent[work.rows], seconds=min(seconds, WARM_SECONDS))
    for number in range(rounds):
        for work in works:
            pair = {}
            for server in servers if number % 2 else reversed(servers):
                pair[server.name] = await measure(server, database, work, sql=sent[work.rows], seconds=seconds)
            found[work].append([pair[server.name] for server in servers])
    return found


def spread(values: list[float], *, form: str = "5.2f") -> str:
    """Median, and from where to where."""
    return f"{statistics.median(values):{form}} [{min(values):.2f}-{max(values):.2f}]"


def report(work: Work, rounds: list[list[Measured]]) -> str:
    """One line of the table."""
    pairs = [(floor, gateway) for floor, gateway in rounds]
    rate = spread([gateway.rate / floor.rate for floor, gateway in pairs])
    cpu = spread([gateway.cpu / floor.cpu for floor, gateway in pairs])
    postgres = spread([gateway.postgres / max(floor.postgres, 1e-6) for floor, gateway in pairs])
    medians = [
        statistics.median(values)
        for values in (
            [floor.cpu for floor, _ in pairs],
            [gateway.cpu for _, gateway in pairs],
            [gateway.child for _, gateway in pairs],
            [floor.percentile(0.5) for floor, _ in pairs],
            [gateway.percentile(0.5) for _, gateway in pairs],
            [floor.percentile(0.99) for floor, _ in pairs],
            [gateway.percentile(0.99) for _, gateway in pairs],
        )
    ]
    floor_cpu, cpu_ms, child, floor_p50, p50, floor_p99, p99 = medians
    return (
        f"| {work.era} | {work.rows:>4} | {work.callers:>2} | {rate} | {cpu} | {postgres} | "
        f"{floor_cpu:.2f} / {cpu_ms:.2f} ({child:.2f}) | {floor_p50:.1f} / {p50:.1f} | {floor_p99:.1f} / {p99:.1f} |"
    )


HEADER = """\
| era | rows | callers | calls/s by the floor's | CPU of a call by the floor's | PostgreSQL's CPU by the floor's | CPU ms, floor / gateway \
(of it the child) | p50 ms | p99 ms |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one server at one kind of work in one round")
    parser.add_argument("--era", choices=[MODERN, LEGACY, "both"], default="both")
    parser.add_argument("--rows", type=int, choices=[1, PAGE], default=None)
    parser.add_argument("--callers", type=int, choices=[1, MANY], default=None)
    parser.add_argument("--texts", choices=get_args(Texts), default="values", help="in what the texts of calls differ")
    parser.add_argument("--text-only", action="store_true", help="a floor that answers with text alone")
    arguments = parser.parse_args()
    works = [
        Work(era=era, rows=rows, callers=callers)
        for era in (MODERN, LEGACY)
        for rows in (1, PAGE)
        for callers in (1, MANY)
        if arguments.era in {era, "both"} and arguments.rows in {rows, None} and arguments.callers in {callers, None}
    ]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", file=sys.stderr)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_database() as database,
        running_floor(database, *(["--text-only"] if arguments.text_only else [])) as floor,
        running_gateway(database, Path(folder)) as gateway,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(
            run(
                [floor, gateway],
                database,
                works,
                rounds=arguments.rounds,
                seconds=arguments.seconds,
                texts=arguments.texts,
            )
        )
    print(HEADER)
    for work, rounds in found.items():
        print(report(work, rounds))


if __name__ == "__main__":
    main()
