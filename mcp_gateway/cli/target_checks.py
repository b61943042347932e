"""Connecting to targets for `targets test`: with the gateway's own connectors, recorded like every look of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import anyio

from mcp_gateway.calls import JSONObject
from mcp_gateway.cli.assemble import build_registry, leave_targets
from mcp_gateway.cli.records import opened_records
from mcp_gateway.clock import utc_now
from mcp_gateway.config import Settings
from mcp_gateway.errors import ConfigError, CredentialError, TargetError, TargetTimeout, TargetUnavailable
from mcp_gateway.events import Inspected
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.targets.http import HTTPConnector
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.targets.ssh import SSHConnector

ONE_TARGET_SECONDS = 30.0
LOOK = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one target answered."""

    name: str
    answer: str = ""
    """Who answered, in the target's own words."""
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unavailable: bool = False

    def to_json(self) -> JSONObject:
        """All of it."""
        return {"id": self.name, "ok": not self.problems} | asdict(self)


async def check_targets(settings: Settings, names: Sequence[str]) -> list[Checked]:
    """Check targets one after the other; each look is durable before its outcome is told.

    Raises:
        StoreError: looks cannot be recorded, so there are none.
    """
    found = []
    async with opened_records(settings) as records:
        worker = SQLWorker()
        registry = build_registry(settings, worker)
        try:
            for name in names:
                checked = await _check(name, registry.targets[name].connector)
                outcome = "; ".join(checked.problems) or "ok"
                await records.store.append(Inspected(at=utc_now(), target=name, what=LOOK, outcome=outcome))
                found.append(checked)
        finally:
            with anyio.CancelScope(shield=True):
                await leave_targets(registry)
                await worker.aclose()
    return found


async def _check(name: str, connector: Any) -> Checked:
    try:
        with anyio.fail_after(ONE_TARGET_SECONDS):
            match connector:
                case PostgresConnector():
                    findings = await connector.check()
                    return Checked(
                        name=name, answer=findings.server, problems=findings.problems, warnings=findings.warnings
                    )
                case SSHConnector() | HTTPConnector():
                    return Checked(name=name, answer=await connector.check())
                case _:
                    return Checked(name=name, problems=("this kind of target cannot be checked",))
    except TimeoutError:
        problem = f"no answer within {ONE_TARGET_SECONDS:g} s"
        return Checked(name=name, problems=(problem,), unavailable=True)
    except (TargetUnavailable, TargetTimeout, CredentialError) as error:
        return Checked(name=name, problems=(str(error),), unavailable=True)
    except (TargetError, ConfigError) as error:
        return Checked(name=name, problems=(str(error),))
