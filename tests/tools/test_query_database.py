from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from mcp_gateway_tools.query_database import Prepared, QueryDatabase, QueryDatabaseArguments

from mcp_gateway.approval.holding import bound
from mcp_gateway.calls import SQLFacts
from mcp_gateway.errors import RequestError, TargetFailed
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.masking.classes import BUILT_IN
from mcp_gateway.masking.detectors import resolve
from mcp_gateway.masking.lineage.verdict import Lineage, OutputColumns
from mcp_gateway.masking.masker import CallMasker, masker_for
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.targets.postgres_catalog import Touched
from mcp_gateway.tool import Examination, Permit
from tests.peers.postgres import PostgresDatabase
from tests.targets.postgres_settings import CALL_ID, connector_for, orders_target

pytestmark = pytest.mark.anyio

CLASSIFY = {"public.people.ssn": "pii.national_id", "public.people.email": "pii.email"}
SSN = "123-45-6789"


class Desk:
    """The tool, a database with classified columns, and a masker that reveals what a test says."""

    def __init__(self, tool: QueryDatabase, connector: PostgresConnector, peer: PostgresDatabase) -> None:
        self.tool = tool
        self.connector = connector
        self.peer = peer
        self.target = orders_target(CLASSIFY)

    async def examine(self, sql: str, *, fresh: bool = False, **arguments: Any) -> Examination[Prepared]:
        given = QueryDatabaseArguments(target="orders", sql=sql, **arguments)
        return await self.tool.examine(given, target=self.target, connector=self.connector, fresh=fresh)

    async def run(
        self,
        sql: str,
        *,
        revealed: frozenset[str] = frozenset(),
        rows: int = 100,
        styles: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> Any:
        examination = await self.examine(sql, **arguments)
        return await self.run_with(
            sql, examination=examination, revealed=revealed, rows=rows, styles=styles, **arguments
        )

    async def run_as_if(self, sql: str, *, lineage: Lineage) -> Any:
        """Run a statement of which the resolver has found `lineage`."""
        examination = await self.examine(sql)
        known = replace(examination.private, lineage=lineage)
        return await self.run_with(sql, examination=replace(examination, private=known))

    async def run_with(
        self,
        sql: str,
        *,
        examination: Examination[Prepared],
        revealed: frozenset[str] = frozenset(),
        rows: int = 100,
        styles: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> Any:
        given = QueryDatabaseArguments(target="orders", sql=sql, **arguments)
        permit = Permit(call_id=CALL_ID, timeout=timedelta(seconds=20), max_rows=rows, max_bytes=1_000_000)
        raw = await self.tool.execute(given, examination=examination, connector=self.connector, permit=permit)
        masked = self.tool.mask(raw, examination=examination, masker=self.masker(revealed, styles), call_id=CALL_ID)
        return orjson.loads(masked.structured)

    def classify(self, more: dict[str, str]) -> None:
        """Work with further classified columns from here on."""
        self.connector = connector_for(self.peer, classify=CLASSIFY | more)

    def masker(self, revealed: frozenset[str] = frozenset(), styles: Mapping[str, str] | None = None) -> CallMasker:
        return masker_for(
            revealed=revealed,
            all_classes=frozenset(BUILT_IN),
            styles=styles or {},
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
    desk = Desk(QueryDatabase(worker=worker), connector_for(postgres_database, classify=CLASSIFY), postgres_database)
    try:
        yield desk
    finally:
        await desk.connector.aclose()
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


@pytest.mark.requirement("I5")
async def test_a_fingerprint_is_of_whole_stored_values_alone(desk: Desk) -> None:
    hashed = {"pii.national_id": "hash"}
    stored = await desk.run("SELECT s, id FROM v ORDER BY id", styles=hashed)
    spelt = await desk.run("SELECT left(ssn, 1), substr(ssn, 2, 1) FROM people", styles=hashed)
    guessed = await desk.run("SELECT ssn FROM people UNION ALL VALUES ('123-45-6789')", styles=hashed)

    assert stored["rows"][0][0].startswith("[pii.national_id#")
    assert stored["rows"][0][0] != stored["rows"][1][0]
    assert {cell for row in (*spelt["rows"], *guessed["rows"]) for cell in row} == {"[pii.national_id]"}


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


# The second wall: where the server itself says that a column comes from.


@pytest.mark.requirement("I5")
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ssn FROM people",
        "SELECT p.ssn AS ssn FROM people AS p ORDER BY 1",
        "WITH x(ssn) AS (SELECT ssn FROM people) SELECT ssn FROM x",
        "SELECT ssn FROM regional",
        "SELECT ssn FROM region_eu",
    ],
)
async def test_a_resolver_that_is_wrong_reveals_no_stored_column(
    desk: Desk, sql: str, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.peer.execute(
        f"""
        CREATE TABLE regional (id int, ssn text) PARTITION BY LIST (id);
        CREATE TABLE region_eu (ssn text, id int);
        ALTER TABLE regional ATTACH PARTITION region_eu FOR VALUES IN (1);
        INSERT INTO regional VALUES (1, '{SSN}');
        """
    )
    desk.classify({"public.regional.ssn": "pii.national_id"})
    wrong = Lineage(columns=OutputColumns.gathered(["ssn"], [(frozenset(), False)]))

    masked = await desk.run_as_if(sql, lineage=wrong)

    assert [column["masked"] for column in masked["columns"]] == [["pii.national_id"]]
    assert SSN not in orjson.dumps(masked).decode()
    said = capsys.readouterr().out
    assert "lineage_disagrees_with_server" in said
    assert SSN not in said


async def test_a_resolver_that_is_right_is_not_told_off(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.run("SELECT id, ssn, email, upper(name), p.tableoid, p FROM people p")
    await desk.run("SELECT * FROM v")
    await desk.run("INSERT INTO people (id) VALUES (3) RETURNING *")

    assert "disagrees" not in capsys.readouterr().out


@pytest.mark.requirement("I5")
async def test_a_relation_that_the_catalog_does_not_know_is_masked_whole(desk: Desk) -> None:
    """Made after the examination by somebody else, under a name that then was another's."""
    given = "SELECT note FROM notes"
    desk.peer.execute(f"CREATE TABLE notes (note text); INSERT INTO notes VALUES ('{SSN}')")
    examination = await desk.examine(given)
    known = replace(
        examination.private,
        touched=Touched(
            relation_names=frozenset(),
            relation_oids=frozenset(),
            function_names=frozenset(),
            function_oids=frozenset(),
            expected={},
        ),
    )
    desk.peer.execute(f"DROP TABLE notes; CREATE TABLE notes (note text); INSERT INTO notes VALUES ('{SSN}')")

    masked = await desk.run_with(given, examination=replace(examination, private=known))

    assert masked["columns"][0]["masked"] == sorted(CLASSIFY.values())


@pytest.mark.parametrize(
    ("sql", "returns"),
    [
        ("SELECT id, name FROM people", set()),
        ("SELECT s FROM v WHERE s = 'x'", {"pii.national_id"}),
        ("SELECT count(*) FROM people WHERE ssn = 'x'", set()),
        ("SELECT p FROM people AS p", {"pii.national_id", "pii.email"}),
        ("DELETE FROM people WHERE id = 9", set()),
        ("DELETE FROM people WHERE id = 9 RETURNING email", {"pii.email"}),
        ("SELECT * FROM nowhere", {"pii.national_id", "pii.email"}),
    ],
)
async def test_what_a_result_may_carry_is_a_fact(desk: Desk, sql: str, returns: set[str]) -> None:
    facts = (await desk.examine(sql)).facts
    assert isinstance(facts, SQLFacts)
    assert facts.returns == returns
