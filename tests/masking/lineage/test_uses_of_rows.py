"""Returned, or only in a condition: what a server's own arithmetic says of random queries.

Every column has a decimal place of its own, so that a number in a result says of which columns' values it is made. And
every query is made together with a loose one, which has no conditions, order or bounds: a column that is only in
conditions may change which rows there are, but never to one that the loose query does not have. A column in neither set
changes nothing at all. The values of one column at a time are others in schemas that are otherwise alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.sql import examine_statements, judge_of
from mcp_gateway.masking.lineage import ClassifiedCatalog, follow, prepare, uses_by_text
from tests.facts.databases import catalog_of, empty_database
from tests.peers.postgres import PostgresServer

TABLES = {"a": ("k", "a1", "a2", "a3"), "b": ("k", "b1", "b2", "b3"), "c": ("k", "c1", "c2")}
PLACED = [f"{table}.{name}" for table, names in TABLES.items() for name in names if name != "k"]
PLACE = 10**6
"""How far the places of two columns are apart: no sum here reaches the next."""
ROWS = {"k": (1, 2, 2), "1": (1, 2, 3), "2": (3, None, 1), "3": (2, 2, 5)}
OTHERS = {"k": (2, 1, 3), "1": (4, None, 1), "2": (None, 2, 4), "3": (1, 4, 3)}
"""Digits of the values of each column, in each row, by the end of its name."""
COLUMNS = [f"{table}.{name}" for table, names in TABLES.items() for name in names]
MAX_DEPTH = 2
SETTINGS = "SET enable_hashjoin = off; SET enable_hashagg = off; SET jit = off; SET statement_timeout = '5s'"


def schema(name: str, *, changed: str = "") -> str:
    """SQL that makes the tables in a schema, one column with its other values."""
    statements = [f"CREATE SCHEMA IF NOT EXISTS {name}"]
    for table, names in TABLES.items():
        columns = ", ".join(f"{column} numeric" for column in names)
        rows = []
        for row in range(3):
            digits = [
                (OTHERS if f"{table}.{column}" == changed else ROWS)[column.lstrip("abc")][row] for column in names
            ]
            values = [
                "NULL" if digit is None else str(digit * weight(f"{table}.{column}"))
                for digit, column in zip(digits, names, strict=True)
            ]
            rows.append(f"({', '.join(values)})")
        statements.append(f"CREATE TABLE {name}.{table} ({columns})")
        statements.append(f"INSERT INTO {name}.{table} VALUES {', '.join(rows)}")
    return "; ".join(statements)


def weight(column: str) -> int:
    return 1 if column not in PLACED else PLACE ** (1 + PLACED.index(column))


def made_of(value: Any) -> set[str]:
    """The columns whose places a number fills."""
    if not isinstance(value, (int, Decimal)):
        return set()
    return {column for column in PLACED if int(value) // weight(column) % PLACE}


@dataclass(slots=True)
class Query:
    """A query, the loose one, and the names of the columns of both."""

    sql: str
    loose: str
    names: list[str]


@dataclass(slots=True)
class Maker:
    """Makes queries."""

    random: Random
    only_rows: bool = True
    """Whether each row of the result is made of one row of each item: then the loose query has it."""
    aliases: int = 0
    ctes: dict[str, list[str]] = field(default_factory=dict)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def alias(self) -> str:
        self.aliases += 1
        return f"x{self.aliases}"

    def query(self, depth: int, outer: list[str]) -> Query:
        """Any query. `outer` are columns that it may refer to."""
        if depth and self.chance(0.2):
            left, right = self.select(depth - 1, outer, width=2), self.select(depth - 1, outer, width=2)
            word = self.random.choice(("UNION", "UNION ALL", "EXCEPT", "INTERSECT"))
            loose = f"({left.loose}) UNION ALL ({right.loose})" if word.startswith("UNION") else left.loose
            return Query(f"({left.sql}) {word} ({right.sql})", loose, left.names)
        if depth and self.chance(0.2):
            inner, name = self.query(depth - 1, []), self.alias()
            shown = [f"{name}.{column}" for column in inner.names]
            condition = self.condition(shown, 0)
            return Query(
                f"WITH {name} AS ({inner.sql}) SELECT {shown[0]} AS q FROM {name} WHERE {condition}",
                f"WITH {name} AS ({inner.loose}) SELECT {shown[0]} AS q FROM {name}",
                ["q"],
            )
        return self.select(depth, outer)

    def select(self, depth: int, outer: list[str], *, width: int = 0) -> Query:
        source, loose, columns = self.source(depth, outer)
        names = [f"q{number}" for number in range(width or self.random.randint(1, 3))]
        conditions = f" WHERE {self.condition(columns + outer, depth)}" if self.chance(0.4) else ""
        if self.chance(0.2):
            return self.grouped(source + conditions, loose, columns, names)
        values = [self.value(columns + outer, depth) for _ in names]
        targets = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
        distinct = self.random.choice(("DISTINCT ", "DISTINCT ON (1) ")) if self.chance(0.15) else ""
        order = ""
        if not distinct and self.chance(0.3):
            order = f" ORDER BY {self.random.choice([*columns, *map(str, range(1, len(names) + 1))])}"
            order += " LIMIT 2" if self.chance(0.5) else ""
        return Query(
            f"SELECT {distinct}{targets} FROM {source}{conditions}{order}", f"SELECT {targets} FROM {loose}", names
        )

    def grouped(self, source: str, loose: str, columns: list[str], names: list[str]) -> Query:
        self.only_rows = False
        key = self.random.choice(columns)
        values = [
            self.random.choice(
                (
                    "count(*)", f"sum({self.random.choice(columns)})", f"max({self.random.choice(columns)})",
                    f"count({self.random.choice(columns)})", f"sum({key}) FILTER (WHERE {self.condition(columns, 0)})",
                    f"(array_agg({key} ORDER BY {self.random.choice(columns)}))[1]",
                )
            )
            for _ in names
        ]  # fmt: skip
        if self.chance(0.4):
            values[0] = key
        bound = self.random.choice(columns)
        having = f" HAVING max({bound}) > min({bound})" if self.chance(0.5) else ""
        targets = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
        return Query(
            f"SELECT {targets} FROM {source} GROUP BY {key}{having}",
            f"SELECT {targets} FROM {loose} GROUP BY {key}",
            names,
        )

    # FROM

    def source(self, depth: int, outer: list[str]) -> tuple[str, str, list[str]]:
        """Items of FROM, those of the loose query, and their columns."""
        text, loose, columns = self.item(depth)
        if not self.chance(0.5):
            return text, loose, columns
        more, others, further = self.item(depth)
        left, right = columns, further
        shared = left[0].partition(".")[2] == right[0].partition(".")[2] == "k"
        kind = self.random.choice((",", "JOIN", "LEFT JOIN", *(("USING", "USING") if shared else ())))
        if kind == ",":
            return f"{text}, {more}", f"{loose}, {others}", left + right
        if kind == "USING":
            # The column of the join is that of either side.
            return f"{text} JOIN {more} USING (k)", f"{loose}, {others}", left[1:] + right[1:]
        on = self.condition(left + right + outer, depth)
        if kind == "LEFT JOIN":
            nothing = ", ".join("NULL::numeric" for _ in right)
            alias = right[0].partition(".")[0]
            names = ", ".join(column.partition(".")[2] for column in right)
            others = f"(SELECT * FROM {others} UNION ALL SELECT {nothing}) AS {alias} ({names})"
        return f"{text} {kind} {more} ON {on}", f"{loose} CROSS JOIN {others}", left + right

    def item(self, depth: int) -> tuple[str, str, list[str]]:
        alias = self.alias()
        if depth and self.chance(0.4):
            inner = self.query(depth - 1, [])
            return (
                f"({inner.sql}) AS {alias}",
                f"({inner.loose}) AS {alias}",
                [f"{alias}.{name}" for name in inner.names],
            )
        table = self.random.choice(list(TABLES))
        return f"{table} AS {alias}", f"{table} AS {alias}", [f"{alias}.{name}" for name in TABLES[table]]

    # Expressions

    def value(self, columns: list[str], depth: int) -> str:
        one, other = self.random.choice(columns), self.random.choice(columns)
        kind = self.random.random()
        if kind < 0.6:
            return one
        if kind < 0.85 or not depth:
            return self.random.choice(
                (
                    f"{one} + {other}", f"coalesce({one}, {other})", f"greatest({one}, {other})",
                    f"CASE WHEN {self.condition(columns, 0)} THEN {one} ELSE {other} END", f"nullif({one}, 1)",
                    f"(ARRAY[{one}, {other}])[1]", f"(ROW({one}, {other})).f2",
                )
            )  # fmt: skip
        self.only_rows = False
        if kind < 0.93:
            inner = self.select(depth - 1, columns, width=1)
            return f"(SELECT max(m.{inner.names[0]}) FROM ({inner.sql}) m)"
        function = self.random.choice((f"sum({one})", "rank()", "count(*)", f"first_value({one})"))
        return f"{function} OVER (PARTITION BY mod({other}, 3) ORDER BY {self.random.choice(columns)})"

    def condition(self, columns: list[str], depth: int) -> str:
        one, other = self.random.choice(columns), self.random.choice(columns)
        kind = self.random.random()
        if kind < 0.15 and depth:
            return f"EXISTS ({self.select(depth - 1, columns).sql})"
        if kind < 0.3 and depth:
            inner = self.select(depth - 1, [], width=1)
            return f"mod({one}, 3) IN (SELECT mod(m.{inner.names[0]}, 3) FROM ({inner.sql}) m)"
        if kind < 0.4:
            return (
                f"({self.condition(columns, 0)} {self.random.choice(('AND', 'OR'))} NOT {self.condition(columns, 0)})"
            )
        return self.random.choice(
            (f"mod({one}, 3) = mod({other}, 3)", f"mod({one}, 3) = 1", f"{one} > {other}", f"{one} IS NULL", f"{one} IS NOT NULL")
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A server's schemas and what is known of the first of them."""

    connection: psycopg.Connection[Any]
    columns: ClassifiedCatalog
    judge: Any

    def rows(self, sql: str, *, changed: str = "") -> list[tuple[Any, ...]]:
        """What comes back where that column has its other values."""
        self.connection.execute(f"SET search_path = {changed.replace('.', '_') or 'public'}".encode())
        return self.connection.execute(sql.encode()).fetchall()


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    with empty_database(postgres_server) as name, postgres_server.connect(name) as connection:
        connection.execute(f"{SETTINGS}; {schema('public')}".encode())
        for column in COLUMNS:
            connection.execute(schema(column.replace(".", "_"), changed=column).encode())
        catalog = catalog_of(postgres_server, database=name)
        yield World(connection=connection, columns=prepare(catalog, {}), judge=judge_of(catalog))


@settings(
    max_examples=int(os.environ.get("USES_EXAMPLES", "200")),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_columns_do_what_they_are_said_to_do(seed: int, world: World) -> None:
    maker = Maker(Random(seed))
    query = maker.query(MAX_DEPTH, [])
    statements = parse_tree(query.sql)
    uses = follow(statements, world.columns).uses
    assert uses is not None and uses.apart, query.sql
    facts = examine_statements(statements, judge=world.judge, uses=uses).facts
    returned, conditions = facts.returned_columns or frozenset(), facts.condition_columns or frozenset()
    assert returned | conditions <= facts.columns, query.sql
    by_text = uses_by_text(statements)
    assert by_text is not None, query.sql
    assert {column.removeprefix("public.") for column in returned} <= by_text.returned, query.sql
    assert {column.removeprefix("public.") for column in conditions} <= by_text.conditions, query.sql
    rows = world.rows(query.sql)

    made = {column for row in rows for cell in row for column in made_of(cell)}
    assert {f"public.{column}" for column in made} <= returned, (sorted(made), query.sql)

    possible = set(world.rows(query.loose)) if maker.only_rows else set()
    for column in COLUMNS:
        if f"public.{column}" in returned:
            continue
        found = world.rows(query.sql, changed=column)
        if f"public.{column}" not in conditions:
            assert found == rows, (column, query.sql)
        elif maker.only_rows:
            assert set(found) <= possible, (column, query.sql)
