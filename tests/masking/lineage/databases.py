"""Databases of the shop on the test server, and what a statement does in one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import psycopg

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.targets.postgres_catalog import load_catalog
from tests.peers.postgres import PostgresServer

CLEAR_STATE = (
    "SELECT id, name, city FROM users ORDER BY 1",
    "SELECT id, user_id, total, note FROM orders ORDER BY 1",
    "SELECT id, name, price FROM products ORDER BY 1",
    "SELECT id, name FROM person ORDER BY 1",
)
"""What stands in columns without a class."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a statement gave: an error, or columns and rows; and the unclassified state it left."""

    sqlstate: str | None = None
    message: str = ""
    names: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    state: list[Any] = field(default_factory=list)


@contextmanager
def database(server: PostgresServer, name: str, *sql: str) -> Iterator[psycopg.Connection[Any]]:
    """A database made by `sql`, and a connection to it."""
    server.execute(f"CREATE DATABASE {name}")
    try:
        with server.connect(name) as connection:
            for text in sql:
                connection.execute(text.encode())
            connection.execute("SET statement_timeout = '2s'")
            yield connection
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def catalog_of(server: PostgresServer, name: str) -> Catalog:
    """The catalog as the gateway reads it."""

    async def load() -> Catalog:
        connection = await asyncpg.connect(
            host=server.host, port=server.port, user=server.user, password=server.password, database=name, ssl=False
        )
        try:
            return await load_catalog(connection, search_path=("public",))
        finally:
            await connection.close()

    return asyncio.run(load())


def outcome(connection: psycopg.Connection[Any], sql: str, *, state: bool = False) -> Outcome:
    """Run one statement and undo it."""
    try:
        with connection.transaction(force_rollback=True):
            cursor = connection.execute(sql.encode(), binary=False)
            names = tuple(column.name for column in cursor.description or ())
            rows = cursor.fetchall() if cursor.description else []
            left = [connection.execute(query.encode()).fetchall() for query in CLEAR_STATE] if state else []
    except psycopg.Error as error:
        found = error.diag
        texts = (found.message_primary, found.message_detail, found.message_hint, found.context)
        return Outcome(sqlstate=error.sqlstate or "?", message=" ".join(text for text in texts if text))
    return Outcome(names=names, rows=rows, state=left)
