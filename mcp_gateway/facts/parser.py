"""SQL text to PostgreSQL's own parse tree, as JSON objects.

The one module that touches the parser library (libpg_query by `postgast`, PostgreSQL 18's grammar). Long chains
overflow the C stack and kill the process, so it runs inside the killable worker (`facts.worker`) and nowhere
else. `facts.sql` and `masking.lineage` walk what it returns.
"""

from __future__ import annotations

import orjson
from postgast.native import lib

from mcp_gateway.calls import JSONObject

MAX_SQL_BYTES = 32 * 1024


class SQLSyntaxError(ValueError):
    """The text is not SQL that PostgreSQL's grammar accepts, or not text that may be parsed at all."""

    def __init__(self, message: str, *, position: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        """1-based character offset; 0 when unknown."""


def parse_tree(sql: str) -> list[JSONObject]:
    """Parse `sql` and return its raw statements, `[{"stmt": {"SelectStmt": {...}}, "stmt_len": n}, ...]`.

    Refuses a NUL (it would end the C string and hide the rest), a lone surrogate, and more than `MAX_SQL_BYTES`.
    """
    if "\0" in sql:
        raise SQLSyntaxError("the statement contains a NUL character", position=sql.index("\0") + 1)
    try:
        text = sql.encode()
    except UnicodeEncodeError as error:
        raise SQLSyntaxError("the statement contains a lone surrogate", position=error.start + 1) from None
    if len(text) > MAX_SQL_BYTES:
        raise SQLSyntaxError(f"the statement has {len(text):,} bytes, more than the {MAX_SQL_BYTES:,} that are parsed")
    result = lib.pg_query_parse(text)
    try:
        if result.error:
            said = result.error.contents
            raise SQLSyntaxError(said.message.decode(errors="replace"), position=max(said.cursorpos, 0))
        tree = orjson.loads(result.parse_tree)
    except orjson.JSONDecodeError:
        raise SQLSyntaxError("the statement is nested too deeply") from None
    finally:
        lib.pg_query_free_parse_result(result)
    statements: list[JSONObject] = tree.get("stmts", [])
    return statements
