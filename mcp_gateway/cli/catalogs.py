"""The catalog of a configured target, for commands that examine statements and run none.

Read as a running gateway reads it: by its connector, with the target's own credential and limits, and recorded like every
look of the gateway's own. Of the statement nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio

from mcp_gateway.calls import JSONObject, Target
from mcp_gateway.cli.records import opened_records
from mcp_gateway.clock import utc_now
from mcp_gateway.config import HTTPTarget, PostgresTarget, Settings, SSHTarget, to_target
from mcp_gateway.credentials.sources import fetch
from mcp_gateway.errors import CredentialError, RequestError, StoreError, TargetError, TargetUnavailable
from mcp_gateway.events import Inspected
from mcp_gateway.facts.absent import KINDS
from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.examination import SQLExamination
from mcp_gateway.facts.worker import SQLWorker, settled
from mcp_gateway.targets.postgres import PostgresConnector

LOOK = "catalog"
BROKEN_OFF = "broken off"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCatalog:
    """What a target's catalog said, and when."""

    target: Target
    catalog: Catalog
    classify: Mapping[str, str]
    read_at: datetime
    """Not later than it was read."""

    async def examine(self, sql: str, *, worker: SQLWorker) -> SQLExamination:
        """As the road examines a statement. Raises `SQLSyntaxError` and `RequestError`."""
        found = await worker.examine(sql, catalog_key=self.target.name, catalog=self.catalog, classify=self.classify)
        examination, _ = settled(found, classes=self.target.classes)
        return examination

    def to_json(self, *, of: SQLExamination | None) -> JSONObject:
        """Which one it is, of when, and what of a statement it does not know; None for a text that is none."""
        unknown, absent = (of.unknown, of.absent) if of else (frozenset(), frozenset())
        return {
            "target": self.target.name,
            "read_at": self.read_at.astimezone(UTC).isoformat(timespec="seconds"),
            "unknown": sorted(unknown),
            "absent": [{"id": one.said, "kind": KINDS[one.kind]} for one in sorted(absent)],
        }


async def read_catalog(settings: Settings, name: str, *, otherwise: str) -> TargetCatalog:
    """Connect to a target and read its catalog; `otherwise` is how to do without, and stands in what is raised.

    The look is durable before anything is told of it, whatever came of it.

    Raises:
        RequestError: there is no such target, or it has no catalog.
        TargetUnavailable: it cannot be read; the text names the target, and never holds a credential.
        StoreError: looks cannot be recorded, so there is none.
    """
    configured = configured_target(settings, name)
    if not isinstance(configured, PostgresTarget):
        raise refused(f"the target {name!r} has no catalog", f"only databases have; {otherwise}")
    try:
        async with opened_records(settings) as records:
            outcome, read_at = BROKEN_OFF, utc_now()
            connector = PostgresConnector(configured, name=name, fetch=fetch)
            try:
                snapshot, _ = await connector.snapshot()
                outcome = "ok"
            except (TargetError, CredentialError) as error:
                outcome = str(error)
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    await connector.aclose()
                    await records.store.append(Inspected(at=utc_now(), target=name, what=LOOK, outcome=outcome))
    except (TargetError, CredentialError) as error:
        raise TargetUnavailable(f"the catalog of the target {name!r} cannot be read: {error}; {otherwise}") from None
    except StoreError as error:
        message = f"no look at the target {name!r} can be recorded, so there is none: {error}"
        raise StoreError(message, next_step=otherwise) from None
    return TargetCatalog(
        target=to_target(name, configured, mode=settings.policy.mode),
        catalog=snapshot.catalog,
        classify=configured.classify,
        read_at=read_at,
    )


async def examine_by_catalog(
    settings: Settings, name: str, sql: str, *, otherwise: str
) -> tuple[TargetCatalog, SQLExamination]:
    """Examine one statement by the catalog of its target. Raises what `read_catalog` does, and `ValueError`: it is no call."""
    catalog = await read_catalog(settings, name, otherwise=otherwise)
    worker = SQLWorker()
    try:
        return catalog, await catalog.examine(sql, worker=worker)
    except RequestError as error:
        if error.code == "internal":
            raise
        raise ValueError(error.message) from None
    finally:
        with anyio.CancelScope(shield=True):
            await worker.aclose()


def configured_target(settings: Settings, name: str) -> PostgresTarget | SSHTarget | HTTPTarget:
    """The settings of a target that the command line names. Raises `RequestError`."""
    configured = settings.targets.get(name)
    if configured is None:
        known = ", ".join(sorted(settings.targets)) or "none"
        raise refused(f"there is no target {name!r}", f"the configuration has {known}")
    return configured


def refused(message: str, next_step: str) -> RequestError:
    """What is wrong with what was asked on the command line, and what to do about it."""
    return RequestError(f"{message}; {next_step}" if next_step else message, next_step=next_step)
