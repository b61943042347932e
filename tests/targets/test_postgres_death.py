"""The gateway dies in the middle of a statement: the server notices and ends it."""

from __future__ import annotations

import signal
import sys

import anyio
import orjson
import pytest

from mcp_gateway.targets.postgres import PostgresConnector
from tests.peers.postgres import PostgresDatabase
from tests.targets.postgres_settings import connector, rows, run, sleeping
from tests.waiting import until

__all__ = ["connector"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R9")]

GATEWAY = """
import sys
import anyio, orjson
from mcp_gateway.targets.postgres import PostgresConnector
from tests.targets.postgres_settings import Settings, as_it_is, run, WRITE

settings = orjson.loads(sys.stdin.readline())
connector = PostgresConnector(Settings(**settings), name="orders", fetch=as_it_is)
statement = "INSERT INTO users SELECT 1 FROM pg_sleep(60)"
anyio.run(lambda: run(connector, statement, **WRITE), backend_options={"use_uvloop": True})
"""


async def test_a_session_looks_whether_its_gateway_is_still_there(
    connector: PostgresConnector,
) -> None:
    look = "SELECT current_setting('client_connection_check_interval'), current_setting('statement_timeout')"
    assert rows(await run(connector, look)) == [["1s", "20s"]]


async def test_a_statement_of_a_killed_gateway_is_ended_and_undone(postgres_database: PostgresDatabase) -> None:
    postgres_database.execute("CREATE TABLE users (id int)")
    settings = {
        "host": postgres_database.host,
        "port": postgres_database.port,
        "database": postgres_database.name,
        "user": postgres_database.user,
        "password": postgres_database.password,
    }
    async with await anyio.open_process([sys.executable, "-c", GATEWAY], stdin=-1, stdout=None, stderr=None) as gateway:
        assert gateway.stdin is not None
        await gateway.stdin.send(orjson.dumps(settings) + b"\n")
        await until(lambda: sleeping(postgres_database), seconds=30)
        gateway.send_signal(signal.SIGKILL)
        await gateway.wait()

    await until(lambda: not sleeping(postgres_database))

    assert postgres_database.execute("SELECT count(*) FROM users") == [(0,)]
