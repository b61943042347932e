"""Databases full of traps, and their catalogs as the gateway reads them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.targets.postgres_catalog import load_catalog
from tests.peers.postgres import PostgresServer

OBJECTS = """
CREATE TABLE users (id int PRIMARY KEY, name text, created timestamptz DEFAULT now());
CREATE TABLE orders (id int, user_id int REFERENCES users, total numeric, status text);
CREATE SEQUENCE s;
CREATE SCHEMA other;
CREATE FUNCTION noisy(int, int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''s''); RETURN 1; END';
CREATE FUNCTION touch(users) RETURNS int LANGUAGE plpgsql AS 'BEGIN UPDATE public.users SET name = name; RETURN 1; END';
CREATE FUNCTION total2(orders) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION other.elsewhere(orders) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION lower(int) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''s''); END';
CREATE FUNCTION looks_immutable() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END';
CREATE FUNCTION quoted(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + 1';
CREATE FUNCTION atomic(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a + 2; END;
CREATE FUNCTION returning_one(a int) RETURNS int LANGUAGE sql RETURN a + 3;
CREATE FUNCTION recursing(a int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OR REPLACE FUNCTION recursing(a int) RETURNS int LANGUAGE sql AS 'SELECT recursing(a)';
CREATE FUNCTION defaulting(a int DEFAULT 1 + 1) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION defaulting_badly(a int DEFAULT nextval('s')) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION sneaky_sql() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT nextval('s') $$;
CREATE FUNCTION behind_sneaky_sql() RETURNS bigint LANGUAGE sql AS $$ SELECT sneaky_sql() $$;
CREATE FUNCTION writing() RETURNS void LANGUAGE sql AS $$ INSERT INTO orders (id) VALUES (1) $$;
CREATE FUNCTION writing_in_cte() RETURNS bigint LANGUAGE sql AS $$ WITH x AS (DELETE FROM orders RETURNING 1) SELECT count(*) FROM x $$;
CREATE FUNCTION locking() RETURNS int LANGUAGE sql AS 'SELECT id FROM users FOR UPDATE';
CREATE FUNCTION own_path() RETURNS int LANGUAGE sql SET search_path = other AS 'SELECT 1';
CREATE FUNCTION json_array(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''s''); END';
CREATE FUNCTION json_value(int, text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''s''); END';
CREATE PROCEDURE proc() LANGUAGE sql AS 'SELECT 1';
CREATE OPERATOR @+@ (leftarg = int, rightarg = int, function = noisy);
CREATE OPERATOR @-@ (leftarg = int, rightarg = int, function = int4pl);
CREATE OPERATOR other.|| (leftarg = int, rightarg = int, function = noisy);
CREATE AGGREGATE calm_sum (int) (sfunc = int4pl, stype = int);
CREATE AGGREGATE noisy_sum (int) (sfunc = noisy, stype = int);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (a int, b text);
CREATE VIEW calm_view AS SELECT u.id, upper(u.name) AS name, o.total FROM users u JOIN orders o ON o.user_id = u.id;
CREATE FUNCTION calling(a int) RETURNS int LANGUAGE sql AS 'SELECT quoted(a) + (SELECT count(*)::int FROM calm_view)';
CREATE VIEW noisy_view AS SELECT id, touch(users) FROM users;
CREATE VIEW behind_noisy_view AS SELECT * FROM noisy_view;
CREATE VIEW overloaded_view AS SELECT pg_catalog.lower(name) AS name FROM users;
CREATE MATERIALIZED VIEW kept AS SELECT id, touch(users) FROM users;
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere;
CREATE FOREIGN TABLE far (a int) SERVER elsewhere;
CREATE TABLE parted (a int) PARTITION BY LIST (a);
CREATE TABLE parted_near PARTITION OF parted FOR VALUES IN (1) PARTITION BY LIST (a);
CREATE FOREIGN TABLE parted_far PARTITION OF parted_near FOR VALUES IN (1) SERVER elsewhere;
"""
DOMAINS = """
CREATE FUNCTION checking(text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''s''); RETURN true; END';
CREATE DOMAIN sneaky AS text CHECK (checking(value));
CREATE DOMAIN behind_sneaky AS sneaky;
CREATE DOMAIN calm AS text;
CREATE TYPE holding AS (a int, b sneaky[]);
CREATE TABLE holder (h holding);
CREATE FUNCTION taking(sneaky) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION giving() RETURNS sneaky LANGUAGE sql AS 'SELECT ''x''::text';
CREATE FUNCTION giving_rows() RETURNS TABLE (a sneaky) LANGUAGE sql AS 'SELECT ''x''::text';
"""
CASTS = """
CREATE FUNCTION casting(mood) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''s''); END';
CREATE CAST (mood AS int) WITH FUNCTION casting(mood) AS IMPLICIT;
"""


@contextmanager
def empty_database(server: PostgresServer) -> Iterator[str]:
    """The name of a new database, which is dropped afterwards."""
    name = f"facts_{secrets.token_hex(4)}"
    server.execute(f"CREATE DATABASE {name}")
    try:
        yield name
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def catalog_of(server: PostgresServer, *, database: str) -> Catalog:
    """What the gateway's own reader makes of a database."""

    async def load() -> Catalog:
        connection = await asyncpg.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            database=database,
            ssl=False,
        )
        try:
            return await load_catalog(connection, search_path=("public",))
        finally:
            await connection.close()

    return asyncio.run(load())
