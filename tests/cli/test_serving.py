"""What stops `serve` before it serves anything is said in one line; when it is ready is known without a call."""

from __future__ import annotations

import asyncio
from pathlib import Path

import anyio
import httpx2
import pytest

from mcp_gateway.cli.serving import bind, serving
from mcp_gateway.config import load_settings
from mcp_gateway.errors import ConfigError
from tests.cli.running import write_config
from tests.peers.issuer import CONNECT_METADATA, FakeIssuer


def test_an_address_that_is_taken_is_said() -> None:
    with bind("127.0.0.1:0") as first:
        listen = f"127.0.0.1:{first.getsockname()[1]}"

        with pytest.raises(ConfigError) as caught:
            bind(listen)

    assert str(caught.value) == f"server.listen: cannot listen on {listen!r}: another program does already"


def test_an_address_of_another_machine_is_said() -> None:
    with pytest.raises(
        ConfigError, match=r"^server\.listen: cannot listen on '192\.0\.2\.1:0': Cannot assign requested"
    ):
        bind("192.0.2.1:0")


@pytest.mark.anyio
async def test_a_gateway_becomes_ready_though_no_token_comes(tmp_path: Path) -> None:
    with FakeIssuer(audience="https://gateway.test") as issuer, bind("127.0.0.1:0") as listener:
        issuer.reply(CONNECT_METADATA, status=503)
        config = write_config(
            tmp_path,
            f"""
            [server]
            listen = "127.0.0.1:0"
            [identity]
            issuer = "{issuer.url}"
            audience = "https://gateway.test"
            """,
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/readyz"
        async with serving(load_settings(config), listener=listener), httpx2.AsyncClient(trust_env=False) as client:
            # The issuer is asked at the start, and once more because somebody asks whether the gateway is ready.
            await asyncio.to_thread(issuer.wait_for_requests, 1)
            answer = await client.get(url)
            assert (answer.status_code, answer.json()) == (503, {"status": "the issuer's keys are not at hand"})

            del issuer.replies[CONNECT_METADATA]
            with anyio.fail_after(40):
                while (answer := await client.get(url)).status_code != 200:
                    await anyio.sleep(0.1)

    assert answer.json() == {"status": "ok"}
