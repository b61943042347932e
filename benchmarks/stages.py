"""Where the time of a governed call goes: each stage of the road, timed apart in one process.

    python -m benchmarks.stages [--calls N] [--rounds N]

The gateway's own parts (`cli.assemble`), its HTTP application and a real PostgreSQL; what is left out is sockets and
HTTP parsing. One caller, so that nothing else runs while a stage waits. For each stage the wall time and the CPU time of
the event loop's thread, in microseconds for one call: medians of rounds. The audit's own thread and the SQL parser's
process work beside; their time is in the stages that wait for them, as wall time.

`cached` is the same text in every call, `uncached` another text in each, with a token, a decision and facts that nobody
remembers.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import orjson
import uvloop
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from benchmarks.governed_call import PAGE, statement
from benchmarks.shop import running_database, write_configuration
from mcp_gateway.cli.assemble import Gateway, running
from mcp_gateway.cli.keys import open_key
from mcp_gateway.cli.serving import build_desk
from mcp_gateway.clock import utc_now
from mcp_gateway.config import load_settings
from mcp_gateway.doors.app import HTTPParts, HTTPSettings, http_app
from mcp_gateway.doors.guard import reachable
from mcp_gateway.masking.masker import CallMasker
from mcp_gateway.policy.engine import PolicyEngine

IN_CALL: ContextVar[bool] = ContextVar("in_call", default=False)
LISTEN = "127.0.0.1:8765"
STAGES = (
    "identity", "facts", "decision", "audit: intent", "target", "masking", "encoding", "audit: outcome",
    "the rest of the road", "protocol: guard and door",
)  # fmt: skip


class Stopwatch:
    """Wall and loop time by stage, nested stages taken out of those around them."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._open: list[str] = []

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter(), time.thread_time()
        self._open.append(stage)
        try:
            yield
        finally:
            self._open.pop()
            took = time.perf_counter() - begin[0], time.thread_time() - begin[1]
            for index in (0, 1):
                self.spent[stage][index] += took[index]
                if self._open:
                    self.spent[self._open[-1]][index] -= took[index]

    def around(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.timed(stage):
                return call(*args, **kwargs)

        return wrapped

    def around_async(self, stage: Callable[[], str], call: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not IN_CALL.get():  # the gateway's own work beside the calls, such as ending approvals
                return await call(*args, **kwargs)
            with self.timed(stage()):
                return await call(*args, **kwargs)

        return wrapped


class Bench:
    """A gateway whose parts are timed, behind its HTTP application."""

    def __init__(self, gateway: Gateway, watch: Stopwatch) -> None:
        self.gateway = gateway
        self.watch = watch
        self.token = self.mint()
        self._commits = 0
        parts: Any = gateway
        registered = parts.registry.targets["shop"]
        tool = parts.registry.tools["query_database"]
        tool.examine = watch.around_async(lambda: "facts", tool.examine)
        tool.mask = watch.around("masking", tool.mask)
        registered.connector.run = watch.around_async(lambda: "target", registered.connector.run)
        parts.records.store.transact = watch.around_async(self._which_commit, parts.records.store.transact)
        parts.identity.verifier.verify = watch.around_async(lambda: "identity", parts.identity.verifier.verify)
        parts.road.call = watch.around_async(lambda: "the rest of the road", parts.road.call)
        self._time_engine(parts.policies.current)

    def mint(self) -> str:
        issuer = self.gateway.identity.local
        assert issuer is not None
        return issuer.mint("alex", client_id="agent", actor="agent").reveal_text()

    def forget(self) -> None:
        """Take away what is remembered of tokens and decisions."""
        parts: Any = self.gateway
        parts.identity.verifier._remembered.clear()
        engine = parts.policies.current
        engine._enforced._decisions._entries.clear()
        engine._enforced._revealed._entries.clear()

    def _which_commit(self) -> str:
        self._commits += 1
        return "audit: intent" if self._commits % 2 else "audit: outcome"

    def _time_engine(self, engine: PolicyEngine) -> None:
        parts: Any = engine
        parts.decide = self.watch.around("decision", engine.decide)
        parts.reveal = self.watch.around("decision", engine.reveal)


async def call(app: Any, watch: Stopwatch, *, token: str, sql: str) -> int:
    """One call through the HTTP application; the size of its answer."""
    body = orjson.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": "query_database",
                "arguments": {"target": "shop", "sql": sql},
                "_meta": {
                    PROTOCOL_VERSION_META_KEY: "2026-07-28",
                    CLIENT_INFO_META_KEY: {"name": "benchmark", "version": "1"},
                    CLIENT_CAPABILITIES_META_KEY: {},
                },
            },
        }
    )
    headers = {
        "host": LISTEN,
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "content-length": str(len(body)),
        "authorization": f"Bearer {token}",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "query_database",
    }
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/mcp", "raw_path": b"/mcp",
        "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8765),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()], "state": {},
    }  # fmt: skip
    coming = [{"type": "http.request", "body": body, "more_body": False}]
    answer = bytearray()

    async def receive() -> dict[str, Any]:
        return coming.pop() if coming else await asyncio.get_running_loop().create_future()

    async def send(message: dict[str, Any]) -> None:
        answer.extend(message.get("body", b""))

    inside = IN_CALL.set(True)
    with watch.timed("protocol: guard and door"):
        await app(scope, receive, send)
    IN_CALL.reset(inside)
    assert b'"isError":false' in answer, bytes(answer[:1000])
    return len(answer)


async def measure(app: Any, bench: Bench, *, rows: int, cached: bool, calls: int, rounds: int) -> dict[str, Any]:
    """Medians of the rounds, by stage."""
    texts = statement(rows, texts="same" if cached else "shapes")
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    number = 0
    for turn in range(rounds + 1):
        bench.watch.spent.clear()
        for _ in range(calls):
            number += 1
            if not cached:
                bench.forget()
            await call(app, bench.watch, token=bench.token, sql=texts(number))
        if turn:  # the first one warms up
            for stage in STAGES:
                wall, cpu = bench.watch.spent[stage]
                found[stage].append((wall / calls * 1e6, cpu / calls * 1e6))
    return {
        stage: tuple(statistics.median(value[index] for value in values) for index in (0, 1))
        for stage, values in found.items()
    }


async def run(config: Path, *, calls: int, rounds: int) -> dict[tuple[int, bool], dict[str, Any]]:
    settings = load_settings(config)
    async with running(settings, doors=["http"]) as gateway:
        watch = Stopwatch()
        seal = CallMasker.seal
        CallMasker.seal = watch.around("encoding", seal)  # type: ignore[method-assign]
        bench = Bench(gateway, watch)
        async with http_app(
            HTTPSettings(
                name="benchmark",
                public_url=f"http://{LISTEN}",
                audience=settings.identity.audience,
                issuer="local",
                scopes={},
                names=reachable(public_url=f"http://{LISTEN}", listen=LISTEN, allowed_origins=[]),
                sse=False,
                answer_within=settings.server.answer_within,
            ),
            HTTPParts(
                road=gateway.road,
                registry=gateway.registry,
                verifier=gateway.identity.verifier,
                desk=build_desk(gateway),
                state_key=open_key(settings.gateway.data_dir / "state.key"),
                problem=lambda: None,
                clock=utc_now,
            ),
        ) as app:
            return {
                (rows, cached): await measure(
                    app,
                    bench,
                    rows=rows,
                    cached=cached,
                    calls=calls if rows == 1 else max(1, calls // 10),
                    rounds=rounds,
                )
                for rows in (1, PAGE)
                for cached in (True, False)
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=200, help="in a round; a tenth of it with 1000 rows")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_database() as database,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        config = write_configuration(database, Path(folder))
        found = runner.run(run(config, calls=arguments.calls, rounds=arguments.rounds))
    print("Microseconds for one call, wall (of it on the event loop's CPU).\n")
    print("| stage | one row, cached | uncached | 1000 rows, cached | uncached |\n|---|---|---|---|---|")
    for stage in STAGES:
        cells = [f"{wall:,.0f} ({cpu:,.0f})" for wall, cpu in (column[stage] for column in found.values())]
        print(f"| {stage} | {' | '.join(cells)} |")
    sums = [[sum(value[index] for value in column.values()) for index in (0, 1)] for column in found.values()]
    print(f"| all | {' | '.join(f'{wall:,.0f} ({cpu:,.0f})' for wall, cpu in sums)} |")


if __name__ == "__main__":
    main()
