"""The `inspect sql` object: what the gateway makes of a text without any target, for people who write policies."""

from __future__ import annotations

from mcp_gateway.calls import JSONObject, SQLFacts
from mcp_gateway.facts.examination import SQLExamination
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.sql import examine_statements, judge_of
from mcp_gateway.masking.lineage import uses_by_text

UNREADABLE = SQLFacts(
    read_only=False,
    kinds=frozenset(),
    reads=frozenset(),
    writes=frozenset(),
    columns=frozenset(),
    functions=frozenset(),
    unbounded=False,
    statements=0,
)
"""What stands in place of the facts about a text that is no SQL; it is refused before any policy."""


def inspect_sql(sql: str) -> JSONObject:
    """Facts about `sql` with what only a catalog could tell taken as the worst.

    Raises `SQLSyntaxError`. Parses in this process: for texts of strangers go through `facts.worker` and
    `inspection_of`.
    """
    return inspection_of(examine_text(sql))


def examine_text(sql: str) -> SQLExamination:
    """Examine a text without any catalog, as far as it goes. Raises `SQLSyntaxError`."""
    statements = parse_tree(sql)
    return examine_statements(statements, judge=judge_of(None), uses=uses_by_text(statements))


def inspection_of(examination: SQLExamination | None) -> JSONObject:
    """The object for an examination, or for a text that could not be read."""
    return (examination.facts if examination else UNREADABLE).to_json()
