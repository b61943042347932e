from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.callers import LEGACY, MODERN, Caller, CallError, Era, calling
from benchmarks.governed_call import statement
from benchmarks.shop import running_database, running_floor, running_gateway

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"\| (2026-07-28|2025-11-25) \| +(\d+) \| +(\d+) \|(?: +\d+\.\d\d \[\d+\.\d\d-\d+\.\d\d\] \|){3}")

pytestmark = [pytest.mark.usefixtures("postgres_programs"), pytest.mark.timeout(180)]


@pytest.mark.parametrize("program", ["governed_call", "stdio_call"])
def test_it_prints_a_line_for_each_kind_of_work(program: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{program}", "--rounds", "1", "--seconds", "0.1", "--callers", "1"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)

    assert found.returncode == 0, found.stderr
    assert ROW.findall(found.stdout) == [(era, rows, "1") for era in (MODERN, LEGACY) for rows in ("1", "1000")]


def test_stages_are_timed_apart_and_add_up() -> None:
    command = [sys.executable, "-m", "benchmarks.stages", "--rounds", "1", "--calls", "10"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)

    assert found.returncode == 0, found.stderr
    *stages, total = [
        [int(number.replace(",", "")) for number in re.findall(r"[\d,]+(?= \()", line)]
        for line in found.stdout.splitlines()
        if line.endswith(") |")
    ]
    assert len(stages) == 10
    assert min(map(min, stages)) > 0
    for column in range(4):
        assert abs(sum(stage[column] for stage in stages) - total[column]) <= len(stages)


def test_public_servers_are_measured_beside_the_gateway() -> None:
    peers = ["gateway", "raw", "fastmcp"]
    command = [sys.executable, "-m", "benchmarks.public_peers", "--peers", ",".join(peers), "--callers", "1"]
    few = ["--rounds", "1", "--seconds", "0.1"]
    found = subprocess.run([*command, *few], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)

    assert found.returncode == 0, found.stderr
    lines = re.findall(r"\| +(\d+) \| +1 \| ([\w ]+) \| +\d", found.stdout)
    assert lines == [(rows, name) for rows in ("1", "1000") for name in ("floor", *peers)]


def test_a_peer_that_is_not_known_is_named() -> None:
    command = [sys.executable, "-m", "benchmarks.public_peers", "--peers", "gateway,toolbx"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)

    assert found.returncode == 2
    assert "--peers: 'toolbx' is none of gateway, raw, fastmcp, toolbox, dbhub" in found.stderr


@pytest.mark.anyio
async def test_both_servers_run_the_same_work_and_an_error_ends_it(tmp_path: Path) -> None:
    eras: tuple[Era, ...] = (MODERN, LEGACY)
    with (
        running_database() as database,
        running_floor(database) as floor,
        running_gateway(database, tmp_path) as gateway,
    ):
        for server in (floor, gateway):
            for era in eras:
                caller = Caller(server, era=era)
                await caller.open()
                assert len(await calling([caller], sql=statement(1, texts="values"), seconds=0.1)) > 0
                with pytest.raises(ExceptionGroup) as raised:
                    await calling([caller], sql=lambda _: "SELECT 1 / (id - id) FROM customers", seconds=5)
                assert raised.group_contains(CallError)
                caller.close()
