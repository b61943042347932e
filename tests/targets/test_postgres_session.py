"""One session: in how many messages a statement goes out, and what does not go out with the next one."""

from __future__ import annotations

import pytest

from mcp_gateway.targets.postgres_driver import ConnectionLost
from tests.peers.postgres import PostgresDatabase
from tests.targets.postgres_settings import connector_for, sent_on

pytestmark = pytest.mark.anyio


async def test_a_read_of_an_agent_s_goes_out_in_two_messages(
    postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = connector_for(postgres_database)
    session, _ = await connector._sessions.acquire()
    sent = sent_on(session, monkeypatch)
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
