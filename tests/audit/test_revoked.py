"""What is listed as revoked is what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import get_args

import pytest

from mcp_gateway.audit.revocations import MIGRATIONS, Revocations, What
from mcp_gateway.audit.revoked import standing
from mcp_gateway.errors import StoreError
from tests.audit.records import AT, loaded, opened_store, tampering

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("R42")
@pytest.mark.parametrize("seed", range(5))
async def test_what_is_listed_is_what_is_refused(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    pairs: list[tuple[What, str]] = [(what, value) for what in get_args(What) for value in ("a", "A", "b|c")]
    async with opened_store(tmp_path / "data", migrations=MIGRATIONS) as store:
        revocations = Revocations(store, clock=lambda: AT)
        for number in range(40):
            what, value = random.choice(pairs)
            if random.random() < 0.5:
                await revocations.revoke(what=what, value=value, by="ops", note=f"{number}")
            else:
                await revocations.lift(what=what, value=value, by="ops")
            await store.append(loaded())
        listed = {(item.what, item.value) for item in standing(store.data_dir)}
        refused = {pair for pair in pairs if revocations.is_revoked(what=pair[0], value=pair[1])}
        revocations.close()

    assert listed == refused
    assert {(item.what, item.value) for item in standing(tmp_path / "data")} == listed


async def test_what_was_revoked_again_counts_from_the_first_time_since_it_was_lifted(tmp_path: Path) -> None:
    async with opened_store(tmp_path / "data", migrations=MIGRATIONS) as store:
        revocations = Revocations(store, clock=lambda: AT)
        for note in ("first", "second"):
            await revocations.revoke(what="agent", value="a", by="ops", note=note)
        before = [item.note for item in standing(store.data_dir)]
        await revocations.lift(what="agent", value="a", by="ops")
        await revocations.revoke(what="agent", value="a", by="dana", note="third")
        after = standing(store.data_dir)
        revocations.close()

    assert before == ["first"]
    assert [item.to_json() for item in after] == [
        {"id": "a", "what": "agent", "since": "2026-11-24T12:00:00.000000+00:00", "by": "dana", "note": "third"}
    ]


@pytest.mark.parametrize("body", ["", "[]", "{}", json.dumps({"what": "agent"})])
async def test_a_revocation_that_cannot_be_read_is_not_left_out(tmp_path: Path, body: str) -> None:
    async with opened_store(tmp_path / "data", migrations=MIGRATIONS) as store:
        revocations = Revocations(store, clock=lambda: AT)
        await revocations.revoke(what="agent", value="a", by="ops")
        revocations.close()
    with tampering(tmp_path / "data") as connection:
        connection.execute("UPDATE events SET body = ? WHERE kind = 'Revoked'", (body,))

    with pytest.raises(StoreError, match=r"^the revocation in event 1 cannot be read; "):
        standing(tmp_path / "data")
