"""Which triggers decide what RETURNING gives: a real server beside the verdict on its catalog."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.masking.lineage import ClassifiedCatalog, follow, prepare
from tests.masking.lineage.databases import catalog_of, database, outcome
from tests.peers.postgres import PostgresServer

SECRET = "zq-secret"
TABLES = f"""
CREATE TABLE people (id int PRIMARY KEY, ssn text); INSERT INTO people VALUES (1, '{SECRET}');
CREATE FUNCTION before() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  NEW.note := (SELECT ssn FROM people); RETURN NEW; END $$;
CREATE FUNCTION before_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  PERFORM set_config('shop.note', ssn, true) FROM people; RETURN NULL; END $$;
CREATE FUNCTION after() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  EXECUTE format('UPDATE %s SET note = (SELECT ssn FROM people)', TG_ARGV[0]);
  PERFORM set_config('shop.note', ssn, true) FROM people; RETURN NULL; END $$;
CREATE TABLE plain (id int PRIMARY KEY, note text);
CREATE TABLE stamped (id int PRIMARY KEY, note text);
CREATE TRIGGER t BEFORE UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION before();
CREATE TABLE filled (id int PRIMARY KEY, note text);
CREATE TRIGGER t BEFORE INSERT ON filled FOR EACH ROW EXECUTE FUNCTION before();
CREATE TABLE announced (id int PRIMARY KEY, note text);
CREATE TRIGGER t BEFORE DELETE ON announced EXECUTE FUNCTION before_all();
CREATE TABLE logged (id int PRIMARY KEY, note text);
CREATE TRIGGER r AFTER INSERT OR DELETE ON logged FOR EACH ROW EXECUTE FUNCTION after('logged');
CREATE TRIGGER s AFTER INSERT OR DELETE ON logged EXECUTE FUNCTION after('logged');
CREATE TABLE parts (id int, note text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (10) TO (20);
CREATE TRIGGER t BEFORE INSERT ON parts_high FOR EACH ROW EXECUTE FUNCTION before();
CREATE TABLE ruled (id int PRIMARY KEY, note text);
CREATE RULE r AS ON INSERT TO ruled DO INSTEAD INSERT INTO plain SELECT NEW.id, ssn FROM people RETURNING *;
CREATE VIEW shown AS SELECT id, note FROM plain;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SELECT ssn INTO NEW.note FROM people; RETURN NEW; END $$;
CREATE TRIGGER t INSTEAD OF INSERT ON shown FOR EACH ROW EXECUTE FUNCTION instead();
INSERT INTO plain VALUES (1, 'x'); INSERT INTO stamped VALUES (1, 'x'); INSERT INTO announced VALUES (1, 'x');
INSERT INTO parts VALUES (1, 'x'); ALTER TABLE filled DISABLE TRIGGER t; INSERT INTO filled VALUES (1, 'x');
ALTER TABLE filled ENABLE TRIGGER t; INSERT INTO logged VALUES (1, 'x');
UPDATE logged SET note = 'x';
"""
GIVEN = "RETURNING id, note, current_setting('shop.note', true)"
SHOWN = [
    f"UPDATE stamped SET id = 2 {GIVEN}",
    f"INSERT INTO stamped VALUES (1, 'y') ON CONFLICT (id) DO UPDATE SET id = 3 {GIVEN}",
    f"INSERT INTO filled VALUES (2, 'y') {GIVEN}",
    f"WITH w AS (INSERT INTO filled VALUES (2, 'y') {GIVEN}) SELECT * FROM w",
    f"DELETE FROM announced {GIVEN}",
    f"INSERT INTO parts VALUES (11, 'y') {GIVEN}",
    f"UPDATE parts SET id = 12 {GIVEN}",
    f"INSERT INTO ruled VALUES (7, 'y') {GIVEN}",
    f"INSERT INTO shown VALUES (7, 'y') {GIVEN}",
]
"""What a trigger makes of the row, or leaves in the session before it is returned."""
CLEAR = [
    f"INSERT INTO plain VALUES (2, 'y') {GIVEN}",
    f"INSERT INTO stamped VALUES (2, 'y') {GIVEN}",
    f"DELETE FROM stamped {GIVEN}",
    f"UPDATE filled SET note = 'z' {GIVEN}",
    f"INSERT INTO announced VALUES (2, 'y') {GIVEN}",
    f"INSERT INTO logged VALUES (2, 'y'), (3, 'y') {GIVEN}",
    f"DELETE FROM logged {GIVEN}",
    f"WITH w AS (INSERT INTO logged VALUES (2, 'y') {GIVEN}) SELECT w.*, l.note FROM w, logged l",
    f"INSERT INTO stamped VALUES (1, 'y') ON CONFLICT (id) DO NOTHING {GIVEN}",
]


@dataclass(frozen=True, kw_only=True)
class World:
    connection: psycopg.Connection[Any]
    prepared: ClassifiedCatalog

    def verdict(self, sql: str) -> set[str]:
        lineage = follow(parse_tree(sql), self.prepared).lineage
        assert lineage.columns is not None
        assert lineage.refusal is None
        return set().union(*(column.classes for column in lineage.columns))


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    name = f"returning_{secrets.token_hex(4)}"
    with database(postgres_server, name, TABLES) as connection:
        prepared = prepare(catalog_of(postgres_server, name), {"public.people.ssn": "ssn"})
        yield World(connection=connection, prepared=prepared)


@pytest.mark.parametrize("sql", SHOWN)
def test_what_a_trigger_puts_into_a_returned_row_is_masked(world: World, sql: str) -> None:
    assert SECRET in str(outcome(world.connection, sql).rows)
    assert world.verdict(sql) == {"ssn"}


@pytest.mark.parametrize("sql", CLEAR)
def test_what_no_trigger_can_have_changed_before_it_is_returned_is_clear(world: World, sql: str) -> None:
    found = outcome(world.connection, sql)

    assert found.sqlstate is None
    assert SECRET not in str(found.rows)
    assert world.verdict(sql) == set()


def test_rows_that_are_left_out_and_errors_stay_what_a_trigger_tells(world: World) -> None:
    lineage = follow(parse_tree(CLEAR[5]), world.prepared).lineage

    assert lineage.opaque
    assert lineage.inference["rows"] == {"ssn"}
