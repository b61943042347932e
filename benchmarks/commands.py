"""What the facts of a command cost, never seen before. Run: `python benchmarks/commands.py`.

Medians of rounds, in microseconds of CPU time for each command, over the ordinary and the hostile commands of the tests.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from mcp_gateway.facts.program_files import built_in
from mcp_gateway.facts.shell import examine_shell

ROUNDS = 15
SETS = Path(__file__).parents[1] / "tests" / "facts" / "commands"


def measure(commands: list[str]) -> float:
    """Microseconds for each."""
    started = time.process_time_ns()
    for command in commands:
        examine_shell(command=command)
    return (time.process_time_ns() - started) / 1000 / len(commands)


def main() -> None:
    """Print a table."""
    started = time.process_time_ns()
    built_in()
    print(f"reading what is known of programs, once: {(time.process_time_ns() - started) / 1_000_000:.0f} ms")
    for name in ("ordinary", "hostile"):
        lines = (SETS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        commands = [line for line in lines if line and not line.startswith("#")]
        rounds = [measure(commands) for _ in range(ROUNDS)]
        print(f"{name}: {statistics.median(rounds):.1f} us for each of {len(commands)} commands")


if __name__ == "__main__":
    main()
