"""Whatever an agent gives as arguments, to each tool: a result, or a refusal that says what to do; nothing else happens.

All three tools stand on one road, before a real PostgreSQL and two peers that write down all that they are asked. What
may reach them is read from the arguments apart from the gateway.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from mcp_gateway_tools.query_database import QueryDatabase
from mcp_gateway_tools.run_ssh_command import RunSSHCommand

from mcp_gateway.admission import Request
from mcp_gateway.answers import Answer, Masked
from mcp_gateway.approval.holding import Channels
from mcp_gateway.calls import Caller, Target, TargetKind
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.registry import AnyTool, Registered
from mcp_gateway.targets.ssh import SSHConnector
from mcp_gateway.tool import Connector
from tests.fuzz.arguments import arguments_of
from tests.fuzz.findings import Findings, watched
from tests.fuzz.oracle import effect_of_arguments, effect_of_request_line
from tests.fuzz.sizes import FULL
from tests.invariants.fixtures import world
from tests.invariants.witnesses import PostgresWitness
from tests.invariants.world import World
from tests.peers.postgres import PostgresDatabase
from tests.peers.recording_ssh import RecordingSSH, recording_ssh
from tests.roads import Bench, laid
from tests.targets.postgres_settings import connector_for

__all__ = ["world"]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.requirement("R21", "R22", "I1", "I6", "I7", "I8"),
    pytest.mark.timeout(3600 if FULL else 300),
]

POLICIES = """
@id("everything") permit (principal, action in
    [Action::"query_database", Action::"run_ssh_command", Action::"call_api"], resource);
@id("no-writes") forbid (principal, action == Action::"query_database", resource) when { !context.sql.read_only };
@id("no-deletes") forbid (principal, action == Action::"call_api", resource) when { context.http.method == "DELETE" };
@id("posts-wait") @approval("dba")
forbid (principal, action == Action::"call_api", resource) when { context.http.method == "POST" }
unless { context.approval.by.contains("dba") };
"""
NOT_BY_ARGUMENTS = frozenset(
    {
        "internal",
        "audit_unavailable",
        "identity_required",
        "insufficient_scope",
        "outcome_unknown",
        "target_unavailable",
    }
)
"""Codes that no argument may bring about."""
ANSWER_SECONDS = 30.0
"""More is a hang."""
PLAIN: dict[str, dict[str, Any]] = {
    "query_database": {"target": "shop", "sql": "SELECT text FROM notes ORDER BY id"},
    "run_ssh_command": {"target": "host", "argv": ["true"]},
    "call_api": {"target": "api", "path": "plain"},
}
"""What has to work after each of them."""
EXAMPLES = {"query_database": (100, 10_000), "run_ssh_command": (60, 3000), "call_api": (100, 10_000)}


@dataclass(kw_only=True, repr=False)
class Everything:
    """The road, and what stands behind it."""

    bench: Bench
    host: RecordingSSH
    database: PostgresDatabase
    errors: list[str]
    numbers: count[int]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        """One call, of a person of its own: no limit of a caller's is in its way."""
        who = self.bench.caller(subject=f"person-{next(self.numbers)}")

        async def identify() -> Caller:
            return who

        asked = Request(door="http", tool=tool, arguments=arguments, identify=identify, channels=Channels())
        with anyio.fail_after(ANSWER_SECONDS):
            found = await self.bench.road.call(asked)
        assert isinstance(found, Answer), found
        return found

    async def look(self, tool: str, arguments: dict[str, Any], found: Answer) -> None:
        """Nothing but what was asked for has happened, and what happened is on record."""
        kinds = await self.bench.kinds(found.call_id)
        requests, self.bench.api.requests[:] = list(self.bench.api.requests), []
        commands, self.host.ran[:] = list(self.host.ran), []
        assert found.code not in NOT_BY_ARGUMENTS, found
        errors, self.errors[:] = list(self.errors), []
        assert not errors
        assert kinds[0] == "Received"
        assert kinds[-1] == "Answered"
        if found.code == "ok":
            assert kinds[-3:] == ["Started", "Finished", "Answered"]
        if "Started" not in kinds:
            assert not requests
            assert not commands
        assert len(requests) <= (tool == "call_api")
        assert len(commands) <= (tool == "run_ssh_command")
        for request in requests:
            _is_what_was_asked(request, arguments)
        for command, given_in in commands:
            argv = arguments.get("argv")
            assert command == arguments["command"] if argv is None else shlex.split(command) == argv
            assert given_in == (arguments.get("stdin") or "").encode()

    async def still_works(self, tool: str) -> None:
        """An ordinary call has its result."""
        found = await self.call(tool, PLAIN[tool])
        assert isinstance(found.outcome, Masked), found
        self.bench.api.requests.clear()
        self.host.ran.clear()


def _is_what_was_asked(request: bytes, arguments: dict[str, Any]) -> None:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    assert effect_of_request_line(line) == effect_of_arguments(arguments)
    sent = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    for name, value in (arguments.get("headers") or {}).items():
        assert sent[name.lower()] == value.strip(" \t")
    if arguments.get("body") is not None:
        assert body == arguments["body"].encode()
    elif arguments.get("json") is not None:
        assert json.loads(body) == arguments["json"]
    else:
        assert not body


@pytest.fixture
async def everything(tmp_path: Path, world: World, postgres_database: PostgresDatabase) -> AsyncIterator[Everything]:
    postgres_database.execute(
        """
        CREATE TABLE notes (id int PRIMARY KEY, text text);
        INSERT INTO notes VALUES (1, 'one'), (2, 'two');
        GRANT ALL ON notes TO PUBLIC;
        """
    )
    world.witnesses.append(PostgresWitness(postgres_database, target="shop"))
    worker, shop = SQLWorker(), connector_for(postgres_database)
    road = tmp_path / "road"
    road.mkdir()
    try:
        async with recording_ssh(tmp_path) as host:
            beside = [
                _registered("shop", "postgres", shop),
                _registered("host", "ssh", SSHConnector(host, fetch=host.fetch)),
            ]
            tools: list[AnyTool] = [QueryDatabase(worker=worker), RunSSHCommand()]
            async with laid(road, policies=POLICIES, beside=beside, tools=tools) as bench:
                with watched(Findings(door="arguments")) as errors:
                    yield Everything(
                        bench=bench, host=host, database=postgres_database, errors=errors, numbers=count(1)
                    )
        assert postgres_database.execute("SELECT text FROM notes ORDER BY id") == [("one",), ("two",)]
    finally:
        await shop.aclose()
        await worker.aclose()


def _registered(name: str, kind: TargetKind, connector: Connector) -> Registered:
    target = Target(
        name=name, kind=kind, description="", labels={"env": "prod"}, classes=frozenset(), fingerprint="f" * 64
    )
    return Registered(
        target=target,
        connector=connector,
        timeout=timedelta(seconds=10),
        max_rows=100,
        max_bytes=100_000,
        detectors=("default",),
    )


def _many(tool: str) -> settings:
    commit, full = EXAMPLES[tool]
    return settings(
        max_examples=full if FULL else commit,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
        deadline=None,
    )


async def _any_answer(everything: Everything, tool: str, arguments: dict[str, Any]) -> None:
    found = await everything.call(tool, arguments)
    await everything.look(tool, arguments, found)
    await everything.still_works(tool)


@_many("query_database")
@example(arguments={"target": "shop", "sql": "SELECT $1::jsonb", "params": [{"\ud800": None}]})
@given(arguments=arguments_of("query_database"))
async def test_any_arguments_of_a_query_have_an_answer(everything: Everything, arguments: dict[str, Any]) -> None:
    await _any_answer(everything, "query_database", arguments)


@_many("run_ssh_command")
@example(arguments={"target": "host", "argv": ["true"], "timeout_s": 2**53 - 1})
@given(arguments=arguments_of("run_ssh_command"))
async def test_any_arguments_of_a_command_have_an_answer(everything: Everything, arguments: dict[str, Any]) -> None:
    await _any_answer(everything, "run_ssh_command", arguments)


@_many("call_api")
@example(arguments={"target": "api", "path": "x", "json": {"\ud800": 1}})
@example(arguments={"target": "api", "path": "x", "query": {"\ud800": "1"}})
@given(arguments=arguments_of("call_api"))
async def test_any_arguments_of_a_request_have_an_answer(everything: Everything, arguments: dict[str, Any]) -> None:
    await _any_answer(everything, "call_api", arguments)
