"""Policies that the reference shows, and what they decide about statements: they do what is said there."""

from __future__ import annotations

import re

import pytest

from mcp_gateway.decisions import Allow, Ask, Deny
from mcp_gateway.facts.parser import parse_tree
from mcp_gateway.facts.sql import examine_statements, judge_of
from mcp_gateway.masking.lineage import follow, prepare
from tests.masking.lineage.catalogs import catalog, relation
from tests.policy.test_reference import SHOWN
from tests.policy.worlds import READ_ALL, engine, question

CATALOG = catalog(
    relation("customers", "id int4, name text, ssn text, address text"),
    relation("labels", "id int4, label text", "v", definition="SELECT id, address FROM public.customers;"),
    relation("a", "id int4, x int4"),
    relation("b", "id int4, x int4"),
)
JUDGE, COLUMNS = judge_of(CATALOG), prepare(CATALOG, {})


def shown(name: str) -> str:
    """One policy of the reference, by its id."""
    found = [text for text in re.split(r"\n(?=@id)", "\n".join(SHOWN)) if f'@id("{name}")' in text]
    assert len(found) == 1
    return found[0]


def decided_by(name: str, sql: str) -> object:
    """What is decided about a statement where that policy stands beside a permit for everything."""
    statements = parse_tree(sql)
    uses = follow(statements, COLUMNS).uses
    facts = examine_statements(statements, judge=JUDGE, uses=uses, inference={}).facts
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


@pytest.mark.parametrize(
    ("sql", "decision"),
    [
        ("SELECT id FROM customers WHERE ssn = '1'", Ask),
        ("SELECT id FROM customers ORDER BY ssn", Ask),
        ("SELECT count(*) FROM customers GROUP BY ssn", Ask),
        ("SELECT CASE WHEN ssn < '5' THEN 1 END FROM customers", Ask),
        ("WITH c AS (SELECT id, ssn AS s FROM customers) SELECT id FROM c WHERE s = '1'", Ask),
        ("UPDATE customers SET name = '' WHERE ssn = '1'", Ask),
        ("SELECT ssn FROM customers WHERE id = 1", Allow),
        ("UPDATE customers SET ssn = '1' WHERE id = 1", Allow),
    ],
)
def test_finding_people_by_their_number_is_asked_about(sql: str, decision: type) -> None:
    assert decided_by("nobody-is-looked-up", sql) is decision


@pytest.mark.parametrize(
    ("sql", "decision"),
    [
        ("SELECT address FROM customers", Deny),
        ("SELECT * FROM customers", Deny),
        ("SELECT left(c::text, 99) FROM customers c", Deny),
        ("SELECT label FROM labels", Deny),
        ("SELECT (SELECT max(address) FROM customers)", Deny),
        ("INSERT INTO orders (note) SELECT address FROM customers", Deny),
        ("SELECT hidden(id) FROM customers WHERE address IS NULL", Deny),
        ("SELECT count(*) FROM customers WHERE address LIKE 'Oslo%'", Allow),
        ("SELECT count(DISTINCT address) FROM customers", Allow),
        ("SELECT id FROM customers WHERE address IS NULL", Allow),
        ("SELECT a.id FROM customers a JOIN customers b USING (address)", Allow),
        ("SELECT id FROM labels", Allow),
    ],
)
def test_what_may_be_compared_need_not_be_fetched(sql: str, decision: type) -> None:
    assert decided_by("addresses-stay", sql) is decision
