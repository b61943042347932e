from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from mcp_gateway_tools.query_database import Prepared, QueryDatabase, QueryDatabaseArguments

from mcp_gateway.approval.holding import bound
from mcp_gateway.calls import Target
from mcp_gateway.errors import RequestError, TargetFailed
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.masking.detectors import resolve
from mcp_gateway.masking.masker import CallMasker, masker_for
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.tool import Examination, Permit
from tests.peers.postgres import PostgresDatabase
from tests.targets.postgres_settings import CALL_ID, connector_for

pytestmark = pytest.mark.anyio

CLASSIFY = {"public.people.ssn": "pii.national_id", "public.people.email": "pii.email"}
SSN = "123-45-6789"


class Desk:
    """The tool, a database with classified columns, and a masker that reveals what a test says."""

    def __init__(self, tool: QueryDatabase, connector: PostgresConnector, peer: PostgresDatabase) -> None:
        self.tool = tool
        self.connector = connector
        self.peer = peer
        self.target = Target(
            name="orders",
            kind="postgres",
            description="",
            labels={"env": "prod"},
            classes=frozenset(CLASSIFY.values()),
            fingerprint="f" * 64,
        )

    async def examine(self, sql: str, *, fresh: bool = False, **arguments: Any) -> Examination[Prepared]:
        given = QueryDatabaseArguments(target="orders", sql=sql, **arguments)
        return await self.tool.examine(given, target=self.target, connector=self.connector, fresh=fresh)

    async def run(self, sql: str, *, revealed: frozenset[str] = frozenset(), rows: int = 100, **arguments: Any) -> Any:
        given = QueryDatabaseArguments(target="orders", sql=sql, **arguments)
        examination = await self.tool.examine(given, target=self.target, connector=self.connector)
        permit = Permit(call_id=CALL_ID, timeout=timedelta(seconds=20), max_rows=rows, max_bytes=1_000_000)
        raw = await self.tool.execute(given, examination=examination, connector=self.connector, permit=permit)
        masked = self.tool.mask(raw, examination=examination, masker=self.masker(revealed), call_id=CALL_ID)
        return orjson.loads(masked.structured)

    def masker(self, revealed: frozenset[str] = frozenset()) -> CallMasker:
        return masker_for(
            revealed=revealed,
            all_classes=frozenset(BUILT_IN),
            styles={},
            detectors=resolve(("default",)),
            secrets=self.connector.secrets(),
            hash_key=bytes(32),
        )


@pytest.fixture
async def desk(postgres_database: PostgresDatabase) -> AsyncIterator[Desk]:
    postgres_database.execute(
        f"""
        CREATE TABLE people (id int PRIMARY KEY, name text, ssn text, email text);
        INSERT INTO people VALUES (1, 'ada', '{SSN}', 'ada@example.com'), (2, 'ben', '987-65-4329', NULL);
        CREATE VIEW v AS SELECT id, ssn AS s FROM people;
        GRANT ALL ON people, v TO PUBLIC;
        """
    )
    worker = SQLWorker()
    connector = connector_for(postgres_database, classify=CLASSIFY)
    try:
        yield Desk(QueryDatabase(worker=worker), connector, postgres_database)
    finally:
        await connector.aclose()
        await worker.aclose()


async def test_a_result_has_its_columns_rows_and_count(desk: Desk) -> None:
    found = await desk.run("SELECT id, name FROM people ORDER BY id")

    assert found["columns"] == [
        {"name": "id", "type": "integer", "masked": []},
        {"name": "name", "type": "text", "masked": []},
    ]
    assert (found["rows"], found["row_count"], found["truncated"]) == ([[1, "ada"], [2, "ben"]], 2, False)
    assert found["call_id"] == CALL_ID


@pytest.mark.requirement("I5")
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ssn FROM people",
        "SELECT s FROM v",
        "SELECT reverse(ssn) FROM people",
        "SELECT p FROM people p",
        "SELECT string_agg(ssn, ',') FROM people",
        "WITH x(a) AS (SELECT ssn FROM people) SELECT a FROM x",
        "SELECT CASE WHEN true THEN ssn END AS id FROM people",
        "SELECT to_jsonb(p) FROM people p",
        "SELECT name FROM people UNION SELECT ssn FROM people",
    ],
)
async def test_classified_data_never_leaves_raw(desk: Desk, sql: str) -> None:
    found = orjson.dumps(await desk.run(sql)).decode()

    for form in (SSN, SSN[::-1], SSN.replace("-", "")):
        assert form not in found
    assert "pii.national_id" in found


async def test_what_the_policy_reveals_comes_back(desk: Desk) -> None:
    found = await desk.run("SELECT ssn FROM people WHERE id = 1", revealed=frozenset({"pii.national_id"}))

    assert found["rows"] == [[SSN]]
    assert found["columns"][0]["masked"] == []


async def test_parameters_arrive_as_values(desk: Desk) -> None:
    found = await desk.run("SELECT $1::int + 1 AS n, $2::text AS t", params=[41, "'; DROP TABLE people --"])

    assert found["rows"] == [[42, "'; DROP TABLE people --"]]


async def test_rows_are_cut_at_the_smallest_limit(desk: Desk) -> None:
    found = await desk.run("SELECT generate_series(1, 50) AS n", rows=10, max_rows=3)

    assert (found["row_count"], found["truncated"]) == (3, True)


async def test_a_write_runs_and_tells_how_many_rows(desk: Desk) -> None:
    found = await desk.run("UPDATE people SET name = 'x' WHERE id = 1")

    assert (found["rows"], found["row_count"]) == ([], 1)
    assert desk.peer.execute("SELECT name FROM people WHERE id = 1") == [("x",)]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "cannot run in a call|no statement"),
        ("SELECT 1; DROP TABLE people", "cannot run in a call"),
        ("COMMIT", "cannot run in a call"),
        ("SET ROLE postgres", "cannot run in a call"),
        ("SELECT set_config('role', 'postgres', false)", "cannot run in a call"),
        ("SELEC 1", "syntax error"),
        ("SELECT \0", "NUL"),
        ("SELECT " + "1+" * 20000 + "1", "32,768"),
    ],
)
async def test_what_may_never_run_is_refused_before_anything(desk: Desk, sql: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        await desk.examine(sql)


async def test_an_error_while_running_tells_only_its_condition(desk: Desk) -> None:
    given = QueryDatabaseArguments(target="orders", sql="SELECT ssn::int FROM people")
    examination = await desk.examine(given.sql)
    permit = Permit(call_id=CALL_ID, timeout=timedelta(seconds=20), max_rows=10, max_bytes=10_000)

    with pytest.raises(TargetFailed) as caught:
        await desk.tool.execute(given, examination=examination, connector=desk.connector, permit=permit)
    said = desk.tool.mask_error(caught.value, examination=examination, masker=desk.masker())

    assert said == "the statement failed: 22P02 (invalid_text_representation)"


@pytest.mark.requirement("R14")
async def test_a_view_that_was_redefined_changes_what_an_approval_is_bound_to(desk: Desk) -> None:
    before = await desk.examine("SELECT s FROM v")
    desk.peer.execute("CREATE OR REPLACE VIEW v AS SELECT id, email AS s FROM people")

    again = await desk.examine("SELECT s FROM v", fresh=True)

    assert bound(before) != bound(again)
    assert bound(again) == bound(await desk.examine("SELECT s FROM v", fresh=True))


async def test_a_preview_plans_and_does_not_run(desk: Desk) -> None:
    sql = "UPDATE people SET name = 'x'"
    given = QueryDatabaseArguments(target="orders", sql=sql)

    said = await desk.tool.preview(given, examination=await desk.examine(sql), connector=desk.connector)

    assert said.startswith("PostgreSQL expects about ")
    assert desk.peer.execute("SELECT count(*) FROM people WHERE name = 'x'") == [(0,)]


async def test_an_approver_reads_the_whole_statement(desk: Desk) -> None:
    sql = "SELECT name FROM people WHERE id = $1 -- " + "x" * 5000

    examination = await desk.examine(sql, params=[1])

    assert examination.shown == {"statement": sql, "$1": "1"}


@pytest.mark.requirement("R14")
async def test_an_approver_is_shown_the_statement_its_values_and_its_limit(desk: Desk) -> None:
    examination = await desk.examine(
        "SELECT id FROM people WHERE id = $1 OR name = $2", params=[1, "\u202ex"], max_rows=5
    )

    assert examination.shown == {
        "statement": "SELECT id FROM people WHERE id = $1 OR name = $2",
        "$1": "1",
        "$2": '"\u202ex"',
        "at most": "5 rows of the result",
    }
