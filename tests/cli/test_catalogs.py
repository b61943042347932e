"""`policy explain` and `inspect sql --target` judge by a database's own catalog, and ask it for nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_gateway_tools.query_database import QueryDatabase, QueryDatabaseArguments

from mcp_gateway.cli.catalogs import read_catalog
from mcp_gateway.config import find_config, load_settings, to_target
from mcp_gateway.credentials.sources import fetch
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.targets.postgres import PostgresConnector
from tests.cli.running import Ran, run_here, run_script, write_config
from tests.peers.postgres import PostgresDatabase
from tests.private import write_private

CANARY = "canary-41c7e09b"
POLICIES = """\
@id("read") permit (principal, action == Action::"query_database", resource);
@id("no-people") @reason("nobody reads people")
forbid (principal, action == Action::"query_database", resource) when { context.sql.reads.contains("hr.people") };
"""
SCHEMA = """
CREATE SCHEMA hr;
CREATE TABLE hr.people (id int PRIMARY KEY, name text, email text);
CREATE VIEW public.addresses AS SELECT id, email AS address FROM hr.people;
CREATE TABLE public.orders (id int, person int REFERENCES hr.people ON DELETE CASCADE, at date) PARTITION BY RANGE (at);
CREATE TABLE public.orders_2026 PARTITION OF public.orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE FUNCTION public.everybody() RETURNS SETOF text LANGUAGE sql AS 'SELECT email FROM hr.people';
CREATE FUNCTION public.closed() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
"""
STATEMENTS = [
    "SELECT address FROM addresses WHERE address LIKE 'a%'",
    "SELECT everybody()",
    "SELECT closed()",
    "DELETE FROM hr.people",
    "UPDATE orders SET person = 1 WHERE id = 7",
    "INSERT INTO orders_2026 VALUES (1, 1, '2026-02-02')",
    "SELECT lower(name) FROM hr.people LIMIT 3",
    "SELECT o.id FROM orders o JOIN addresses a ON a.id = o.person ORDER BY a.address",
]


def database_target(*, port: int, name: str = "orders", database: str = "o", user: str = "g") -> str:
    return f"""
[targets.{name}]
kind = "postgres"
labels = {{ env = "dev" }}
host = "127.0.0.1"
port = {port}
database = "{database}"
user = "{user}"
password = {{ env = "ORDERS_PASSWORD" }}
tls = "disable"
timeout = "1s"
classify = {{ "hr.people.email" = "pii.email" }}
"""


def configured(folder: Path, targets: str) -> Path:
    policies = write_private(folder / "all.cedar", POLICIES)
    text = f'[identity]\nissuer = "local"\n[policy]\npaths = ["{policies}"]\n{targets}'
    return write_config(folder, text)


@pytest.fixture
def config(tmp_path: Path, postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a database that is there, and a host that is not."""
    postgres_database.execute(SCHEMA)
    monkeypatch.setenv("ORDERS_PASSWORD", postgres_database.password)
    found = database_target(
        port=postgres_database.port, database=postgres_database.name, user=postgres_database.user
    ).replace('"1s"', '"30s"')
    host = 'kind = "ssh"\nlabels = { env = "dev" }\nhost = "h"\nuser = "u"\nknown_hosts = "/k"\nkey = { file = "/i" }\n'
    return configured(tmp_path, f"{found}[targets.web1]\n{host}")


def inspections(folder: Path) -> list[tuple[str, str, str]]:
    """What was recorded of looks at targets."""
    query = "SELECT body FROM events WHERE kind = 'Inspected'"
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'data/audit.db'}?mode=ro", uri=True)) as connection:
        bodies = [json.loads(body) for (body,) in connection.execute(query)]
    return [(body["target"], body["what"], body["outcome"]) for body in bodies]


def explained(capsys: pytest.CaptureFixture[str], config: Path, sql: str, *more: str) -> Ran:
    asked = ("policy", "explain", "--target", "orders", "--sql", sql)
    return run_here(capsys, "--config", str(config), *asked, *more)


def inspected(config: Path, *items: dict[str, Any]) -> Ran:
    return run_script(
        *("--config", str(config), "inspect", "sql", "--target", "orders", "--jsonl"),
        given="\n".join(map(json.dumps, items)),
        home=config.parent,
        environ={"ORDERS_PASSWORD": os.environ["ORDERS_PASSWORD"]},
    )


async def facts_on_the_road(config: Path) -> list[Any]:
    """What the tool of a running gateway finds."""
    settings = load_settings(find_config(str(config), os.environ))
    target = settings.targets["orders"]
    connector = PostgresConnector(target, name="orders", fetch=fetch)  # type: ignore[arg-type] # it is a database
    worker = SQLWorker()
    try:
        found = [
            await QueryDatabase(worker=worker).examine(
                QueryDatabaseArguments(target="orders", sql=sql),
                target=to_target("orders", target, mode="enforce"),
                connector=connector,
            )
            for sql in STATEMENTS
        ]
    finally:
        await connector.aclose()
        await worker.aclose()
    return [examination.facts.to_json() for examination in found]


@pytest.mark.timeout(240)
def test_facts_are_those_of_a_running_gateway(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on_the_road = anyio.run(facts_on_the_road, config)

    by_policy = [explained(capsys, config, sql, "--json").json["facts"] for sql in STATEMENTS]
    items = map(json.loads, inspected(config, *({"sql": sql} for sql in STATEMENTS)).out.splitlines())

    assert [facts | {"infers": None} for facts in by_policy] == [facts | {"infers": None} for facts in on_the_road]
    for item, facts in zip(items, on_the_road, strict=True):
        assert {name: item[name] for name in facts} == facts
        assert (item["refusal"], item["error"]) == (None, None)


def test_what_a_view_leads_to_decides(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT address FROM addresses"

    by_catalog, without = explained(capsys, config, sql), explained(capsys, config, sql, "--no-catalog")

    assert by_catalog.out.splitlines()[0] == "decision   deny"
    assert "fact       reads = hr.people, public.addresses" in by_catalog.out.splitlines()
    assert "fact       returns = pii.email" in by_catalog.out.splitlines()
    assert without.out.splitlines()[0] == "decision   allow"


def test_it_is_said_which_catalog_was_read_and_when(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT nonsense(name) FROM hr.poeple"
    human, as_json = explained(capsys, config, sql), explained(capsys, config, sql, "--json").json["catalog"]

    (line,) = [line for line in human.out.splitlines() if line.startswith("catalog")]
    assert line.startswith("catalog    that of orders, read 20")
    assert line.endswith(" UTC; it does not know hr.poeple, nonsense")
    assert (as_json["target"], as_json["unknown"]) == ("orders", ["hr.poeple", "nonsense"])
    assert as_json["absent"] == [{"id": "nonsense", "kind": "function"}, {"id": "hr.poeple", "kind": "table or view"}]
    assert as_json["read_at"].endswith("+00:00")


def test_it_is_said_that_nobody_would_be_asked_about_a_name_that_is_not_there(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (config.parent / "all.cedar").open("a") as file:
        file.write('@id("asks") @approval("dba") forbid (principal, action == Action::"query_database", resource)\n')
        file.write('when { context.sql.statements == 1 } unless { context.approval.by.contains("dba") };\n')

    there, nowhere = [explained(capsys, config, f"SELECT {name} FROM orders") for name in ("person", "persn")]
    write = explained(capsys, config, "UPDATE orders SET persn = 1")

    but = "but        the call is refused and nobody asked, if its server says as well that it has no column 'persn'"
    assert but in nowhere.out.splitlines()
    assert "but  " not in there.out
    assert (write.status, "cannot be followed" in write.err) == (2, True)
    assert write.err.rstrip().endswith("; its catalog has no column 'persn'")


def test_of_the_plan_it_is_said_that_nobody_asks_for_it(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (config.parent / "all.cedar").open("a") as file:
        file.write('@id("big") forbid (principal, action == Action::"query_database", resource)\n')
        file.write("when { context.sql.planned_rows > 1000000 };\n")

    ran = explained(capsys, config, "SELECT 1")

    assert "plan       not asked for, though policies look at it: a running gateway knows the planned rows" in (
        ran.out.splitlines()
    )
    assert "planned_rows =" not in ran.out


def test_what_a_statement_tells_can_still_be_imagined(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = explained(capsys, config, "SELECT 1", "--inference", "where=pii.email", "--json")

    assert ran.json["facts"]["inference"] == {"where": ["pii.email"]}


@pytest.mark.requirement("I1", "I5")
def test_nothing_but_the_catalogs_queries_reaches_the_database(
    config: Path, postgres_database: PostgresDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = f"SELECT everybody(), '{CANARY}'"

    said = explained(capsys, config, sql)
    items = inspected(config, {"sql": sql}, {"sql": f"DROP TABLE hr.people -- {CANARY}"})

    seen = postgres_database.log_lines()
    own = [line for line in seen if "[unknown]@" not in line]  # which is the test itself
    assert own
    assert all("mcp-gateway/catalog@" in line for line in own)
    assert CANARY not in "".join(seen)
    assert "EXPLAIN" not in "".join(own)
    assert inspections(config.parent) == [("orders", "catalog", "ok")] * 2
    everywhere = said.out + said.err + items.out + items.err
    assert postgres_database.password not in everywhere
    stored = b"".join(path.read_bytes() for path in (config.parent / "data").iterdir() if path.is_file())
    assert postgres_database.password.encode() not in stored
    assert CANARY.encode() not in stored


def test_each_item_is_judged_by_the_one_catalog(config: Path) -> None:
    items: list[dict[str, Any]] = [
        {"id": 1, "sql": "SELECT * FROM addresses"},
        {"id": 2, "sql": "SELEC"},
        {"id": 3, "sql": "SELECT 1; SELECT 2"},
        {"id": 4, "sql": "SELECT * FROM poeple"},
    ]

    ran = inspected(config, *items)

    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [item["id"] for item in found] == [1, 2, 3, 4]
    assert found[0]["reads"] == ["hr.people", "public.addresses"]
    assert [bool(item["error"]) for item in found] == [False, True, False, False]
    assert [bool(item["refusal"]) for item in found] == [False, False, True, False]
    assert [item["catalog"]["unknown"] for item in found] == [[], [], [], ["poeple"]]
    assert len({item["catalog"]["read_at"] for item in found}) == 1
    assert len({frozenset(item) for item in found}) == 1
    assert inspections(config.parent) == [("orders", "catalog", "ok")]


@pytest.mark.requirement("I5", "R26")
def test_a_wrong_password_is_told_without_it(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERS_PASSWORD", CANARY)

    ran = explained(capsys, config, "SELECT 1")

    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith(
        "mcp-gateway: the catalog of the target 'orders' cannot be read: PostgreSQL at 127.0.0.1:"
    )
    assert ran.err.endswith("; --no-catalog explains without it\n")
    assert CANARY not in ran.err + str(inspections(config.parent))
    ((target, what, outcome),) = inspections(config.parent)
    assert (target, what) == ("orders", "catalog")
    assert "does not let" in outcome


def test_a_password_that_is_not_there_is_told_with_its_target(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORDERS_PASSWORD")

    ran = explained(capsys, config, "SELECT 1")

    assert (ran.status, ran.out) == (3, "")
    assert ran.err == (
        "mcp-gateway: the catalog of the target 'orders' cannot be read: "
        "the environment variable ORDERS_PASSWORD is not set; --no-catalog explains without it\n"
    )
    as_json = explained(capsys, config, "SELECT 1", "--json")
    assert (as_json.status, as_json.err) == (3, "")
    assert as_json.json == {"error": ran.err.removeprefix("mcp-gateway: ").rstrip(), "problems": []}
    refused = explained(capsys, config, "SELEC", "--json", "--no-catalog")
    assert (refused.status, refused.err) == (2, "")
    assert refused.json["error"].startswith("refused before any policy: ")


@pytest.mark.requirement("R8")
@pytest.mark.parametrize("listens", [True, False])
def test_a_database_that_does_not_answer_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, listens: bool
) -> None:
    monkeypatch.setenv("ORDERS_PASSWORD", CANARY)
    with socket.create_server(("127.0.0.1", 0)) as stalled:
        port = stalled.getsockname()[1]
        config = configured(tmp_path, database_target(port=port))
        if not listens:
            stalled.close()
        given = {"given": "SELECT 1", "home": tmp_path, "environ": {"ORDERS_PASSWORD": CANARY}}
        ran = explained(capsys, config, "SELECT 1")
        item = run_script("--config", str(config), "inspect", "sql", "--target", "orders", **given)  # type: ignore[arg-type] # as there

    why = (
        f"PostgreSQL at 127.0.0.1:{port} did not answer within 1 s"
        if listens
        else f"nothing listens where PostgreSQL at 127.0.0.1:{port} should be"
    )
    said = f"mcp-gateway: the catalog of the target 'orders' cannot be read: {why}; "
    assert (ran.status, ran.out, ran.err) == (3, "", f"{said}--no-catalog explains without it\n")
    assert (item.status, item.out) == (3, "")
    assert item.err == f"{said}without --target it is inspected by none\n"
    assert inspections(tmp_path) == [("orders", "catalog", why)] * 2


@pytest.mark.requirement("I1", "R5")
def test_a_database_is_not_asked_where_that_cannot_be_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERS_PASSWORD", CANARY)
    (tmp_path / "data").mkdir(mode=0o755)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        config = configured(tmp_path, database_target(port=listening.getsockname()[1]))

        ran = explained(capsys, config, "SELECT 1")

        with pytest.raises(BlockingIOError):
            listening.accept()
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("mcp-gateway: no look at the target 'orders' can be recorded, so there is none: ")
    assert ran.err.endswith("; --no-catalog explains without it\n")


@pytest.mark.anyio
async def test_a_look_that_is_broken_off_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_PASSWORD", CANARY)
    with socket.create_server(("127.0.0.1", 0)) as stalled:
        config = configured(tmp_path, database_target(port=stalled.getsockname()[1]))
        settings = load_settings(find_config(str(config), os.environ))
        async with anyio.create_task_group() as group:
            group.start_soon(partial(read_catalog, settings, "orders", otherwise=""))
            await anyio.wait_readable(stalled)
            group.cancel_scope.cancel()

    assert inspections(tmp_path) == [("orders", "catalog", "broken off")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere", "there is no target 'nowhere'; the configuration has orders, web1"),
        ("web1", "the target 'web1' has no catalog; only databases have; without --target it is inspected by none"),
    ],
)
def test_a_target_that_has_no_catalog_is_misuse(config: Path, name: str, expected: str) -> None:
    ran = run_script("--config", str(config), "inspect", "sql", "--target", name, given="SELECT 1", home=config.parent)

    assert (ran.status, ran.out, ran.err) == (2, "", f"mcp-gateway: {expected}\n")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1; SELECT 2", "refused before any policy: "),
        ("SELEC", 'refused before any policy: syntax error at or near "SELEC"'),
        ("/*" * 16_000, "refused before any policy: "),
        ("UPDATE orders SET at = (SELECT email::date FROM hr.people LIMIT 1)", "refused before any policy: "),
    ],
)
def test_what_could_never_be_a_call_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], sql: str, expected: str
) -> None:
    ran = explained(capsys, config, sql)

    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"mcp-gateway: {expected}")
