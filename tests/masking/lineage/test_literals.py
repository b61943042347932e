"""Literals beside data: with which of them a call cannot fail, as the real server has it."""

from __future__ import annotations

import psycopg
import pytest

from mcp_gateway.masking.lineage.literals import is_valid_pattern
from tests.masking.lineage.catalogs import builtin, catalog, joined, lineage, relation
from tests.peers.postgres import PostgresServer

OF = catalog(
    relation("pat", "id int4, flag bool, name text, born date, seen timestamptz, stay interval, clock time, code text"),
    *(
        builtin(word, 3000 + number)
        for number, word in enumerate(
            """
            split_part:text regexp_replace:text regexp_match:text[] regexp_count:int4 substr:text lpad:text rpad:text
            overlay:text encode:text like_escape:text quote_literal/s:text to_json/s:json nth_value/w ntile/w:int4
            percentile_disc/a age/s:interval age/s:int4 length/s:int4
            """.split()
        )
    ),
)
CLASSIFY = {"public.pat.flag": "flag"}

FAILING = [
    "split_part(name, '-', 0) = ''", "name ~ '('", "name !~* '[z-a]'", "length('a'::bytea, 'nosuch') > 1",
    "date_part('nosuch', born) = 1", "extract(hour FROM born) = 1", "extract(dow FROM stay) = 1", "extract(year FROM clock) = 1",
    "date_trunc('nosuch', seen) IS NULL", "date_trunc('week', stay) IS NULL", "seen AT TIME ZONE 'nosuch' IS NULL",
    "lpad(name, 2000000000) = ''", "rpad(name, 2000000000, 'x') = ''", "substr(name, 1, -1) = ''", "substring(name, '(') = ''",
    "substring(name FROM '%#\"a' FOR '#') = ''", "overlay(name PLACING 'x' FROM 0) = ''", "like_escape(name, 'ab') = ''",
    "to_char(id, '9.9.9') = ''", "to_char(id, 'S9S') = ''", "to_char(stay, 'Mon') = ''", "regexp_replace(name, 'a', 'b', 'zz') = ''",
    "regexp_replace(name, '(', '') = ''", "regexp_count(name, 'a', 0) = 1", "regexp_match(name, 'a', 'g') IS NULL",
    "(1e300::money)::text = ''", "id / 1::numeric(2, -1) = 1", "id % 1::numeric(2, -1) = 1",
    "replace(replace(replace(name, 'a', repeat('a', 9)), 'a', '" + "a" * 2000 + "'), 'a', '" + "a" * 2000 + "') = ''",
    "regexp_replace(name, '', '" + "a" * 99 + "', 'g') = ''",
    "lower(code || (SELECT 'a')) = ''", "lower((name COLLATE \"C\") || code) = ''",
    "quote_literal(" * 30 + "name" + ")" * 30 + " = ''", "ARRAY[" * 30 + "name" + "]::text" * 30 + " = ''",
]  # fmt: skip

SURE = [
    "split_part(name, '-', 2) = ''", "name ~ '^[A-Za-z0-9._%+-]+@x\\.com$'", "name ~* '(ab|c)+'", "name LIKE 'a(%'",
    "date_part('year', born) = 1", "extract(hour FROM seen) = 1", "extract(year FROM age(born)) > 17", "extract(dow FROM born) = 1",
    "date_trunc('week', seen) IS NULL", "date_trunc('month', stay) IS NULL", "seen AT TIME ZONE 'Europe/Rome' IS NULL",
    "seen AT TIME ZONE 'UTC' IS NULL", "lpad(name, 10, '0') = ''", "substr(name, 2) = ''", "substr(name, -2, 4) = ''",
    "substring(name FROM 1 FOR 3) = ''", "substring(name FROM '[0-9]{3,5}') = ''", "overlay(name PLACING 'x' FROM 2 FOR 3) = ''",
    "to_char(id, 'FM999,990.00') = ''", "to_char(seen, 'Dy, DD Mon YYYY HH24:MI') = ''", "to_char(date_trunc('month', born), 'YYYY-MM') = ''",
    "to_char(stay, 'YYYY-MM') = ''", "to_char(id, 'YYYY-MM') = ''", "regexp_replace(name, '@.*$', '') = ''",
    "regexp_replace(name, '(\\d+)-', '\\1 ') = ''", "regexp_replace(name, '\\D', '', 'g') = ''", "regexp_count(name, 'a', 1, 'i') = 1",
    "regexp_match(name, '^(?:a|b)', 'i') IS NULL", "id / 2::numeric = 1", "id % 7 = 1", "replace(name, '-', '') = ''",
    "name < 'x'", "lower(name) = ''", "ARRAY[name]::text = ''", "quote_literal(name) = ''",
]  # fmt: skip


@pytest.mark.parametrize("condition", FAILING)
def test_a_literal_that_may_make_a_call_fail_lets_a_choice_tell(condition: str) -> None:
    told = _facts(f"SELECT flag AND {condition} FROM pat")
    assert told.get("condition") == "flag", told


@pytest.mark.parametrize("condition", SURE)
def test_a_literal_that_cannot_lets_it_tell_nothing(condition: str) -> None:
    assert _facts(f"SELECT flag AND {condition} FROM pat") == {}


@pytest.mark.requirement("I5")
def test_the_server_fails_on_none_of_what_counts_as_sure(postgres_server: PostgresServer) -> None:
    with postgres_server.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(
            "CREATE TEMP TABLE pat (id int, flag bool, name text, born date, seen timestamptz, stay interval, clock time, code text)"
        )
        for rows in (
            "(1, true, 'a-1@x.com', '2020-01-01', now(), '3 days', '12:00', 'c')",
            "(0, true, '', 'infinity', '-infinity', '0', '00:00', '')",
            "(-2147483648, true, E'\\\\''\"[({+*', '4713-01-01 BC', '4714-12-31 BC', '-178000000 years', '24:00', 'c')",
        ):
            connection.execute(f"INSERT INTO pat VALUES {rows}".encode())
        for condition in SURE:
            connection.execute(f"SELECT flag AND {condition} FROM pat".encode())


@pytest.mark.requirement("I5")
def test_the_server_takes_every_pattern_that_counts_as_valid(postgres_server: PostgresServer) -> None:
    pieces = ["a", ".", "\\d", "\\.", "[a-z]", "[^0-9_.-]", "[[:alpha:]]", "[z-a]", "(", "(?:", ")", "|", "^", "$", "*", "+?",
              "{2}", "{3,1}", "{1,}", "{300}", "\\1", "\\", "[", "{", "]", "}", "(?=", "***", "\\m", "\n", "é"]  # fmt: skip
    patterns = {f"{a}{b}{c}" for a in ["", *pieces] for b in pieces for c in ["", *pieces]}
    taken = sorted(filter(is_valid_pattern, patterns))
    assert len(taken) > len(patterns) / 20
    with postgres_server.connect() as connection, connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        cursor.execute(
            "SELECT count(*) FROM unnest(%s::text[]) AS t (pattern) WHERE 'abc' ~ pattern OR true = ('abc' !~ pattern)",
            [taken],
        )
        assert cursor.fetchone() == (len(taken),)


def _facts(sql: str) -> dict[str, str]:
    told = lineage(sql, OF, classify=CLASSIFY).inference
    return {kind: joined(classes) for kind, classes in told.items()}
