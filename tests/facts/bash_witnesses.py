"""Programs that write down that they ran, and bash told to run a text with nothing else on PATH."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

LEAVES = ("ls", "cat", "id", "rm", "grep", "wc", "sudo", "echo", "tar", "git", "systemctl")
WRAPPERS = ("env", "nice", "timeout", "xargs", "nohup", "setsid", "stdbuf", "ionice", "taskset", "find", "sh", "bash")


def make_programs(folder: Path) -> Path:
    """The whole of PATH: witnesses, and the real wrappers."""
    for name in LEAVES:
        program = folder / name
        program.write_text('#!/bin/sh\necho "${0##*/}" >> ran\necho "rm -l id -c x"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for name in WRAPPERS:
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def ran(text: str, *, programs: Path, folder: Path) -> set[str]:
    """The witnesses that bash, or what it ran, has run."""
    subprocess.run(
        [str(shutil.which("bash")), "--norc", "-c", text],
        env={"PATH": str(programs)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    log = folder / "ran"
    return set(log.read_text().split()) if log.exists() else set()
