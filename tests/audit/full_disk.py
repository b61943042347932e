"""A disk that fills up under the store: what has to hold, run on a small file system or under a file size limit.

`python -m tests.audit.full_disk DATA_DIR ALLOWED` runs it under a limit for this process's files (`RLIMIT_FSIZE`), which
needs no rights to mount. `ALLOWED` is how many bytes more than at the moment of filling a file may grow.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import anyio

from mcp_gateway.audit.store import AuditStore
from mcp_gateway.audit.verify import verify
from mcp_gateway.clock import utc_now
from mcp_gateway.errors import StoreError
from tests.audit.records import FAST, finished, kinds, loaded, reopened, started, tried_again

BIG_BYTES = 6 << 20
"""It fails while it is written, not when it is committed, wherever there is room for some of it."""


async def survive(data_dir: Path, *, fill: Callable[[], None], free: Callable[[], None]) -> None:
    """Fill the disk between an intent and its outcome; raises where something does not hold."""
    store = await AuditStore.open(data_dir, clock=utc_now, pace=FAST)
    await store.append(loaded(0), started("c"))
    fill()

    # The outcome cannot be recorded, so the result is withheld; from now on nothing is.
    assert await refused(store, big=True)
    assert await refused(store)
    # A small row would fit, but proves nothing: the self-test is of the size of what was lost.
    await tried_again(store)
    assert await refused(store)

    free()
    await reopened(store)
    await store.append(loaded(1))
    await store.transact(lambda tx: tx.append(finished("c", result_hash=tx.save_result("c", os.urandom(BIG_BYTES)))))
    await store.aclose()

    found = verify(data_dir)
    assert found.flaw is None, found
    assert found.results == 1
    recorded = kinds(data_dir)
    assert recorded == ["PolicyLoaded", "Started", "StoreReopened", "PolicyLoaded", "Finished"], recorded


async def refused(store: AuditStore, *, big: bool = False) -> bool:
    try:
        if big:
            await store.transact(
                lambda tx: tx.append(finished("c", result_hash=tx.save_result("c", os.urandom(BIG_BYTES))))
            )
        else:
            await store.append(loaded(9))
    except StoreError as error:
        return bool(error.next_step)
    return False


def main(data_dir: Path, allowed: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        largest = max(path.stat().st_size for path in data_dir.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + allowed, hard))

    anyio.run(
        lambda: survive(data_dir, fill=fill, free=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))),
        backend_options={"use_uvloop": True},
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
