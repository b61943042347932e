from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio
import asyncssh
import pytest

from mcp_gateway.calls import Secret
from mcp_gateway.errors import OutcomeLost, TargetTimeout, TargetUnavailable
from mcp_gateway.facts.shell import quote
from mcp_gateway.targets.capture import MARGIN_BYTES
from mcp_gateway.targets.ssh import Ran, SSHConnector
from tests.peers.recording_ssh import RecordingSSH, recording_ssh
from tests.peers.relay import Relay, relay
from tests.peers.sshd import SSHServer

pytestmark = pytest.mark.anyio

UNCONFIRMED = "is being killed, which the host has not confirmed"
ENDED = f"(was killed|{UNCONFIRMED})"
"""A host that has much to do may be told to kill a command and do it a little later."""


async def run(
    server: SSHServer | RecordingSSH, command: str, *, stdin: bytes = b"", seconds: float = 20, limit: int = 65536
) -> Ran:
    connector = SSHConnector(server, fetch=server.fetch)
    try:
        return await connector.run(command, stdin=stdin, seconds=seconds, max_bytes=limit)
    finally:
        with anyio.CancelScope(shield=True):
            await connector.aclose()


async def test_a_command_runs_and_tells_its_exit_status(ssh_server: SSHServer) -> None:
    ran = await run(ssh_server, "echo out; echo err >&2; exit 3")

    assert (ran.exit_status, ran.signal, ran.stdout.head, ran.stderr.head) == (3, None, b"out\n", b"err\n")


async def test_quoted_words_arrive_as_they_are(ssh_server: SSHServer) -> None:
    words = ["A=b", "it's", "$HOME", "`id`", "a b", "", "*", "\n", "!!", '"', "\\", "-n"]

    ran = await run(ssh_server, quote(["printf", "%s\\0", *words]))

    assert ran.stdout.head.split(b"\0")[:-1] == [word.encode() for word in words]


async def test_standard_input_arrives_and_ends(ssh_server: SSHServer) -> None:
    data = bytes(range(256)) * 2000

    ran = await run(ssh_server, "cat | wc -c", stdin=data)

    assert ran.stdout.head.strip() == str(len(data)).encode()


async def test_a_command_that_reads_no_input_does_not_fail_by_it(ssh_server: SSHServer) -> None:
    assert (await run(ssh_server, "true", stdin=b"x" * 1_000_000)).exit_status == 0


async def test_a_signal_is_told_apart_from_an_exit(ssh_server: SSHServer) -> None:
    ran = await run(ssh_server, "kill -TERM $$")

    assert (ran.exit_status, ran.signal) == (None, "TERM")


async def test_nothing_of_the_gateways_environment_goes_along(
    ssh_server: SSHServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_CANARY", "canary")
    monkeypatch.setenv("MCP_GATEWAY_CANARY", "canary")

    assert b"canary" not in (await run(ssh_server, "env")).stdout.head


async def test_a_command_that_takes_too_long_is_killed_at_the_host(ssh_server: SSHServer, tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    with pytest.raises(TargetTimeout, match=rf"did not end within 1 s and {ENDED}$"):
        await run(ssh_server, f"echo $$ > {pid}; exec sleep 600", seconds=1)

    await gone(int(pid.read_text()))


@pytest.mark.requirement("R8")
async def test_a_host_that_falls_silent_is_left_in_the_background(ssh_server: SSHServer, tmp_path: Path) -> None:
    async with relay(ssh_server.port) as way:
        connector = SSHConnector(behind(way, ssh_server, folder=tmp_path), fetch=ssh_server.fetch)
        before = ssh_server.log.read_text().count("Starting session")

        async def fall_silent() -> None:
            while ssh_server.log.read_text().count("Starting session") == before:
                await anyio.sleep(0.01)
            way.mode = "silence"

        async with anyio.create_task_group() as group:
            group.start_soon(fall_silent)
            with pytest.raises(TargetTimeout, match=f"did not end within 3 s and {UNCONFIRMED}$"):
                await connector.run("sleep 5", stdin=b"", seconds=3, max_bytes=1000)
            group.cancel_scope.cancel()
        assert connector._leaving, "it is still being ended"
        way.reset()
        with anyio.fail_after(20):
            await connector.aclose()
        assert not connector._leaving


@pytest.mark.requirement("R9")
async def test_a_cancelled_call_is_killed_at_the_host(ssh_server: SSHServer, tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    async with anyio.create_task_group() as group:
        group.start_soon(run, ssh_server, f"echo $$ > {pid}; exec sleep 600")
        with anyio.fail_after(20):
            while not pid.exists() or not pid.read_text().strip():
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()

    await gone(int(pid.read_text()))


@pytest.mark.requirement("R8", "R9")
@pytest.mark.parametrize("ends", ["cancelled", "out of time"])
async def test_a_call_that_ends_before_the_host_confirms_its_command_is_killed_at_the_host(
    ssh_server: SSHServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    pid = tmp_path / "pid"
    request = asyncssh.SSHClientChannel._make_request

    async def held(channel: asyncssh.SSHClientChannel[bytes], name: bytes, *arguments: bytes) -> bool | None:
        monkeypatch.undo()
        way.flows.clear()
        return await request(channel, name, *arguments)

    async with relay(ssh_server.port) as way:
        connector = SSHConnector(behind(way, ssh_server, folder=tmp_path), fetch=ssh_server.fetch)
        monkeypatch.setattr(asyncssh.SSHClientChannel, "_make_request", held)
        scope = anyio.CancelScope()

        async def call() -> None:
            seconds = 2 if ends == "out of time" else 60
            with scope, pytest.raises(TargetTimeout, match=ENDED):
                await connector.run(f"echo $$ > {pid}; exec sleep 600", stdin=b"", seconds=seconds, max_bytes=1000)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            with anyio.fail_after(20):
                while not pid.exists() or not pid.read_text().strip():
                    await anyio.sleep(0.01)
                if ends == "cancelled":
                    scope.cancel()
                while not connector._leaving:
                    await anyio.sleep(0.01)
            way.flows.set()
        await gone(int(pid.read_text()))
        await connector.aclose()


def behind(way: Relay, server: SSHServer, *, folder: Path) -> SSHServer:
    """A server as it is reached by a relay."""
    known = folder / "known_hosts"
    known.write_text(server.known_hosts.read_text().replace(str(server.port), str(way.port)))
    return replace(server, port=way.port, known_hosts=known)


async def gone(pid: int) -> None:
    with anyio.fail_after(30):
        while Path(f"/proc/{pid}").exists():
            await anyio.sleep(0.01)


@pytest.mark.requirement("R19")
async def test_endless_output_keeps_head_and_tail(ssh_server: SSHServer) -> None:
    ran = await run(ssh_server, "seq 1 200000", limit=4096)

    assert ran.stdout.head.startswith(b"1\n2\n3\n")
    assert ran.stdout.tail.endswith(b"199999\n200000\n")
    assert ran.stdout.dropped > 1_000_000
    assert len(ran.stdout.head) == len(ran.stdout.tail) == 1024 + MARGIN_BYTES


@pytest.mark.requirement("R36")
async def test_an_unknown_host_key_is_an_error_that_says_so(ssh_server: SSHServer, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.write_text("")

    with pytest.raises(
        TargetUnavailable,
        match=r"^the known_hosts file .* cannot be used: no host key of 127\.0\.0\.1:\d+ is in it; add it after checking it",
    ):
        await run(replace(ssh_server, known_hosts=empty), "true")


@pytest.mark.requirement("R36")
async def test_a_changed_host_key_is_an_error_that_says_so(ssh_server: SSHServer, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    changed = tmp_path / "known_hosts"
    changed.write_text(f"[127.0.0.1]:{ssh_server.port} {other}")

    with pytest.raises(TargetUnavailable, match="somebody stands in between"):
        await run(replace(ssh_server, known_hosts=changed), "true")


async def test_a_host_key_belongs_to_the_environment_of_an_approval(ssh_server: SSHServer, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    more = tmp_path / "known_hosts"
    more.write_text(ssh_server.known_hosts.read_text() + f"[127.0.0.1]:{ssh_server.port} {other}")

    def keys(server: SSHServer) -> str:
        return SSHConnector(server, fetch=server.fetch).host_keys()

    assert keys(ssh_server) == keys(ssh_server)
    assert keys(ssh_server) != keys(replace(ssh_server, known_hosts=more))


async def test_a_refused_key_is_an_error_that_says_so(ssh_server: SSHServer, tmp_path: Path) -> None:
    stranger = tmp_path / "key"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(stranger))

    with pytest.raises(TargetUnavailable, match=r"refused the key of user"):
        await run(replace(ssh_server, key=stranger), "true")


async def test_an_unreadable_key_says_nothing_of_itself(ssh_server: SSHServer) -> None:
    async def fetch(_: Path) -> Secret:
        return Secret("canary-not-a-key")

    with pytest.raises(TargetUnavailable) as caught:
        await SSHConnector(ssh_server, fetch=fetch).run("true", stdin=b"", seconds=5, max_bytes=1000)

    assert "canary" not in str(caught.value)


async def test_a_host_that_is_away_is_an_error_that_says_so(ssh_server: SSHServer, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(ssh_server.known_hosts.read_text().replace(f":{ssh_server.port} ", ":1 "))

    with pytest.raises(TargetUnavailable, match=r"^no SSH connection to 127\.0\.0\.1:1: ConnectionRefusedError$"):
        await run(replace(ssh_server, port=1, known_hosts=known), "true")


async def test_nothing_of_the_users_configuration_is_used(
    ssh_server: SSHServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home" / ".ssh"
    home.mkdir(parents=True)
    (home / "config").write_text("Host *\n  ProxyCommand touch canary\n  User nobody\n")
    (home / "known_hosts").write_text(ssh_server.known_hosts.read_text())
    monkeypatch.setenv("HOME", str(home.parent))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    monkeypatch.chdir(home.parent)

    assert (await run(ssh_server, "echo ok")).stdout.head == b"ok\n"
    assert not (home.parent / "canary").exists()


async def test_a_check_names_the_server(ssh_server: SSHServer) -> None:
    assert "OpenSSH" in await SSHConnector(ssh_server, fetch=ssh_server.fetch).check()


@pytest.mark.requirement("I3")
async def test_a_host_that_is_lost_before_it_confirms_a_command_may_have_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def begins_and_dies(process: asyncssh.SSHServerProcess[bytes], command: str) -> bool:
        begun.append(command)
        process.channel.get_connection().abort()
        return True

    monkeypatch.setattr(asyncssh.SSHServerProcess, "exec_requested", begins_and_dies, raising=False)
    async with recording_ssh(tmp_path) as host:
        with pytest.raises(OutcomeLost, match="lost after the command was sent"):
            await run(host, "rm -r /srv/old")

    assert begun == ["rm -r /srv/old"]


async def test_a_host_that_refuses_a_command_has_not_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncssh.SSHServerProcess, "exec_requested", lambda process, command: False, raising=False)
    async with recording_ssh(tmp_path) as host:
        with pytest.raises(TargetUnavailable, match="does not take the command: Session request failed"):
            await run(host, "rm -r /srv/old")


async def test_a_host_that_is_lost_before_a_channel_is_open_has_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(connection: asyncssh.SSHServerConnection, *_: object) -> object:
        connection.abort()
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "gone")

    async with recording_ssh(tmp_path) as host:
        monkeypatch.setattr(asyncssh.SSHServerConnection, "_process_session_open", dies)
        with pytest.raises(TargetUnavailable, match="opens no channel: SSH connection closed"):
            await run(host, "rm -r /srv/old")
