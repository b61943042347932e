"""Names mean what PostgreSQL takes them to mean: random queries whose tables and columns are known by how they were made.

Names of CTEs hide tables of the same name from where they are defined on, and never qualified ones; aliases hide names;
subqueries see what is around them. The server itself has the last word on a part of them: each one has to be valid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_gateway.facts.catalog import Catalog, Column, Relation
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.sql import examine_statements, judge_of
from tests.peers.postgres import PostgresDatabase

TABLES = {"t1": ("a", "b"), "t2": ("b", "c"), "t3": ("c", "d")}
CTE_NAMES = (*TABLES, "w")
MAX_DEPTH = 3
CATALOG = Catalog(
    server_version=150018,
    search_path=("public",),
    relations={
        f"public.{name}": Relation(
            oid=20_000 + number,
            schema="public",
            name=name,
            kind="r",
            columns=tuple(
                Column(name=column, type="pg_catalog.int4", number=place) for place, column in enumerate(columns, 1)
            ),
        )
        for number, (name, columns) in enumerate(TABLES.items())
    },
)
JUDGE = judge_of(CATALOG)


@dataclass(frozen=True, slots=True)
class Item:
    """Something in FROM: by what it is qualified, its columns, and the table that it is, if it is one."""

    qualifier: str
    columns: tuple[str, ...]
    table: str = ""


@dataclass(slots=True)
class Maker:
    """Makes queries and keeps what they read."""

    random: Random
    reads: set[str] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)
    aliases: int = 0

    def query(self, depth: int, ctes: dict[str, tuple[str, ...]], outer: list[Item]) -> tuple[str, tuple[str, ...]]:
        """A query and the names of its columns. `outer` are the items around it that it may name."""
        ctes, text = dict(ctes), ""
        if depth and self.random.random() < 0.5:
            defined = []
            for name in self.random.sample(CTE_NAMES, self.random.randint(1, 2)):
                body, names = self.query(depth - 1, ctes, [])
                defined.append(f"{name} AS ({body})")
                ctes[name] = names
            text = f"WITH {', '.join(defined)} "
        items: list[Item] = []
        sources = [self.source(depth, ctes, items) for _ in range(self.random.randint(1, 2))]
        targets = [f"{self.column(items)} AS c{number}" for number in range(self.random.randint(1, 3))]
        text += f"SELECT {', '.join(targets)} FROM {', '.join(sources)}"
        conditions = []
        if self.random.random() < 0.4:
            conditions.append(f"{self.column(items)} = {self.column([*outer, *items], qualified=True)}")
        if depth and self.random.random() < 0.4:
            inner, _ = self.query(depth - 1, ctes, [*outer, *items])
            conditions.append(f"EXISTS ({inner})")
        if conditions:
            text += f" WHERE {' AND '.join(conditions)}"
        names = tuple(f"c{number}" for number in range(len(targets)))
        if self.random.random() < 0.3:
            text += f" ORDER BY {self.random.choice(names)}"  # an output's name, whatever columns there are
        return text, names

    def source(self, depth: int, ctes: dict[str, tuple[str, ...]], items: list[Item]) -> str:
        """One item of FROM; adds it to `items`."""
        self.aliases += 1
        alias = f"x{self.aliases}"
        kind = self.random.choice(("name", "name", "qualified", "subquery") if depth else ("name", "qualified"))
        if kind == "subquery":
            body, names = self.query(depth - 1, ctes, [])
            items.append(Item(alias, names))
            return f"({body}) AS {alias}"
        name = self.random.choice(list({**TABLES, **ctes}))
        if kind == "qualified" and name in TABLES:
            self.reads.add(f"public.{name}")
            items.append(Item(alias, TABLES[name], name))
            return f"public.{name} AS {alias}"
        bare = self.random.random() < 0.4 and all(item.qualifier != name for item in items)
        if name in ctes:
            items.append(Item(name if bare else alias, ctes[name]))
        else:
            self.reads.add(f"public.{name}")
            items.append(Item(name if bare else alias, TABLES[name], name))
        return name if bare else f"{name} {alias}"

    def column(self, items: list[Item], *, qualified: bool = False) -> str:
        """A column of one of them; without its qualifier only where no other has one of its name."""
        item = self.random.choice(items)
        # An item that another of its name hides cannot be named.
        item = next(found for found in reversed(items) if found.qualifier == item.qualifier)
        name = self.random.choice(item.columns)
        if item.table:
            self.columns.add(f"public.{item.table}.{name}")
        alone = sum(name in other.columns for other in items) == 1
        return name if alone and not qualified and self.random.random() < 0.5 else f"{item.qualifier}.{name}"


def made(random: Random) -> tuple[str, Maker]:
    maker = Maker(random)
    text, _ = maker.query(MAX_DEPTH, {}, [])
    return text, maker


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_tables_and_columns_are_those_that_the_names_mean(random: Random) -> None:
    sql, maker = made(random)
    facts = examine_statements(parse_tree(sql), judge=JUDGE).facts
    assert sorted(facts.reads) == sorted(maker.reads), sql
    assert sorted(facts.columns) == sorted(maker.columns), sql
    assert facts.read_only, sql


@pytest.mark.parametrize("seed", range(5))
def test_they_are_queries_that_a_server_takes(seed: int, postgres_database: PostgresDatabase) -> None:
    for name, columns in TABLES.items():
        postgres_database.execute(f"CREATE TABLE {name} ({', '.join(f'{column} int' for column in columns)})")
    random = Random(seed)
    for _ in range(40):
        sql, _ = made(random)
        try:
            postgres_database.execute(f"EXPLAIN {sql}")
        except psycopg.Error as error:
            raise AssertionError(sql) from error
