"""What a MERGE may do: the actions of its WHEN clauses, wherever it stands. Its kind is MERGE alone."""

from __future__ import annotations

import pytest

from mcp_gateway.facts.sql import examine_sql
from tests.corpora import cases

MERGE = "MERGE INTO a USING b ON a.id = b.id "
DELETES = "WHEN MATCHED THEN DELETE"
INSERTS = "WHEN NOT MATCHED THEN INSERT (id) VALUES (b.id)"
NOTHING = "WHEN MATCHED THEN DO NOTHING"


@pytest.mark.parametrize(
    ("sql", "actions"),
    [
        (MERGE + DELETES, "DELETE"),
        (MERGE + INSERTS, "INSERT"),
        (MERGE + "WHEN NOT MATCHED THEN INSERT DEFAULT VALUES", "INSERT"),
        (MERGE + "WHEN MATCHED THEN UPDATE SET x = b.x", "UPDATE"),
        (
            MERGE + "WHEN MATCHED AND a.x > 1 THEN UPDATE SET x = 1 WHEN MATCHED THEN DELETE " + INSERTS,
            "DELETE INSERT UPDATE",
        ),
        (MERGE + "WHEN NOT MATCHED BY SOURCE THEN DELETE", "DELETE"),
        (MERGE + "WHEN NOT MATCHED BY SOURCE THEN UPDATE SET x = 1", "UPDATE"),
        (MERGE + "WHEN MATCHED AND false THEN DELETE " + NOTHING, "DELETE"),
        (MERGE + NOTHING, ""),
        (MERGE + f"{NOTHING} {INSERTS}", "INSERT"),
        (f"WITH m AS ({MERGE + DELETES} RETURNING 1) SELECT * FROM m", "DELETE"),
        (f"WITH m AS ({MERGE + DELETES} RETURNING 1), n AS ({MERGE + INSERTS} RETURNING 1) TABLE m", "DELETE INSERT"),
        (f"WITH m AS (WITH n AS ({MERGE + DELETES} RETURNING 1) TABLE n) {MERGE + INSERTS}", "DELETE INSERT"),
        (f"EXPLAIN ANALYZE {MERGE + DELETES}", "DELETE"),
        (f"EXPLAIN {MERGE + DELETES}", "DELETE"),
        (f"COPY ({MERGE + DELETES} RETURNING 1) TO PROGRAM 'x'", "DELETE"),
        (f"PREPARE p AS {MERGE + DELETES}", "DELETE"),
        (f"CREATE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC {MERGE + DELETES}; END", "DELETE"),
        (f"{MERGE + INSERTS}; {MERGE + DELETES}", "DELETE INSERT"),
        ("DELETE FROM a", ""),
        ("INSERT INTO a VALUES (1) ON CONFLICT (id) DO UPDATE SET x = 1", ""),
        ("SELECT 'MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE'", ""),
    ],
)
def test_the_actions_of_every_merge_are_named(sql: str, actions: str) -> None:
    facts = examine_sql(sql, catalog=None).facts
    assert facts.merge_actions == set(actions.split())
    assert ("MERGE" in facts.kinds) == (MERGE in sql)


def test_its_kind_stays_merge_alone() -> None:
    assert examine_sql(MERGE + DELETES, catalog=None).facts.kinds == {"MERGE"}


def test_another_action_is_another_shape() -> None:
    texts = [MERGE + clauses for clauses in (DELETES, INSERTS, NOTHING, f"{DELETES} {INSERTS}", f"{INSERTS} {DELETES}")]
    assert len({examine_sql(sql, catalog=None).facts.fingerprint for sql in texts}) == len(texts)


def test_every_merge_of_the_corpus_has_those_that_stand_in_it() -> None:
    merges = [one["input"]["sql"] for one in cases("sql.jsonl") if "MERGE" in one["expected"].get("kinds", ())]
    assert len(merges) > 10
    for sql in merges:
        text = sql.upper()
        words = {word for word in ("INSERT", "UPDATE", "DELETE") if f"THEN {word}" in " ".join(text.split())}
        assert examine_sql(sql, catalog=None).facts.merge_actions == words, sql
