"""What a governed call costs over standard streams, beside the SDK's own server and transport for them.

    python -m benchmarks.stdio_call [--rounds N] [--seconds S] [--era ...] [--rows ...]

As `governed_call`, but each server is a child of the benchmark, as of an MCP host. A host has one pipe to each server:
sixteen callers are sixteen calls under way on it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from pathlib import Path

import uvloop

from benchmarks.callers import LEGACY, MODERN, Era
from benchmarks.governed_call import HEADER, MANY, PAGE, Measured, Work, measure_callers, report, statement
from benchmarks.pipes import running_pipes
from benchmarks.shop import Database, running_database, write_configuration

WARM_SECONDS = 0.5


async def run(
    database: Database, config: Path, works: list[Work], *, era: Era, rounds: int, seconds: float
) -> dict[Work, list[list[Measured]]]:
    """All rounds of one era; for each kind of work and round, the floor's and the gateway's."""
    found: dict[Work, list[list[Measured]]] = {work: [] for work in works}
    floor = [sys.executable, "-m", "benchmarks.bare_server", database.dsn, "--stdio"]
    gateway = [sys.executable, "-I", "-m", "mcp_gateway", "--config", str(config), "stdio"]
    async with (
        running_pipes("floor", floor, era=era, target="") as bare,
        running_pipes("gateway", gateway, era=era, target="shop") as governed,
    ):
        for number in range(-1, rounds):  # the first is to warm up
            for work in works:
                pair = {}
                for server, pipes in (bare, governed) if number % 2 else (governed, bare):
                    pair[server.name] = await measure_callers(
                        [pipes] * work.callers,
                        server,
                        database,
                        work,
                        sql=statement(work.rows, texts="values"),
                        seconds=WARM_SECONDS if number < 0 else seconds,
                    )
                if number >= 0:
                    found[work].append([pair["floor"], pair["gateway"]])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one server at one kind of work in one round")
    parser.add_argument("--era", choices=[MODERN, LEGACY, "both"], default="both")
    parser.add_argument("--rows", type=int, choices=[1, PAGE], default=None)
    parser.add_argument("--callers", type=int, choices=[1, MANY], default=None)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", file=sys.stderr)
    eras: list[Era] = [era for era in (MODERN, LEGACY) if arguments.era in {era, "both"}]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_database() as database,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        config = write_configuration(database, Path(folder))
        print(HEADER)
        for era in eras:
            works = [
                Work(era=era, rows=rows, callers=callers)
                for rows in (1, PAGE)
                for callers in (1, MANY)
                if arguments.rows in {rows, None} and arguments.callers in {callers, None}
            ]
            found = runner.run(
                run(database, config, works, era=era, rounds=arguments.rounds, seconds=arguments.seconds)
            )
            for work, rounds in found.items():
                print(report(work, rounds))


if __name__ == "__main__":
    main()
