"""A road in a process of its own: `python -m tests.road_program FOLDER DATA_DIR API_URL WAIT_SECONDS`.

Each line on standard input is a JSON object of arguments for one call, made at once; each on standard output the code of
an answer.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import orjson

from mcp_gateway.answers import Answer
from tests.audit.records import ROOT
from tests.roads import laid


@contextmanager
def running(folder: Path, data: Path, *, url: str, wait: float = 0) -> Iterator[subprocess.Popen[str]]:
    """Run one; it ends with the block."""
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.road_program", str(folder), str(data), url, str(wait)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def call(process: subprocess.Popen[str], **arguments: object) -> None:
    """Have it make a call."""
    assert process.stdin is not None
    process.stdin.write(orjson.dumps(arguments).decode() + "\n")
    process.stdin.flush()


async def answered(process: subprocess.Popen[str]) -> str:
    """What the next call that ended came to."""
    assert process.stdout is not None
    with anyio.fail_after(30):
        return (await anyio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)).strip()


async def main() -> None:
    folder, data, wait = Path(sys.argv[1]), Path(sys.argv[2]), timedelta(seconds=float(sys.argv[4]))
    async with laid(folder, wait=wait, data=data, url=sys.argv[3]) as bench, anyio.create_task_group() as group:
        print("ready", flush=True)

        async def make(text: str) -> None:
            found = await bench.call(orjson.loads(text))
            assert isinstance(found, Answer)
            print(found.code, flush=True)

        while text := await anyio.to_thread.run_sync(sys.stdin.readline):
            group.start_soon(make, text)


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": True})
