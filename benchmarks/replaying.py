"""How many recorded calls `policy replay` decides again in a second of CPU. Run: `python -m benchmarks.replaying`.

Every call has other facts, at which a policy looks, so no decision is remembered from another. Reading the store is part of
it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio

from benchmarks.policy_decisions import CALLER, NOW, ORDERS, policies, question
from mcp_gateway.audit.decided import decided_since
from mcp_gateway.audit.search import opened
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.calls import SQLFacts
from mcp_gateway.cli.replaying import Replay
from mcp_gateway.events import Answered, Decided, Event, Examined, Identified, Received
from mcp_gateway.policy.compiling import compile_policies
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.split import Source

LOOKS = """
@id("looks") forbid (principal, action == Action::"query_database", resource) when { context.sql.reads.contains("none") };
"""
"""What tells the calls apart: without it all would have one decision, remembered from the first."""


def events(number: int) -> Iterator[Event]:
    """Those of one call that was allowed."""
    call_id, facts = f"call-{number}", question(read_only=True).facts
    assert isinstance(facts, SQLFacts)
    facts = replace(facts, reads=frozenset({"orders", f"table_{number}"}))
    yield Received(
        at=NOW, call_id=call_id, door="http", tool="query_database", target="orders", arguments={}, client={}
    )
    yield Identified(
        at=NOW,
        call_id=call_id,
        issuer=CALLER.issuer,
        subject=CALLER.subject,
        actor=CALLER.actor,
        email=CALLER.email,
        groups=CALLER.groups,
        scopes=CALLER.scopes,
        token_id=CALLER.token_id,
        token_issued_at=CALLER.issued_at,
        token_expires_at=CALLER.expires_at,
        assurance=CALLER.assurance,
    )
    yield Examined(at=NOW, call_id=call_id, digest="0" * 64, facts=facts.to_json(), environment="0" * 64)
    yield Decided(
        at=NOW,
        call_id=call_id,
        decision="allow",
        policies=("read",),
        reasons=("",),
        policy_version="0" * 64,
        revealed=frozenset({"pii.email"}),
    )
    yield Answered(at=NOW, call_id=call_id, code="ok")


async def record(folder: Path, *, calls: int) -> None:
    """A store of so many calls."""
    store = await AuditStore.open(folder, clock=lambda: NOW)
    for first in range(0, calls, 100):
        await store.append(*(event for number in range(first, min(first + 100, calls)) for event in events(number)))
    await store.aclose()


def replayed(folder: Path, engine: PolicyEngine) -> tuple[int, float]:
    """How many calls were decided again, and how many seconds of CPU that took."""
    found = Replay(engine=engine, targets={ORDERS.name: ORDERS})
    begin = time.process_time()
    with opened(folder) as connection:
        for call in decided_since(connection, NOW - timedelta(days=1)):
            found.add(call)
    assert found.same == found.calls, found.to_json()
    return found.calls, time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=5000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        folder.mkdir(mode=0o700)
        anyio.run(lambda: record(folder, calls=arguments.calls))
        print(f"{'policies':>8}  {'calls':>8}  {'calls/s':>8}")
        for count in (20, 500):
            text = policies(count - 1) + LOOKS
            compiled = compile_policies([Source(file="p.cedar", text=text)], targets=[ORDERS], classes=[])
            calls, seconds = replayed(folder, PolicyEngine(compiled, targets=[ORDERS]))
            print(f"{count:>8}  {calls:>8,}  {calls / seconds:>8,.0f}")


if __name__ == "__main__":
    main()
