"""The issuer is away, lies, floods, and gives out new keys, before a whole gateway."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from tests.faults.gateways import AUDIENCE, QUERY, Gateway, Targets, standing
from tests.faults.peaks import stays_small
from tests.faults.served import all_work, kinds
from tests.faults.sizes import times
from tests.faults.wire import call_body, call_headers
from tests.invariants.world import World
from tests.peers.issuer import CONNECT_METADATA, FakeIssuer, Signer, ec_signer
from tests.peers.moved_clock import MOVED, MovedClock, clock_library, moved_clock
from tests.plain_http import plain_client
from tests.private import write_private

__all__ = ["clock_library", "moved_clock"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

FLOOD = times(commit=300, full=10_000)
FETCH_SECONDS = 10.0
"""Between two fetches at least."""
LATER = FETCH_SECONDS + 1
"""By so much the gateway's clock is moved on where it is to fetch again."""
READY_SECONDS = 60.0


@asynccontextmanager
async def before(issuer: FakeIssuer, folder: Path, targets: Targets, world: World) -> AsyncIterator[Gateway]:
    """A gateway that accepts this issuer's tokens; it is not started."""
    async with standing(folder / "gateway", targets, world=world) as gateway:
        text = gateway.config.read_text().replace('issuer = "local"', f'issuer = "{issuer.url}"')
        text = re.sub(r"\[identity\.local\.people\].*?(?=\[approvals\])", "", text, flags=re.DOTALL)
        gateway.config.unlink()
        write_private(gateway.config, text)
        renew(gateway, issuer)
        yield gateway


def renew(gateway: Gateway, issuer: FakeIssuer, signer: Signer | None = None) -> None:
    """A new token for the gateway's calls."""
    gateway.tokens["alex agent"] = time.monotonic() + 3600, issuer.token(signer=signer, sub="alex", groups=["dev"])


async def status(gateway: Gateway, token: str) -> int:
    """What a request with a token gets."""
    tool, arguments = QUERY
    headers = call_headers(tool) | {"authorization": f"Bearer {token}"}
    async with plain_client(timeout=60) as http:
        return (await http.post(f"{gateway.url}/mcp", content=call_body(tool, arguments), headers=headers)).status_code


async def ready(gateway: Gateway) -> int:
    """What a balancer is told."""
    async with plain_client(timeout=60) as http:
        return (await http.get(f"{gateway.url}/readyz")).status_code


async def until_status(ask: Callable[[], object], wanted: int) -> None:
    """Wait until a request gets that."""
    with anyio.fail_after(READY_SECONDS):
        while await ask() != wanted:  # type: ignore[misc]  # it is awaited
            await anyio.sleep(0.2)


def endless() -> Iterator[bytes]:
    """A hundred megabytes."""
    for _ in range(1600):
        yield b" " * 65536


@pytest.mark.requirement("R18")
async def test_an_issuer_that_is_away_at_the_start_and_hostile_afterwards(
    tmp_path: Path, world: World, targets: Targets, moved_clock: MovedClock
) -> None:
    world.moved = MOVED
    with FakeIssuer(audience=AUDIENCE) as issuer:
        issuer.reply(CONNECT_METADATA, status=500)
        async with before(issuer, tmp_path, targets, world) as gateway:
            await gateway.start(environ=moved_clock.environ)
            assert await ready(gateway) == 503
            assert await status(gateway, gateway.token()) == 503
            assert await status(gateway, "no.token") == 401
            assert kinds(gateway)["Started"] == 0

            del issuer.replies[CONNECT_METADATA]
            moved_clock.sleep(LATER)
            await until_status(lambda: ready(gateway), 200)
            await all_work(gateway)

            other = ec_signer("not-published")
            hostile: dict[str, dict[str, Any]] = {
                "500": {"status": 500},
                "HTML": {"body": b"<html>login</html>"},
                "100 MB": {"body": endless},
                "another issuer": {"body": issuer.metadata(issuer="https://elsewhere.example")},
                "keys from elsewhere": {"body": issuer.metadata(jwks_uri="http://169.254.169.254/keys")},
                "a redirect": {"status": 302, "headers": {"location": "http://169.254.169.254/"}},
            }
            with stays_small(gateway, "a hostile issuer"):
                for number, (name, reply) in enumerate(hostile.items()):
                    if number >= times(commit=2, full=len(hostile)):
                        break
                    issuer.reply(CONNECT_METADATA, **reply)
                    asked = len(issuer.requests)
                    moved_clock.sleep(LATER)
                    # It is asked for keys that it may have new; who has a known one is not held up.
                    with anyio.fail_after(READY_SECONDS):
                        while len(issuer.requests) == asked:
                            assert await status(gateway, issuer.token(signer=other)) == 401, name
                            await all_work(gateway)
                            await anyio.sleep(0.05)
                    assert await status(gateway, issuer.token(signer=other)) == 401, name
                    assert await ready(gateway) == 200, name
            await all_work(gateway)
            assert await gateway.end() == 0
            assert "Traceback" not in gateway.said()


@pytest.mark.requirement("R17")
async def test_keys_that_rotate_and_a_flood_of_unknown_ones(
    tmp_path: Path, world: World, targets: Targets, moved_clock: MovedClock
) -> None:
    world.moved = MOVED
    first, second = ec_signer("first"), ec_signer("second")
    with FakeIssuer(audience=AUDIENCE, signers=[first]) as issuer:
        async with before(issuer, tmp_path, targets, world) as gateway:
            await gateway.start(environ=moved_clock.environ)
            await until_status(lambda: ready(gateway), 200)
            await all_work(gateway)

            fetched, began = issuer.key_fetches, time.monotonic()
            unknown = iter([issuer.token(signer=Signer(key_id=f"k{n}", private=first.private, algorithm="ES256"))
                            for n in range(FLOOD)])  # fmt: skip
            answers: Counter[int] = Counter()

            async def flood() -> None:
                for token in unknown:
                    answers[await status(gateway, token)] += 1

            async with anyio.create_task_group() as group:
                for _ in range(8):
                    group.start_soon(flood)
            took = time.monotonic() - began
            assert answers == {401: FLOOD}
            assert issuer.key_fetches - fetched <= 1 + took / FETCH_SECONDS
            await all_work(gateway)

            issuer.signers = [first, second]
            new = issuer.token(signer=second, sub="alex", groups=["dev"])
            moved_clock.sleep(LATER)
            await until_status(lambda: status(gateway, new), 200)
            issuer.signers = [second]
            renew(gateway, issuer, second)
            await all_work(gateway)
            assert await gateway.end() == 0
    print(f"{FLOOD} unknown keys in {took:.1f} s: {orjson.dumps(answers, option=orjson.OPT_NON_STR_KEYS).decode()}")
