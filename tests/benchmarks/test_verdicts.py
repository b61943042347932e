from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_verdicts_are_right_and_no_token_takes_long() -> None:
    command = [sys.executable, "-m", "benchmarks.verdicts", "--rounds", "3"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)

    assert found.returncode == 0, found.stderr
    rows = re.findall(r"^\| (\w+) +\| +(\d+) \|", found.stdout, re.MULTILINE)
    assert [kind for kind, _ in rows] == ["form", "signature", "claims", "accepted"]
    assert sum(int(number) for _, number in rows) >= 450
