"""From the text of a statement to a decision: the parser's process and back, lineage, and 20 or 500 policies.

    python -m benchmarks.facts_and_decisions [--rounds N] [--apart] [--awake]

Wall time of one statement after another, in milliseconds: medians of all rounds, with the 95th percentile. `new` are texts
never seen before, `seen` the same text again; what is remembered is bound to the catalog that a text was examined with and
to the set of policies. A real PostgreSQL's catalog is in the parser's process, three of its columns are classified; the look
at whether it still holds is part of it where one is due.

A decision may be remembered of another statement that policies see no difference in, as they do with constants that a set or
a number is compared with. `told apart` are new texts under a policy that compares two numbers of each, so that Cedar is asked.

Who is woken through a pipe may be put on the processor of who wrote into it, and then each finds its caches full of the
other's. `--apart` keeps the event loop on one processor and the parser's process on another, as a scheduler does that
knows which of them share a cache.

Both processes sleep while the other works, which is when processors are halted: see `benchmarks/awake.py` for `--awake`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import uvloop

from benchmarks.awake import AWAKE, awake
from benchmarks.policy_decisions import policies, question
from benchmarks.shop import children_of, running_database, write_configuration
from mcp_gateway.cli.assemble import Gateway, running
from mcp_gateway.config import load_settings
from mcp_gateway.policy.compiling import compile_policies
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.split import Source

TYPICAL = (
    "SELECT c.id, c.name, count(o.id) AS orders_{0}, sum(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id"
    " WHERE c.city = 'Oslo' AND o.placed_at > now() - interval '7 days' GROUP BY 1, 2 ORDER BY 4 DESC LIMIT {0}"
)
"""No two of them have one shape."""
LONG_BYTES = 10_000
LIMITS = {
    ("typical", "new", 20): 0.8,
    ("typical", "new", 500): 2.0,
    ("typical", "told apart", 500): 2.0,
    ("typical", "seen", 20): 0.25,
    ("10 KB, a list", "new", 20): 5.0,
    ("10 KB, dense", "new", 20): 5.0,
}
"""Milliseconds that are aimed at."""


def long_statement(number: int) -> str:
    """One of ten thousand bytes."""
    listed = ", ".join(str(1_000_000 + number + step) for step in range((LONG_BYTES - 120) // 9))
    return f"SELECT c.id, c.name FROM customers c WHERE c.id IN ({listed}) AND c.city = 'Oslo' ORDER BY 2 LIMIT {number + 1}"


def dense_statement(number: int) -> str:
    """One of ten thousand bytes that is nothing but columns, functions and conditions."""
    cells: list[str] = []
    size = 0
    while size < LONG_BYTES - 120:
        cells.append(f"sum(CASE WHEN c.city = 'x{len(cells)}' THEN o.total END) AS t{number}_{len(cells)}")
        size += len(cells[-1]) + 2
    return f"SELECT {', '.join(cells)} FROM customers c JOIN orders o ON o.customer_id = c.id LIMIT {number + 1}"


async def measure(
    gateway: Gateway, engine: PolicyEngine, *, text: Callable[[int], str], start: int, times: int
) -> list[float]:
    """Seconds that each statement took."""
    taken = []
    registered, tool = gateway.registry.targets["shop"], gateway.registry.tools["query_database"]
    asked = replace(question(read_only=True), target=registered.target)
    for number in range(start, start + times):
        arguments = tool.Arguments(target="shop", sql=text(number))  # type: ignore[call-arg]
        begin = time.perf_counter()
        examination = await tool.examine(arguments, target=registered.target, connector=registered.connector)
        engine.decide(replace(asked, facts=examination.facts))
        taken.append(time.perf_counter() - begin)
        assert examination.private.lineage.columns is not None, "it was followed"
    return taken


def keep_apart(children: list[int]) -> None:
    """Give this process one processor, and the parser's another."""
    first, second, *_ = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {first})
    for child in children:
        os.sched_setaffinity(child, {second})


async def run(config: Path, *, rounds: int, times: int, apart: bool) -> None:
    """All of it, the kinds of work in turns."""
    works: list[tuple[str, str, int, Callable[[int], str]]] = [
        ("typical", "new", 20, lambda number: TYPICAL.format(number + 2)),
        ("typical", "told apart", 20, lambda number: TYPICAL.format(number + 2)),
        ("typical", "new", 500, lambda number: TYPICAL.format(number + 2)),
        ("typical", "told apart", 500, lambda number: TYPICAL.format(number + 2)),
        ("typical", "seen", 20, lambda _: TYPICAL.format(1)),
        ("10 KB, a list", "new", 20, long_statement),
        ("10 KB, dense", "new", 20, dense_statement),
    ]
    taken: dict[tuple[str, str, int], list[float]] = {work[:3]: [] for work in works}
    async with running(load_settings(config), doors=["http"]) as gateway:
        target = gateway.registry.targets["shop"].target
        engines = {
            (count, how): PolicyEngine(
                compile_policies(
                    [Source(file="p.cedar", text=policies(count - len(looks)) + "".join(looks))],
                    targets=[target],
                    classes=[],
                ),
                targets=[target],
            )
            for count in (20, 500)
            for how, looks in (("new", [LOOKS]), ("told apart", [LOOKS, TELLS_APART]))
        }
        start = 0
        for number in range(rounds + 1):
            for what, how, count, text in works:
                found = await measure(
                    gateway,
                    engines[count, "told apart" if how == "told apart" else "new"],
                    text=text,
                    start=start,
                    times=times,
                )
                start += times
                if number:  # the first warms everything up
                    taken[what, how, count] += found
            if apart and not number:
                keep_apart(children_of(os.getpid()))
    print("| statement | text | policies | p50 ms | p95 ms | aim, p50 |\n|---|---|---|---|---|---|")
    for (what, how, count), seconds in taken.items():
        ordered = sorted(seconds)
        p50, p95 = statistics.median(ordered) * 1000, ordered[int(len(ordered) * 0.95)] * 1000
        print(f"| {what} | {how} | {count} | {p50:.2f} | {p95:.2f} | {LIMITS.get((what, how, count), '')} |")


LOOKS = """
@id("looks") forbid (principal, action == Action::"query_database", resource)
when { context.sql.row_limit == 0 || context.sql.columns.contains("public.none.none") };
"""
TELLS_APART = """
@id("tells-apart") forbid (principal, action == Action::"query_database", resource)
when { context.sql.row_limit == context.sql.statements };
"""
"""A policy that tells statements apart, so that no decision is remembered from another."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=int, default=100, help="statements of each kind in a round")
    parser.add_argument("--apart", action="store_true", help="a processor for each of the two processes")
    parser.add_argument("--awake", action="store_true", help=AWAKE)
    arguments = parser.parse_args()
    with (
        awake(wanted=arguments.awake),
        tempfile.TemporaryDirectory() as folder,
        running_database() as database,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        config = write_configuration(database, Path(folder))
        runner.run(run(config, rounds=arguments.rounds, times=arguments.times, apart=arguments.apart))


if __name__ == "__main__":
    main()
