"""`mcp-gateway` on a machine whose kernel gives no random bytes from some moment on: the program of that scenario.

A filter of system calls (seccomp) answers every `getrandom` with EAGAIN, whichever library asks, in every thread; it
cannot be taken back. It is put in place when a file appears.

    python -I without_entropy.py FILE --config gateway.toml serve
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
import threading
import time
from pathlib import Path

from mcp_gateway.cli.main import main

CALLS = {"x86_64": (318, 317), "aarch64": (278, 277)}
"""The numbers of `getrandom` and `seccomp`."""
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOWED, FAILS = 0x7FFF0000, 0x00050000
LOOK_SECONDS = 0.02


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def give_no_more() -> None:
    """Put the filter in place."""
    getrandom, seccomp = CALLS[platform.machine()]
    steps = (
        (LOAD_NUMBER, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, getrandom),
        (RETURN, 0, 0, FAILS | errno.EAGAIN),
        (RETURN, 0, 0, ALLOWED),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(
        seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(program)
    )
    if failed:
        raise OSError(ctypes.get_errno(), "the filter was not taken")


def when_there_is(file: Path) -> None:
    """Wait for it, and say that it is done by taking it away."""
    while not file.exists():
        time.sleep(LOOK_SECONDS)
    give_no_more()
    try:
        os.urandom(1)
    except BlockingIOError:
        file.unlink()


if __name__ == "__main__":
    threading.Thread(target=when_there_is, args=(Path(sys.argv.pop(1)),), daemon=True).start()
    main()
