"""What all tests share: only markers and fixtures that no folder owns."""

from __future__ import annotations

import pytest

from tests.peers.oidc_provider import oidc_provider
from tests.peers.postgres import embedded_postgres_server, postgres_database, postgres_programs, postgres_server
from tests.peers.prometheus import prometheus
from tests.peers.sshd import ssh_server

__all__ = [
    "embedded_postgres_server",
    "oidc_provider",
    "postgres_database",
    "postgres_programs",
    "postgres_server",
    "prometheus",
    "ssh_server",
]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio alone: asyncpg and asyncssh know no other loop."""
    return "asyncio"
