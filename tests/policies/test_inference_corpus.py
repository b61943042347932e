"""The published ways around masking, by the real examination, the starter policies and a real server."""

from __future__ import annotations

import pytest

from tests.corpora import CORPORA, cases
from tests.masking.lineage.evasion import CLASSIFY, leaking, own_literals
from tests.peers.postgres import PostgresDatabase
from tests.policies.inquiries import desk_at

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("M1", "I5")
async def test_inference_is_asked_what_must_pass_passes_and_nothing_leaks(postgres_database: PostgresDatabase) -> None:
    corpus = cases("mask_evasion.jsonl")
    postgres_database.execute((CORPORA / "mask_evasion.sql").read_text())
    postgres_database.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC")
    wrong: list[object] = []
    said_yes = 0
    async with desk_at(postgres_database, CLASSIFY) as desk:
        for case in corpus:
            sql, expected = case["input"]["sql"], case["expected"]
            inquiry = await desk.ask(sql)
            if expected["must_pass"] and (inquiry.decision, inquiry.told) != ("allow", {}):
                wrong.append((sql, inquiry.decision, inquiry.told))
            if expected["inference"] and inquiry.decision == "allow":
                wrong.append((sql, inquiry.decision, inquiry.told))
            if inquiry.decision == "refused":
                continue
            # As if it were allowed or approved: an approval shows no value either.
            said = await desk.answer(sql, inquiry)
            said_yes += '"rows":[[' in said
            if expected["leaks"] and leaking(said) - own_literals(sql):
                wrong.append((sql, "leaks", said))
    assert wrong == []
    assert (len(corpus) > 80, said_yes > 40) == (True, True)
