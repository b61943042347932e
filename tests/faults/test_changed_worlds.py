"""Between the approval and the call everything changes: what is asked, what is meant by it, and what it runs on (R14)."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from tests.faults.gateways import POLICY, Gateway, Targets, standing
from tests.faults.sizes import in_full
from tests.faults.wire import call_body, call_headers, said
from tests.invariants.world import World
from tests.peers.postgres import PostgresDatabase
from tests.private import write_private

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600), pytest.mark.requirement("R14")]

ODD_TEXTS: Mapping[str, str] = {
    "bidirectional": "DELETE FROM notes WHERE text = '\u202e;1 = di EREHW\u202c' -- \u2066 AND true \u2069",
    "terminal": "DELETE FROM notes WHERE text = '\x1b[2J\x1b[1;31mSELECT 1\x1b[0m' -- \x07\x08\x08",
    "lines": "DELETE FROM notes\r\n\t-- who: dana\n\u2028\u2029 WHERE id = -1",
    "padding": f"DELETE FROM notes {' ' * 15_000}WHERE{' ' * 15_000} id = -2",
    "padding in a comment": f"DELETE FROM notes /* {'x' * 30_000} */ WHERE id = -3",
    "homoglyphs": "DELETE FROM notes WHERE text = 'n\u043ete'",
    "zero width": "DELETE FROM notes WHERE text = 'a\u200b\u200d\ufeffb'",
    "markup": "DELETE FROM notes WHERE text = '<script>alert(1)</script>&lt;' -- <!--",
}
WORLDS: Mapping[str, tuple[str, str, str]] = {
    "a view": (
        "CREATE VIEW chosen AS SELECT 1 AS id",
        "DELETE FROM notes WHERE id IN (SELECT id FROM chosen)",
        "CREATE OR REPLACE VIEW chosen AS SELECT id FROM notes",
    ),
    "a function": (
        "CREATE FUNCTION pick() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'",
        "DELETE FROM notes WHERE id = pick()",
        "CREATE OR REPLACE FUNCTION pick() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 2'",
    ),
    "a table that stands before it": (
        "CREATE TABLE kept_0 (id int); INSERT INTO kept_0 VALUES (1)",
        "DELETE FROM kept_0 WHERE id = 1",
        'CREATE SCHEMA "{user}" AUTHORIZATION "{user}"; CREATE TABLE "{user}".kept_0 AS SELECT 1 AS id;'
        ' GRANT ALL ON "{user}".kept_0 TO PUBLIC',
    ),
    "a trigger": (
        "CREATE TABLE kept_2 (id int)",
        "DELETE FROM kept_2 WHERE id = 1",
        "CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM notes; RETURN OLD; END';"
        " CREATE TRIGGER fires BEFORE DELETE ON kept_2 FOR EACH STATEMENT EXECUTE FUNCTION fired()",
    ),
    "a table made anew": (
        "CREATE TABLE kept_3 (id int)",
        "DELETE FROM kept_3 WHERE id = 1",
        "DROP TABLE kept_3; CREATE TABLE kept_3 AS SELECT 1 AS id; GRANT ALL ON kept_3 TO PUBLIC",
    ),
    "the search path": (
        "CREATE TABLE kept_1 (id int); INSERT INTO kept_1 VALUES (1)",
        "DELETE FROM kept_1 WHERE id = 1",
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.kept_1 AS SELECT 1 AS id; GRANT USAGE ON SCHEMA elsewhere TO PUBLIC;"
        ' GRANT ALL ON elsewhere.kept_1 TO PUBLIC; ALTER ROLE "{user}" SET search_path = elsewhere, public',
    ),
}
"""What there is, what is asked, and what is done once it is approved."""


async def asked(gateway: Gateway, tool: str, arguments: Mapping[str, Any]) -> str:
    held = await gateway.call(tool, arguments)
    assert held["code"] == "approval_pending", held
    return str(held["approval"]["id"])


@pytest.mark.requirement("R37")
async def test_what_changes_between_the_yes_and_the_call_is_asked_anew(
    tmp_path: Path, world: World, targets: Targets
) -> None:
    database = targets.database
    for there_is, _, _ in WORLDS.values():
        database.execute(there_is)
    database.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC")
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        await gateway.start()
        await what_is_shown_is_what_runs_and_what_is_recorded(gateway, world)
        await a_retry_that_says_something_else_is_another_call_or_none(gateway, database)
        await what_a_statement_means_has_changed(gateway, database)
        await gateway.end()


async def what_is_shown_is_what_runs_and_what_is_recorded(gateway: Gateway, world: World) -> None:
    approval = ""
    for sql in ODD_TEXTS.values():
        approval = await asked(gateway, "query_database", {"target": "db", "sql": sql})
        async with gateway.approver() as dana:
            shown = (await dana.get(f"/api/approvals/{approval}")).json()
        assert shown["shown"]["statement"] == sql
        assert await gateway.move("approve", approval) == 200
        assert await gateway.code("query_database", {"target": "db", "sql": sql}) == "ok"
        history = gateway.store().history(approval)
        assert {row.body["digest"] for row in history if row.kind == "Asked"} == {shown["digest"]}
    padded = {"target": "api", "path": "x", "method": "POST", "body": f"{' ' * 400_000}the end"}
    approval = await asked(gateway, "call_api", padded)
    async with gateway.approver() as dana:
        shown = (await dana.get(f"/api/approvals/{approval}")).json()
    assert shown["shown"]["body"] == padded["body"]
    assert await gateway.code("call_api", padded | {"body": f"{' ' * 400_000}The end"}) == "approval_pending"
    listed = await gateway.command("approvals", "list", "--all", "--as", "dana")
    assert listed.status == 0
    on_terminal = [await gateway.command("approvals", "show", approval, "--as", "dana"), listed]
    for ran in on_terminal:
        assert not [character for character in ran.out if not (character.isprintable() or character == "\n")]
    with anyio.fail_after(10):
        # The server may write its log a little later than it answers.
        while len(ran_there := {effect.what for effect in world.witnesses[0].effects() if not effect.own}) < len(
            ODD_TEXTS
        ):
            await anyio.sleep(0.02)
    assert ran_there == set(ODD_TEXTS.values()), "the server's own log"


async def a_retry_that_says_something_else_is_another_call_or_none(
    gateway: Gateway, database: PostgresDatabase
) -> None:
    sql = "DELETE FROM notes WHERE id = 1"
    call = {"target": "db", "sql": sql}
    await gateway.move("approve", await asked(gateway, "query_database", call))

    for changed, code in (
        ({"sql": sql + " "}, "approval_pending"),
        ({"sql": sql.replace("DELETE", "delete")}, "approval_pending"),
        ({"sql": sql + "\u200b"}, "invalid_arguments"),
        ({"sql": sql + " OR true"}, "approval_pending"),
        ({"max_rows": 1}, "approval_pending"),
        ({"SQL": sql}, "invalid_arguments"),
        ({"Target": "db"}, "invalid_arguments"),
        ({"target": "d\u042c"}, "unknown_target"),
        ({"target": "DB"}, "unknown_target"),
        ({"target": "db\u200b"}, "unknown_target"),
    ):
        assert await gateway.code("query_database", call | changed) == code, changed
    for twice in (
        b'"sql": "DELETE FROM notes WHERE id = 1", "sql": "DELETE FROM notes"',
        b'"sql": "DELETE FROM notes WHERE id = 1", "s\\u0071l": "DELETE FROM notes"',
        b'"sql": "DELETE FROM notes", "sql": "DELETE FROM notes WHERE id = 1"',
    ):
        assert await raw(gateway, twice) == "protocol error 400", twice
    assert database.execute("SELECT count(*) FROM notes") == [(100,)]
    assert await gateway.code("query_database", call) == "ok"
    assert database.execute("SELECT count(*) FROM notes") == [(99,)]


async def raw(gateway: Gateway, members: bytes) -> str:
    """What a call is answered whose arguments hold these members as they stand."""
    marked = call_body("query_database", {"target": "db", "sql": "MARK"})
    body = marked.replace(b'"sql":"MARK"', members)
    assert body != marked
    async with gateway.client() as http:
        answer = await http.post("/mcp", content=body, headers=call_headers("query_database"))
    message = orjson.loads(said(answer.text, answer.headers.get("content-type", "")))
    content = message.get("result", {}).get("structuredContent", {})
    return str(content.get("error", {"code": "ok"})["code"]) if content else f"protocol error {answer.status_code}"


async def what_a_statement_means_has_changed(gateway: Gateway, database: PostgresDatabase) -> None:
    """The same words mean something else now: they are asked anew or refused."""
    before = database.execute("SELECT count(*) FROM notes")
    for what, (_, sql, change) in WORLDS.items():
        call = {"target": "db", "sql": sql}
        assert await gateway.move("approve", await asked(gateway, "query_database", call)) == 200
        database.execute(change.format(user=database.user))

        assert await gateway.code("query_database", call) in {"approval_stale", "denied", "failed"}, what
        assert database.execute("SELECT count(*) FROM notes") == before


SSH_POLICY = f"""{POLICY}
@id("commands-need-dba") @approval("dba")
forbid (principal, action == Action::"run_ssh_command", resource) unless {{ context.approval.by.contains("dba") }};
"""


@in_full
async def test_what_the_gateway_goes_by_has_changed(tmp_path: Path, world: World, targets: Targets) -> None:
    """Files that are read anew, and restarts: nothing that was approved before runs as if nothing had happened."""
    command = {"target": "host", "argv": ["echo", "hello"]}
    async with standing(tmp_path / "gateway", targets, world=world) as gateway:
        known_hosts, policy = gateway.folder / "known_hosts", gateway.folder / "policy.cedar"
        known_hosts.write_bytes(targets.host.known_hosts.read_bytes())
        config = gateway.config.read_text().replace(str(targets.host.known_hosts), str(known_hosts))
        write_private(gateway.config, config)
        write_private(policy, SSH_POLICY)
        await gateway.start()
        assert await gateway.move("approve", await asked(gateway, "run_ssh_command", command)) == 200
        known_hosts.write_text(another_key(gateway.folder, targets))
        assert await gateway.code("run_ssh_command", command) == "approval_stale"

        for path in ("moved", "forbidden", "two"):
            assert await gateway.move("approve", await asked(gateway, "call_api", post(path))) == 200
        for path, code, changed, text in (
            ("forbidden", "denied", policy, f'{POLICY}@id("closed") forbid (principal, action, resource);\n'),
            ("two", "approval_stale", policy, POLICY.replace('@approval("dba")', '@approval("dba") @approvers("2")')),
            ("moved", "approval_stale", gateway.config, config.replace(targets.api.url, f"{targets.api.url}/v2/")),
        ):
            await gateway.end()
            write_private(changed, text)
            await gateway.start()
            assert await gateway.code("call_api", post(path)) == code, path
        assert targets.api.requests == []
        await gateway.end()


def post(path: str) -> dict[str, str]:
    return {"target": "api", "path": path, "method": "POST"}


def another_key(folder: Path, targets: Targets) -> str:
    """A line of known_hosts that gives the host a key that it does not have."""
    key = folder / "another"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    kind, text, *_ = key.with_suffix(".pub").read_text().split()
    return f"[{targets.host.host}]:{targets.host.port} {kind} {text}\n"
