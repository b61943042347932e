from __future__ import annotations

import pytest

from mcp_gateway.facts.parser import MAX_SQL_BYTES, SQLSyntaxError, encode_sql, parse_tree


def test_a_text_becomes_its_statements() -> None:
    statements = parse_tree("SELECT 1; DELETE FROM users;")

    assert [next(iter(raw["stmt"])) for raw in statements] == ["SelectStmt", "DeleteStmt"]


@pytest.mark.parametrize("sql", ["", ";", " ; ;", "-- nothing", "/* /* nested */ */"])
def test_a_text_without_a_statement_is_no_error(sql: str) -> None:
    assert parse_tree(sql) == []


@pytest.mark.parametrize(
    ("sql", "message", "position"),
    [
        ("SELECT * FRMO users", 'syntax error at or near "FRMO"', 10),
        ("SELECT 'é', )", 'syntax error at or near ")"', 13),
        ("SELECT (1", "syntax error at end of input", 10),
        ("SELECT 'x", 'unterminated quoted string at or near "\'x"', 8),
        ("SELECT 1\0; DROP TABLE users", "the statement contains a NUL character", 9),
        ("SELECT '\ud800'", "the statement contains a lone surrogate", 9),
        ("SELECT 1;\u200bDROP TABLE users", 'syntax error at or near "\u200bDROP"', 10),
        ("SELECT\u00a01\uff1bDROP TABLE users", 'syntax error at or near "SELECT\u00a01\uff1bDROP"', 1),
    ],
)
def test_what_is_no_sql_is_refused_with_its_place(sql: str, message: str, position: int) -> None:
    with pytest.raises(SQLSyntaxError) as caught:
        parse_tree(sql)

    assert (caught.value.message, caught.value.position) == (message, position)


def test_a_text_is_limited_in_bytes_and_not_in_characters() -> None:
    encode_sql("-- " + "x" * (MAX_SQL_BYTES - 3))

    with pytest.raises(SQLSyntaxError, match="has 32,770 bytes, more than the 32,768 that are parsed"):
        encode_sql("é" * (MAX_SQL_BYTES // 2 + 1))


def chain(start: str, link: str, *, end: str = "") -> str:
    """As many links as fit."""
    return start + link * ((MAX_SQL_BYTES - len(start)) // (len(link) + len(end))) + end


@pytest.mark.parametrize(
    "sql",
    [
        chain("SELECT 1", "+1"),
        chain("SELECT ", "("),
        chain("SELECT ", "NOT "),
        chain("SELECT ", "- "),
        chain("SELECT ", "(SELECT "),
        chain("SELECT ", "f("),
        chain("SELECT ARRAY", "["),
        chain("SELECT 1", " UNION SELECT 1"),
        chain("SELECT FROM a", " JOIN a ON a"),
        chain("SELECT 1", "::a"),
        chain("SELECT ", "CASE WHEN "),
        chain("", "WITH a AS ("),
    ],
    ids=lambda sql: sql[:24],
)
def test_pathological_nesting_is_refused_and_not_fatal(sql: str) -> None:
    with pytest.raises(SQLSyntaxError, match=r"nested too deeply|syntax error"):
        parse_tree(sql)


def test_a_message_does_not_repeat_the_whole_statement() -> None:
    with pytest.raises(SQLSyntaxError) as caught:
        parse_tree("SELECT '" + "x" * 10_000)

    assert len(caught.value.message) < 250


def test_names_are_cut_where_the_server_cuts_them() -> None:
    (raw,) = parse_tree(f"SELECT {'a' * 100}()")
    (target,) = raw["stmt"]["SelectStmt"]["targetList"]

    assert target["ResTarget"]["val"]["FuncCall"]["funcname"] == [{"String": {"sval": "a" * 63}}]
