"""What an agent is told of a target that is away: its name, and nothing of where it is or how the gateway gets there."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mcp_gateway_tools.query_database import QueryDatabase
from mcp_gateway_tools.run_ssh_command import RunSSHCommand

from mcp_gateway import refusals
from mcp_gateway.calls import Secret, TargetKind
from mcp_gateway.config_sources import EnvSource
from mcp_gateway.credentials.sources import fetch
from mcp_gateway.errors import IdentityError, IssuerAway, OutcomeLost, TargetFailed, TargetTimeout, TargetUnavailable
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.registry import Registered
from mcp_gateway.targets.http import HTTPConnector
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.targets.ssh import SSHConnector
from tests.roads import Settings, laid, refusal
from tests.test_floods import POLICIES, registered

pytestmark = pytest.mark.anyio

MESSAGE = "the target 'away' is not available at present"
NEXT = "nothing has run; try again later, or give the call id to whoever runs the gateway: its record says why"
CAUSE = "SELECT body ->> '$.cause', kind FROM events WHERE call_id = ? AND kind IN ('Refused', 'Failed')"


@dataclass
class Away:
    """Settings of a target that is not there, for every kind."""

    port: int
    known_hosts: Path
    host: str = "127.0.0.1"
    database: str = "secret_base"
    user: str = "inner_user"
    tls: str = "disable"
    password: Any = None
    key: Any = None
    timeout: timedelta = timedelta(seconds=5)
    classify: Any = None


async def nothing(_: object) -> Secret:
    return Secret("hunter22-hunter22")


async def missing(_: object) -> Secret:
    return await fetch(EnvSource(env="INNER_VARIABLE"))


def known(folder: Path, text: str) -> Path:
    path = folder / "inner_hosts"
    path.write_text(text)
    path.chmod(0o600)
    return path


def target(what: str, folder: Path, port: int) -> tuple[TargetKind, Any]:
    url = f"http://127.0.0.1:{port}/inner"
    match what:
        case "http, nothing listens":
            return "http", HTTPConnector(Settings(url), fetch=nothing)
        case "http, a network that is not its":
            return "http", HTTPConnector(Settings(url, networks=()), fetch=nothing)
        case "http, no credential":
            settings = Settings(url, auth=type("Auth", (), {"bearer": "x", "basic": None, "header": None})())
            return "http", HTTPConnector(settings, fetch=missing)
        case "ssh, no file of host keys":
            return "ssh", SSHConnector(Away(port=port, known_hosts=folder / "inner_none"), fetch=nothing)
        case "ssh, not in the file of host keys":
            return "ssh", SSHConnector(Away(port=port, known_hosts=known(folder, "")), fetch=nothing)
        case _:
            return "postgres", PostgresConnector(Away(port=port, known_hosts=folder), name="away", fetch=nothing)


CALLS: dict[TargetKind, tuple[str, dict[str, Any]]] = {
    "http": ("call_api", {"path": "x"}),
    "ssh": ("run_ssh_command", {"argv": ["true"]}),
    "postgres": ("query_database", {"sql": "SELECT 1"}),
}


@pytest.mark.requirement("I5")
@pytest.mark.parametrize(
    "what",
    [
        "http, nothing listens", "http, a network that is not its", "http, no credential", "ssh, no file of host keys",
        "ssh, not in the file of host keys", "postgres, nothing listens",
    ],
)  # fmt: skip
async def test_where_a_target_is_and_what_is_wrong_is_for_the_operator(tmp_path: Path, what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    kind, connector = target(what, tmp_path, port)
    away: Registered = registered("away", kind, connector)
    tool, arguments = CALLS[kind]
    worker = SQLWorker()
    tools: list[Any] = [QueryDatabase(worker=worker), RunSSHCommand()]
    async with laid(tmp_path, policies=POLICIES, beside=[away], tools=tools) as bench:
        found = await bench.call({"target": "away"} | arguments, tool=tool)
        told = refusal(found)
        causes = await bench.store.read(lambda rows: rows.execute(CAUSE, (found.call_id,)).fetchall())
    await worker.aclose()
    await connector.aclose()

    assert (told.code, told.message, told.next_step) == ("target_unavailable", MESSAGE, NEXT)
    assert len(causes) == 1
    assert any(inner in causes[0][0] for inner in (str(port), "inner", "INNER", "networks"))


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (TargetUnavailable("10.0.0.1:22 is away"), "target_unavailable", MESSAGE),
        (TargetTimeout("late"), "timeout", "said"),
        (OutcomeLost("lost"), "outcome_unknown", "said"),
        (TargetFailed("failed"), "failed", "said"),
    ],
)
def test_only_an_error_that_the_agent_can_act_on_is_told_in_its_own_words(error: Any, code: str, message: str) -> None:
    told = refusals.target_failed(error, target="away", message="said", started=True)

    assert (told.code, told.message) == (code, message)


def test_who_has_a_good_token_is_not_sent_to_sign_in_while_the_issuer_is_away() -> None:
    away = refusals.not_identified(IssuerAway("the issuer's keys cannot be had: https://idp.internal: refused"))
    bad = refusals.not_identified(IdentityError("it is expired"))

    assert (away.code, bad.code) == ("identity_required", "identity_required")
    assert away.message == "no token can be checked at present: the identity provider's keys are not at hand"
    assert away.next_step == "try again in a minute; signing in again does not help"
    assert bad.next_step.startswith("have the person sign in again")
