"""The store of the configured data directory, with what lives in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from mcp_gateway.approval.store import ApprovalStore
from mcp_gateway.approval.tables import MIGRATIONS as APPROVAL_MIGRATIONS
from mcp_gateway.audit.revocations import MIGRATIONS as REVOCATION_MIGRATIONS
from mcp_gateway.audit.revocations import Revocations
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.cli.keys import APPROVAL_KEY, open_key
from mcp_gateway.clock import new_id, utc_now
from mcp_gateway.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The store and what lives in it."""

    store: AuditStore
    approvals: ApprovalStore
    revocations: Revocations


@asynccontextmanager
async def opened_records(settings: Settings) -> AsyncIterator[Records]:
    """The store of the configured data directory with approvals and revocations, for as long as the block lasts."""
    data_dir = settings.gateway.data_dir
    store = await AuditStore.open(data_dir, clock=utc_now, migrations=(*APPROVAL_MIGRATIONS, *REVOCATION_MIGRATIONS))
    revocations = Revocations(store, clock=utc_now)
    try:
        key = open_key(data_dir / APPROVAL_KEY)
        yield Records(
            store=store,
            approvals=ApprovalStore(store, key=key, clock=utc_now, new_id=new_id),
            revocations=revocations,
        )
    finally:
        revocations.close()
        with anyio.CancelScope(shield=True):
            await store.aclose()
