"""What the policy tests decide on: a caller, targets, facts, and engines from text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mcp_gateway.calls import Caller, HTTPFacts, ShellFacts, SQLFacts, Target
from mcp_gateway.errors import ConfigError
from mcp_gateway.policy.compiling import compile_policies
from mcp_gateway.policy.engine import PolicyEngine, Question
from mcp_gateway.policy.reach import Findings, findings_on
from mcp_gateway.policy.split import Source
from mcp_gateway.policy.statement import NO_PERMIT, Compiled

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)

CALLER = Caller(
    issuer="https://idp.example.com",
    subject="dana",
    actor="agent",
    client_id="agent",
    delegated=False,
    email="dana@example.com",
    groups=frozenset({"developers"}),
    scopes=frozenset({"db"}),
    token_id="t1",
    issued_at=NOW,
    expires_at=NOW,
    auth_time=None,
    assurance="token",
)

ORDERS = Target(
    name="orders",
    kind="postgres",
    description="",
    labels={"env": "prod", "team": "payments"},
    classes=frozenset({"pii.email", "shop.margin"}),
    fingerprint="1",
)
SANDBOX = replace(ORDERS, name="sandbox", labels={"env": "dev"})
WEB = replace(ORDERS, name="web1", kind="ssh", labels={"env": "prod"}, classes=frozenset())
BILLING = replace(ORDERS, name="billing", kind="http", labels={"env": "prod"}, classes=frozenset())
TARGETS = (ORDERS, SANDBOX, WEB, BILLING)

READ = SQLFacts(
    read_only=True,
    kinds=frozenset({"SELECT"}),
    reads=frozenset({"orders"}),
    writes=frozenset(),
    columns=frozenset(),
    functions=frozenset(),
    unbounded=False,
    statements=1,
    inference={},
)
WRITE = replace(READ, read_only=False, kinds=frozenset({"UPDATE"}), writes=frozenset({"orders"}))
COMMAND = ShellFacts(
    programs=frozenset({"ls"}),
    subcommands=frozenset(),
    opaque=False,
    read_only=True,
    writes_files=False,
    privileged=False,
    network=False,
    writes=frozenset(),
    removes=frozenset(),
    paths_known=True,
)
REQUEST = HTTPFacts(method="GET", host="billing.example.com", path="/v1/invoices")

READ_ALL = '@id("all") permit (principal, action == Action::"query_database", resource);\n'
WRITES_ASK = """
@id("writes") @approval("dba") @reason("writes wait for a DBA")
forbid (principal, action == Action::"query_database", resource in Env::"prod")
when { !context.sql.read_only }
unless { context.approval.by.contains("dba") };
"""


def compiled(text: str, *, targets: Sequence[Target] = TARGETS, classes: Collection[str] = ()) -> Compiled:
    """One file of policies, compiled."""
    return compile_policies([Source(file="p.cedar", text=text)], targets=targets, classes=classes)


def findings(text: str, *, targets: Sequence[Target] = TARGETS) -> Findings:
    """What is odd about one file of policies, which need not permit anything alone."""
    found = findings_on(compiled(text, targets=targets), targets=targets)
    return replace(found, warnings=tuple(warning for warning in found.warnings if warning.message != NO_PERMIT))


def engine(text: str, *, targets: Sequence[Target] = TARGETS, remember: bool = True) -> PolicyEngine:
    """An engine for one file of policies."""
    return PolicyEngine(compiled(text, targets=targets), targets=targets, remember=remember)


def problems(text: str) -> list[str]:
    """What is wrong with one file of policies."""
    try:
        compiled(text)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def question(**changes: Any) -> Question:
    """A question about a read of `orders`, but for what is given."""
    defaults: dict[str, Any] = {
        "caller": CALLER,
        "target": ORDERS,
        "tool": "query_database",
        "facts": READ,
        "door": "http",
        "token_age": 60,
        "time": NOW,
    }
    return Question(**defaults | changes)
