"""Debian's PgBouncer as a peer: a connection pooler in front of a test's database, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.parts import missing
from tests.peers.postgres import LOOPBACK, START_ATTEMPTS, PostgresDatabase, as_user, free_port

CONFIGURATION = """\
[databases]
{name} = host={host} port={server_port}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
ignore_startup_parameters = {ignored}
"""
START_SECONDS, POLL_SECONDS = 20.0, 0.02


@contextmanager
def running_pgbouncer(database: PostgresDatabase, *, mode: str, ignored: str = "") -> Iterator[int]:
    """Run one, and give its port; without the program the test is skipped, and fails in CI.

    `mode` is one of `session`, `transaction` and `statement`; `ignored` are names of settings, with commas between, that
    clients ask for and that it keeps to itself.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing("there is no pgbouncer", hint="apt-get install pgbouncer")
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{database.user}" "{database.password}"\n')
        for _ in range(START_ATTEMPTS):
            port = free_port()
            configuration.write_text(
                CONFIGURATION.format(
                    name=database.name,
                    host=LOOPBACK,
                    server_port=database.port,
                    port=port,
                    users=users,
                    mode=mode,
                    ignored=ignored,
                )
            )
            process = subprocess.Popen(
                [program, "--quiet", configuration],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **as_user(),
            )
            try:
                if _listens(port, process):
                    yield port
                    return
            finally:
                process.terminate()
                process.wait(timeout=20)
        raise AssertionError("pgbouncer did not start")


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return True
    return False
