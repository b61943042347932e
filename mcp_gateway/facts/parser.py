"""SQL text to PostgreSQL's own parse tree, as JSON objects.

The one module that touches the parser library (libpg_query by `postgast`, PostgreSQL 18's grammar). Text that an
agent wrote can make it slow or overflow the C stack, so it runs inside the killable worker (`facts.worker`); the
library is loaded with the first statement and not with this module. `facts.sql` and `masking.lineage` walk what
`parse_tree` returns.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson

from mcp_gateway.calls import JSONObject

MAX_SQL_BYTES = 32 * 1024
MAX_MESSAGE_CHARACTERS = 200
"""The parser quotes from the statement, up to all of it."""
TOO_DEEP = "the statement is nested too deeply"


class SQLSyntaxError(ValueError):
    """The text is not SQL that PostgreSQL's grammar accepts, or not text that may be parsed at all."""

    def __init__(self, message: str, *, position: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        """1-based character offset; 0 when unknown."""


def encode_sql(sql: str) -> bytes:
    """The text as the parser takes it.

    Refuses a NUL (it would end the C string and hide the rest), a lone surrogate, and more than `MAX_SQL_BYTES`
    (long chains overflow the C stack). Cheap, so that what cannot be parsed need not reach the worker.
    """
    if "\0" in sql:
        raise SQLSyntaxError("the statement contains a NUL character", position=sql.index("\0") + 1)
    try:
        text = sql.encode()
    except UnicodeEncodeError as error:
        raise SQLSyntaxError("the statement contains a lone surrogate", position=error.start + 1) from None
    if len(text) > MAX_SQL_BYTES:
        raise SQLSyntaxError(f"the statement has {len(text):,} bytes, more than the {MAX_SQL_BYTES:,} that are parsed")
    return text


class Statements(list[JSONObject]):
    """Raw statements, and `json`: the same as the parser wrote them."""

    json: bytes = b"[]"


def parse_tree(sql: str) -> Statements:
    """Parse `sql` and return its raw statements, `[{"stmt": {"SelectStmt": {...}}, "stmt_len": n}, ...]`.

    Raises `SQLSyntaxError`, also for what `encode_sql` refuses and for a tree deeper than about 1,000 levels.
    """
    text = encode_sql(sql)
    lib = _library()
    result = lib.pg_query_parse(text)
    try:
        if result.error:
            said = result.error.contents
            raise SQLSyntaxError(_safe(said.message.decode(errors="replace")), position=max(said.cursorpos, 0))
        written: bytes = result.parse_tree
        tree = orjson.loads(written)
    except orjson.JSONDecodeError:
        raise SQLSyntaxError(TOO_DEEP) from None
    finally:
        lib.pg_query_free_parse_result(result)
    statements = Statements(tree.get("stmts", []))
    _, _, statements.json = written.partition(b'"stmts":')  # what stands before is the grammar's version
    return statements


def _safe(message: str) -> str:
    if message.startswith("memory exhausted"):  # the grammar's own limit of nesting
        return TOO_DEEP
    return message if len(message) <= MAX_MESSAGE_CHARACTERS else f"{message[:MAX_MESSAGE_CHARACTERS]}..."


@cache
def _library() -> Any:
    from postgast.native import lib

    return lib
