"""What is left of a store when the power goes: system calls of a running gateway, and the files as a disk may have them.

`traced` attaches `strace` to a gateway; the trace is a list of writes, syncs and sends in the order in which they began, a
sync counting from where it ended. `Disk` follows it: what was written before a sync began is durable once it has ended,
of everything else any part may be lost. An image is the store as it would then be found.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from tests.invariants.world import until

FILES = ("audit.db", "audit.db-wal")
SECTOR_BYTES = 512
SYSCALLS = "pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg,fdatasync,fsync,ftruncate,unlink,unlinkat,rename"
Kind: TypeAlias = Literal["write", "sync", "cut", "unlink", "send"]
LINE = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\((?P<rest>.*)")
RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<call>\w+) resumed>")
FILE = re.compile(r"\d+<(?P<path>[^>]*)>")
SOCKET = re.compile(r"\d+<TCP:\[[^\]]*->(?:127\.0\.0\.1|\[::1\]):(?P<port>\d+)\]>")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
ATTACHED = "attached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that the gateway did."""

    kind: Kind
    name: str = ""
    """Which of the store's files."""
    at: int = 0
    data: bytes = b""
    port: int = 0
    """Of the other side of a connection."""
    began: int = 0
    """For a sync: how many steps there were when it began."""


@contextmanager
def traced(pid: int, log: Path) -> Iterator[None]:
    """Write down what a process and its threads do from here on."""
    command = ["strace", "-f", "-yy", "-xx", "-s", "1000000", "-e", f"trace={SYSCALLS}", "-o", str(log), "-p", str(pid)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = b""
        while ATTACHED.encode() not in said:
            more = os.read(process.stderr.fileno(), 4096)
            assert more, said
            said += more
        # All threads that there are by now.
        assert until(lambda: len(list(Path(f"/proc/{pid}/task").iterdir())) == tracees(pid), seconds=20)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.stderr.read()


def tracees(pid: int) -> int:
    """How many threads of a process are traced."""
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += "TracerPid:\t0" not in (task / "status").read_text()
    return found


def steps(log: Path) -> list[Step]:
    """What a trace says, in order."""
    found: list[Step] = []
    syncing: dict[str, tuple[str, int]] = {}
    for line in log.read_text(encoding="latin-1").splitlines():
        resumed = RESUMED.match(line)
        if resumed is not None:
            if resumed["pid"] in syncing and line.rstrip().endswith("= 0"):
                name, began = syncing.pop(resumed["pid"])
                found.append(Step(kind="sync", name=name, began=began))
            continue
        match = LINE.match(line)
        if match is None:
            continue
        step = _step(match["call"], match["rest"], done=len(found))
        if step is None:
            continue
        if step.kind == "sync" and "<unfinished" in line:
            syncing[match["pid"]] = step.name, len(found)
        else:
            found.append(step)
    return found


def _step(call: str, rest: str, *, done: int) -> Step | None:
    file = FILE.match(rest)
    name = Path(_plain(file["path"])).name if file is not None else ""
    if call in {"fdatasync", "fsync"}:
        return Step(kind="sync", name=name, began=done) if name in FILES else None
    if call in {"unlink", "unlinkat", "rename"}:
        paths = [Path(_bytes(text).decode()).name for text in TEXT.findall(rest)]
        assert not (call == "rename" and set(paths) & set(FILES)), rest
        return Step(kind="unlink", name=paths[0]) if paths and paths[0] in FILES else None
    socket = SOCKET.match(rest)
    if socket is not None:
        return Step(kind="send", port=int(socket["port"]), data=b"".join(map(_bytes, TEXT.findall(rest))))
    if name not in FILES:
        return None
    if call == "ftruncate":
        return Step(kind="cut", name=name, at=int(rest.partition(", ")[2].partition(")")[0]))
    (text,) = TEXT.findall(rest)
    offset = rest.partition('"')[2].partition('", ')[2].split(", ")[1].partition(")")[0].partition(" ")[0]
    return Step(kind="write", name=name, at=int(offset), data=_bytes(text))


def _plain(path: str) -> str:
    """A path as `-y` shows it, which `-xx` may have escaped, too."""
    return _bytes(path).decode() if path.startswith("\\x") else path


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass(slots=True)
class Disk:
    """The files of a store, as far as they are durable, and what may or may not be."""

    files: dict[str, bytearray]
    loose: list[tuple[int, Step]] = field(default_factory=list)
    """Writes since the last sync of their file, with their places in the trace."""

    @classmethod
    def of(cls, data: Path) -> Disk:
        """What is on the disk of a gateway at rest."""
        return cls({name: bytearray((data / name).read_bytes()) for name in FILES if (data / name).exists()})

    def take(self, number: int, step: Step) -> None:
        """Follow one step."""
        match step.kind:
            case "write" | "cut" | "unlink":
                self.loose.append((number, step))
            case "sync":
                left = []
                for place, loose in self.loose:
                    if loose.name == step.name and place < step.began:
                        _apply(self.files, loose)
                    else:
                        left.append((place, loose))
                self.loose = left
            case "send":
                pass

    def image(self, folder: Path, *, chance: random.Random | None) -> Path:
        """The store after the power went: nothing that is not durable, or parts of it, as they happen to be."""
        files = {name: bytearray(content) for name, content in self.files.items()}
        if chance is not None:
            for _, step in self.loose:
                for part in _sectors(step):
                    if chance.random() < 0.5:
                        _apply(files, part)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        for name, content in files.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
        return folder


def _sectors(step: Step) -> Sequence[Step]:
    """A write, cut where a disk may stop in the middle of it."""
    if step.kind != "write":
        return [step]
    return [
        Step(kind="write", name=step.name, at=step.at + start, data=step.data[start : start + SECTOR_BYTES])
        for start in range(0, len(step.data), SECTOR_BYTES)
    ]


def _apply(files: dict[str, bytearray], step: Step) -> None:
    content = files.setdefault(step.name, bytearray())
    match step.kind:
        case "write":
            if len(content) < step.at:
                content.extend(bytes(step.at - len(content)))
            content[step.at : step.at + len(step.data)] = step.data
        case "cut":
            del content[step.at :]
        case "unlink":
            files.pop(step.name)
        case "sync" | "send":
            pass
