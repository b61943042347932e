"""Policies that the reference shows, and what they decide about statements: they do what is said there."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mcp_gateway.decisions import Allow, Ask
from mcp_gateway.facts.sql import examine_sql
from tests.policy.test_reference import SHOWN
from tests.policy.worlds import READ_ALL, engine, question


def shown(name: str) -> str:
    """One policy of the reference, by its id."""
    found = [text for text in re.split(r"\n(?=@id)", "\n".join(SHOWN)) if f'@id("{name}")' in text]
    assert len(found) == 1
    return found[0]


def decided_by(name: str, sql: str) -> object:
    """What is decided about a statement where that policy stands beside a permit for everything."""
    facts = replace(examine_sql(sql, catalog=None).facts, inference={})
    return type(engine(READ_ALL + shown(name)).decide(question(facts=facts)))


MERGE = "MERGE INTO a USING b ON a.id = b.id"


@pytest.mark.parametrize(
    ("sql", "decision"),
    [
        ("DELETE FROM a WHERE id = 1", Ask),
        ("TRUNCATE a", Ask),
        (f"{MERGE} WHEN MATCHED THEN DELETE", Ask),
        (f"WITH m AS ({MERGE} WHEN NOT MATCHED BY SOURCE THEN DELETE RETURNING 1) SELECT count(*) FROM m", Ask),
        (f"{MERGE} WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (b.id)", Allow),
        (f"{MERGE} WHEN MATCHED THEN UPDATE SET x = b.x", Allow),
        ("UPDATE a SET x = 1 WHERE id = 1", Allow),
    ],
)
def test_deleting_is_asked_about_whichever_statement_does_it(sql: str, decision: type) -> None:
    assert decided_by("deletes-wait", sql) is decision
