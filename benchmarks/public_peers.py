"""Public MCP servers for PostgreSQL beside the gateway: the same SELECTs, the same database, in turns.

    python -m benchmarks.public_peers [--rounds N] [--seconds S] [--rows ...] [--callers ...] [--peers NAME,...]

`npm --prefix benchmarks/peers ci` installs those that come from npm; one that is not installed is left out, and said.
All speak the handshake era over streamable HTTP, because not all of them speak another. In every round each server
takes its turn at the same work, the floor (`bare_server`) among them, in another order each time; each ratio is to the
floor of the same round, and medians are printed, with the lowest and the highest. None of them but the gateway checks a
token, decides, masks or records anything. What they answer with differs: the size of an answer is in the table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import uvloop

from benchmarks.callers import LEGACY, Caller
from benchmarks.governed_call import MANY, PAGE, Measured, Work, measure, spread, statement
from benchmarks.shop import Database, Server, running_database, running_floor, running_gateway, running_module, serving

PEERS_FOLDER = Path(__file__).with_name("peers")
PACKAGES = PEERS_FOLDER / "node_modules"
FLOOR = "floor"
WARM_SECONDS = 0.5
Start: TypeAlias = Callable[[Database, Path], AbstractContextManager[Server]]


class NotInstalledError(Exception):
    """A peer is not on this machine."""


@contextmanager
def running_toolbox(database: Database, folder: Path) -> Iterator[Server]:
    """MCP Toolbox for Databases, with one tool of its kind `postgres-execute-sql`."""
    config = folder / "toolbox.yaml"
    source = {
        "kind": "postgres",
        "host": database.host,
        "port": database.port,
        "database": "postgres",
        "user": "gateway",
        "password": "of the gateway",
    }
    tool = {"kind": "postgres-execute-sql", "source": "shop", "description": "Run one SQL statement."}
    config.write_text(json.dumps({"sources": {"shop": source}, "tools": {"query_database": tool}}))
    port = free_port()
    command = [
        installed("@toolbox-sdk/server-*/bin/toolbox*"),
        "--config",
        str(config),
        "--address",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with serving("MCP Toolbox", command, url=f"http://127.0.0.1:{port}") as server:
        yield server


@contextmanager
def running_dbhub(database: Database, folder: Path) -> Iterator[Server]:
    """DBHub, with its tool `execute_sql`."""
    config = folder / "dbhub.toml"
    config.write_text(f'[[sources]]\nid = "shop"\ndsn = "{database.dsn}"\n')
    port = free_port()
    command = [
        installed(".bin/node"),
        installed(".bin/dbhub"),
        "--transport",
        "http",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with serving("DBHub", [*command, "--config", str(config)], url=f"http://127.0.0.1:{port}") as server:
        yield Server(name=server.name, url=server.url, pid=server.pid, tool="execute_sql")


PEERS: dict[str, Start] = {
    "gateway": running_gateway,
    "raw": lambda database, _: running_module("raw_server", database, name="raw"),
    "fastmcp": lambda database, _: running_module("fastmcp_server", database, name="fastmcp"),
    "toolbox": running_toolbox,
    "dbhub": running_dbhub,
}


def installed(pattern: str) -> str:
    """A program from npm; not by a launcher that would outlive what it launches, or be outlived by it."""
    found = sorted(PACKAGES.glob(pattern))
    if not found:
        raise NotInstalledError(f"{pattern} is not installed: run npm --prefix benchmarks/peers ci")
    return str(found[0])


def free_port() -> int:
    """A port for a server that takes none by itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def versions() -> str:
    """What was measured."""
    python = [f"{name} {version(name)}" for name in ("mcp", "fastmcp", "asyncpg", "uvicorn")]
    package = json.loads((PEERS_FOLDER / "package.json").read_text())
    wanted = package["dependencies"] | package["optionalDependencies"]
    node = [f"{name} {wanted[name]}" for name in ("@toolbox-sdk/server-linux-x64", "@bytebase/dbhub", "node")]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return "; ".join([machine, *python, *node])


async def answer_bytes(server: Server, work: Work, sql: str) -> int:
    """The size of one response."""
    caller = Caller(server, era=work.era)
    await caller.open()
    try:
        return await caller.call(sql)
    finally:
        caller.close()


async def run(
    servers: list[Server], database: Database, works: list[Work], *, rounds: int, seconds: float
) -> dict[Work, list[dict[str, Measured]]]:
    """All rounds: for each kind of work and round, what each server did."""
    found: dict[Work, list[dict[str, Measured]]] = {work: [] for work in works}
    for number in range(-1, rounds):  # the first is to warm up
        for work in works:
            sql = statement(work.rows, texts="values")
            turn = number % len(servers)
            this = {
                server.name: await measure(
                    server, database, work, sql=sql, seconds=WARM_SECONDS if number < 0 else seconds
                )
                for server in [*servers[turn:], *servers[:turn]]
            }
            if number >= 0:
                found[work].append(this)
    return found


HEADER = """\
| rows | callers | server | calls/s by the floor's | CPU of a call by the floor's | CPU ms | PostgreSQL's CPU ms | p50 ms | p99 ms | KB of an answer |
|---|---|---|---|---|---|---|---|---|---|"""


def report(work: Work, name: str, rounds: list[dict[str, Measured]], size: int) -> str:
    """One line of the table."""
    pairs = [(each[FLOOR], each[name]) for each in rounds]
    rate = spread([peer.rate / floor.rate for floor, peer in pairs])
    cpu = spread([peer.cpu / floor.cpu for floor, peer in pairs])
    own, postgres, p50, p99 = (
        statistics.median(values)
        for values in (
            [peer.cpu for _, peer in pairs],
            [peer.postgres for _, peer in pairs],
            [peer.percentile(0.5) for _, peer in pairs],
            [peer.percentile(0.99) for _, peer in pairs],
        )
    )
    return (
        f"| {work.rows:>4} | {work.callers:>2} | {name} | {rate} | {cpu} | {own:.2f} | {postgres:.2f} | "
        f"{p50:.1f} | {p99:.1f} | {size / 1000:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one server at one kind of work in one round")
    parser.add_argument("--rows", type=int, choices=[1, PAGE], default=None)
    parser.add_argument("--callers", type=int, choices=[1, MANY], default=None)
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {', '.join(PEERS)}; all that are installed")
    arguments = parser.parse_args()
    wanted: list[str] = arguments.peers.split(",")
    if unknown := [name for name in wanted if name not in PEERS]:
        parser.error(f"--peers: {unknown[0]!r} is none of {', '.join(PEERS)}")
    works = [
        Work(era=LEGACY, rows=rows, callers=callers)
        for rows in (1, PAGE)
        for callers in (1, MANY)
        if arguments.rows in {rows, None} and arguments.callers in {callers, None}
    ]
    print(versions(), file=sys.stderr)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(running_database())
        servers = [stack.enter_context(running_floor(database))]
        for name in wanted:
            try:
                servers.append(stack.enter_context(PEERS[name](database, folder)))
            except NotInstalledError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(run(servers, database, works, rounds=arguments.rounds, seconds=arguments.seconds))
            print(HEADER)
            for work, rounds in found.items():
                for server in servers:
                    sql = statement(work.rows, texts="values")(1)
                    size = runner.run(answer_bytes(server, work, sql))
                    print(report(work, server.name, rounds, size))


if __name__ == "__main__":
    main()
