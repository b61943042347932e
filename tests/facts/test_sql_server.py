"""The claim against a server: what is called read-only has no effect when it runs, wherever the call stands.

A sequence is the witness: every trap draws from it, and a draw outlives a failure or a rollback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.parser import SQLSyntaxError, parse_tree
from mcp_gateway.facts.sql import examine_statements, judge_of
from tests.facts.databases import DOMAINS, OBJECTS, catalog_of, empty_database
from tests.facts.test_sql_walk import POSITIONS
from tests.peers.postgres import PostgresServer

TABLES = """
CREATE TABLE a (a int, b int, c int, id int, x int);
CREATE TABLE b (a bool, b int, c int, id int, n int);
CREATE TABLE c (a text, b text, c int);
CREATE TABLE d (d xml);
INSERT INTO a VALUES (1, 1, 1, 1, 1); INSERT INTO b VALUES (true, 1, 1, 1, 1); INSERT INTO c VALUES ('a', 'b', 1);
INSERT INTO users VALUES (1, 'x'); INSERT INTO orders VALUES (1, 1, 1, 'x');
CREATE OR REPLACE FUNCTION touch(users) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''s''); END';
CREATE OR REPLACE FUNCTION total2(orders) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''s''); END';
SET statement_timeout = 200;
"""
CALLS = [
    "(SELECT touch(u) FROM users u)", "(SELECT u.touch FROM users u)", "(SELECT (u).touch FROM users u)",
    "(SELECT public.users.touch FROM public.users)", "(SELECT x.touch FROM (SELECT u.* FROM users u) x)",
    "(SELECT o.total2 FROM orders o)", "nextval('s')", "('s'::regclass).nextval", "setval('s', nextval('s'))",
    "(SELECT x.nextval FROM unnest(ARRAY['s'::regclass]) x)", "length(lower(1))", "noisy(1, 2)", "(1 @+@ 2)",
    "(1 OPERATOR(other.||) 2)", "(1 || 2)", "sneaky_sql()", "behind_sneaky_sql()", "defaulting_badly()",
    "(SELECT noisy_sum(1))", "(SELECT touch FROM noisy_view)", "(SELECT count(*) FROM behind_noisy_view WHERE touch > 0)",
    "length('x'::sneaky)", "length(sneaky('x'))", "length(('x'::text).sneaky)", "cardinality('{x}'::_sneaky)",
    "length((SELECT x.sneaky FROM unnest(ARRAY['x']) x))", "length((SELECT a FROM json_to_record('{\"a\":\"1\"}') AS x(a sneaky)))",
    "(SELECT (jsonb_populate_record(NULL::holding, '{\"b\":[\"x\"]}')).a)", "taking('x')", "length(giving())",
    "(SELECT length(a) FROM giving_rows())", "json_array(1)", "json_value(1, 'a')", "(SELECT count(*) FROM kept)",
    "(SELECT total::int FROM calm_view)", "calling(1)", "quoted(1)", "atomic(1)", "defaulting()",
    "length(query_to_xml('SELECT nextval(''s'')', true, true, '')::text)",
    "(WITH w AS MATERIALIZED (SELECT nextval('s') AS n) SELECT n FROM w)",
]  # fmt: skip
STEP = 7
"""Every so manieth pair is run: a prime, so that each call meets many positions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    catalog: Catalog
    connection: psycopg.Connection[Any]
    looking_on: psycopg.Connection[Any]
    """That no time limit ends."""

    def drawn(self) -> Any:
        return self.looking_on.execute("SELECT last_value, is_called FROM s").fetchone()

    def has_effect(self, sql: str) -> bool:
        before = self.drawn()
        with suppress(psycopg.Error):
            self.connection.execute(sql.encode())
        return bool(self.drawn() != before)


@pytest.fixture(scope="module")
def witnessed(postgres_server: PostgresServer) -> Iterator[Witnessed]:
    with (
        empty_database(postgres_server) as name,
        postgres_server.connect(name) as looking_on,
        postgres_server.connect(name) as connection,
    ):
        for objects in (OBJECTS, DOMAINS, TABLES):
            connection.execute(objects.encode())
        yield Witnessed(
            catalog=catalog_of(postgres_server, database=name), connection=connection, looking_on=looking_on
        )


def test_what_is_called_read_only_has_no_effect_on_a_server(witnessed: Witnessed) -> None:
    judge = judge_of(witnessed.catalog)
    positions = [position for position in POSITIONS if not position.startswith("COPY")]
    pairs = [position.format(f"({call})") for position in positions for call in CALLS][::STEP]
    outcomes: dict[tuple[bool, bool], list[str]] = {}
    for sql in pairs:
        try:
            examination = examine_statements(parse_tree(sql), judge=judge)
        except SQLSyntaxError:
            continue
        key = (examination.facts.read_only or examination.harmless, witnessed.has_effect(sql))
        outcomes.setdefault(key, []).append(sql)

    assert outcomes.get((True, True), []) == []
    assert len(outcomes[False, True]) > 50
    assert len(outcomes[True, False]) > 20
