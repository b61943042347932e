"""One session and the driver under it: what of the driver has to be there, and what happens where it is not."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from asyncpg import connect_utils

from mcp_gateway.errors import TargetUnavailable
from mcp_gateway.targets.postgres_session import ConnectionLost, missing_driver_parts
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


async def test_a_read_of_an_agent_s_goes_out_in_two_messages(
    postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = connector_for(postgres_database)
    session, _ = await connector._sessions.acquire()
    sent: list[bytes] = []
    way = session._driver.way
    carrier = way._transport

    class Heard:
        def write(self, data: bytes) -> None:
            sent.append(bytes(data))
            carrier.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(carrier, name)

    monkeypatch.setattr(way, "_transport", Heard())
    try:
        prepared = await session.prepare("SELECT 1", begin="BEGIN READ ONLY")
        fetched = await session.fetch(prepared, [], max_rows=1, max_bytes=100, drain=False, roll_back=True)
    finally:
        await connector._sessions.release(session, reusable=False)
        await connector.aclose()

    assert fetched.rows == [("1",)]
    assert [message.count(b"BEGIN READ ONLY") for message in sent[:2]] == [1, 0]
    assert [message.count(b"ROLLBACK") for message in sent[:2]] == [0, 1]
    assert all(message[:1] == kind for message, kind in zip(sent, (b"Q", b"B"), strict=False))


async def test_what_was_to_go_out_with_a_message_that_did_not_is_forgotten(postgres_database: PostgresDatabase) -> None:
    """A BEGIN or ROLLBACK that waited on would go out with whatever is sent next."""
    connector = connector_for(postgres_database)
    session, _ = await connector._sessions.acquire()
    try:
        prepared = await session.prepare("SELECT 1")
        with pytest.raises(ConnectionLost):
            await session.fetch(prepared, ["one", "too many"], max_rows=1, max_bytes=100, drain=False, roll_back=True)
        with pytest.raises(ConnectionLost):
            await session.prepare("SELECT '\ud800'", begin="BEGIN READ ONLY")

        assert (session._driver.way.before, session._driver.way.behind) == (b"", b"")
    finally:
        await connector._sessions.release(session, reusable=False)
        await connector.aclose()
