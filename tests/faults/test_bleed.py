"""What one caller does to a session reaches no other caller: whole sessions are compared, before a whole gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.targets.postgres_preface import OWN as PREPARED
from tests.faults.gateways import Gateway, Targets
from tests.faults.served import served
from tests.invariants.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R25"), pytest.mark.timeout(300)]

OWN = ", ".join(f"$${text.strip()}$$" for text in PREPARED.values())
LOOK = (
    "SELECT (SELECT json_object_agg(name, setting) FROM pg_settings WHERE name <> 'application_name') AS settings,"
    " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks,"
    f" (SELECT count(*) FROM pg_prepared_statements WHERE statement <> ALL (ARRAY[{OWN}])) AS prepared, (SELECT count(*) FROM pg_cursors) AS cursors,"
    " (SELECT count(*) FROM pg_class WHERE relpersistence = 't') AS temporary, current_user AS who,"
    " current_setting('custom.secret', true) AS custom"
)
DOING = (
    "SELECT set_config('search_path', 'evil', false), set_config('statement_timeout', '0', false)",
    "SELECT set_config('default_transaction_read_only', 'off', false)",
    "SELECT set_config('role', 'pg_monitor', false)",
    "SELECT set_config('custom.secret', 'of alex', false)",
    "SELECT pg_advisory_lock(42)",
    "SELECT pg_advisory_lock_shared(43)",
    "SELECT pg_try_advisory_lock(44)",
    "SELECT setseed(0.5)",
    "SET standard_conforming_strings = off",
    "SET ROLE pg_monitor",
    "SET SESSION AUTHORIZATION DEFAULT",
    "PREPARE stolen AS SELECT 1",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "LISTEN news",
    "CREATE TEMP TABLE notes (id int)",
    "LOAD 'auto_explain'",
    "SELECT 'a text of alex'",
)
"""What changes a session, where it is let through; much of it is refused."""


async def done(gateway: Gateway, sql: str, *, person: str = "alex") -> dict[str, Any]:
    """A statement, approved where that is asked for."""
    call = ("query_database", {"target": "db", "sql": sql})
    found = await gateway.call(*call, person=person)
    if found.get("code") == "approval_pending":
        assert await gateway.move("approve", found["approval"]["id"]) == 200
        found = await gateway.call(*call, person=person)
    return found


async def test_the_next_caller_finds_a_session_as_new(tmp_path: Path, world: World, targets: Targets) -> None:
    ran = 0
    async with served(tmp_path, targets, world=world) as gateway:
        before = await done(gateway, LOOK, person="sam")
        for sql in DOING:
            ran += (await done(gateway, sql)).get("code", "ok") == "ok"
            found = await done(gateway, LOOK, person="sam")
            assert found["rows"] == before["rows"], sql
        # None of these has been there: a session of the gateway's catalog is not one of calls.
        listening = "SELECT count(*) FROM pg_listening_channels() AS channel"
        assert (await done(gateway, listening, person="sam"))["rows"] == [[0]]
    assert ran >= 5, ran
