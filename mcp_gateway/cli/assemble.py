"""A gateway put together from its settings: the one place that knows every part. Above it are the commands."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio
import structlog

from mcp_gateway import __version__
from mcp_gateway.admission import Parts
from mcp_gateway.approval.holding import Holder
from mcp_gateway.approval.store import ApprovalStore
from mcp_gateway.aside import SWITCH_SECONDS
from mcp_gateway.audit.leases import Lease, close_own, keep_closing
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.authorities import trusting, trusting_system
from mcp_gateway.build import examination_is_compiled
from mcp_gateway.calls import Secret
from mcp_gateway.cli.further_tools import load_further_tools
from mcp_gateway.cli.issuing import Identity, build_identity
from mcp_gateway.cli.keys import MASKING_KEY, open_key
from mcp_gateway.cli.loading import documents_of, load_engine, load_interfaces, load_knowledge
from mcp_gateway.cli.records import Records, opened_records
from mcp_gateway.cli.reloading import (
    DOCUMENTS,
    POLICIES,
    PROGRAMS,
    Reloading,
    documents_loaded,
    policy_loaded,
    programs_loaded,
)
from mcp_gateway.clock import SteadyClock, new_id, steady_now, utc_now
from mcp_gateway.config import Settings
from mcp_gateway.config_targets import HTTPTarget, PostgresTarget, SSHTarget, to_target
from mcp_gateway.credentials.sources import fetch
from mcp_gateway.errors import StoreError
from mcp_gateway.events import ConfigurationLoaded, GatewayStarted, GatewayStopped
from mcp_gateway.facts import graphql
from mcp_gateway.facts.program_files import built_in
from mcp_gateway.facts.programs import Knowledge
from mcp_gateway.facts.requests import Interface, digests
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.held import Held
from mcp_gateway.masking.detectors import resolve
from mcp_gateway.masking.masker import masker_for
from mcp_gateway.pipeline import Road
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.files import stamp_of
from mcp_gateway.policy.holder import Policies
from mcp_gateway.policy.loader import SUFFIX
from mcp_gateway.registry import Registered, Registry
from mcp_gateway.targets.http import HTTPConnector
from mcp_gateway.targets.opa import DecisionPoint
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.targets.ssh import SSHConnector
from mcp_gateway.tool import Connector, Masker
from mcp_gateway.trouble import Trouble
from mcp_gateway.turns import Shares

log = structlog.get_logger(__name__)

EXPIRE_SECONDS = 1.0
LEAVING_SECONDS = 15.0
"""How long targets have, when a gateway ends, to end what was cancelled there: a host that is busy needs some."""
STDIO_LEAVING_SECONDS = 1.0
"""The same where the client has started the gateway and is gone: two seconds later all has to be recorded, and nothing left."""
Interfaces: TypeAlias = Held[Mapping[str, Interface]]
UNLIMITED_ROWS = 1_000_000
"""For targets that have no rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A running gateway without its doors."""

    settings: Settings
    records: Records
    identity: Identity
    policies: Policies
    registry: Registry
    road: Road
    instance: str
    reload: Callable[[], None]
    """Read policies, OpenAPI documents and tables of programs anew now; they are read anew by themselves when their files change."""


def hold_knowledge(settings: Settings) -> Held[Knowledge] | None:
    """What is known of programs, read at the start where commands will be judged by it or where it may be wrong.

    None where neither is: a gateway without hosts starts sooner. Raises `ConfigError`.
    """
    hosts = any(isinstance(target, SSHTarget) for target in settings.targets.values())
    return Held(lambda: load_knowledge(settings)) if hosts or settings.commands.programs else None


def build_registry(
    settings: Settings,
    worker: SQLWorker,
    interfaces: Interfaces | None = None,
    knowledge: Held[Knowledge] | None = None,
) -> Registry:
    """Every configured target with its connector, and every tool. Nothing is connected yet."""
    from mcp_gateway_tools.call_api import CallAPI
    from mcp_gateway_tools.query_database import QueryDatabase
    from mcp_gateway_tools.run_ssh_command import RunSSHCommand

    registered = []
    for name, target in settings.targets.items():
        connector: Connector
        max_rows = UNLIMITED_ROWS
        match target:
            case PostgresTarget():
                connector = PostgresConnector(target, name=name, fetch=fetch)
                max_rows = target.max_rows
            case SSHTarget():
                connector = SSHConnector(target, fetch=fetch)
            case HTTPTarget():
                tls = trusting(target.tls_ca, key=f"targets.{name}.tls_ca")
                connector = HTTPConnector(target, fetch=fetch, tls=tls)
        registered.append(
            Registered(
                target=to_target(name, target, mode=settings.policy.mode),
                connector=connector,
                timeout=target.timeout,
                max_rows=max_rows,
                max_bytes=target.max_bytes,
                detectors=detectors_of(settings, target),
                max_calls=target.max_calls,
                place=target.place,
                rate=target.rate,
            )
        )
    interfaces = interfaces or Held(lambda: load_interfaces(settings))
    if any(interface.graphql for interface in interfaces.current.values()):
        graphql.load()
    further = load_further_tools(settings.gateway.tools)
    programs = knowledge or hold_knowledge(settings)
    return Registry(
        targets=registered,
        tools=[
            QueryDatabase(worker=worker),
            RunSSHCommand(knowledge=(lambda: programs.current) if programs else built_in),
            CallAPI(interfaces=lambda: interfaces.current),
            *further,
        ],
    )


def detectors_of(settings: Settings, target: PostgresTarget | SSHTarget | HTTPTarget) -> tuple[str, ...]:
    """A target's own detectors, else the configured ones; addresses and phone numbers are off by default for ssh."""
    if target.detectors is not None:
        return target.detectors
    if isinstance(target, SSHTarget) and tuple(settings.masking.detectors) == ("default",):
        return ("ssh",)
    return tuple(settings.masking.detectors)


@asynccontextmanager
async def running(settings: Settings, *, doors: Sequence[str]) -> AsyncIterator[Gateway]:
    """A gateway with its store, lease and background work, until the block ends.

    Raises:
        ConfigError: the policies cannot be used. StoreError: the audit store cannot.
    """
    seen = stamp_of(settings.policy.paths, suffix=SUFFIX)
    policies = Policies(lambda: load_engine(settings))
    documents = documents_of(settings)
    documents_seen = stamp_of(documents, suffix=DOCUMENTS.suffix)
    interfaces = Held(lambda: load_interfaces(settings))
    program_files = settings.commands.programs
    programs_seen = stamp_of(program_files, suffix=PROGRAMS.suffix)
    knowledge = hold_knowledge(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    async with AsyncExitStack() as stack:
        records = await stack.enter_async_context(opened_records(settings))
        instance = new_id()
        lease = Lease.acquire(settings.gateway.data_dir, instance=instance)
        stack.callback(lease.release)
        identity = build_identity(settings, records.revocations)
        if identity.keys is not None:
            stack.push_async_callback(identity.keys.close)
        worker = SQLWorker()
        stack.push_async_callback(worker.aclose)
        registry = build_registry(settings, worker, interfaces, knowledge)
        seconds = STDIO_LEAVING_SECONDS if "stdio" in doors else LEAVING_SECONDS
        stack.push_async_callback(leave_targets, registry, seconds=seconds)
        await _record_start(
            settings,
            records.store,
            policies.current,
            interfaces.current,
            knowledge.current if knowledge else None,
            instance=instance,
            doors=doors,
        )
        stack.push_async_callback(_record_stop, records.store, instance)
        group = await stack.enter_async_context(anyio.create_task_group())
        group.start_soon(_keep_closing, records.store, lease)
        group.start_soon(keep_expiring, records.approvals, steady_now)
        record = records.store.append
        reloading: list[Reloading[Any]] = [
            Reloading(policies, kind=POLICIES, paths=settings.policy.paths, seen=seen, record=record, clock=utc_now)
        ]
        if documents:
            reloading.append(
                Reloading(
                    interfaces, kind=DOCUMENTS, paths=documents, seen=documents_seen, record=record, clock=utc_now
                )
            )
        if knowledge and program_files:
            reloading.append(
                Reloading(
                    knowledge, kind=PROGRAMS, paths=program_files, seen=programs_seen, record=record, clock=utc_now
                )
            )
        for one in reloading:
            group.start_soon(one.keep)
        stack.callback(group.cancel_scope.cancel)

        def reload() -> None:
            for one in reloading:
                one.ask()

        point = build_decision_point(settings)
        if point is not None:
            stack.push_async_callback(point.aclose)
        road = _road(settings, records, policies, registry, instance=instance, point=point)
        stack.callback(road.close)
        yield Gateway(
            settings=settings,
            records=records,
            identity=identity,
            policies=policies,
            registry=registry,
            road=road,
            instance=instance,
            reload=reload,
        )


def build_decision_point(settings: Settings) -> DecisionPoint | None:
    """The external decision point, where one is configured. Raises `ConfigError`."""
    opa = settings.policy.opa
    if opa is None:
        return None
    source = opa.token
    return DecisionPoint(
        opa.url,
        within=opa.timeout,
        tls=trusting(opa.tls_ca, key="policy.opa.tls_ca") or trusting_system(),
        token=None if source is None else lambda: fetch(source),
    )


def _road(
    settings: Settings,
    records: Records,
    policies: Policies,
    registry: Registry,
    *,
    instance: str,
    point: DecisionPoint | None,
) -> Road:
    hash_key = open_key(settings.gateway.data_dir / MASKING_KEY)
    default = tuple(settings.masking.detectors)
    classes = settings.classes

    def build_masker(*, revealed: frozenset[str], detectors: Sequence[str], secrets: Sequence[Secret]) -> Masker:
        return masker_for(
            revealed=revealed,
            all_classes=classes,
            styles=settings.masking.styles,
            detectors=resolve(tuple(detectors) or default),
            secrets=secrets,
            hash_key=hash_key.reveal(),
        )

    approvals = settings.approvals
    return Road(
        Parts(
            registry=registry,
            policies=lambda: policies.current,
            store=records.store,
            revocations=records.revocations,
            holder=Holder(
                records.approvals,
                refuses=records.revocations.refuses,
                stops=records.revocations.stops,
                clock=utc_now,
                new_id=new_id,
                wait=approvals.wait,
                ttl=approvals.ttl,
                claim=approvals.claim,
            ),
            masker=build_masker,
            scope_of=settings.identity.scopes.get,
            classes=classes,
            clock=utc_now,
            token_clock=steady_now,
            new_id=new_id,
            instance=instance,
            shares=Shares(each=settings.server.max_calls_per_caller),
            rate_per_caller=settings.server.rate_per_caller,
            decision_point=point,
        )
    )


async def _record_start(
    settings: Settings,
    store: AuditStore,
    engine: PolicyEngine,
    interfaces: Mapping[str, Interface],
    knowledge: Knowledge | None,
    *,
    instance: str,
    doors: Sequence[str],
) -> None:
    now = utc_now()
    await store.append(
        GatewayStarted(
            at=now, instance=instance, version=__version__, compiled=examination_is_compiled(), doors=tuple(doors)
        ),
        ConfigurationLoaded(at=now, fingerprint=settings.fingerprint, targets=tuple(sorted(settings.targets))),
        policy_loaded(now, engine),
        *([documents_loaded(now, interfaces)] if digests(interfaces) else []),
        *([programs_loaded(now, knowledge)] if knowledge and knowledge.files else []),
    )


async def _record_stop(store: AuditStore, instance: str) -> None:
    with anyio.CancelScope(shield=True):
        try:
            closed = await close_own(store, instance=instance, clock=utc_now)
            if closed:
                log.warning("abandoned_calls_closed", count=closed)
            await store.append(GatewayStopped(at=utc_now(), instance=instance))
        except StoreError as error:
            log.warning("stop_not_recorded", cause=str(error))


async def leave_targets(registry: Registry, *, seconds: float = LEAVING_SECONDS) -> None:
    """Close what leads to targets, all at once: one that is silent keeps no other waiting."""
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:
            for registered in registry.targets.values():
                group.start_soon(registered.connector.aclose)


async def _keep_closing(store: AuditStore, lease: Lease) -> None:
    await keep_closing(store, lease=lease, clock=utc_now)


async def keep_expiring(approvals: ApprovalStore, clock: SteadyClock) -> None:
    """End approvals whose time is over, so that the record says so even if nobody calls again.

    When the clock was set back nobody can tell whose time is over, so all of them end, however often it has to be tried.
    """
    distrusted = False
    trouble = Trouble("approvals_not_expired")
    while True:
        step = clock.set_back()
        if step is not None:
            log.critical("clock_set_back", seconds=int(step.total_seconds()))
            distrusted = True
        with trouble.outlived():
            if distrusted:
                await approvals.distrust_deadlines()
                distrusted = False
            await approvals.expire_due()
        await anyio.sleep(EXPIRE_SECONDS)
