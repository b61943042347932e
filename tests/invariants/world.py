"""Where everything of one test's gateway lies, and what was seen of it from outside while the test ran.

A test, or the `conftest` of its folder, fills a `World`; `checks` judges it when the test is over. Nothing here asks
the gateway: the store is read with SQLite alone, processes by `/proc`, targets by their own logs (`witnesses`).
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson
import zstandard

from mcp_gateway.audit.files import DATABASE
from mcp_gateway.events import EVENT_KINDS

Key = TypeVar("Key")
LOOK_SECONDS = 0.05
LATELY = 500
"""Events back."""
"""Between looks at the processes where clients are answered faster than that."""
HAS_PROC = Path("/proc/self/fd").exists()
PROGRAMS = (b"/mcp-gateway", b"/faults/watched.py", b"/faults/starved.py", b"/faults/without_entropy.py")
"""Paths that end so are a gateway's program."""
CALL_ID = re.compile(rb'"call_id" ?: ?"([0-9a-f-]{36})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One thing that reached a target, as the target's own log has it."""

    target: str
    what: str
    """The statement, command or request line."""
    at: datetime | None = None
    """When, by the witness's clock; this machine's, too."""
    call_id: str | None = None
    """The call it belongs to, where the witness can tell."""
    intents: frozenset[str] | None = None
    """Calls whose intents an independent reader found open in the store at that moment, where it looked."""
    own: bool = False
    """The gateway's own look at a catalog, or a health check."""
    kills: bool = False
    """It may be there only to kill what a call has started."""


class Witness(Protocol):
    """Something outside the gateway that saw what reached a target."""

    def effects(self) -> list[Effect]:
        """All of it, in order."""

    def left_open(self) -> list[str]:
        """Sessions of the gateway that are still open at the target, described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One event as it is stored."""

    sequence: int
    at: str
    call_id: str | None
    kind: str
    body: dict[str, Any]

    @property
    def ends(self) -> bool:
        """Whether it is an outcome."""
        return self.kind in EVENT_KINDS and EVENT_KINDS[self.kind].ends_call


@dataclass(frozen=True, kw_only=True)
class Store:
    """One audit store, read once; what thousands of calls are judged by is found once."""

    data_dir: Path
    rows: tuple[Row, ...] = ()
    results: dict[str, bytes] = field(default_factory=dict)
    """Call id to the masked result, decompressed."""
    open_intents: frozenset[str] = frozenset()

    def of(self, call_id: str | None, *kinds: str) -> list[Row]:
        """A call's events, of these kinds or of all."""
        return [row for row in self._by_call.get(call_id, ()) if not kinds or row.kind in kinds]

    def calls(self) -> list[str]:
        """Every call that has an event."""
        return [call_id for call_id in self._by_call if call_id is not None]

    def history(self, approval_id: str) -> list[Row]:
        """An approval's events."""
        return self._by_approval.get(approval_id, [])

    @cached_property
    def _by_call(self) -> dict[str | None, list[Row]]:
        return _grouped(self.rows, key=lambda row: row.call_id)

    @cached_property
    def _by_approval(self) -> dict[str, list[Row]]:
        return _grouped(
            (row for row in self.rows if "approval_id" in row.body), key=lambda row: row.body["approval_id"]
        )


def _grouped(rows: Iterable[Row], *, key: Callable[[Row], Key]) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def read_store(data_dir: Path) -> Store:
    """Read a store beside whoever has it open."""
    with closing(_open(data_dir)) as connection:
        connection.execute("BEGIN")
        rows = connection.execute("SELECT sequence, at, call_id, kind, body FROM events ORDER BY sequence").fetchall()
        results = connection.execute("SELECT call_id, data FROM results").fetchall()
        intents = connection.execute("SELECT call_id FROM intents").fetchall()
    return Store(
        data_dir=data_dir,
        rows=tuple(
            Row(sequence=sequence, at=at, call_id=call_id, kind=kind, body=json.loads(body))
            for sequence, at, call_id, kind, body in rows
        ),
        results={call_id: zstandard.ZstdDecompressor().decompress(data) for call_id, data in results},
        open_intents=frozenset(call_id for (call_id,) in intents),
    )


def open_intents(data_dir: Path) -> frozenset[str]:
    """Calls that have started and not ended, as durable at this moment."""
    try:
        with closing(_open(data_dir)) as connection:
            return frozenset(call_id for (call_id,) in connection.execute("SELECT call_id FROM intents"))
    except sqlite3.Error:
        return frozenset()


def intents_before(data_dir: Path) -> frozenset[str]:
    """Calls that have started, as durable at this moment, and may be why something arrives at a target just now.

    They have not ended; or were broken off a short while ago, or closed for a gateway that was killed, which can be
    recorded while their request still travels.
    """
    broken_off = f"""
        SELECT call_id FROM events WHERE kind IN ('Cancelled', 'TimedOut', 'OutcomeUnknown')
        AND sequence > (SELECT max(sequence) FROM events) - {LATELY}
    """
    try:
        with closing(_open(data_dir)) as connection:
            found = connection.execute(f"SELECT call_id FROM intents UNION {broken_off}")
            return frozenset(call_id for (call_id,) in found)
    except sqlite3.Error:
        return frozenset()


def _open(data_dir: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{data_dir / DATABASE}?mode=ro", uri=True, isolation_level=None, timeout=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One answer as a client got it, with what was durable at that moment."""

    content: dict[str, Any]
    is_error: bool
    code: str
    call_id: str
    recorded: str | None
    """The code of `Answered`; None when there was none yet."""
    result: bytes | None
    """The recorded result."""


@dataclass(slots=True, kw_only=True)
class World:
    """What a test says about its gateway. Everything but the stores may stay empty."""

    data_dirs: list[Path] = field(default_factory=list)
    no_store: str = ""
    """Why there is no store to judge, where there is none."""
    shared: str = ""
    """Why its gateway outlives the test, where it does: who started it judges it when it has ended."""
    unfinished: str = ""
    """Why an intent may be open at the end: nobody starts this test's gateway again."""
    witnesses: list[Witness] = field(default_factory=list)
    canaries: dict[str, bytes] = field(default_factory=dict)
    """Name to value: credentials of targets, and values of theirs that have to be masked."""
    left: dict[str, bytearray] = field(default_factory=dict)
    """Name to bytes that left the gateway: what clients got, standard error, logs."""
    folders: list[Path] = field(default_factory=list)
    """Folders whose files are searched for canaries: data, temporary files, logs."""
    sources: set[Path] = field(default_factory=set)
    """Files and folders below those where canaries belong: a credential's own file, a target's data."""
    told: list[Told] = field(default_factory=list)
    processes: dict[int, str] = field(default_factory=dict)
    """Gateways and their children that were seen, to their start times: they have to be gone when the test is over."""
    looked_at: float = float("-inf")
    """When processes were last looked at."""
    moved: str = ""
    """Why the times of events and of witnesses cannot be compared, where they cannot."""
    expected_errors: frozenset[str] = frozenset()
    """Codes of internal trouble that this test provokes; else none may be answered."""

    def add_log(self, name: str, content: bytes) -> None:
        """Bytes that left the gateway."""
        self.left.setdefault(name, bytearray()).extend(content + b"\n")

    def hear(self, content: Any, *, is_error: bool, raw: bytes = b"") -> None:
        """A client has just got this answer: look at once at what is durable, and at the processes."""
        assert self.data_dirs, "say where the store is before a client is answered: world.data_dirs"
        self.add_log("answers to clients", raw or orjson.dumps(content))
        if time.monotonic() - self.looked_at > LOOK_SECONDS:
            self.look()
        if not isinstance(content, dict):
            return
        error = content.get("error") if is_error else None
        call_id = str((error or content).get("call_id") or "")
        code = str(error["code"]) if error else "ok"
        recorded, result = self._durable(call_id)
        self.told.append(
            Told(content=content, is_error=is_error, code=code, call_id=call_id, recorded=recorded, result=result)
        )

    def look(self) -> None:
        """Keep command lines and environments of everything that runs below this test, as they are now."""
        self.looked_at = time.monotonic()
        if not HAS_PROC:
            return
        for pid in listed_descendants(os.getpid()):
            command = _read(pid, "cmdline")
            self.left[f"command line of process {pid}"] = bytearray(command)
            if _is_gateway(command):
                for one in (pid, *listed_descendants(pid)):
                    self.processes.setdefault(one, start_time(one))
            else:
                # A gateway's own environment may hold what its operator put there; a child's may not.
                self.left[f"environment of process {pid}"] = bytearray(_read(pid, "environ"))

    def _durable(self, call_id: str) -> tuple[str | None, bytes | None]:
        for data_dir in self.data_dirs:
            try:
                with closing(_open(data_dir)) as connection:
                    row = connection.execute(
                        "SELECT json_extract(body, '$.code') FROM events WHERE call_id = ? AND kind = 'Answered'",
                        (call_id,),
                    ).fetchone()
                    result = connection.execute("SELECT data FROM results WHERE call_id = ?", (call_id,)).fetchone()
            except sqlite3.Error:
                continue
            if row is not None:
                return row[0], None if result is None else zstandard.ZstdDecompressor().decompress(result[0])
        return None, None


# Processes.


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What one process holds."""

    descriptors: Counter[str]
    """What they lead to; anonymous ones by kind."""
    children: frozenset[int]
    threads: int

    def more_than(self, before: Footprint) -> list[str]:
        """What is held now and was not before."""
        found = [f"{count} more of {name}" for name, count in (self.descriptors - before.descriptors).items()]
        found += [f"child process {pid}" for pid in sorted(self.children - before.children)]
        if self.threads > before.threads:
            found.append(f"{self.threads - before.threads} more threads")
        return found


def footprint(pid: int) -> Footprint:
    """What a process holds now."""
    return Footprint(
        descriptors=Counter(_descriptors(pid)),
        children=frozenset(descendants(pid)),
        threads=len(list(Path(f"/proc/{pid}/task").iterdir())),
    )


def descendants(pid: int) -> list[int]:
    """Children of a process, and theirs."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (parent := _stat(int(path.name), 1)):
            parents.setdefault(int(parent), []).append(int(path.name))
    found: list[int] = []
    new = [pid]
    while new:
        new = [child for parent in new for child in parents.get(parent, [])]
        found += new
    return found


def listed_descendants(pid: int) -> list[int]:
    """The same as the kernel lists them, which takes a thirtieth of the time and may miss what comes or goes meanwhile.

    For looks that follow on each other.
    """
    if not Path(f"/proc/{pid}/task/{pid}/children").exists():
        return descendants(pid)
    found: list[int] = []
    new = [pid]
    while new:
        new = [child for parent in new for child in _children(parent)]
        found += new
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):  # it is gone
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def start_time(pid: int) -> str:
    """What tells a process from a later one of the same id; empty when it is gone."""
    return "" if _stat(pid, 0) in {"", "Z"} else _stat(pid, 19)


def until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _is_gateway(command: bytes) -> bool:
    words = command.split(b"\0")
    ours = any(word == b"mcp_gateway" or word.endswith(PROGRAMS) for word in words)
    return ours and bool({b"stdio", b"serve", b"demo"} & set(words))


def _stat(pid: int, index: int) -> str:
    """A field of `/proc/PID/stat`, counted from the state, which follows on the name.

    Not by `Path`, which takes twice as long: every look at a process tree reads it of all processes.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[index].decode()
    except (OSError, IndexError):
        return ""


def _descriptors(pid: int) -> Iterator[str]:
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            goal = str(path.readlink())
        except OSError:
            continue  # the one that lists this folder
        if goal != f"/proc/{pid}/fd":
            yield re.sub(r":\[\d+\]", "", goal)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
