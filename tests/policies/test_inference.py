"""Ways round the fact: statements whose visible answer depends on a masked value, each against a real server.

Every one is run twice as the database's owner, on values that differ, to show that its visible answer (cells that would
not be masked, row count, error or none) does tell. Then the real examination and the starter policies have to stop it.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from mcp_gateway.decisions import Ask
from tests.peers.postgres import PostgresDatabase
from tests.policies.inquiries import Inquiry, desk_at
from tests.policy.worlds import question

pytestmark = pytest.mark.anyio

CLASSIFY = {
    "public.people.ssn": "pii.national_id",
    "public.people.email": "pii.email",
    "public.people.age": "pii.age",
    "public.people.born": "pii.age",
    "public.people.profile": "pii.profile",
}
SCHEMA = """
CREATE TABLE people (id int PRIMARY KEY, name text, ssn text UNIQUE, email varchar(20), age int CHECK (age < 100),
  born timestamp, profile json);
CREATE TABLE guesses (id int, ssn text, n int);
CREATE TABLE notes (id int PRIMARY KEY, note text);
CREATE VIEW young AS SELECT id, name FROM people WHERE age < 40;
CREATE MATERIALIZED VIEW ranked AS SELECT ssn, row_number() OVER (ORDER BY ssn) AS place, name FROM people;
CREATE FUNCTION below(text) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT id FROM people WHERE ssn < $1';
CREATE FUNCTION is_below(p people, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT p.ssn < $2';
CREATE FUNCTION hidden_test(int) RETURNS int LANGUAGE plpgsql STABLE
  AS $$ BEGIN RETURN (SELECT 1 / (CASE WHEN ssn < '5' THEN 0 ELSE 1 END) FROM public.people WHERE id = $1); END $$;
CREATE TABLE watched (id int, note text);
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql
  AS $$ BEGIN IF EXISTS (SELECT 1 FROM public.people WHERE id = 1 AND ssn < '5') THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER guard BEFORE UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION guard();
INSERT INTO watched VALUES (1, 'a');
INSERT INTO guesses VALUES (1, '111', 1), (2, '999', 2);
INSERT INTO notes VALUES (1, 'a'), (2, 'b');
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
"""
ROW = "INSERT INTO people VALUES (%s, %s, %s, %s, %s, %s, %s)"
ONE = (
    (1, "ada", "111", "ada@example.com", 30, "2000-01-01", '{"a": 1}'),
    (2, "ben", "999", "ben@example.com", 60, "1960-01-01", '{"a": 2}'),
    (3, "eve", "120", "eve@example.com", 5, "2020-01-01", '{"a": 3}'),
)
OTHER = (
    (1, "ada", "777", "zoe-zoe@example.org", 70, "1950-01-01", '{"a": 4}'),
    (2, "ben", "333", "amy@example.org", 20, "2010-01-01", '{"a": 5}'),
    (3, "eve", "350", "bob@example.org", 50, "1970-01-01", '{"a": 6}'),
)
CROWD = "INSERT INTO people (id, name, ssn, age) SELECT n, 'p' || n, %s || n, 50 FROM generate_series(100, 300) n"

MASKED_OR_HARMLESS = {"count_distinct", "null_test", "test"}
VISIBLE = """
SELECT id FROM people WHERE ssn < '5' ORDER BY id
SELECT id FROM people WHERE left(ssn, 1) = '1'
SELECT id FROM people WHERE (ssn, id) < ('5', 0)
SELECT id FROM people WHERE people < ROW(1, 'ada', '5', NULL, NULL, NULL, NULL)::people
SELECT count(*) FROM people WHERE NOT (id = 1 AND ssn >= '5') OR false
SELECT count(*) FROM people WHERE CASE WHEN ssn < '5' THEN id = 1 END
SELECT count(*) FROM people WHERE ssn = ANY ('{111,222}'::text[])
SELECT count(*) FROM people WHERE is_below(people, '2')
SELECT count(*) FROM people WHERE to_jsonb(people) @? '$.ssn ? (@ == "111")'
SELECT * FROM below('5') ORDER BY 1
SELECT name FROM young
SELECT name FROM ranked WHERE place = 1
SELECT name FROM ranked ORDER BY place
WITH low AS (SELECT id FROM people WHERE ssn < '5') SELECT n FROM guesses JOIN low USING (id)
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r, people WHERE people.id = 1 AND n < age) SELECT count(*) FROM r
SELECT p.id, g.n FROM people p JOIN guesses g USING (ssn)
SELECT g.n FROM guesses g NATURAL JOIN (SELECT ssn FROM people) p
SELECT g.n FROM guesses g LEFT JOIN people p ON p.id = g.n AND p.ssn < '5' GROUP BY g.n HAVING count(p.id) > 0
SELECT id, row_number() OVER (ORDER BY id) FROM (SELECT id FROM people ORDER BY ssn LIMIT 1) x
SELECT id, rank() OVER w FROM people WINDOW w AS (ORDER BY ssn)
SELECT id, ssn FROM people ORDER BY 2
SELECT id, ssn AS id_again FROM people ORDER BY id_again DESC
SELECT id FROM people ORDER BY ssn FETCH FIRST 1 ROW ONLY
SELECT id FROM people ORDER BY ssn LIMIT 1 FOR UPDATE SKIP LOCKED
SELECT n FROM guesses ORDER BY id LIMIT (SELECT age / 30 FROM people WHERE id = 1)
SELECT n FROM generate_series(1, (SELECT age FROM people WHERE id = 1)) n
SELECT g.n FROM people p, LATERAL (SELECT n FROM guesses WHERE guesses.ssn = p.ssn) g
SELECT g.n FROM people p, LATERAL generate_series(1, p.age) g(n) WHERE p.id = 1
SELECT count(*) FROM notes TABLESAMPLE system ((SELECT CASE WHEN age > 50 THEN 100 ELSE 0 END FROM people WHERE id = 1))
SELECT DISTINCT ON (left(ssn, 0)) id FROM people ORDER BY left(ssn, 0), ssn
SELECT count(*) FROM (SELECT DISTINCT age > 15 FROM people) x
SELECT count(*) FROM people GROUP BY GROUPING SETS ((age < 15), ())
SELECT count(*) FROM people GROUP BY ROLLUP (age < 65) ORDER BY 1
SELECT count(*) FROM (SELECT ssn FROM people INTERSECT SELECT '111') x
SELECT 1 FROM people HAVING max(ssn) > '8'
SELECT 1 / (CASE WHEN ssn < '5' THEN 0 ELSE 1 END) IS NULL FROM people WHERE id = 1
SELECT name FROM people WHERE id = 1 AND 1 / (age - 30) IS NOT NULL
SELECT name, CASE WHEN ssn < '5' THEN 1 / (id - 1) END FROM people
SELECT (SELECT id FROM guesses WHERE ssn < '5' OR people.ssn < '5') FROM people WHERE id = 1
SELECT name, age::numeric(1) FROM people WHERE id = 3
SELECT name, CASE WHEN ssn = '111' THEN 'people' ELSE 'nothing' END::regclass FROM people WHERE id = 1
SELECT count(*), sum(CASE WHEN people.ssn < '5' THEN 1e308 ELSE 0 END::float8) FROM people, guesses WHERE people.id = 1
SELECT count(*), avg(CASE WHEN people.ssn < '5' THEN 1e308 ELSE 0 END::float8) FROM people, guesses WHERE people.id = 1
SELECT name, (CASE WHEN ssn < '5' THEN '5e-324'::float8 ELSE 1 END) / 2 FROM people WHERE id = 1
SELECT name, width_bucket(CASE WHEN ssn < '5' THEN 'NaN'::float8 ELSE 1 END, 0, 10, 5) FROM people WHERE id = 1
SELECT name, round(CASE WHEN ssn < '5' THEN 9.9e131071 ELSE 1 END, -131071) FROM people WHERE id = 1
SELECT name, date(CASE WHEN ssn < '5' THEN name ELSE '2020-01-01' END) FROM people WHERE id = 1
SELECT name, ARRAY[CASE WHEN ssn < '5' THEN ARRAY[1, 2] ELSE ARRAY[1] END, ARRAY[1]] FROM people WHERE id = 1
SELECT count(*), array_agg(CASE WHEN ssn < '5' THEN ARRAY[1] ELSE ARRAY[1, 2] END) FROM people WHERE id IN (1, 3)
SELECT name, to_jsonb(CASE WHEN ssn < '5' THEN '{"a":"\\u0000"}'::json ELSE '{}'::json END) FROM people WHERE id = 1
SELECT name, CASE WHEN ssn < '5' THEN '{"a":"\\u0000"}'::json ELSE '{}'::json END ->> 'a' FROM people WHERE id = 1
SELECT name, CASE WHEN ssn < '5' THEN ROW(1) ELSE ROW(1, 2) END = CASE WHEN id > 0 THEN ROW(1, 2) END FROM people WHERE id = 1
SELECT name, greatest(CASE WHEN ssn < '5' THEN ROW(1) ELSE ROW(1, 2) END, CASE WHEN id > 0 THEN ROW(1, 2) END) FROM people WHERE id = 1
SELECT name, CASE WHEN ssn < '5' THEN ARRAY[1, 2] ELSE '{{1,2,3}}' END || '{{1,2}}'::int[] FROM people WHERE id = 1
SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY CASE WHEN ssn < '5' THEN interval '-178000000 years' ELSE interval '178000000 years' END) FROM people WHERE id IN (1, 3)
SELECT name, hidden_test(id) FROM people WHERE id = 1
EXPLAIN (FORMAT json) SELECT * FROM people WHERE ssn < '5'
INSERT INTO people (id, ssn) VALUES (9, '111')
INSERT INTO people (id, ssn) VALUES (9, '111') ON CONFLICT (ssn) DO NOTHING RETURNING id
INSERT INTO people (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = 'x' WHERE people.ssn < '5' RETURNING id
UPDATE people SET name = 'x' WHERE ssn < '5' RETURNING id
UPDATE people SET age = age + 35 WHERE id = 1 RETURNING id
UPDATE people SET email = email || '1234' WHERE id = 1 RETURNING id
DELETE FROM notes USING people p WHERE p.id = notes.id AND p.ssn < '5' RETURNING notes.id
UPDATE watched SET note = 'b' WHERE id = 1
MERGE INTO notes USING people p ON p.id = notes.id AND p.id = 1 AND p.ssn < '5' WHEN MATCHED THEN DELETE
"""


@pytest.mark.requirement("M1")
async def test_no_visible_answer_about_a_masked_value_is_given_without_asking(
    postgres_database: PostgresDatabase,
) -> None:
    postgres_database.execute(SCHEMA)
    wrong: list[object] = []
    async with desk_at(postgres_database, CLASSIFY) as desk:
        inquiries = {sql: await desk.ask(sql) for sql in VISIBLE.strip().splitlines()}
    for sql, inquiry in inquiries.items():
        one, other = (
            answer(postgres_database, sql, inquiry, rows, crowd) for rows, crowd in ((ONE, "6"), (OTHER, "2"))
        )
        if one == other:
            wrong.append(("tells nothing, so it shows nothing", sql, one))
        if "inference-needs-a-dba" not in inquiry.policies and inquiry.decision not in {"deny", "refused"}:
            wrong.append((inquiry.decision, sql, inquiry.told))
        if inquiry.decision != "refused" and not inquiry.told.keys() - MASKED_OR_HARMLESS:
            wrong.append(("is asked, but not for what is visible", sql, inquiry.told))
    assert wrong == []


def answer(
    peer: PostgresDatabase, sql: str, inquiry: Inquiry, rows: tuple[tuple[Any, ...], ...], crowd: str
) -> tuple[Any, ...]:
    """What an agent would see of it, masked columns left out."""
    with peer.server.connect(peer.name) as connection, connection.transaction(force_rollback=True):
        connection.execute("DELETE FROM people")
        for row in rows:
            connection.execute(ROW, row)
        connection.execute(CROWD, [crowd])
        connection.execute("REFRESH MATERIALIZED VIEW ranked")
        connection.execute("ANALYZE people")
        try:
            with connection.transaction():
                cursor = connection.execute(sql.encode())
                found = cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            return ("failed", error.sqlstate)
    return (cursor.rowcount, [[str(row[place]) for place in clear(inquiry, len(row))] for row in found])


def clear(inquiry: Inquiry, width: int) -> list[int]:
    """The places of the columns that would not be masked."""
    if inquiry.examination is None:
        return list(range(width))
    columns = inquiry.examination.private.lineage.columns
    return [] if columns is None else [place for place, column in enumerate(columns) if not column.classes]


@pytest.fixture
def shop(postgres_database: PostgresDatabase) -> PostgresDatabase:
    postgres_database.execute(SCHEMA)
    return postgres_database


@pytest.mark.requirement("M1")
async def test_what_the_caller_may_see_raw_may_be_inferred(shop: PostgresDatabase) -> None:
    seeing = frozenset({"mcp-reveal-email"})
    async with desk_at(shop, CLASSIFY) as desk:
        mine = await desk.ask("SELECT id FROM people WHERE email LIKE 'a%' ORDER BY email", groups=seeing)
        beside = await desk.ask("SELECT id FROM people WHERE email LIKE 'a%' ORDER BY ssn", groups=seeing)

    assert (mine.decision, mine.facts and mine.facts.hidden) == ("allow", frozenset())
    assert mine.told == {"order": ["pii.email"], "where_pattern": ["pii.email"]}
    assert (beside.decision, beside.policies) == ("ask", ("inference-needs-a-dba",))
    assert beside.facts is not None
    assert beside.facts.context()["infers"] == ["pii.national_id"]
    assert beside.facts.context()["inference"] == ["order"]


async def test_a_parameter_is_a_guess_like_a_literal(shop: PostgresDatabase) -> None:
    async with desk_at(shop, CLASSIFY) as desk:
        equal = await desk.ask("SELECT id FROM people WHERE ssn = $1", params=["111"])
        less = await desk.ask("SELECT id FROM people WHERE $1 > ssn", params=["111"])

    assert equal.told == {"where_equality": ["pii.national_id"]}
    assert less.told == {"where_range": ["pii.national_id"]}
    assert {equal.decision, less.decision} == {"ask"}


@pytest.mark.parametrize("counted", ["count(DISTINCT ssn)", "count(ssn)", "count(*) FILTER (WHERE ssn IS NULL)"])
async def test_counting_is_no_way_to_compare_with_a_guess(shop: PostgresDatabase, counted: str) -> None:
    both = "(SELECT ssn FROM people WHERE id = 1 UNION ALL SELECT ssn FROM guesses WHERE id = 1) x"
    async with desk_at(shop, CLASSIFY) as desk:
        sql = f"SELECT {counted} FROM {both}"
        inquiry = await desk.ask(sql)
        alone = await desk.ask(f"SELECT {counted} FROM people")
        said = await desk.answer(sql, inquiry)

    assert '"rows":[["[pii.national_id]"]]' in said
    assert alone.decision == "allow"
    assert alone.told.keys() <= {"count_distinct", "null_test"}


@pytest.mark.requirement("M1")
async def test_what_cannot_be_followed_tells_everything(shop: PostgresDatabase) -> None:
    async with desk_at(shop, CLASSIFY) as desk:
        inquiry = await desk.ask("SELECT t.a FROM notes, JSON_TABLE('[1]', '$[*]' COLUMNS (a int PATH '$')) t")

    assert inquiry.examination is not None
    assert inquiry.examination.private.lineage.columns is None
    assert inquiry.decision != "allow"
    assert all(set(classes) == set(CLASSIFY.values()) for classes in inquiry.told.values())
    assert len(inquiry.told) > 10


async def test_a_dba_is_asked_and_reads_what_would_be_told(shop: PostgresDatabase) -> None:
    async with desk_at(shop, CLASSIFY) as desk:
        inquiry = await desk.ask("SELECT id FROM people WHERE ssn < '5'")
        assert inquiry.facts is not None
        decision = desk.policies.decide(question(target=desk.target, facts=inquiry.facts))

    assert isinstance(decision, Ask)
    assert [needed.group for needed in decision.requirements] == ["dba"]
    assert "tells what is masked" in decision.reasons[0]
    assert inquiry.facts.to_json()["inference"] == {"where_range": ["pii.national_id"]}
    assert inquiry.facts.to_json()["infers"] == ["pii.national_id"]
