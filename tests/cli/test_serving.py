"""What stops `serve` before it serves anything is said in one line; when it is ready is known without a call."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from mcp_gateway import __version__
from mcp_gateway.build import examination_is_compiled
from mcp_gateway.cli.commands.stdio import BY_HAND
from mcp_gateway.cli.serving import bind, heeded_signals, serving
from mcp_gateway.config import load_settings
from mcp_gateway.errors import ConfigError
from mcp_gateway.identity import keys
from mcp_gateway.policy.statement import NO_PERMIT, NO_POLICY
from tests.cli.running import SCRIPT, run_here, run_script, write_config
from tests.configurations import POSTGRES
from tests.peers.issuer import CONNECT_METADATA, FakeIssuer
from tests.plain_http import plain_client
from tests.private import write_private


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
async def test_a_gateway_becomes_ready_though_no_token_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "COOL_DOWN", timedelta(seconds=1))
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
        async with serving(load_settings(config), listener=listener), plain_client() as client:
            # The issuer is asked at the start, and once more because somebody asks whether the gateway is ready.
            await asyncio.to_thread(issuer.wait_for_requests, 1)
            answer = await client.get(url)
            assert (answer.status_code, answer.json()) == (503, {"status": "the issuer's keys are not at hand"})

            del issuer.replies[CONNECT_METADATA]
            with anyio.fail_after(40):
                while (answer := await client.get(url)).status_code != 200:
                    await anyio.sleep(0.1)

    assert answer.json() == {"status": "ok"}


def test_serve_says_that_the_local_issuer_lets_no_agent_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f'[server]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n'
        ran = run_here(
            capsys, "--config", str(write_config(tmp_path, f'{listen}[identity]\nissuer = "local"\n')), "serve"
        )

    assert ran.status == 2
    assert ran.err.splitlines()[:2] == [
        "set-up: a safeguard, not a boundary: the local issuer proves only who is signed in on this machine",
        "mcp-gateway: warning: the local issuer gives agents no token, so none gets in over HTTP: they come in over stdio; "
        "to serve them here, name an OpenID provider in identity.issuer",
    ]


UNREACHED = f'{POSTGRES}password = {{ env = "ORDERS_PASSWORD" }}\n'
UNSET = (
    "warning: targets.orders.password: the environment variable ORDERS_PASSWORD is not set; what needs it is refused"
)


def test_serve_says_which_credential_is_not_at_hand(tmp_path: Path) -> None:
    with serving_process(tmp_path, settings=UNREACHED, first=UNSET.encode()):
        pass


def test_stdio_says_which_credential_is_not_at_hand(tmp_path: Path) -> None:
    config = write_config(tmp_path, f'[identity]\nissuer = "local"\n{UNREACHED}')

    ran = run_script("--config", str(config), "stdio", home=tmp_path)

    assert (ran.status, ran.out) == (0, "")
    assert f"mcp-gateway: {UNSET}\n" in ran.err
    assert BY_HAND not in ran.err


PERMIT = '@id("all") permit (principal, action == Action::"call_api", resource);'
FORBID = '@id("none") forbid (principal, action, resource);'


@pytest.mark.parametrize(("text", "said"), [("", NO_POLICY), (FORBID, NO_PERMIT), (PERMIT, "")])
def test_stdio_says_once_that_every_call_will_be_denied(tmp_path: Path, text: str, said: str) -> None:
    policies = write_private(tmp_path / "policies.cedar", text)
    config = write_config(tmp_path, f'[identity]\nissuer = "local"\n[policy]\npaths = ["{policies}"]\n')

    ran = run_script("--config", str(config), "stdio", home=tmp_path)

    assert (ran.status, ran.out) == (0, "")
    assert [line for line in ran.err.splitlines() if "warning" in line] == [f"mcp-gateway: warning: {said}"] * bool(
        said
    )


def test_serve_says_that_every_call_will_be_denied(tmp_path: Path) -> None:
    with serving_process(tmp_path, first=NO_POLICY.encode()):
        pass


def test_stdio_on_a_terminal_says_whom_it_waits_for(tmp_path: Path) -> None:
    config = write_config(tmp_path, '[identity]\nissuer = "local"\n')
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(
            [SCRIPT, "--config", str(config), "stdio"],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        ) as process:
            try:
                until_said(process, BY_HAND.encode())
            finally:
                process.kill()
    finally:
        os.close(ours)
        os.close(theirs)


@contextmanager
def serving_process(
    tmp_path: Path, *prefix: str, settings: str = "", stdin: int = subprocess.DEVNULL, first: bytes = b""
) -> Iterator[subprocess.Popen[bytes]]:
    """`serve` as a process of its own, once it serves, and has said `first` before; what it says is its `stdout`."""
    config = write_config(tmp_path, f'[server]\nlisten = "127.0.0.1:0"\n[identity]\nissuer = "local"\n{settings}')
    with subprocess.Popen(
        [*prefix, SCRIPT, "--config", str(config), "serve"],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    ) as process:
        try:
            until_said(process, first)
            until_said(process, b"serving http://")
            yield process
        finally:
            process.kill()


def until_said(process: subprocess.Popen[bytes], wanted: bytes) -> None:
    assert process.stdout is not None
    said = b""
    while wanted not in said:
        said += (line := process.stdout.readline())
        assert line, said


def ended_in_good_order(process: subprocess.Popen[bytes], data: Path) -> bool:
    assert process.stdout is not None
    said, status = process.stdout.read(), process.wait(timeout=40)
    assert (status, b"Traceback" in said) == (0, False), said
    return events(data)[-1][0] == "GatewayStopped"


def events(data: Path) -> list[tuple[str, dict[str, object]]]:
    with closing(sqlite3.connect(f"file:{data / 'audit.db'}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT kind, body FROM events ORDER BY sequence").fetchall()
    return [(kind, json.loads(body)) for kind, body in found]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(tmp_path: Path, sent: signal.Signals) -> None:
    with serving_process(tmp_path) as process:
        process.send_signal(sent)
        assert ended_in_good_order(process, tmp_path / "data")
    (started,) = (body for kind, body in events(tmp_path / "data") if kind == "GatewayStarted")
    assert started == {
        "instance": started["instance"],
        "version": __version__,
        "compiled": examination_is_compiled(),
        "doors": ["http", "sse"],
    }


@pytest.mark.requirement("R28")
def test_policies_are_read_anew_by_a_hangup_and_when_they_change(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir(mode=0o700)
    more = folder / "more.cedar"
    with serving_process(tmp_path, settings=f'[policy]\npaths = ["{folder}"]\n') as process:
        more.touch(mode=0o600)
        more.write_text('@id("none") forbid (principal, action, resource);')
        process.send_signal(signal.SIGHUP)
        until_said(process, b"policies_loaded")
        more.write_text("permit")
        until_said(process, b"policies_refused")
        more.unlink()
        until_said(process, b"policies_loaded")
        process.terminate()
        assert ended_in_good_order(process, tmp_path / "data")
    first, second, refused, last = [body for kind, body in events(tmp_path / "data") if kind == "PolicyLoaded"]
    assert first["version"] == last["version"] != second["version"] == refused["version"]
    assert "more.cedar" in str(refused["problems"])
    assert not second.get("problems")


@pytest.mark.requirement("R28")
def test_openapi_documents_are_read_anew_by_a_hangup_and_when_they_change(tmp_path: Path) -> None:
    document = tmp_path / "api.yaml"
    document.touch(mode=0o600)
    document.write_text("openapi: 3.1.0\npaths: {/a: {get: {}}}\n")
    target = '[targets.api]\nkind = "http"\nbase_url = "https://api.example.com"\nlabels = { env = "dev" }\n'
    with serving_process(tmp_path, settings=f'{target}openapi = "{document}"\n') as process:
        document.write_text("openapi: 3.1.0\npaths: {/b: {get: {}}}\n")
        process.send_signal(signal.SIGHUP)
        until_said(process, b"documents_loaded")
        document.write_text("openapi: 3.1.0\npaths: {b: {get: {}}}\n")
        until_said(process, b"documents_refused")
        process.terminate()
        assert ended_in_good_order(process, tmp_path / "data")
    first, second, refused = [body for kind, body in events(tmp_path / "data") if kind == "DocumentsLoaded"]
    assert first["documents"] != second["documents"] == refused["documents"]
    assert "begins with a slash" in str(refused["problems"])


@pytest.mark.requirement("R28")
def test_tables_of_programs_are_read_anew_by_a_hangup_and_when_they_change(tmp_path: Path) -> None:
    file = tmp_path / "programs.toml"
    file.touch(mode=0o600)
    file.write_text('[shopctl]\nsubcommands.reads = "status"\n')
    with serving_process(tmp_path, settings=f'[commands]\nprograms = ["{file}"]\n') as process:
        file.write_text('[shopctl]\nsubcommands.reads = "status list"\n')
        process.send_signal(signal.SIGHUP)
        until_said(process, b"programs_loaded")
        file.write_text("[shopctl]\nreads = true\n")
        until_said(process, b"programs_refused")
        process.terminate()
        assert ended_in_good_order(process, tmp_path / "data")
    first, second, refused = [body for kind, body in events(tmp_path / "data") if kind == "ProgramsLoaded"]
    assert first["version"] != second["version"] == refused["version"]
    assert str(file) in str(first["files"])
    assert second["files"] == refused["files"] != first["files"]
    assert f"{file}:1: shopctl: there is no key 'reads'" in str(refused["problems"])


@pytest.mark.skipif(shutil.which("setsid") is None, reason="setsid of util-linux gives a process its terminal")
def test_a_hangup_of_its_terminal_ends_it_in_good_order(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with serving_process(tmp_path, "setsid", "--ctty", stdin=theirs) as process:
        os.close(theirs)
        process.send_signal(signal.SIGHUP)  # not of its terminal, which is there
        until_said(process, b"policies_unchanged")
        os.close(ours)
        assert ended_in_good_order(process, tmp_path / "data")


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        ignored = heeded_signals()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        heard = heeded_signals()
    finally:
        signal.signal(signal.SIGHUP, before)

    assert (ignored, heard) == (
        [signal.SIGTERM, signal.SIGINT],
        [signal.SIGTERM, signal.SIGINT, signal.SIGHUP],
    )
