"""Recording that somebody read the audit store."""

from __future__ import annotations

from pathlib import Path

import anyio

from mcp_gateway.approval.tables import MIGRATIONS as APPROVAL_MIGRATIONS
from mcp_gateway.audit.revocations import MIGRATIONS as REVOCATION_MIGRATIONS
from mcp_gateway.audit.store import AuditStore
from mcp_gateway.cli.logs import log_to_stderr
from mcp_gateway.cli.output import print_warning
from mcp_gateway.clock import utc_now
from mcp_gateway.errors import StoreError
from mcp_gateway.events import RecordViewed
from mcp_gateway.identity.system_user import operating_system_user


def look_recorded(data_dir: Path, *, what: str) -> None:
    """Record that somebody looks. Where the store takes no more records, it can still be read, and says so."""
    log_to_stderr(quiet=True)
    try:
        anyio.run(lambda: record_view(data_dir, what=what))
    except StoreError as error:
        print_warning(f"this look could not be recorded: {error}")


async def record_view(data_dir: Path, *, what: str) -> None:
    """Add the event. Raises `StoreError`."""
    migrations = (*APPROVAL_MIGRATIONS, *REVOCATION_MIGRATIONS)
    store = await AuditStore.open(data_dir, clock=utc_now, migrations=migrations)
    try:
        await store.append(RecordViewed(at=utc_now(), by=operating_system_user(), what=what))
    finally:
        await store.aclose()
