"""Texts that differ in free values alone: that every answer about them is the same, whatever the values are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from mcp_gateway.facts.parser import SQLSyntaxError, parse_tree
from mcp_gateway.facts.templates import MAX_CHARACTERS, cut, free_values
from mcp_gateway.facts.worker import SQLWorker
from mcp_gateway.facts.worker_process import Desk
from tests.corpora import CORPORA, cases
from tests.facts.databases import OBJECTS, catalog_of, empty_database
from tests.facts.test_fuzz import mutated
from tests.facts.workers import users, worker
from tests.fuzz.sizes import FULL
from tests.peers.postgres import PostgresServer

__all__ = ["worker"]

TEXTS = (
    "", " ", "a", "false", "off", "0", "t", "%", "%%", "_", "^.*$", "*", "1", "-1", "1.5", "NULL", "users", "pg_authid", "public.users.ssn",
    "nextval", "s", "--", "/*", "*/", "$$", "$1", ";", ") OR (true", "1); DROP TABLE users", "E", "U&", "\n", "\r\n", "\t", '"', "é",
    "\u202e", "\ufeff", "\U0001f600", "\x01", "{1,2}", "[1,2)", "{}", '{"a": 1}', "2026-11-30", "infinity", "now", "a" * 300,
)  # fmt: skip
NUMBERS = ("0", "1", "7", "00", "010", "42", "100000", "999999999")
SEEDS = (
    "SELECT a, b FROM t WHERE a = 'x' AND b <> 5 AND c IN ('p', 'q') LIMIT 5 OFFSET 10",
    "SELECT u.a FROM t JOIN u ON t.id = u.id AND u.kind = 'k' WHERE t.n BETWEEN 1 AND 9 OR NOT t.s LIKE '%z%'",
    "SELECT 1 WHERE a >= date '2026-01-01' AND a < '2026-02-01'::timestamptz AND n > -7",
    "WITH x AS (SELECT a FROM t WHERE b = 'in') SELECT * FROM x WHERE EXISTS (SELECT 1 FROM u WHERE u.c = 3)",
)
ROUNDS = 12 if FULL else 2


def free(sql: str) -> list[str]:
    found = cut(sql)
    return [] if found is None else [found.values[number] for number in free_values(sql, parse_tree(sql))]


def with_others(sql: str, which: Sequence[int], random: Random) -> str:
    """The same with other values in these places."""
    found = cut(sql)
    assert found is not None
    words = random.choice((TEXTS, re.findall(r"\w+", sql)))
    pieces = found.outline.replace("\0'", "\0").split("\0")
    values = [
        value if number not in which else f"'{random.choice(words)}'" if value[0] == "'" else random.choice(NUMBERS)
        for number, value in enumerate(found.values)
    ]
    return "".join(piece + value for piece, value in zip(pieces, [*values, ""], strict=True))


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        ("a = 'x'", ["'x'"]),
        ("a = ''", ["''"]),
        ("a='x' AND(b=5)", ["'x'", "5"]),
        ("a = 5 AND t.b <> -7 OR NOT a <= 0 OR a > -0", ["5", "7", "0", "0"]),
        ("a IN ('x', 'y',3)", ["'x'", "'y'", "3"]),
        ("a NOT IN (1) AND a BETWEEN 2 AND 3 AND a NOT BETWEEN 4 AND 5", ["1", "2", "3", "4", "5"]),
        ("a LIKE '%x' OR a NOT ILIKE 'y%'", ["'%x'", "'y%'"]),
        ("a > date '2026-01-01' AND a < '2026-02-01'::timestamptz", ["'2026-01-01'", "'2026-02-01'"]),
        ("a = 'é' AND ö = 'ß' AND b = '\U0001f600'", ["'é'", "'ß'", "'\U0001f600'"]),
        ("a IN (SELECT c FROM u WHERE d = 'in')", ["'in'"]),
        ("a = 'x' -- AND b = 'comment'\n AND c = 'y'", ["'x'", "'y'"]),
        ("a = 'x' AND b = $$ = 'in dollars' $$", ["'x'"]),
        ("a = 'x' AND b = 'it''s' AND c = 'y'", ["'x'", "'y'"]),
    ],
)
def test_what_columns_are_compared_with_is_free(condition: str, values: list[str]) -> None:
    assert free(f"SELECT a FROM t WHERE {condition}") == values


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'x', 5 FROM t",
        "SELECT a FROM t WHERE 'x' = 'y'",
        "SELECT a FROM t WHERE true OR 1 = 1",
        "SELECT a FROM t WHERE a = E'x' AND a = U&'x' AND a = B'1' AND a = X'1' AND a = N'x' AND a = $$x$$",
        "SELECT a FROM t WHERE a = 'x\\'",
        "SELECT a FROM t WHERE a = 'it''s'",
        "SELECT a FROM t WHERE a = 'x'\n 'y'",
        "SELECT a FROM t WHERE a = 1.5 AND a = 1e5 AND a = 0x1F AND a = 1_000 AND a = 1234567890",
        "SELECT a FROM t WHERE a ~ 'x' AND a SIMILAR TO 'x' AND a LIKE 'x' ESCAPE '!'",
        "SELECT a FROM t WHERE a / 2 = b AND a % 2 = b AND a -> 'x' = b AND a @@ '$.x' AND a OPERATOR(other.=) 5",
        "SELECT a FROM t WHERE a = 'users'::regclass AND a = 'x'::other.text AND a = '5'::varchar(3) AND a = '{5}'::text[]",
        "SELECT a FROM t WHERE a = nextval('s') AND f('x') = a AND lower(a) = 'x'",
        "SELECT a FROM t WHERE a = CASE WHEN a = 'x' THEN 5 END",
        "SELECT a FROM t GROUP BY 1 HAVING count(*) > 5 ORDER BY 1 LIMIT 7",
        "SELECT a FROM t FETCH FIRST 5 ROWS ONLY",
        "SELECT a FROM t WHERE a = ANY ('{1,2}') AND a = ANY (ARRAY[1, 2])",
        "SELECT a FROM t TABLESAMPLE SYSTEM (5)",
        "UPDATE t SET a = 'x' WHERE a = 'y'",
        "DELETE FROM t WHERE a = 5",
        "WITH d AS (DELETE FROM t WHERE a = 5 RETURNING *) SELECT * FROM d WHERE a = 5",
        "SELECT * INTO v FROM t WHERE a = 5",
        "EXPLAIN ANALYZE SELECT a FROM t WHERE a = 5",
        "CREATE TABLE v AS SELECT a FROM t WHERE a = 5",
        "COPY (SELECT a FROM t WHERE a = 5) TO STDOUT",
        "DECLARE c CURSOR FOR SELECT a FROM t WHERE a = 5",
        "PREPARE p AS SELECT a FROM t WHERE a = 5",
        "SELECT a FROM t WHERE a = 5; SELECT a FROM t WHERE a = 5",
        "SET statement_timeout = 5",
        "SELECT a FROM t WHERE b = 5" + " " * MAX_CHARACTERS,
        "",
    ],
)
def test_nothing_else_is(sql: str) -> None:
    assert free(sql) == []


@pytest.mark.requirement("I2")
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_texts_that_differ_in_free_values_have_one_tree(seed: int) -> None:
    """Whatever stands around them: the parser takes each for the token that it was."""
    random, held = Random(seed), 0
    for _ in range(3000):
        sql = mutated(random, random.choice(SEEDS))
        try:
            tree = parse_tree(sql)
            which = free_values(sql, tree)
        except (SQLSyntaxError, UnicodeEncodeError):
            continue
        if which:
            other = with_others(sql, which, random)
            assert shape(parse_tree(other)) == shape(tree), (sql, other)
            assert cut(other).template(which) == cut(sql).template(which)  # type: ignore[union-attr]
            held += 1
    assert held > 250


@pytest.mark.requirement("I2")
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_nothing_that_is_found_depends_on_free_values(seed: int, postgres_server: PostgresServer) -> None:
    """The whole answer, lineage included: over the labelled statements, by catalogs full of classes and of traps."""
    random, held = Random(seed), 0
    desk = Desk()
    for number, script in enumerate([(CORPORA / "mask_evasion.sql").read_text(encoding="utf-8"), OBJECTS]):
        with empty_database(postgres_server) as name:
            postgres_server.execute(script, database=name)
            catalog = catalog_of(postgres_server, database=name)
        columns = [f"{table}.{column.name}" for table, one in catalog.relations.items() for column in one.columns]
        classify = {column: f"class.{place % 7}" for place, column in enumerate(columns) if place % 3}
        desk.answer(("load", number, catalog, classify))
    for sql in statements():
        try:
            tree = parse_tree(sql)
        except SQLSyntaxError:
            continue
        which = free_values(sql, tree)
        if not which:
            continue
        held += 1
        for place in (None, 0, 1):
            found = desk.answer(("examine", place, sql, True))
            assert found.free == which
            for _ in range(2):
                other = with_others(sql, which, random)
                again = desk.answer(("examine", place, other))
                assert again == replace(found, free=()), (sql, other)
    assert held > 100


def statements() -> Iterator[str]:
    for case in [*cases("sql.jsonl"), *cases("mask_evasion.jsonl")]:
        yield case["input"]["sql"]
    for case in cases("mask_evasion.jsonl"):
        yield from (f"SELECT * FROM ({case['input']['sql'].rstrip('; ')}) q WHERE q.id = 5 AND q.email LIKE 'x%'",)
    yield from SEEDS
    for left in ("id", "name", "users.created", "o.total", "o.status", "u.ctid"):
        for right in ("= 'x'", "< 5", "IN (1, 'x')", "BETWEEN '1' AND 2", "LIKE '%'", "= 'x'::uuid", "<> -5"):
            yield f"SELECT lowr(u.name), foo FROM users u, nothing WHERE {left} {right} AND missing.bar = 'y'"
            yield f"SELECT u.name, sum(o.total) FROM users u JOIN orders o ON o.user_id = u.id AND {left} {right} GROUP BY 1"
            yield f"SELECT * FROM users, LATERAL (SELECT * FROM orders o WHERE {left} {right} OFFSET 3) o ORDER BY 1 LIMIT 2"
            yield f"SELECT (SELECT count(*) FROM calm_view u WHERE {left} {right}), name FROM users u, orders o WHERE {left} {right}"


def shape(tree: Any) -> Any:
    """A tree without places, and without the values of constants but for their kinds."""
    if isinstance(tree, list):
        return [shape(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "A_Const" in tree:
        return {"A_Const": sorted(set(tree["A_Const"]) - {"location"})}
    return {
        name: shape(item)
        for name, item in tree.items()
        if "location" not in name and not name.startswith("stmt_") and not name.endswith(("_start", "_end"))
    }


@pytest.mark.anyio
async def test_of_a_series_the_third_text_is_not_examined(worker: SQLWorker) -> None:
    texts = [f"SELECT id FROM users WHERE id = {number} AND name = '{number}'" for number in range(4)]
    catalog = users("id", "name")
    first, second, third, fourth = [await worker.examine(sql, catalog_key="shop", catalog=catalog) for sql in texts]

    assert first is not second
    assert second is third is fourth
    assert third[0].facts.columns == {"public.users.id", "public.users.name"}


@pytest.mark.anyio
async def test_of_a_series_whose_child_is_gone_it_is_not_started_again(worker: SQLWorker) -> None:
    for number in range(2):
        await worker.examine(f"SELECT id FROM users WHERE id = {number}")
    await worker.aclose()

    examination, _ = await worker.examine("SELECT id FROM users WHERE id = 3")

    assert examination.facts.read_only


@pytest.mark.requirement("I2")
@pytest.mark.anyio
async def test_a_value_that_counts_is_looked_at_in_every_text(worker: SQLWorker) -> None:
    limits = [
        (await worker.examine(f"SELECT id FROM users WHERE id = {number} LIMIT {limit}"))[0].facts.row_limit
        for number in range(3)
        for limit in (10, 20, 30)
    ]

    assert limits == [10, 20, 30] * 3


@pytest.mark.requirement("I2")
@pytest.mark.anyio
async def test_a_series_ends_with_its_catalog_and_its_classes(worker: SQLWorker) -> None:
    async def seen(number: int, *, columns: tuple[str, ...] = ("id",), ssn: str = "pii") -> frozenset[str]:
        _, lineage = await worker.examine(
            f"SELECT * FROM users WHERE id = {number}",
            catalog_key="shop",
            catalog=users(*columns, version="".join(columns)),
            classify={"public.users.ssn": ssn},
        )
        assert lineage is not None
        assert lineage.columns is not None
        return frozenset().union(*[column.classes for column in lineage.columns])

    assert [await seen(number) for number in range(3)] == [frozenset()] * 3
    assert await seen(4, columns=("id", "ssn")) == {"pii"}
    assert await seen(5, columns=("id", "ssn"), ssn="secret") == {"secret"}
    assert [await seen(number, columns=("id", "ssn"), ssn="secret") for number in range(6, 9)] == [{"secret"}] * 3


@pytest.mark.requirement("I2")
@pytest.mark.anyio
@pytest.mark.parametrize(
    "other",
    [
        "SELECT id FROM users WHERE id = 3 OR true",
        "SELECT id FROM users WHERE id = '3'",
        "SELECT id FROM users WHERE id = 3 AND name = 'x'; DELETE FROM users",
        "SELECT id FROM users WHERE id = 3 AND name = 'x''",
        "SELECT id FROM users WHERE id = 3 AND name = 'x' OR name = 'y'",
        "SELECT id FROM users WHERE id = 3 AND name = E'\\' OR nextval(\\'s\\') = 1 --'",
        "SELECT id FROM users WHERE id = 3 AND name = 'x'/*' AND name = '*/'y'",
        "DELETE FROM users WHERE id = 3 AND name = 'x'",
        "SELECT id FROM users WHERE id = 3 AND name = 'x' FOR UPDATE",
        "SELECT id FROM users WHERE id = 3 AND name = ''||pg_read_file('x')||''",
    ],
)
async def test_what_only_looks_like_the_series_is_examined_itself(worker: SQLWorker, other: str) -> None:
    for number in range(3):
        await worker.examine(f"SELECT id FROM users WHERE id = {number} AND name = 'x'")
    alone = SQLWorker()
    try:
        outcomes = [await outcome(one, other) for one in (worker, alone)]
    finally:
        await alone.aclose()

    assert outcomes[0] == outcomes[1]


async def outcome(worker: SQLWorker, sql: str) -> Any:
    try:
        return await worker.examine(sql)
    except SQLSyntaxError as error:
        return str(error)


@pytest.mark.anyio
async def test_series_are_remembered_up_to_a_bound(worker: SQLWorker) -> None:
    for number in range(700):
        await worker.examine(f"SELECT {'x' * number} FROM users WHERE id = {number}")
        await worker.examine(f"SELECT {'x' * number} FROM users WHERE id = {number + 1}")

    assert len(worker._templates._held.values()) <= 512
    assert len(worker._templates._free.values()) <= 512
