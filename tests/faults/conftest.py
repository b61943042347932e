"""Every scenario is held to the invariants when it is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.gateways import Targets
from tests.faults.sizes import FULL, longest_first
from tests.invariants.fixtures import tasks_return, world
from tests.peers.api import running_api
from tests.peers.postgres import PostgresDatabase
from tests.peers.sshd import SSHServer

__all__ = ["tasks_return", "world"]


@pytest.hookimpl(trylast=True)  # after what puts tests in a random order
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    if FULL:
        items[:] = longest_first(items)


@pytest.fixture
async def targets(tmp_path: Path, postgres_database: PostgresDatabase, ssh_server: SSHServer) -> AsyncIterator[Targets]:
    """A database, a host, and an API that looks into the store of the gateway in `tmp_path / "gateway"`."""
    async with running_api(log=tmp_path / "api.api.log", store=tmp_path / "gateway" / "data") as api:
        yield Targets(database=postgres_database, host=ssh_server, api=api)
