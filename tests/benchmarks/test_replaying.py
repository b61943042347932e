from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_recorded_call_is_decided_as_it_was() -> None:
    command = [sys.executable, "-m", "benchmarks.replaying", "--calls", "300"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)

    assert found.returncode == 0, found.stderr
    assert re.findall(r"^ +(\d+) +(\d+) +[\d,]+$", found.stdout, re.MULTILINE) == [("20", "300"), ("500", "300")]
