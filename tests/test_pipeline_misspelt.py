"""A statement that would be asked about and names what its target does not have: the agent is told, and nobody is asked."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_gateway.calls import Caller
from mcp_gateway.deciding import Considered, Deciding
from mcp_gateway.errors import TargetUnavailable
from mcp_gateway.targets import postgres
from mcp_gateway.targets.postgres import PostgresConnector
from tests.peers.postgres import PostgresDatabase
from tests.roads import Bench, refusal, result
from tests.test_pipeline_inference import bench, query

__all__ = ["bench"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("A1")]

ASKED = """
@id("all") permit (principal, action == Action::"query_database", resource);
@id("changes") @approval("dba") forbid (principal, action == Action::"query_database", resource)
when { !context.sql.read_only } unless { context.approval.by.contains("dba") };
"""
ALL_ASKED = ASKED.replace("when { !context.sql.read_only } ", "")
FORBIDDEN = ASKED + (
    '@id("only-people") forbid (principal, action == Action::"query_database", resource)'
    ' unless { ["public.people"].containsAll(context.sql.reads) };'
)
UNKNOWN = "the target does not know a name in this statement: "


async def recorded(bench: Bench, call_id: str, kind: str, member: str) -> list[Any]:
    rows = await bench.store.read(
        lambda connection: connection.execute(
            "SELECT body ->> ? FROM events WHERE call_id = ? AND kind = ? ORDER BY sequence",
            (f"$.{member}", call_id, kind),
        ).fetchall()
    )
    return [row[0] for row in rows]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT id FROM peeple", "it has no table or view 'peeple'"),
        ("SELECT id FROM nowhere.people", "it has no table or view 'nowhere.people'"),
        ("DELETE FROM peeple WHERE id = 1", "it has no table or view 'peeple'"),
        ("SELECT lowr(email) FROM people", "it has no function 'lowr'"),
        ("SELECT emial FROM people", "it has no column 'emial'"),
        ("UPDATE people SET emial = 'x' WHERE id = 1", "it has no column 'emial'"),
        ("SELECT lowr(emial) FROM peeple", "it has no function 'lowr', no column 'emial', no table or view 'peeple'"),
        ("SELECT id FROM watched WHERE said = 'x' AND ssn = 'x'", '42703 (undefined_column) at character 45: column "ssn" does not exist'),
        ("SELECT p.id FROM people", '42P01 (undefined_table) at character 8: missing FROM-clause entry for table "p"'),
        ("SELECT upper(id) FROM people", "42883 (undefined_function) at character 8"),
        ("SELECT id::intt FROM people", "42704 (undefined_object) at character 12"),
        ("DELETE FROM watched WHERE sayd = 'x'", "it has no column 'sayd'"),
        ("INSERT INTO watched (sayd) VALUES ('x')", "it has no column 'sayd'"),
    ],
)  # fmt: skip
async def test_it_is_told_by_its_name(bench: Bench, postgres_database: PostgresDatabase, sql: str, said: str) -> None:
    postgres_database.execute(WATCHED)
    bench.load(ALL_ASKED)

    answer = await query(bench, sql)

    told = refusal(answer)
    assert (told.code, told.message, told.next_step) == (
        "invalid_arguments", UNKNOWN + said, "mend the SQL; nothing has run and nobody is asked",
    )  # fmt: skip
    assert (await bench.live(), await recorded(bench, answer.call_id, "Refused", "cause")) == ([], [UNKNOWN + said])
    kinds = await bench.kinds(answer.call_id)
    if "Decided" not in kinds:  # a write of which it cannot be followed what it writes is refused before
        assert sql.startswith(("DELETE", "INSERT", "UPDATE"))
        return
    assert [kind for kind in kinds if kind != "Inspected"] == [
        "Received", "Identified", "Examined", "Decided", "Refused", "Answered",
    ]  # fmt: skip
    assert (await recorded(bench, answer.call_id, "Decided", "decision"))[-1] == "ask"
    assert (await recorded(bench, answer.call_id, "Inspected", "outcome"))[-1] == "refused"


WATCHED = """
CREATE TABLE watched (id int, said text);
CREATE FUNCTION firing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER fires BEFORE INSERT OR DELETE ON watched FOR EACH ROW EXECUTE FUNCTION firing();
GRANT ALL ON watched TO PUBLIC;
"""


async def test_policy_decides_first_and_says_the_same_of_names_that_there_are(bench: Bench) -> None:
    bench.load(FORBIDDEN)

    there, nowhere = [refusal(await query(bench, f"SELECT * FROM {name}")) for name in ("pg_roles", "pg_rolls")]

    assert (there.code, there.message) == (nowhere.code, nowhere.message)
    assert there.code == "denied"


async def test_a_name_that_is_allowed_is_the_servers_to_refuse(bench: Bench) -> None:
    bench.load('@id("all") permit (principal, action == Action::"query_database", resource);')

    told = refusal(await query(bench, "SELECT id FROM peeple"))

    assert (told.code, "peeple" in told.message) == ("failed", True)


async def test_what_was_made_a_moment_ago_is_known(bench: Bench, postgres_database: PostgresDatabase) -> None:
    bench.load(ASKED)
    assert refusal(await query(bench, "SELECT id FROM fresh")).code == "invalid_arguments"
    postgres_database.execute("CREATE TABLE fresh (id int); GRANT SELECT ON fresh TO PUBLIC")
    assert result(await query(bench, "SELECT id FROM fresh"))["rows"] == []
    bench.load(ALL_ASKED)
    assert refusal(await query(bench, "SELECT newest FROM fresh")).code == "invalid_arguments"
    postgres_database.execute("ALTER TABLE fresh ADD newest int")
    assert refusal(await query(bench, "SELECT newest FROM fresh")).code == "approval_pending"
    postgres_database.execute("CREATE TYPE shade AS ENUM ('dark')")
    assert refusal(await query(bench, "SELECT shade('dark')")).code == "approval_pending"


async def test_guessing_does_not_make_the_gateway_read_the_catalog_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.load(ASKED)
    await query(bench, "SELECT id FROM people")
    loads = []
    load = PostgresConnector._load

    async def counted(connector: PostgresConnector) -> Any:
        loads.append(connector)
        return await load(connector)

    monkeypatch.setattr(PostgresConnector, "_load", counted)
    for number in range(20):
        assert refusal(await query(bench, f"SELECT id FROM guess_{number}")).code == "invalid_arguments"
    assert loads == []


async def test_what_the_role_may_not_look_into_is_asked_for(bench: Bench, postgres_database: PostgresDatabase) -> None:
    postgres_database.execute("CREATE SCHEMA shut; CREATE TABLE shut.wages (id int); CREATE SCHEMA open")
    postgres_database.execute("REVOKE ALL ON SCHEMA shut FROM PUBLIC; GRANT USAGE ON SCHEMA open TO PUBLIC")
    bench.load(ALL_ASKED)

    codes = [
        refusal(await query(bench, f"SELECT {called}")).code
        for called in ("id FROM shut.wages", "id FROM shut.wagez", "shut.wagez()", "id FROM open.wagez")
    ]

    assert codes == ["approval_pending"] * 3 + ["invalid_arguments"]


async def test_nothing_near_is_suggested(bench: Bench) -> None:
    bench.load(ALL_ASKED)

    said = [
        refusal(await query(bench, f"SELECT {name} FROM people")).message
        for name in ("emai", "people.ema1l", "relname", "upper(id, ssn, email)")
    ]

    assert not [one for one in said if "email" in one or "hint" in one or "text" in one]


async def test_a_server_that_does_not_say_is_no_reason_to_refuse(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> Any:
        raise TargetUnavailable("gone")

    bench.load(ASKED)
    monkeypatch.setattr(PostgresConnector, "absent", away)

    assert refusal(await query(bench, "SELECT id FROM peeple")).code == "approval_pending"


async def test_of_a_statement_that_may_do_anything_no_text_reaches_the_target(
    bench: Bench, postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_database.execute(
        """
        CREATE SEQUENCE drawn;
        CREATE FUNCTION draws(text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''drawn'') > 0; END';
        CREATE DOMAIN sneaky AS text CHECK (draws(value));
        GRANT ALL ON drawn TO PUBLIC;
        """
    )
    bench.load(ALL_ASKED)
    sent = []

    async def explain(_: PostgresConnector, sql: str, parameters: Any) -> Any:
        sent.append((sql, parameters))

    monkeypatch.setattr(PostgresConnector, "explain", explain)
    for sql in ("SELECT '{x}'::sneaky[], emial FROM people", "SELECT '{x}'::sneaky[] FROM peeple"):
        assert refusal(await query(bench, sql)).code == "invalid_arguments"

    assert sent == []
    assert postgres_database.execute("SELECT is_called FROM drawn") == [(False,)]


OF_BRIEF = "DELETE FROM brief"


async def agreed(bench: Bench, database: PostgresDatabase) -> None:
    """A call on a table made for it waits, and somebody has said yes."""
    database.execute("CREATE TABLE brief (id int); GRANT ALL ON brief TO PUBLIC")
    bench.load(ASKED)
    pending = refusal(await query(bench, OF_BRIEF)).approval
    assert pending is not None
    await bench.vote(pending.id)


@pytest.mark.parametrize("known", [False, True])
async def test_a_call_that_has_run_is_answered_so_though_its_table_is_gone(
    bench: Bench, postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    """Whether or not the gateway has looked at the catalog since."""
    monkeypatch.setattr(postgres, "STAMP_SECONDS", 0.0 if known else 3600.0)
    await agreed(bench, postgres_database)
    assert result(await query(bench, OF_BRIEF))["row_count"] == 0
    postgres_database.execute("DROP TABLE brief")

    assert refusal(await query(bench, OF_BRIEF)).code == "already_run"


async def test_a_call_whose_twin_has_run_meanwhile_is_answered_so_though_its_table_is_gone(
    bench: Bench, postgres_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin uses the approval between the yes and this one's examination after it."""
    await agreed(bench, postgres_database)
    examine = Deciding.examine

    async def late(self: Deciding, caller: Caller, *, fresh: bool = False) -> Considered:
        if fresh:
            monkeypatch.setattr(Deciding, "examine", examine)
            assert result(await query(bench, OF_BRIEF))["row_count"] == 0
            postgres_database.execute("DROP TABLE brief")
        return await examine(self, caller, fresh=fresh)

    monkeypatch.setattr(Deciding, "examine", late)

    assert refusal(await query(bench, OF_BRIEF)).code == "already_run"


async def test_of_a_write_that_cannot_be_followed_names_are_told_before_policy(bench: Bench) -> None:
    """As such a write is refused before policy whatever it names; the documentation says so."""
    bench.load(FORBIDDEN.replace('unless { ["public.people"].containsAll(context.sql.reads) }', ""))

    told = {sql: refusal(await query(bench, sql)).code for sql in ("DELETE FROM people", "DELETE FROM peeple")}

    assert told == {"DELETE FROM people": "denied", "DELETE FROM peeple": "invalid_arguments"}


@pytest.mark.parametrize("approved", [False, True])
async def test_a_table_that_is_gone_by_the_next_call_asks_nobody_anew(
    bench: Bench, postgres_database: PostgresDatabase, *, approved: bool
) -> None:
    postgres_database.execute("CREATE TABLE brief (id int); GRANT ALL ON brief TO PUBLIC")
    bench.load(ASKED)
    pending = refusal(await query(bench, "DELETE FROM brief")).approval
    assert pending is not None
    if approved:
        await bench.vote(pending.id)
    postgres_database.execute("DROP TABLE brief")

    answer = await query(bench, "DELETE FROM brief")

    assert refusal(answer).code == "invalid_arguments"
    assert [ticket.id for ticket in await bench.live()] == [pending.id]
    assert not {"Asked", "Claimed", "Started"} & {*await bench.kinds(answer.call_id)}


async def test_what_a_name_spells_out_goes_through_the_detectors(bench: Bench) -> None:
    bench.load(ASKED)

    answer = await query(bench, 'SELECT * FROM "ada@example.com"')

    assert "ada@example.com" not in refusal(answer).message
    assert "ada@example.com" not in (await recorded(bench, answer.call_id, "Refused", "cause"))[0]
