"""A real OpenSSH server for tests, on loopback, with keys made for it, as the user who runs the tests."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from mcp_gateway.calls import Secret
from tests.peers.parts import missing

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
START_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SSHServer:
    """A running server; as a target's settings it names itself, its user and the one key it accepts."""

    host: str
    port: int
    user: str
    known_hosts: Path
    key: Path
    log: Path

    async def fetch(self, source: Path) -> Secret:
        """What a credential source would give."""
        return Secret(source.read_bytes())


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SSHServer]:
    """`sshd` in the foreground, one for each test process.

    A shell that is not the first (SHLVL) reads no start-up files: commands here are the test's alone, and one that is
    killed leaves no lock of the user's tools behind.
    """
    if SSHD is None:
        missing("there is no sshd", hint="apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    folder.chmod(0o700)
    host_key, user_key = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    for name, key in (("host", host_key), ("user", user_key)):
        key.write_private_key(str(folder / name))
        (folder / name).chmod(0o600)
    (folder / "authorized").write_bytes(user_key.export_public_key())
    (folder / "authorized").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "config").write_text(
        f"""
        Port {port}
        ListenAddress 127.0.0.1
        HostKey {folder / "host"}
        PidFile {folder / "pid"}
        AuthorizedKeysFile {folder / "authorized"}
        PasswordAuthentication no
        KbdInteractiveAuthentication no
        UsePAM no
        StrictModes no
        PermitRootLogin yes
        AcceptEnv *
        SetEnv SHLVL=1
        LogLevel VERBOSE
        MaxStartups 100
        """
    )
    public = host_key.export_public_key().decode().strip()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(folder / "config")], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    try:
        _await_banner(port, process, log)
        yield SSHServer(
            host="127.0.0.1",
            port=port,
            user=getpass.getuser(),
            known_hosts=folder / "known_hosts",
            key=folder / "user",
            log=log,
        )
    finally:
        process.terminate()
        process.wait(timeout=20)


def _await_banner(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            os.sched_yield()
    raise AssertionError(f"sshd did not start: {log.read_text()}")
