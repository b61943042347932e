"""What a statement names is redefined between its examination and its run: nothing of it runs."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import psycopg
import pytest
from mcp_gateway_tools.query_database import QueryDatabaseArguments

from mcp_gateway.errors import TargetError
from mcp_gateway.masking.lineage.verdict import OutputColumn
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.targets.postgres_catalog import Touched, Versions
from mcp_gateway.targets.postgres_errors import SnapshotStale
from mcp_gateway.tool import Permit
from tests.peers.postgres import PostgresDatabase
from tests.targets.postgres_settings import CALL_ID, as_it_is, settings_for
from tests.tools.test_query_database import CLASSIFY, SSN, Desk, desk

__all__ = ["desk"]

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R14")]

PERMIT = Permit(call_id=CALL_ID, timeout=timedelta(seconds=20), max_rows=10, max_bytes=10_000)

BEFORE = """
CREATE TABLE notes (id int, note text);
CREATE VIEW outer_view AS SELECT * FROM v;
CREATE FUNCTION shown(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM people WHERE id = $1';
CREATE FUNCTION inner_one(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM people WHERE id = $1';
CREATE FUNCTION outer_one(int) RETURNS text LANGUAGE sql STABLE BEGIN ATOMIC SELECT inner_one($1); END;
CREATE FUNCTION told_one(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT inner_one($1)';
CREATE OPERATOR ~~> (rightarg = int, function = told_one);
CREATE TABLE parted (id int, note text) PARTITION BY LIST (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1) PARTITION BY LIST (note);
CREATE TABLE parted_1_a PARTITION OF parted_1 FOR VALUES IN ('a');
CREATE TABLE keyed (id int PRIMARY KEY);
CREATE TABLE tied (id int REFERENCES keyed);
CREATE TABLE base (id int, note text);
CREATE TABLE heir (extra int) INHERITS (base);
CREATE FUNCTION firing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE watched (id int);
CREATE TRIGGER fires BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION firing();
CREATE VIEW watched_view AS SELECT id FROM watched;
CREATE TABLE split (id int, note text) PARTITION BY LIST (id);
CREATE TABLE split_1 PARTITION OF split FOR VALUES IN (1);
CREATE TRIGGER fires BEFORE INSERT ON split_1 FOR EACH ROW EXECUTE FUNCTION firing();
GRANT ALL ON watched, watched_view, split TO PUBLIC;
GRANT ALL ON notes, outer_view, base, heir, parted, keyed, tied TO PUBLIC;
"""

FIRING = """CREATE OR REPLACE FUNCTION firing() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN DELETE FROM people; RETURN NEW; END'"""
CHANGES = {
    "a view": ("SELECT s FROM v", "CREATE OR REPLACE VIEW v AS SELECT id, name AS s FROM people"),
    "a view below a view": ("SELECT s FROM outer_view", "CREATE OR REPLACE VIEW v AS SELECT id, name AS s FROM people"),
    "a view that is made anew": (
        "SELECT s FROM v",
        "DROP VIEW v CASCADE; CREATE VIEW v AS SELECT 1 AS id, ''::text AS s",
    ),
    "a function": (
        "SELECT shown(1)",
        "CREATE OR REPLACE FUNCTION shown(int) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM people WHERE id = $1'",
    ),
    "a function below a function": (
        "SELECT outer_one(1)",
        "CREATE OR REPLACE FUNCTION inner_one(int) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM people LIMIT $1'",
    ),
    "a function that a text in a function calls": (
        "SELECT told_one(1)",
        "CREATE OR REPLACE FUNCTION inner_one(int) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM people LIMIT $1'",
    ),
    "a function behind an operator": (
        "SELECT ~~> 1",
        "CREATE OR REPLACE FUNCTION told_one(int) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM people LIMIT $1'",
    ),
    "a table that a text in a function reads": ("SELECT told_one(1)", "ALTER TABLE people ADD note text"),
    "a function that is declared harmless": ("SELECT shown(1)", "ALTER FUNCTION shown(int) IMMUTABLE"),
    "a function that another one now stands before": (
        "SELECT shown(1)",
        "CREATE FUNCTION shown(bigint) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM people LIMIT 1'",
    ),
    "a column that changes its name": (
        "SELECT name FROM people",
        "ALTER TABLE people RENAME name TO old; ALTER TABLE people RENAME ssn TO name",
    ),
    "a column that is added": ("SELECT * FROM people", "ALTER TABLE people ADD note text"),
    "a column that is dropped": ("SELECT * FROM people", "ALTER TABLE people DROP email"),
    "a column that changes its type": ("SELECT name FROM people", "ALTER TABLE people ALTER name TYPE varchar(99)"),
    "a table that is made anew": (
        "SELECT note FROM notes",
        "DROP TABLE notes; CREATE TABLE notes AS SELECT id, ssn AS note FROM people",
    ),
    "a table that another one now stands before": (
        "SELECT note FROM notes",
        "CREATE SCHEMA nearer; CREATE TABLE nearer.notes AS SELECT id, ssn AS note FROM people",
    ),
    "a table that became a view": (
        "SELECT note FROM notes",
        "ALTER TABLE notes RENAME TO gone; CREATE VIEW notes AS SELECT id, ssn AS note FROM people",
    ),
    "a trigger": (
        "UPDATE notes SET note = 'x'",
        "CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER fires BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION fired()",
    ),
    "a rule": ("DELETE FROM notes", "CREATE RULE spread AS ON DELETE TO notes DO ALSO DELETE FROM people"),
    "a foreign key": ("DELETE FROM keyed", "CREATE TABLE more (id int REFERENCES keyed ON DELETE CASCADE)"),
    "what a foreign key does": (
        "DELETE FROM keyed",
        "ALTER TABLE tied DROP CONSTRAINT tied_id_fkey, ADD FOREIGN KEY (id) REFERENCES keyed ON DELETE CASCADE",
    ),
    "a default": ("INSERT INTO notes (id) VALUES (1)", "ALTER TABLE notes ALTER note SET DEFAULT current_user"),
    "a part of a part": ("SELECT id FROM parted", "CREATE TABLE parted_1_b PARTITION OF parted_1 FOR VALUES IN ('b')"),
    "a part that goes": ("DELETE FROM parted WHERE id = 1", "ALTER TABLE parted_1 DETACH PARTITION parted_1_a"),
    "a trigger's function": ("INSERT INTO watched VALUES (1)", FIRING),
    "a trigger's function below a view": ("INSERT INTO watched_view VALUES (1)", FIRING),
    "a trigger's function of a part": ("INSERT INTO split VALUES (1, 'x')", FIRING),
    "a second trigger of a part": (
        "INSERT INTO split VALUES (1, 'x')",
        "CREATE TRIGGER more BEFORE INSERT ON split_1 FOR EACH ROW EXECUTE FUNCTION firing()",
    ),
    "an heir": ("SELECT note FROM notes", "CREATE TABLE notes_child (x int) INHERITS (notes)"),
}


@pytest.mark.parametrize("times", [0, 2, 4], ids=["new", "known", "calm"])
@pytest.mark.parametrize("what", CHANGES)
async def test_what_was_redefined_since_the_examination_does_not_run(desk: Desk, what: str, times: int) -> None:
    """Nor where it has run before, so that all of it is one exchange, and nothing has been committed in between."""
    sql, change = CHANGES[what]
    desk.peer.execute(BEFORE)
    given = QueryDatabaseArguments(target="orders", sql=sql)
    examination = await desk.examine(sql)
    for _ in range(times if examination.private.examination.facts.read_only else 0):
        with suppress(TargetError):
            await desk.tool.execute(given, examination=examination, connector=desk.connector, permit=PERMIT)
    with desk.peer.server.connect(desk.peer.name) as other:
        other.execute(change.encode())

    with pytest.raises(SnapshotStale, match=r"changed while the call was examined; nothing has run$"):
        await desk.tool.execute(given, examination=examination, connector=desk.connector, permit=PERMIT)

    again = await desk.examine(sql, fresh=True)
    assert again.environment != examination.environment


async def test_parts_are_watched_by_their_whole(desk: Desk) -> None:
    desk.peer.execute(BEFORE)
    examination = await desk.examine("SELECT id FROM parted", fresh=True)
    assert examination.facts.to_json()["reads"] == ["public.parted", "public.parted_1", "public.parted_1_a"]
    assert examination.private.touched.relation_names >= {"parted", "parted_1"}
    assert "parted_1_a" not in examination.private.touched.relation_names, "there may be a hundred"


async def test_an_examination_after_a_redefinition_sees_what_is_there_now(desk: Desk) -> None:
    desk.peer.execute("CREATE VIEW w AS SELECT id, name AS shown FROM people; GRANT ALL ON w TO PUBLIC")
    assert (await desk.run("SELECT shown FROM w ORDER BY id"))["rows"] == [["ada"], ["ben"]]
    desk.peer.execute("CREATE OR REPLACE VIEW w AS SELECT id, ssn AS shown FROM people")

    examination = await desk.examine("SELECT shown FROM w", fresh=True)

    columns = examination.private.lineage.columns
    assert columns is not None
    assert list(columns) == [OutputColumn("shown", frozenset({"pii.national_id"}), stored=True)]
    assert SSN not in str(await desk.run_with("SELECT shown FROM w", examination=examination))


class Watched(PostgresConnector):
    """The connector, with another session at work at the moment of the comparison."""

    def __init__(self, peer: PostgresDatabase, change: str) -> None:
        super().__init__(settings_for(peer, classify=CLASSIFY), name="orders", fetch=as_it_is)
        self.peer = peer
        self.change = change
        self.seen: list[str] = []

    async def versions(self, touched: Touched) -> Versions:
        with self.peer.server.connect(self.peer.name) as other:
            other.execute("SET lock_timeout = 100")
            try:
                other.execute(self.change.encode())
            except psycopg.Error as error:
                self.seen.append(str(error))
        return await super().versions(touched)


@pytest.mark.parametrize(
    "change",
    ["DROP VIEW v", "CREATE OR REPLACE VIEW v AS SELECT id, name AS s FROM people", "ALTER TABLE people ADD more int"],
)
async def test_nobody_redefines_what_a_statement_has_been_parsed_with(
    desk: Desk, postgres_database: PostgresDatabase, change: str
) -> None:
    """Its locks are taken before the comparison, on the view and on what it rests on, and kept to the end."""
    await desk.connector.aclose()
    desk.connector = connector = Watched(postgres_database, change)

    found = await desk.run("SELECT s FROM v")

    assert found["row_count"] == 2
    assert connector.seen == ["canceling statement due to lock timeout"]
