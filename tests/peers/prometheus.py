"""Debian's Prometheus as a peer: an HTTP API that nobody here wrote, on loopback, one for each test process.

It wants a name and a password, watches itself, so that `up` has a value in time, and lets its admin API take snapshots: an
effect that can be counted. The service that the package may have started is neither used nor touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.peers.parts import missing
from tests.peers.postgres import LOOPBACK, START_ATTEMPTS, free_port

USER = "gateway"
PASSWORD = "a-password-of-tests-only"
BCRYPTED = "$2b$04$abcdefghijklmnopqrstuub0.Ej0.kp21pvJEeSXlKlYm6eJLAIv6"
"""Of the password, as Prometheus wants it."""
START_SECONDS = 20.0
POLL_SECONDS = 0.05

CONFIGURATION = f"""
global: {{ scrape_interval: 500ms, scrape_timeout: 400ms }}
scrape_configs:
  - job_name: itself
    basic_auth: {{ username: {USER}, password: {PASSWORD} }}
    static_configs: [{{ targets: ["%s"] }}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A running server."""

    port: int
    data: Path
    user: str = USER
    password: str = PASSWORD

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{LOOPBACK}:{self.port}"

    def client(self) -> httpx2.Client:
        """A client that may do everything."""
        return httpx2.Client(base_url=self.url, auth=(self.user, self.password), trust_env=False)

    def until_up(self) -> None:
        """Wait until `up` has a value: a server looks at itself only some seconds after its start."""
        end = time.monotonic() + START_SECONDS
        with self.client() as client:
            while not client.get("/api/v1/query", params={"query": "up == 1"}).json()["data"]["result"]:
                assert time.monotonic() < end, "prometheus does not watch itself"
                time.sleep(POLL_SECONDS)

    def snapshots(self) -> list[Path]:
        """What the admin API was made to write."""
        return sorted((self.data / "snapshots").glob("*"))


@contextmanager
def running_prometheus(program: str, folder: Path) -> Iterator[Prometheus]:
    """Start a server whose data lie in this folder; end it, by its id, with the block."""
    for _ in range(START_ATTEMPTS):
        peer = Prometheus(port=free_port(), data=folder / "data")
        (folder / "prometheus.yml").write_text(CONFIGURATION % f"{LOOPBACK}:{peer.port}")
        (folder / "web.yml").write_text(f"basic_auth_users: {{ {USER}: {BCRYPTED} }}\n")
        command = [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--web.config.file={folder / 'web.yml'}",
            f"--web.listen-address={LOOPBACK}:{peer.port}",
            f"--storage.tsdb.path={peer.data}",
            "--web.enable-admin-api",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env={"PATH": os.environ["PATH"]}
            )
        try:
            # Another process can take the free port before the server binds it; then it ends, and there is a next one.
            if _answers(peer, process):
                yield peer
                return
        finally:
            process.terminate()
            process.wait(timeout=20)
    raise AssertionError(f"prometheus did not start: {(folder / 'log').read_text()}")


def _answers(peer: Prometheus, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + START_SECONDS
    with peer.client() as client:
        while time.monotonic() < end and process.poll() is None:
            try:
                if client.get("/-/ready").status_code == 200:
                    return True
            except httpx2.TransportError:
                pass
            time.sleep(POLL_SECONDS)
    return False


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One server for all tests of this process; without the program tests are skipped, and fail in CI."""
    program = shutil.which("prometheus")
    if program is None:
        missing("there is no prometheus", hint="apt-get install prometheus")
    with running_prometheus(program, tmp_path_factory.mktemp("prometheus")) as found:
        yield found
