"""What nothing that a client sends may bring about: an error in a log, a 5xx, an internal error, a lost loop, a leak."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from tests.fuzz.messages import Message
from tests.fuzz.oracle import Effect
from tests.fuzz.sizes import SEED
from tests.memory import MIB

MAX_FINDINGS = 5
HARMLESS_LOGS = ("Failed to parse message", "notification handler for 'tools/call' raised")
"""Refused messages which the SDK logs as errors; our formatter leaves the texts of exceptions out."""
TROUBLE = re.compile(rb'"code":-32603|"code":"(?:internal|audit_unavailable)"|Traceback \(most recent')
MODEST_GROWTH = 24 * MIB
"""Of a process's memory after it has warmed up; the allocator keeps some of what it was given back."""


@dataclass(slots=True, kw_only=True)
class Findings:
    """What is wrong so far, with the message after which it was seen."""

    door: str
    found: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    possible: Counter[Effect] = field(default_factory=Counter)
    """What the messages so far may have done at the target."""
    done: int = 0
    """How many calls reached the target."""

    def add(self, what: str, *, number: int, message: Message | bytes) -> None:
        """Something that may not be."""
        self.found.append(f"{what}: {self.door}, FUZZ_SEED={SEED} FUZZ_ONLY={number}: {message!r:.6000}")
        if len(self.found) >= MAX_FINDINGS:
            self.check()

    def answered(self, status: int, body: bytes, *, number: int, message: Message | bytes) -> None:
        """Look at one answer."""
        self.statuses[status] += 1
        if not 100 <= status < 500:
            self.add(f"status {status} {body[:300]!r}", number=number, message=message)
        if TROUBLE.search(body):
            self.add(f"trouble {body[:300]!r}", number=number, message=message)

    def effects(self, effects: list[Effect], *, number: int, message: Message | bytes) -> None:
        """Look at what has just reached the target."""
        for effect in effects:
            self.done += 1
            self.possible[effect] -= 1
            if self.possible[effect] < 0:
                self.add(f"nobody asked for {effect}", number=number, message=message)
            if not self.possible[effect]:
                del self.possible[effect]

    def check(self) -> None:
        """Fail with all that was found."""
        assert not self.found, "\n".join(self.found)


@contextmanager
def watched(findings: Findings) -> Iterator[list[str]]:
    """Collect errors of logs and of the event loop, which are all findings; a log that is kept would grow for ever."""
    errors: list[str] = []

    def structured(_: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if method in {"error", "critical", "exception"}:
            errors.append(f"{event!r:.2000}")
        raise structlog.DropEvent

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.getMessage().startswith(HARMLESS_LOGS):
                errors.append(f"{record.name}: {record.getMessage()}: {record.exc_info!r:.1500}")

    before = structlog.get_config()["processors"]
    handler = Handler(level=logging.ERROR)
    root = logging.getLogger()
    kept, root.handlers = root.handlers, [handler]  # the test runner would keep every record, with all its frames
    structlog.configure(processors=[structured])
    logging.disable(logging.WARNING)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(f"event loop: {context!r:.2000}"))
    try:
        yield errors
    finally:
        structlog.configure(processors=before)
        root.handlers = kept
        logging.disable(logging.NOTSET)
        loop.set_exception_handler(None)
    findings.check()


@dataclass(frozen=True, slots=True)
class Held:
    """What this process holds."""

    resident: int
    descriptors: int
    tasks: int

    def __str__(self) -> str:
        """In a report."""
        return f"{self.resident / MIB:.0f} MiB, {self.descriptors} descriptors, {self.tasks} tasks"


def held() -> Held:
    """What this process holds now, without what its allocator keeps of what was given back, where that can be told."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return Held(int(found[1]) * 1024, len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks()))


def is_json_rpc(line: bytes) -> bool:
    """Whether a line is one message."""
    try:
        found = json.loads(line)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("jsonrpc") == "2.0"
