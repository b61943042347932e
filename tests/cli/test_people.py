from __future__ import annotations

import pytest

from mcp_gateway.cli.people import MoveRefusedError, counter
from mcp_gateway.config import Settings

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("R26")
@pytest.mark.parametrize(
    "url",
    ["http://gateway.example.com", "http://127.0.0.1.example.com", "http://127.0.0.1@evil.example", "ftp://127.0.0.1", "gateway", "http://[",
     "http://10.0.0.1:8765"],
)  # fmt: skip
async def test_a_persons_token_goes_nowhere_in_the_clear(url: str) -> None:
    settings = Settings.model_construct()  # It is refused before anything of the configuration is asked.

    with pytest.raises(MoveRefusedError, match=r"^--url "):
        async with counter(settings, person=None, url=url):
            pass
