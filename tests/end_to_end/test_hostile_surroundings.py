"""The gateway in a folder, a home and an environment of somebody else's: it works, and takes nothing of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

import pytest

from tests.cli.running import SCRIPT
from tests.end_to_end.surroundings import Surroundings, hostile, touched, traced
from tests.faults.conftest import targets
from tests.faults.gateways import COMMAND, QUERY, REQUEST, Targets, standing
from tests.invariants.world import World
from tests.peers.issuer import FakeIssuer, server_certificate

__all__ = ["targets"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

LAUNCHER = Path(__file__).parents[2] / "scripts" / "mcp-gateway"
STARTS = {"the installed command, by a link": ["LINK"], "python -I -m": [sys.executable, "-I", "-m", "mcp_gateway"]}
BEFORE_ANY_CODE = ("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
"""Heeded by Python itself, isolated or not: the installed command takes them away, and nothing else can."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeIssuer]:
    """An HTTPS server whose authority the environment names."""
    server, _ = server_certificate(tmp_path)
    with FakeIssuer(tls=server) as found:
        yield found


@pytest.fixture
def surroundings(tmp_path: Path, site: FakeIssuer) -> Iterator[Surroundings]:
    with hostile(tmp_path / "hostile", authority=tmp_path / "issuer.pem") as found:
        yield found


def command(start: str, folder: Path) -> list[str]:
    """What a user types; the link lies where pipx and uv put theirs."""
    link = folder / "mcp-gateway"
    link.symlink_to(SCRIPT)
    return [str(link) if word == "LINK" else word for word in STARTS[start]]


def https(name: str, url: str, more: str = "") -> str:
    """A target behind TLS."""
    return (
        f'[targets.{name}]\nkind = "http"\nlabels = {{ env = "dev" }}\nbase_url = "{url}"\n'
        f'networks = ["127.0.0.0/8"]\n{more}\n'
    )


@pytest.mark.requirement("R33")
@pytest.mark.parametrize("start", STARTS)
async def test_a_gateway_serves_and_takes_nothing_of_its_surroundings(
    tmp_path: Path, world: World, targets: Targets, site: FakeIssuer, surroundings: Surroundings, start: str
) -> None:
    log = tmp_path / "trace"
    words = [*traced(log), *command(start, tmp_path)]
    environ = {n: v for n, v in surroundings.environ.items() if start[:6] != "python" or n not in BEFORE_ANY_CODE}
    own = f'tls_ca = "{tmp_path / "issuer.pem"}"'
    more = https("doubted", site.url) + https("believed", site.url, own)
    async with standing(tmp_path / "gateway", targets, world=world, more=more) as gateway:
        # The shell stands in for whoever starts it there. It is replaced, and what follows on it begins with Python's words.
        there = f'cd {quote(str(surroundings.work))} && shift 3 && exec {" ".join(map(quote, words))} "$@"'
        await gateway.start(under=["/bin/sh", "-c", there], environ=environ)
        assert [await gateway.code(*call) for call in (QUERY, REQUEST)] == ["ok", "ok"]
        # On a machine with much to do a command may take longer than its target's time; that it went there is enough.
        assert await gateway.code(*COMMAND) in {"ok", "timeout"}
        assert site.requests == []
        arguments = {"path": "x", "method": "GET"}
        assert await gateway.code("call_api", arguments | {"target": "doubted"}) == "target_unavailable"
        assert site.requests == []
        assert await gateway.code("call_api", arguments | {"target": "believed"}) == "ok"
        assert await gateway.end() == 0

    assert surroundings.taken() == []
    assert touched(log, surroundings) == []


@pytest.mark.parametrize(
    "words", [["-m", "mcp_gateway"], ["-P", "-m", "mcp_gateway"], ["-E", "-s", "-m", "mcp_gateway"]]
)
def test_a_python_that_is_not_isolated_serves_nothing(tmp_path: Path, world: World, words: list[str]) -> None:
    """Python has run what it found by then; the gateway does not add to it what it knows."""
    world.no_store = "nothing is served"
    done = subprocess.run([sys.executable, *words, "--version"], capture_output=True, cwd=tmp_path, check=False, env={})

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"mcp-gateway: run the script mcp-gateway, or python -I -m mcp_gateway\n"


def test_without_a_python_beside_it_the_command_says_what_to_do(tmp_path: Path, world: World) -> None:
    world.no_store = "nothing is served"
    alone = tmp_path / "mcp-gateway"
    alone.write_bytes(LAUNCHER.read_bytes())
    alone.chmod(0o755)
    done = subprocess.run([alone, "--version"], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"mcp-gateway: there is no Python beside {alone}; install it into an environment of its own (venv, pipx, uv tool)\n"
    )

    python = tmp_path / "python"
    for make in (lambda: python.write_text("#!/bin/sh\n"), lambda: python.symlink_to(tmp_path / "absent")):
        make()
        done = subprocess.run([alone, "--version"], capture_output=True, text=True, cwd=tmp_path, check=False)
        python.unlink()

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"mcp-gateway: {python} leads to no program that this user can run; see that it is there, and that this user "
            "may enter every folder on the way\n"
        )
