"""What the starter policies say to a statement on a real database with classified columns, and what comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from mcp_gateway_policies import starter_policies
from mcp_gateway_tools.query_database import Prepared, QueryDatabase, QueryDatabaseArguments

from mcp_gateway.calls import SQLFacts
from mcp_gateway.errors import RequestError, TargetError
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.masking.detectors import resolve
from mcp_gateway.masking.masker import CallMasker, masker_for
from mcp_gateway.policy.engine import PolicyEngine
from mcp_gateway.policy.loader import load_policies
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.tool import Examination, Permit
from tests.peers.postgres import PostgresDatabase
from tests.policy.worlds import CALLER, question
from tests.targets.postgres_settings import CALL_ID, connector_for, orders_target


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """One statement as the gateway sees it in production."""

    decision: str
    """`refused` before any policy, else `allow`, `ask` or `deny`."""
    policies: tuple[str, ...] = ()
    facts: SQLFacts | None = None
    examination: Examination[Prepared] | None = None

    @property
    def told(self) -> dict[str, list[str]]:
        """Kinds and classes."""
        told = {} if self.facts is None else self.facts.inference or {}
        return {kind: sorted(classes) for kind, classes in told.items()}


class Desk:
    """The tool, a database and the starter policies."""

    def __init__(self, connector: PostgresConnector, worker: SQLWorker, classify: Mapping[str, str]) -> None:
        self.connector = connector
        self.tool = QueryDatabase(worker=worker)
        self.target = orders_target(classify)
        self.policies: PolicyEngine = load_policies(
            [starter_policies()], targets=[self.target], classes=[], guarded=False
        )

    async def ask(self, sql: str, *, groups: frozenset[str] = frozenset(), params: Any = None) -> Inquiry:
        """Examine and decide."""
        arguments = QueryDatabaseArguments(target="orders", sql=sql, params=params)
        try:
            examination = await self.tool.examine(arguments, target=self.target, connector=self.connector)
        except RequestError:
            return Inquiry(decision="refused")
        caller = replace(CALLER, groups=groups)
        asked = question(target=self.target, caller=caller, facts=examination.facts)
        decision = self.policies.decide(asked)
        facts = self.policies.concealed(asked).facts
        assert isinstance(facts, SQLFacts)
        return Inquiry(
            decision=type(decision).__name__.lower(), policies=decision.policies, facts=facts, examination=examination
        )

    async def answer(self, sql: str, inquiry: Inquiry) -> str:
        """What leaves, were it run: the result or the error, masked for somebody who may see nothing raw."""
        assert inquiry.examination is not None
        arguments = QueryDatabaseArguments(target="orders", sql=sql)
        permit = Permit(call_id=CALL_ID, timeout=timedelta(seconds=20), max_rows=100, max_bytes=1_000_000)
        masker = self._masker()
        try:
            raw = await self.tool.execute(
                arguments, examination=inquiry.examination, connector=self.connector, permit=permit
            )
        except TargetError as error:
            return self.tool.mask_error(error, examination=inquiry.examination, masker=masker)
        masked = self.tool.mask(raw, examination=inquiry.examination, masker=masker, call_id=CALL_ID)
        return masked.structured.decode()

    def _masker(self) -> CallMasker:
        return masker_for(
            revealed=frozenset(),
            all_classes=frozenset(BUILT_IN),
            styles={},
            detectors=resolve(("default",)),
            secrets=self.connector.secrets(),
            hash_key=bytes(32),
        )


@asynccontextmanager
async def desk_at(peer: PostgresDatabase, classify: Mapping[str, str]) -> AsyncIterator[Desk]:
    """A desk for one database."""
    worker = SQLWorker()
    connector = connector_for(peer, classify=classify)
    try:
        yield Desk(connector, worker, classify)
    finally:
        await connector.aclose()
        await worker.aclose()
