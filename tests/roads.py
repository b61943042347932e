"""A whole road for tests: real store, real policies, real masking, and one target that is a real HTTP API.

The API (`tests.peers.api`) writes down what arrives, so a test can say whether the target was touched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import orjson
from mcp_gateway_tools.call_api import CallAPI

from mcp_gateway.admission import Parts, Request
from mcp_gateway.answers import Answer, Masked, Refusal
from mcp_gateway.approval.holding import Channels, Holder, InputRequired
from mcp_gateway.approval.store import ApprovalStore, Viewer
from mcp_gateway.approval.tables import MIGRATIONS
from mcp_gateway.approval.ticket import Ticket, Vote
from mcp_gateway.audit.revocations import MIGRATIONS as REVOCATIONS
from mcp_gateway.audit.revocations import Revocations
from mcp_gateway.audit.store import AuditStore, Pace
from mcp_gateway.calls import Caller, Secret, Target
from mcp_gateway.clock import new_id
from mcp_gateway.decisions import CALLER_GROUP
from mcp_gateway.errors import IdentityError
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.masking.detectors import resolve
from mcp_gateway.masking.masker import masker_for
from mcp_gateway.pipeline import Road
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.loader import load_policies
from mcp_gateway.rates import Rate
from mcp_gateway.registry import AnyTool, Registered, Registry
from mcp_gateway.targets.http import HTTPConnector
from tests.approval.tickets import a_caller
from tests.peers.api import API, running_api
from tests.private import write_private

POLICIES = """
@id("reads") permit (principal in Group::"dev", action == Action::"call_api", resource);
@id("writes-need-dba") @approval("dba") @reason("writes wait for a DBA")
forbid (principal, action == Action::"call_api", resource) when { context.http.method == "POST" }
unless { context.approval.by.contains("dba") };
@id("confirm-put") @approval("caller")
forbid (principal, action == Action::"call_api", resource) when { context.http.method == "PUT" }
unless { context.approval.by.contains("caller") };
@id("never-delete") @reason("nobody deletes")
forbid (principal, action == Action::"call_api", resource) when { context.http.method == "DELETE" };
"""
ALLOWED = ["Received", "Identified", "Examined", "Decided", "Started", "Finished", "Answered"]
ASKED = ["Received", "Identified", "Examined", "Decided", "Asked", "Answered"]
POST = {"method": "POST"}
"""What asks for a DBA."""


@dataclass
class Settings:
    """A target's settings, as the connector needs them."""

    base_url: str
    networks: Sequence[str] = ("127.0.0.0/8",)
    headers: Sequence[str] = ()
    auth: Any = None


@dataclass
class Clock:
    """A clock that a test moves."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    step: timedelta = timedelta()
    """By how much it goes on with each look at it."""

    def __call__(self) -> datetime:
        self.now += self.step
        return self.now


class Bench:
    """A road and what a test needs around it."""

    def __init__(
        self,
        road: Road,
        *,
        registry: Registry,
        api: API,
        store: AuditStore,
        approvals: ApprovalStore,
        revocations: Revocations,
        clock: Clock,
    ) -> None:
        self.road = road
        self.api = api
        self.store = store
        self.approvals = approvals
        self.revocations = revocations
        self.clock = clock
        self.registry: Registry = registry
        self.engines: list[PolicyEngine] = []
        self.targets: dict[str, Target] = {}
        self.folder = Path()

    async def call(
        self,
        arguments: dict[str, Any] | None = None,
        *,
        caller: Caller | IdentityError | None = None,
        tool: str = "call_api",
        **more: Any,
    ) -> Answer | InputRequired:
        """Take one call over the road as `caller`."""
        who = caller or self.caller()

        async def identify() -> Caller:
            if isinstance(who, IdentityError):
                raise who
            return who

        given = ({"target": "api", "path": "x"} if tool == "call_api" else {}) | (arguments or {})
        return await self.road.call(
            Request(
                door="http",
                tool=tool,
                arguments=given,
                identify=identify,
                channels=more.pop("channels", Channels()),
                **more,
            )
        )

    async def code(self, arguments: dict[str, Any] | None = None, **more: Any) -> str:
        """The code of the answer."""
        answer = await self.call(arguments, **more)
        return "input_required" if isinstance(answer, InputRequired) else answer.code

    def caller(self, **changes: Any) -> Caller:
        """Alice by her agent, in time."""
        values = {"issued_at": self.clock.now, "expires_at": self.clock.now + timedelta(minutes=30)}
        return a_caller(**values | changes)

    async def vote(self, approval_id: str, subject: str = "dana", *groups: str, yes: bool = True) -> object:
        """Decide as a person."""
        vote = Vote(
            person=f"https://idp.example.com|{subject}",
            email=None,
            groups=frozenset(groups or {"dba"}),
            actor="approver",
            token_id="t",
            at=self.clock.now,
            channel="test",
        )
        return await (self.approvals.approve if yes else self.approvals.deny)(approval_id, vote=vote)

    async def live(self) -> list[Ticket]:
        """Approvals that are pending or approved."""
        everybody = Viewer(person="", actor=None, groups=frozenset({"dba", CALLER_GROUP}))
        return (await self.approvals.page(everybody, live_only=True, after=None, limit=1000)).tickets

    async def kinds(self, call_id: str) -> list[str]:
        """The kinds of a call's events, in order."""
        rows = await self.store.read(
            lambda connection: connection.execute(
                "SELECT kind FROM events WHERE call_id = ? ORDER BY sequence", (call_id,)
            ).fetchall()
        )
        return [row[0] for row in rows]

    def load(self, policies: str) -> None:
        """Put another policy set in force."""
        path = write_private(self.folder / f"{len(self.engines)}.cedar", policies)
        further = {name: tool.kind for name, tool in self.registry.tools.items() if name != CallAPI.name}
        targets = list(self.targets.values())
        self.engines.append(load_policies([path], targets=targets, classes=frozenset(BUILT_IN), tools=further))


async def give_up(call: Callable[[], Coroutine[Any, Any, object]], *, once: Callable[[], Awaitable[object]]) -> None:
    """Make a call and cancel it, as a client that goes away does, as soon as `once` gives something."""
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            while not await once():
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()


def nothing_held(road: Road) -> bool:
    """Whether no turn and no share is taken."""
    turns = [*road._turns.values(), road._parts.aside._turns, *road._usage._beginning.values()]
    return all(item.idle for item in turns) and not road._parts.shares._held


def refusal(answer: object) -> Refusal:
    """The refusal of an answer that has to be one."""
    assert isinstance(answer, Answer), answer
    assert isinstance(answer.outcome, Refusal), answer
    return answer.outcome


def result(answer: object) -> Any:
    """The result of an answer that has to have one."""
    assert isinstance(answer, Answer), answer
    assert isinstance(answer.outcome, Masked), answer
    return orjson.loads(answer.outcome.structured)


async def asked(bench: Bench, arguments: dict[str, Any] = POST, **more: Any) -> str:
    """Ask for an approval and give its id."""
    pending = refusal(await bench.call(arguments, **more))
    assert pending.code == "approval_pending"
    assert pending.approval is not None
    return pending.approval.id


@asynccontextmanager
async def laid(
    folder: Path,
    *,
    policies: str = POLICIES,
    wait: timedelta = timedelta(0),
    max_bytes: int = 100_000,
    max_calls: int = 10,
    rate: Rate | None = None,
    beside: Sequence[Registered] = (),
    tools: Sequence[AnyTool] = (),
    data: Path | None = None,
    url: str = "",
    observed: bool = False,
    pace: Pace | None = None,
    place: str = "",
    **more: Any,
) -> AsyncIterator[Bench]:
    """A road in a folder of its own; with targets beside the API and their tools; `more` are further of its `Parts`.

    `data` is a store and `url` an API that it shares with others.
    """
    folder.chmod(0o700)
    data = data or folder / "data"
    clock = Clock()
    async with running_api(log=folder / "api.api.log", store=data) as api:
        store = await AuditStore.open(data, clock=clock, migrations=(*MIGRATIONS, *REVOCATIONS), pace=pace)
        revocations = Revocations(store, clock=clock)
        connector = HTTPConnector(Settings(url or api.url), fetch=_no_credential)
        try:
            approvals = ApprovalStore(store, key=Secret(bytes(32)), clock=clock, new_id=new_id)
            target = Target(
                name="api",
                kind="http",
                description="",
                labels={"env": "prod"},
                classes=frozenset(),
                fingerprint="f" * 64,
                observed=observed,
            )
            registered = Registered(
                target=target,
                connector=connector,
                timeout=timedelta(seconds=5),
                max_rows=1,
                max_bytes=max_bytes,
                detectors=("default",),
                max_calls=max_calls,
                place=place,
                rate=rate,
            )
            holder = Holder(
                approvals,
                refuses=revocations.refuses,
                stops=revocations.stops,
                clock=clock,
                new_id=new_id,
                wait=wait,
                ttl=timedelta(minutes=15),
                claim=timedelta(minutes=15),
            )
            engines: list[PolicyEngine] = []
            registry = Registry(targets=[registered, *beside], tools=[CallAPI(), *tools])
            road = Road(
                Parts(
                    registry=registry,
                    policies=lambda: engines[-1],
                    store=store,
                    revocations=revocations,
                    holder=holder,
                    masker=_masker,
                    scope_of=lambda _: None,
                    classes=frozenset(BUILT_IN),
                    clock=clock,
                    token_clock=clock,
                    new_id=new_id,
                    instance="test",
                    **more,
                )
            )
            bench = Bench(
                road,
                registry=registry,
                api=api,
                store=store,
                approvals=approvals,
                revocations=revocations,
                clock=clock,
            )
            bench.engines, bench.folder = engines, folder
            bench.targets = {name: found.target for name, found in registry.targets.items()}
            bench.load(policies)
            yield bench
            assert nothing_held(road), "whatever way a call took, it gave back what it held"
            road.close()
        finally:
            await connector.aclose()
            revocations.close()
            await store.aclose()


def _masker(*, revealed: frozenset[str], detectors: Sequence[str], secrets: Sequence[Secret]) -> Any:
    return masker_for(
        revealed=revealed,
        all_classes=frozenset(BUILT_IN),
        styles={},
        detectors=resolve(tuple(detectors) or ("default",)),
        secrets=secrets,
        hash_key=bytes(32),
    )


async def _no_credential(_: object) -> Secret:
    raise AssertionError("this target has no credential")
