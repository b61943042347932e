from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import anyio
import pytest

from mcp_gateway.calls import Secret
from mcp_gateway.credentials.used import REMEMBERED, UsedCredentials
from mcp_gateway.facts.http import resolve
from mcp_gateway.targets.http import HTTPConnector
from tests.peers.api import API, running_api
from tests.roads import Settings

pytestmark = pytest.mark.anyio


def values(used: UsedCredentials) -> list[str]:
    return [secret.reveal_text() for secret in used.all()]


async def test_the_last_credentials_of_a_target_are_known_each_once() -> None:
    used = UsedCredentials()

    async def call(name: str) -> None:
        used.add(Secret(name))

    async with anyio.create_task_group() as group:
        for number in range(REMEMBERED + 5):
            group.start_soon(call, f"secret-{number}")
            group.start_soon(call, "always")

    assert len(values(used)) == REMEMBERED
    assert values(used).count("always") == 1
    assert f"secret-{REMEMBERED + 4}" in values(used)


@asynccontextmanager
async def rotating(api: API) -> AsyncIterator[tuple[HTTPConnector, Callable[[], int]]]:
    """A connector whose source gives another token each time."""
    given = 0

    async def fetch(_: object) -> Secret:
        nonlocal given
        given += 1
        return Secret(f"token-number-{given}")

    connector = HTTPConnector(Settings(api.url, auth=SimpleNamespace(bearer="source")), fetch=fetch)
    try:
        yield connector, lambda: given
    finally:
        await connector.aclose()


@pytest.mark.requirement("R26", "I5")
async def test_a_call_knows_its_own_credential_however_many_others_were_used_since() -> None:
    async with running_api() as api, rotating(api) as (connector, given):
        request = resolve(api.url, "/x")
        release = anyio.Event()
        slow: list[str] = []

        async def slow_call() -> None:
            await connector.send(request, body=None, seconds=10, max_bytes=1000)
            await release.wait()  # Here the road would record and mask.
            slow.extend(secret.reveal_text() for secret in connector.secrets())

        async def call() -> None:
            await connector.send(request, body=None, seconds=10, max_bytes=1000)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(slow_call)
                while given() < 1 or not api.requests:
                    await anyio.sleep(0.01)
                for _ in range(REMEMBERED + 4):
                    async with anyio.create_task_group() as one:
                        one.start_soon(call)
                release.set()

        assert b"token-number-1" in api.requests[0]
        assert "token-number-1" in slow
        assert f"token-number-{given()}" in slow
        assert "token-number-1" not in [secret.reveal_text() for secret in connector.secrets()]
