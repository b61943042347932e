"""Processors that stay awake while something is measured.

A processor that has nothing to do is halted, a virtual one is taken away from its machine for as long, and to have it back
takes as long as a good part of a small call. Where a call wakes one process after another, most of what is measured on an
idle machine may be that. Here each processor has something to do that gives way to anything else at once (SCHED_IDLE), as on
a machine with other work, or one whose kernel does not halt (`idle=poll`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

AWAKE = "no processor is halted meanwhile"
SPIN = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)); os.write(1, b'.')\nwhile True: pass"


@contextmanager
def awake(*, wanted: bool) -> Iterator[None]:
    """No processor is without work until the block ends."""
    processors = os.sched_getaffinity(0) if wanted else ()
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE) for _ in processors]
    try:
        for one in spinning:
            assert one.stdout is not None
            assert one.stdout.read(1) == b".", "it gives way"
        yield
    finally:
        for one in spinning:
            one.kill()
            one.communicate()
