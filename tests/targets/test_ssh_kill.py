"""The command that kills another, as the shells read it that an account may have."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from mcp_gateway.targets.ssh import KILL_COMMAND
from tests.peers.parts import missing

HOST = """
import os, signal, subprocess, sys

shell, path = sys.argv[1:]
command = subprocess.Popen([shell, "-c", "sleep 600; true"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    kill = subprocess.run(
        [shell, "-c", sys.stdin.read()],
        env={"PATH": path}, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, check=False,
    )
    said = kill.stdout.decode().strip()
    if said:
        command.wait(timeout=30)
    print(said, command.poll())
finally:
    if command.poll() is None:
        os.killpg(command.pid, signal.SIGKILL)
        command.wait()
"""
"""A host's part: two sessions of one connection, each the account's shell with a command."""


def killed_beside(shell: str, *, path: str = "/usr/bin:/bin") -> list[str]:
    """What the command said, and how the other one ended."""
    program = shutil.which(shell)
    if program is None:
        missing(f"the real {shell} is the witness here", hint=f"apt-get install {shell.removeprefix('bsd-')}")
    done = subprocess.run(
        [sys.executable, "-c", HOST, program, path],
        input=KILL_COMMAND,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.requirement("R9")
@pytest.mark.parametrize("shell", ["dash", "bash", "fish", "tcsh", "bsd-csh", "zsh", "ksh", "mksh", "yash"])
def test_a_command_is_killed_whatever_the_shell_of_the_account_is(shell: str) -> None:
    assert killed_beside(shell) == ["killed", "-9"]


def test_a_host_that_lists_no_processes_does_not_say_that_it_killed_one() -> None:
    assert killed_beside("dash", path="/nowhere") == ["None"]
