from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mcp_gateway.calls import HTTPFacts
from mcp_gateway.masked_facts import REMEMBERED, REMEMBERED_BYTES, REMEMBERED_FACTS, MaskedFacts
from tests.roads import laid

pytestmark = pytest.mark.anyio


async def test_remembered_facts_are_masked_as_new_ones_are(tmp_path: Path) -> None:
    facts = {"programs": ["ls", "bob@example.com"], "opaque": True, "statements": 1, "paths": {"4111111111111111": []}}
    async with laid(tmp_path) as bench:
        remembering = MaskedFacts(bench.road._parts)
        first = await remembering.json(facts, key="a")
        again = await remembering.json(dict(facts), key="b")
        alone = await MaskedFacts(bench.road._parts).json(facts, key="b")

    assert first == again == alone
    assert first["programs"] == ["ls", "[pii.email]"]
    assert list(first["paths"]) == ["[payment.card]"]


async def test_facts_that_differ_in_anything_are_never_taken_for_each_other(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        remembering = MaskedFacts(bench.road._parts)
        for facts in ({"statements": 1}, {"statements": True}, {"statements": "1"}, {"statements": ["1"]}):
            found = await remembering.json(facts, key="a")
            assert found == facts
            assert type(found["statements"]) is type(facts["statements"])


async def test_no_more_facts_are_kept_than_it_says(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        remembering = MaskedFacts(bench.road._parts)
        for number in range(REMEMBERED + 5):
            await remembering.json({"path": str(number)}, key="a")
        await remembering.json({"path": "x" * 100_000}, key="a")
        await remembering.json({"path": "\ud800"}, key="a")

        assert len(remembering._known.values()) == REMEMBERED


async def test_the_same_facts_are_recorded_as_equal_ones_are(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        remembering = MaskedFacts(bench.road._parts)
        facts = HTTPFacts(method="GET", host="api.example.com", path="/bob@example.com")
        first = await remembering.of(facts, key="a")

        assert await remembering.of(facts, key="b") is first
        assert await remembering.of(replace(facts), key="b") == first
        assert (await remembering.of(replace(facts, path="/"), key="b")).differs == ()
        assert first.differs == ("path",)
        assert first.masked["path"] == "/[pii.email]"


async def test_of_facts_no_more_and_no_larger_ones_are_held_than_it_says(tmp_path: Path) -> None:
    async with laid(tmp_path) as bench:
        remembering = MaskedFacts(bench.road._parts)
        for number in range(REMEMBERED_FACTS + 5):
            await remembering.of(HTTPFacts(method="GET", host="a", path=f"/{number}"), key="a")
        held = {recorded.masked["path"] for _, recorded in remembering._recorded.values()}
        assert held == {f"/{number}" for number in range(5, REMEMBERED_FACTS + 5)}

        await remembering.of(HTTPFacts(method="GET", host="a", path="/" + "x" * REMEMBERED_BYTES), key="a")
        assert {recorded.masked["path"] for _, recorded in remembering._recorded.values()} == held
