"""What a decision costs: 20 and 500 policies, from memory and by Cedar. Run: `python benchmarks/policy_decisions.py`.

Medians of rounds, in microseconds of CPU time; trust the ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from mcp_gateway.calls import Caller, SQLFacts, Target
from mcp_gateway.policy.compiling import compile_policies
from mcp_gateway.policy.engine import PolicyEngine, Question
from mcp_gateway.policy.split import Source

ROUNDS = 15
NOW = datetime(2026, 1, 5, tzinfo=UTC)
ORDERS = Target(
    name="orders",
    kind="postgres",
    description="",
    labels={"env": "prod"},
    classes=frozenset({"pii.email"}),
    fingerprint="1",
)
CALLER = Caller(
    issuer="https://idp.example.com",
    subject="dana",
    actor="agent",
    client_id="agent",
    delegated=False,
    email="dana@example.com",
    groups=frozenset(f"group-{number}" for number in range(8)),
    scopes=frozenset({"db"}),
    token_id="t",
    issued_at=NOW,
    expires_at=NOW,
    auth_time=None,
    assurance="token",
)
LAST = """
@id("read") permit (principal, action == Action::"query_database", resource);
@id("ask") @approval("dba") forbid (principal, action == Action::"query_database", resource)
when { !context.sql.read_only } unless { context.approval.by.contains("dba") };
@id("reveal") permit (principal in Group::"group-1", action == Action::"reveal", resource == DataClass::"pii.email");
"""


def policies(count: int) -> str:
    return LAST + "\n".join(
        f'@id("p{number}") {"permit" if number % 2 else "forbid"} (principal in Group::"other-{number}",'
        f' action == Action::"query_database", resource in Env::"prod")'
        f' when {{ context.sql.read_only || context.sql.writes.contains("t{number}") }};'
        for number in range(count - 3)
    )


def question(*, read_only: bool) -> Question:
    facts = SQLFacts(
        read_only=read_only,
        kinds=frozenset({"SELECT"}),
        reads=frozenset({"orders", "customers"}),
        writes=frozenset(),
        columns=frozenset(),
        functions=frozenset({"count"}),
        unbounded=False,
        statements=1,
        inference={},
    )
    return Question(
        caller=CALLER, target=ORDERS, tool="query_database", facts=facts, door="http", token_age=60, time=NOW
    )


def microseconds(call: Callable[[], object], *, times: int) -> float:
    call()
    rounds = []
    for _ in range(ROUNDS):
        begin = time.thread_time()
        for _ in range(times):
            call()
        rounds.append((time.thread_time() - begin) / times * 1e6)
    return statistics.median(rounds)


def measure(count: int) -> None:
    begin = time.thread_time()
    compiled = compile_policies([Source(file="p.cedar", text=policies(count))], targets=[ORDERS], classes=[])
    loading = time.thread_time() - begin
    warm = PolicyEngine(compiled, targets=[ORDERS])
    cold = PolicyEngine(compiled, targets=[ORDERS], remember=False)
    read, write = question(read_only=True), question(read_only=False)
    rows: list[tuple[str, Callable[[PolicyEngine], object]]] = [
        ("allow", lambda engine: engine.decide(read)),
        ("ask", lambda engine: engine.decide(write)),
        ("reveal", lambda engine: engine.reveal(read, {"pii.email"})),
    ]
    for name, call in rows:
        remembered = microseconds(partial(call, warm), times=300)
        evaluated = microseconds(partial(call, cold), times=40)
        print(f"{count:>8}  {name:<10} {remembered:>10.1f} {evaluated:>10.1f}")
    print(f"{count:>8}  {'loading':<10} {loading * 1000:>10.0f} ms")


def main() -> None:
    print(f"{'policies':>8}  {'what':<10} {'remembered':>10} {'by Cedar':>10}")
    for count in (20, 500):
        measure(count)


if __name__ == "__main__":
    main()
