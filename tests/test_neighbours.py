"""Several gateways on one store (R31): what one decides, approves or revokes holds for all of them."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from mcp_gateway.audit.verify import verify
from tests.road_program import answered, call, running
from tests.roads import Bench, laid

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R31"), pytest.mark.timeout(120)]
COUNT = "SELECT count(*) FROM events WHERE kind = ?"


async def count(bench: Bench, kind: str) -> int:
    rows = await bench.store.read(lambda connection: connection.execute(COUNT, (kind,)).fetchone())
    return int(rows[0])


@pytest.mark.requirement("R11", "R13", "I4", "I6")
async def test_an_approval_is_claimed_by_one_gateway_only(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with laid(tmp_path, data=data) as bench:
        with (
            running(tmp_path / "a", data, url=bench.api.url) as a,
            running(tmp_path / "b", data, url=bench.api.url) as b,
        ):
            for body in ("1", "2", "3", "4"):
                call(a, method="POST", body=body)
                assert await answered(a) == "approval_pending"
                (held,) = [ticket for ticket in await bench.live() if ticket.state == "pending"]
                await bench.vote(held.id)
                for process in (a, b, a, b):
                    call(process, method="POST", body=body)
                found = [await answered(process) for process in (a, b, a, b)]

                assert sorted(found) == ["already_run", "already_run", "already_run", "ok"]
        assert await count(bench, "Claimed") == await count(bench, "Finished") == len(bench.api.requests) == 4
    assert verify(data).flaw is None


@pytest.mark.requirement("R42")
async def test_a_revocation_in_one_gateway_ends_what_waits_and_what_comes_in_another(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with laid(tmp_path, data=data) as bench:
        with running(tmp_path / "a", data, url=bench.api.url, wait=600) as a:
            call(a, method="POST")
            with anyio.fail_after(20):
                while not await bench.live():
                    await anyio.sleep(0.01)

            await bench.revocations.revoke(what="subject", value="alice", by="ops")

            assert await answered(a) == "identity_required"
            call(a, method="GET")
            assert await answered(a) == "cancelled"
        assert bench.api.requests == []
    assert verify(data).flaw is None


@pytest.mark.requirement("R10")
async def test_a_yes_that_one_gateway_records_runs_what_waits_in_another(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with laid(tmp_path, data=data) as bench:
        with running(tmp_path / "a", data, url=bench.api.url, wait=600) as a:
            call(a, method="POST")
            with anyio.fail_after(20):
                while not (held := await bench.live()):
                    await anyio.sleep(0.01)
            await bench.vote(held[0].id)

            assert await answered(a) == "ok"
            assert len(bench.api.requests) == 1
