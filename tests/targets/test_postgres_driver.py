"""The driver below a session: what of it has to be there, and what happens where it is not."""

from __future__ import annotations

import asyncpg
import pytest
from asyncpg import connect_utils

from mcp_gateway.errors import TargetUnavailable
from mcp_gateway.targets.postgres_driver import missing_driver_parts
from tests.peers.postgres import PostgresDatabase
from tests.targets.postgres_settings import connector_for

pytestmark = pytest.mark.anyio


def test_the_installed_driver_has_every_part_that_is_used() -> None:
    assert missing_driver_parts() == []


async def test_a_driver_without_a_part_that_is_used_opens_no_session(
    postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(connect_utils, "_create_ssl_connection")

    with pytest.raises(TargetUnavailable) as caught:
        await connector_for(postgres_database).catalog()

    assert str(caught.value) == (
        f"the connection to PostgreSQL at 127.0.0.1:{postgres_database.port} cannot be used: asyncpg "
        f"{asyncpg.__version__} is not the release that is needed: asyncpg.connect_utils._create_ssl_connection"
    )
