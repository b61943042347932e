"""Whatever a PostgreSQL server answers, at any moment: a result, or an error of the target's that says what is known.

The server is a peer that keeps to the protocol until the moment, and then says any messages in any order. What it said is
what the outcome of a write is judged by, apart from the gateway.
"""

from __future__ import annotations

import random
from datetime import timedelta

import anyio
import pytest

from mcp_gateway.errors import OutcomeLost, TargetError, TargetFailed
from mcp_gateway.targets import postgres_statement
from tests.fuzz.sizes import FULL, SEED
from tests.peers.hostile_postgres import Visit, described, hostile_postgres, message, ready, row
from tests.targets.postgres_settings import rows
from tests.targets.test_postgres_hostile import connector_to, run

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.requirement("R36", "I3", "I7"),
    pytest.mark.timeout(3600 if FULL else 300),
]

ROUNDS = 2000 if FULL else 40
KINDS = "RSKZCDTtnN12EIAGHWdcsv3"
BODIES = (b"", b"\0", b"\0\0", b"\0\1\0\0\0\1x", b"SELECT 1\0", b"COMMIT\0", b"ROLLBACK\0", b"T", b"I", b"E")
SHORT, LONG = timedelta(milliseconds=300), timedelta(seconds=10)
ANSWERED_SECONDS = 20


def said(dice: random.Random) -> bytes:
    """Some messages."""
    found = [one(dice) for _ in range(dice.randint(1, 4))]
    return b"".join(found) + dice.choice([b"", ready("I"), ready("T")])


def one(dice: random.Random) -> bytes:
    body = dice.choice([*BODIES, dice.randbytes(dice.randint(0, 12))])
    kind = dice.choice(KINDS)
    return dice.choice(
        [
            message(kind, body),
            message(kind, body),
            row(body),
            ready(dice.choice("ITE")),
            described("a", "b"),
            message("C", b"COMMIT\0"),
        ]
    )


@pytest.mark.parametrize(
    ("moment", "writes"), [("BEGIN", False), ("parse", False), ("rows", False), ("rows", True), ("COMMIT", True)]
)
async def test_any_answer_ends_in_a_result_or_in_what_is_known(
    moment: str, writes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_statement, "COMMIT_SECONDS", SHORT.total_seconds())
    for number in range(ROUNDS):
        dice = random.Random(f"{SEED} {moment} {number}")
        answer, goes_on = said(dice), dice.choice([True, False])
        finding = f"FUZZ_SEED={SEED}, {moment} {number}: {answer!r}"

        async def answers(visit: Visit, answer: bytes = answer, goes_on: bool = goes_on) -> bool:
            await visit.send(answer)
            return goes_on

        async with hostile_postgres() as peer:
            connector = connector_to(peer)
            peer.misbehave, peer.at = answers, moment
            ended: BaseException | None = None
            with anyio.fail_after(ANSWERED_SECONDS):
                try:
                    await run(connector, writes=writes, timeout=SHORT)
                except TargetError as error:
                    ended = error
                except Exception as error:  # noqa: BLE001 - which is the finding
                    pytest.fail(f"{error!r}: {finding}")
                if moment == "COMMIT":
                    judge(answer, ended, finding=finding)
                # What it said then is no part of what is asked for next.
                peer.misbehave, peer.at = None, ""
                assert rows(await run(connector, timeout=LONG)) == [["fine"]], finding
            peer.dismiss()
            await connector.aclose()


def judge(answer: bytes, ended: BaseException | None, *, finding: str) -> None:
    """Whether a write's outcome is what the answer to its COMMIT proves."""
    if ended is None:
        assert b"COMMIT\0" in answer, finding
    elif isinstance(ended, TargetFailed) and not isinstance(ended, OutcomeLost):
        assert b"ROLLBACK\0" in answer or message("E")[:1] in answer, finding
