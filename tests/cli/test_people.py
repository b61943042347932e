from __future__ import annotations

import httpx2
import pytest

from mcp_gateway.cli.people import MoveRefusedError, _Remote
from mcp_gateway.errors import IdentityError
from tests.peers.api import answer, running_api

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (
            "401 Unauthorized",
            IdentityError,
            "the gateway does not accept this token: it is expired, revoked or for another gateway",
        ),
        ("409 Conflict", MoveRefusedError, "nobody approves their own call"),
    ],
)
async def test_a_gateways_no_is_said_in_words(status: str, error: type[Exception], said: str) -> None:
    async with running_api() as api, httpx2.AsyncClient(base_url=api.url, trust_env=False) as client:
        api.answers = [answer(b'{"error": "nobody approves their own call"}', status=status)]
        with pytest.raises(error) as caught:
            await _Remote(client).show("an-id")

    assert str(caught.value) == said


async def test_a_gateway_that_is_not_there_is_named() -> None:
    async with running_api() as api:
        url = api.url
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        with pytest.raises(MoveRefusedError, match=f"the gateway at {url} does not answer"):
            await _Remote(client).listing(everything=False)
