"""Recording that somebody read the audit store."""

from __future__ import annotations

from pathlib import Path

from mcp_gateway.approval.store import MIGRATIONS as APPROVAL_MIGRATIONS
from mcp_gateway.audit.revocations import MIGRATIONS as REVOCATION_MIGRATIONS
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.clock import utc_now
from mcp_gateway.events import RecordViewed
from mcp_gateway.identity.system_user import operating_system_user


async def record_view(data_dir: Path, *, what: str) -> None:
    """Add the event. Raises `StoreError`."""
    migrations = (*APPROVAL_MIGRATIONS, *REVOCATION_MIGRATIONS)
    store = await AuditStore.open(data_dir, clock=utc_now, migrations=migrations)
    try:
        await store.append(RecordViewed(at=utc_now(), by=operating_system_user(), what=what))
    finally:
        await store.aclose()
