"""Running `mcp-gateway` for tests: in this process, or as the console script."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from mcp_gateway.cli.main import run
from tests.private import write_private

SCRIPT = Path(sys.executable).with_name("mcp-gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON value."""
        return json.loads(self.out)


def run_here(capsys: pytest.CaptureFixture[str], *arguments: str, given: str | bytes = b"") -> Ran:
    """Run a command in this process; what it sets up for its logs is taken back."""
    capsys.readouterr()
    logs = structlog.get_config()
    stdin = io.TextIOWrapper(io.BytesIO(given if isinstance(given, bytes) else given.encode()))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            status = run(arguments)
    finally:
        structlog.configure(**logs)
    said = capsys.readouterr()
    return Ran(status=status, out=said.out, err=said.err)


def run_at_home(
    capsys: pytest.CaptureFixture[str], *arguments: str, home: Path, environ: Mapping[str, str] | None = None
) -> Ran:
    """Run a command in this process with a home of its own and little else, as `run_script` does in another."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            patch.delenv(name)
        for name, value in {"HOME": str(home), "PATH": os.defpath, **(environ or {})}.items():
            patch.setenv(name, value)
        patch.chdir(home)
        return run_here(capsys, *arguments)


def run_script(*arguments: str, given: str | bytes = b"", home: Path, environ: Mapping[str, str] | None = None) -> Ran:
    """Run the console script, with a home of its own and little else."""
    done = subprocess.run(
        [SCRIPT, *arguments],
        input=given if isinstance(given, bytes) else given.encode(),
        capture_output=True,
        check=False,
        timeout=60,
        cwd=home,
        env={"HOME": str(home), "PATH": os.environ["PATH"], **(environ or {})},
    )
    return Ran(status=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())


def run_on_a_terminal(
    *command: str | Path, columns: int = 80, home: Path | None = None, environ: Mapping[str, str] | None = None
) -> Ran:
    """Run a program whose standard output and error are a terminal; both are in `out`. It must not write much."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, columns))
    with open(leader, "rb", buffering=0) as terminal:  # noqa: PTH123 - it is a descriptor
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=follower,
                stderr=follower,
                check=False,
                timeout=60,
                cwd=home,
                env={"PATH": os.environ["PATH"], **({"HOME": str(home)} if home else {}), **(environ or {})},
            )
        finally:
            os.close(follower)
        said = b""
        with contextlib.suppress(OSError):  # which Linux says at the end
            while piece := terminal.read(65536):
                said += piece
    return Ran(status=done.returncode, out=said.decode(), err="")


def write_config(folder: Path, text: str) -> Path:
    """A configuration of a test's own, with its data beside it."""
    return write_private(folder / "gateway.toml", f'[gateway]\ndata_dir = "{folder / "data"}"\n{text}')
