"""What stops `serve` before it serves anything is said in one line; when it is ready is known without a call."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import anyio
import httpx2
import pytest

from mcp_gateway.cli.serving import bind, serving, stop_signals
from mcp_gateway.config import load_settings
from mcp_gateway.errors import ConfigError
from tests.cli.running import SCRIPT, write_config
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


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_good_order(tmp_path: Path, sent: signal.Signals) -> None:
    config = write_config(tmp_path, '[server]\nlisten = "127.0.0.1:0"\n[identity]\nissuer = "local"\n')
    with subprocess.Popen(
        [SCRIPT, "--config", str(config), "serve"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    ) as process:
        assert process.stdout is not None
        said = b""
        while b"serving http://" not in said:
            said += (line := process.stdout.readline())
            assert line, said
        process.send_signal(sent)
        said += process.stdout.read()
        status = process.wait(timeout=40)

    assert (status, b"Traceback" in said) == (0, False), said
    with sqlite3.connect(f"file:{tmp_path / 'data' / 'audit.db'}?mode=ro", uri=True) as connection:
        (last,) = connection.execute("SELECT kind FROM events ORDER BY sequence DESC LIMIT 1").fetchone()
    connection.close()
    assert last == "GatewayStopped"


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        ignored = stop_signals()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        heard = stop_signals()
    finally:
        signal.signal(signal.SIGHUP, before)

    assert (ignored, heard) == (
        [signal.SIGTERM, signal.SIGINT],
        [signal.SIGTERM, signal.SIGINT, signal.SIGHUP],
    )
