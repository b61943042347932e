"""PostgreSQL values as JSON, and JSON values as parameters."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.masking.encoded import EncodedBytes
from mcp_gateway.targets.postgres import PostgresConnector
from mcp_gateway.targets.postgres_types import (
    BOOL,
    BYTEA,
    DATE,
    FLOAT8,
    INT4,
    INT4_ARRAY,
    INT8,
    JSONB,
    OIDVECTOR,
    RECORD,
    TIMESTAMP,
    TIMESTAMPTZ,
    TIMETZ,
    VOID,
    TypeInfo,
    Types,
)
from tests.peers.postgres import PostgresDatabase
from tests.targets.postgres_settings import connector, rows, run

__all__ = ["connector"]

TEXT, NUMERIC = 25, 1700
TEXT_ARRAY, INT8_ARRAY, JSONB_ARRAY = 1009, 1016, 3807
PAIR, PAIR_ARRAY, DOMAIN, BOX, BOX_ARRAY, LOOP = 90001, 90002, 90003, 603, 1020, 90004

TYPES = Types(
    [
        TypeInfo(oid=TEXT, name="text", kind="b"),
        TypeInfo(oid=TEXT_ARRAY, name="text[]", kind="b", element=TEXT),
        TypeInfo(oid=INT4_ARRAY, name="integer[]", kind="b", element=INT4),
        TypeInfo(oid=INT8_ARRAY, name="bigint[]", kind="b", element=INT8),
        TypeInfo(oid=JSONB_ARRAY, name="jsonb[]", kind="b", element=JSONB),
        TypeInfo(oid=BOX, name="box", kind="b", delimiter=";"),
        TypeInfo(oid=BOX_ARRAY, name="box[]", kind="b", element=BOX),
        TypeInfo(oid=PAIR, name="public.pair", kind="c", fields=(("n", INT8), ("said", TEXT))),
        TypeInfo(oid=PAIR_ARRAY, name="public.pair[]", kind="b", element=PAIR),
        TypeInfo(oid=DOMAIN, name="public.positive", kind="d", base=INT4),
        TypeInfo(oid=LOOP, name="public.loop", kind="b", element=LOOP),
    ]
)


def kind(value: object) -> type:
    """Its type in JSON."""
    return str if isinstance(value, EncodedBytes) else type(value)


@pytest.mark.parametrize(
    ("oid", "texts", "values"),
    [
        (BOOL, ["t", "f", None], [True, False, None]),
        (INT4, ["-1", None, "2147483647"], [-1, None, 2147483647]),
        (INT8, ["9007199254740991", "-9007199254740991"], [9007199254740991, -9007199254740991]),
        (INT8, ["1", "9007199254740992", None], ["1", "9007199254740992", None]),
        (INT8, ["-9007199254740992"], ["-9007199254740992"]),
        (INT8_ARRAY, ["{1,2}", "{9007199254740993}"], [["1", "2"], ["9007199254740993"]]),
        (INT8_ARRAY, ["{1,2}", "{3}"], [[1, 2], [3]]),
        (FLOAT8, ["0.1", "1e+300", "-0"], [0.1, 1e300, -0.0]),
        (FLOAT8, ["NaN", "1.5", "Infinity", "-Infinity"], ["NaN", 1.5, "Infinity", "-Infinity"]),
        (NUMERIC, ["12.50", "NaN", None], ["12.50", "NaN", None]),
        (BYTEA, ["\\x00ff", "\\x", "abc"], ["AP8=", "", "abc"]),
        (DATE, ["2026-01-02", None], ["2026-01-02", None]),
        (DATE, ["infinity", "0044-03-15 BC", "0001-01-01 BC", "10000-01-01"], ["infinity", "-0043-03-15", "0000-01-01", "+10000-01-01"]),
        (TIMESTAMP, ["2026-01-02 03:04:05.5"], ["2026-01-02T03:04:05.5"]),
        (TIMESTAMP, ["0044-03-15 12:00:00 BC", "-infinity"], ["-0043-03-15T12:00:00", "-infinity"]),
        (TIMESTAMPTZ, ["2026-01-02 03:04:05+00"], ["2026-01-02T03:04:05+00:00"]),
        (TIMESTAMPTZ, ["2026-01-02 03:04:05+01", "2026-07-02 03:04:05-02"], ["2026-01-02T03:04:05+01:00", "2026-07-02T03:04:05-02:00"]),
        (TIMESTAMPTZ, ["2026-01-02 03:04:05+05:30", "2026-01-02 03:04:05+01"], ["2026-01-02T03:04:05+05:30", "2026-01-02T03:04:05+01:00"]),
        (TIMETZ, ["03:04:05+00", "03:04:05-05:30"], ["03:04:05+00:00", "03:04:05-05:30"]),
        (JSONB, ['{"a": [1, 2.5, null]}', None, '"x"'], [{"a": [1, 2.5, None]}, None, "x"]),
        (JSONB, ['{"id": 9007199254740993}', "1"], [{"id": "9007199254740993"}, 1]),
        (JSONB, ["0.1234567890123456789", "1e400", "100000000000000000000"], ["0.1234567890123456789", "1e400", "100000000000000000000"]),
        (JSONB, ['"\\ud800"'], ['"\\ud800"']),
        (INT4_ARRAY, ["{1,NULL,3}", "{}", "{{1},{2}}"], [[1, None, 3], [], [[1], [2]]]),
        (INT4_ARRAY, ["[0:1]={1,2}", "{3}"], [[1, 2], [3]]),
        (TEXT_ARRAY, ['{a,"b,c",NULL}'], [["a", "b,c", None]]),
        (BOX_ARRAY, ["{(1,1),(0,0);(2,2),(1,1)}"], [["(1,1),(0,0)", "(2,2),(1,1)"]]),
        (PAIR, ['(1,"a b")', "(,)"], [{"n": 1, "said": "a b"}, {"n": None, "said": None}]),
        (PAIR, ["(1,x,y)"], ["(1,x,y)"]),
        (PAIR_ARRAY, ['{"(1,x)",NULL}'], [[{"n": 1, "said": "x"}, None]]),
        (PAIR, ["(9007199254740993,x)"], [{"n": "9007199254740993", "said": "x"}]),
        (RECORD, ["(1,,x)"], [["1", None, "x"]]),
        (DOMAIN, ["7"], [7]),
        (OIDVECTOR, ["1 2 3"], [[1, 2, 3]]),
        (VOID, [""], [None]),
        (424242, ["whatever"], ["whatever"]),
        (LOOP, ["{{x}}"], [[["x"]]]),
    ],
)  # fmt: skip
def test_values_keep_their_meaning(oid: int, texts: list[str | None], values: list[Any]) -> None:
    found = TYPES.column(oid, texts)
    assert found == values
    assert list(map(kind, found)) == list(map(kind, values))


@pytest.mark.requirement("R27")
@pytest.mark.parametrize(
    "oid", [BOOL, INT4, INT8, FLOAT8, BYTEA, DATE, TIMESTAMPTZ, JSONB, INT4_ARRAY, PAIR, RECORD, OIDVECTOR]
)
@given(texts=st.lists(st.none() | st.text(alphabet='0123456789{}[](),"\\ -+:.eENaUBCtfT\n=', max_size=12), max_size=4))
def test_any_text_becomes_json_value_by_value(oid: int, texts: list[str | None]) -> None:
    """What does not read stays text; a column is what its values are alone, but for bigints that have to agree."""
    found = TYPES.column(oid, texts)
    assert len(found) == len(texts)
    orjson.dumps(found)
    if oid not in (INT8, PAIR):
        assert repr(found) == repr([TYPES.column(oid, [text])[0] for text in texts])


@given(document=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
))  # fmt: skip
def test_a_document_keeps_every_number(document: Any) -> None:
    """A number is a number only where a double holds it, and otherwise all its digits."""
    (found,) = TYPES.column(JSONB, [json.dumps(document)])

    def same(before: Any, after: Any) -> bool:
        if isinstance(before, list):
            return isinstance(after, list) and all(map(same, before, after))
        if isinstance(before, dict):
            return before.keys() == after.keys() and all(same(before[key], after[key]) for key in before)
        if isinstance(before, int) and not isinstance(before, bool) and abs(before) > 2**53 - 1:
            return bool(after == str(before))
        return bool(after == before)

    if "\\ud" not in json.dumps(document):
        assert same(document, found)


@pytest.mark.requirement("R27")
def test_a_document_too_deep_for_clients_is_text() -> None:
    deep = "[" * 5000 + "]" * 5000
    assert TYPES.column(JSONB, [deep, "[1]"]) == [deep, [1]]
    assert TYPES.column(JSONB, ["[" + "[1]," * 200 + "[2]]"])[0][-1] == [2]
    assert TYPES.column(JSONB, ['"' + "[" * 500 + '"']) == ["[" * 500]


@pytest.mark.parametrize(
    ("oid", "value", "text"),
    [
        (INT4, None, None),
        (INT4, 7, "7"),
        (INT4, "7", "7"),
        (NUMERIC, "1e400", "1e400"),
        (FLOAT8, 0.1, "0.1"),
        (BOOL, True, "true"),
        (JSONB, {"a": [1, None]}, '{"a":[1,null]}'),
        (JSONB, [1, "x"], '[1,"x"]'),
        (JSONB, True, "true"),
        (JSONB, '{"a": 1}', '{"a": 1}'),
        (INT4_ARRAY, [1, None, "3"], '{"1",NULL,"3"}'),
        (INT4_ARRAY, [[1], [2]], '{{"1"},{"2"}}'),
        (INT4_ARRAY, [], "{}"),
        (TEXT_ARRAY, ['a"b', "c\\d", "{e}"], '{"a\\"b","c\\\\d","{e}"}'),
        (JSONB_ARRAY, [[1], {"a": 1}], '{"[1]","{\\"a\\":1}"}'),
        (BOX_ARRAY, ["(1,1),(0,0)"], '{"(1,1),(0,0)"}'),
        (PAIR, {"said": "x"}, '(,"x")'),
        (PAIR, [1, "x"], '("1","x")'),
        (PAIR_ARRAY, [{"n": 1}], '{"(\\"1\\",)"}'),
        (PAIR_ARRAY, [[1, "x"]], '{"(\\"1\\",\\"x\\")"}'),
        (PAIR, {"unknown": 1}, '{"unknown":1}'),
        (TEXT, [1], "[1]"),
        (424242, {"a": 1}, '{"a":1}'),
    ],
)
def test_parameters_are_what_the_server_reads_as_their_type(oid: int, value: Any, text: str | None) -> None:
    assert TYPES.parameter(oid, value) == text


def test_names_are_those_of_sql() -> None:
    assert TYPES.name(INT4_ARRAY) == "integer[]"
    assert TYPES.name(424242) == "unknown"
    assert TYPES.missing([INT4_ARRAY, 424242]) == {424242}


# Against a real server.


@pytest.mark.anyio
async def test_every_type_comes_back_as_json_that_keeps_its_meaning(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute(
        """
        CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TYPE pair AS (n int, said text);
        CREATE DOMAIN positive AS int CHECK (VALUE > 0);
        CREATE TABLE customers (id int, name text);
        INSERT INTO customers VALUES (1, 'Ada "A" (L)');
        """
    )
    cases: list[tuple[str, str, Any]] = [
        ("true", "boolean", True),
        ("1::int2", "smallint", 1),
        ("count(*)", "bigint", 1),
        ("9223372036854775807", "bigint", "9223372036854775807"),
        ("0.1::float4", "real", 0.1),
        ("0.1::float8", "double precision", 0.1),
        ("'NaN'::float8", "double precision", "NaN"),
        ("'-Infinity'::float4", "real", "-Infinity"),
        ("12345678901234567890.1234567890", "numeric", "12345678901234567890.1234567890"),
        ("'Infinity'::numeric", "numeric", "Infinity"),
        ("12.5::money", "money", "$12.50"),
        ("'\\x00ff'::bytea", "bytea", "AP8="),
        ("date '2026-01-02'", "date", "2026-01-02"),
        ("date 'infinity'", "date", "infinity"),
        ("date '0044-03-15 BC'", "date", "-0043-03-15"),
        ("time '03:04:05.6'", "time without time zone", "03:04:05.6"),
        ("timetz '03:04:05+02'", "time with time zone", "03:04:05+02:00"),
        ("timestamp '2026-01-02 03:04:05'", "timestamp without time zone", "2026-01-02T03:04:05"),
        ("timestamptz '-infinity'", "timestamp with time zone", "-infinity"),
        ("interval '1 year 2 mons 3 days 04:05:06.7'", "interval", "P1Y2M3DT4H5M6.7S"),
        ("interval '-1 day'", "interval", "P-1D"),
        ("'{\"b\": [1, null]}'::json", "json", {"b": [1, None]}),
        ("'{\"b\": 1.50}'::jsonb", "jsonb", {"b": 1.5}),
        ("jsonb 'null'", "jsonb", None),
        ("'0199c0de-0000-7000-8000-000000000001'::uuid", "uuid", "0199c0de-0000-7000-8000-000000000001"),
        ("inet '10.0.0.1/8'", "inet", "10.0.0.1/8"),
        ("B'101'", "bit", "101"),
        ("int4range(1, 5)", "int4range", "[1,5)"),
        ("'{[1,2),[3,4)}'::int4multirange", "int4multirange", "{[1,2),[3,4)}"),
        ("point(1, 2)", "point", "(1,2)"),
        ("'a:1 b:2'::tsvector", "tsvector", "'a':1 'b':2"),
        ("'sad'::mood", "public.mood", "sad"),
        ("ARRAY['sad', NULL]::mood[]", "public.mood[]", ["sad", None]),
        ("ARRAY[[1, 2], [3, NULL]]", "integer[]", [[1, 2], [3, None]]),
        ("ARRAY[1.50, NULL]", "numeric[]", ["1.50", None]),
        ("ARRAY['a,b', 'c\"d', NULL, 'NULL', '']", "text[]", ["a,b", 'c"d', None, "NULL", ""]),
        ("'[0:1]={1,2}'::int[]", "integer[]", [1, 2]),
        ("ARRAY[timestamp '2026-01-02 03:04:05']", "timestamp without time zone[]", ["2026-01-02T03:04:05"]),
        ("'{}'::text[]", "text[]", []),
        ("ROW(1, 'a b')::pair", "public.pair", {"n": 1, "said": "a b"}),
        ("ARRAY[ROW(1, NULL)::pair]", "public.pair[]", [{"n": 1, "said": None}]),
        ("c", "public.customers", {"id": 1, "name": 'Ada "A" (L)'}),
        ("ROW(1, NULL, 'x')", "record", ["1", None, "x"]),
        ("3::positive", "integer", 3),
        ("ARRAY[3::positive]", "public.positive[]", [3]),
        ("'1 2'::int2vector", "int2vector", [1, 2]),
        ("'pg_class'::regclass", "regclass", "pg_class"),
        ("NULL", "text", None),
        ("pg_sleep(0)", "void", None),
    ]
    for expression, type_name, value in cases:
        (column,) = (await run(connector, f"SELECT {expression} FROM customers c")).columns
        assert (column.type, column.values) == (type_name, [value]), expression
        assert kind(column.values[0]) is kind(value), expression


@pytest.mark.anyio
async def test_xml_is_text(connector: PostgresConnector) -> None:
    # A server can be built without it; the embedded one is.
    (column,) = (await run(connector, "SELECT xml '<a/>'")).columns
    assert (column.type, column.values) == ("xml", ["<a/>"])


@pytest.mark.anyio
async def test_a_time_has_the_offset_of_the_roles_own_zone(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute(f"ALTER ROLE {postgres_database.user} SET timezone = 'Asia/Kolkata'")
    postgres_database.execute(f"ALTER ROLE {postgres_database.user} SET datestyle = 'German'")
    result = await run(connector, "SELECT timestamptz '2026-01-02 03:04:05Z'")
    assert rows(result) == [["2026-01-02T08:34:05+05:30"]]


@pytest.mark.anyio
async def test_parameters_go_through_the_servers_own_input(
    connector: PostgresConnector, postgres_database: PostgresDatabase
) -> None:
    postgres_database.execute("CREATE TYPE pair AS (n int, said text)")
    cases: list[tuple[str, Any, Any]] = [
        ("$1::int", "42", 42),
        ("$1::int", 42, 42),
        ("$1::text", 42, "42"),
        ("$1::numeric", "1e-3", "0.001"),
        ("$1::numeric", 0.1, "0.1"),
        ("$1::bool", "yes", True),
        ("$1::bool", False, False),
        ("$1::date", "2026-01-02", "2026-01-02"),
        ("$1::interval", "1 hour", "PT1H"),
        ("$1::uuid", "0199C0DE000070008000000000000001", "0199c0de-0000-7000-8000-000000000001"),
        ("$1::jsonb", {"a": [1]}, {"a": [1]}),
        ("$1::jsonb", [1, "x"], [1, "x"]),
        ("$1::int[]", [1, None, 3], [1, None, 3]),
        ("$1::text[]", ['a"b', "NULL", "{}", ""], ['a"b', "NULL", "{}", ""]),
        ("$1::int[]", "{1,2}", [1, 2]),
        ("$1::int[]", [[1], [2]], [[1], [2]]),
        ("$1::jsonb[]", [{"a": 1}, [2]], [{"a": 1}, [2]]),
        ("$1::pair", {"n": 1, "said": 'x"y'}, {"n": 1, "said": 'x"y'}),
        ("$1::pair[]", [{"n": 1, "said": "x"}], [{"n": 1, "said": "x"}]),
        ("$1::bytea", "\\x00ff", "AP8="),
        ("$1::text", None, None),
        ("$1::text", "'; DROP TABLE users; --", "'; DROP TABLE users; --"),
    ]
    for expression, value, expected in cases:
        assert rows(await run(connector, f"SELECT {expression}", value)) == [[expected]], (expression, value)
