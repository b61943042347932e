"""Leases: which gateway processes live, and the end of the calls of those that do not.

A process holds a `flock` on a file under its instance id; the kernel drops it when the process dies, however it dies.
An intent whose instance no longer holds its lease can have no other end, so it is closed as `OutcomeUnknown`; a living
neighbour's never is. Every process does this, at its start and every few seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

import anyio
import structlog

from mcp_gateway.audit.files import FILE_MODE, Paths, make_directory, os_failure
from mcp_gateway.audit.store import AuditStore, Transaction
from mcp_gateway.errors import StoreError
from mcp_gateway.events import OutcomeUnknown
from mcp_gateway.trouble import Trouble

EVERY_SECONDS = 2.0
DIED = "the gateway process that ran it died"
ENDED = "the gateway that ran it ended without a record of its outcome"
INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What an instance id looks like: it names a file, and the store's rows are not trusted to."""
SUFFIX = ".lease"

log = structlog.get_logger(__name__)


class Lease:
    """One process's sign of life, held as long as this object is not released."""

    def __init__(self, path: Path, *, instance: str, descriptor: int) -> None:
        self.instance = instance
        self._path = path
        self._descriptor = descriptor
        _HELD.add(self)

    @classmethod
    def acquire(cls, data_dir: Path, *, instance: str) -> Lease:
        """Take the lease of an instance. Take it before the first intent, release it after the last outcome.

        Raises:
            StoreError: somebody else holds it, or its file cannot be made.
        """
        if not INSTANCE.fullmatch(instance):
            raise ValueError(f"an instance id is 1 to 64 letters, digits, '-' or '_', got {instance!r}")
        directory = Paths(data_dir).leases
        make_directory(data_dir)
        make_directory(directory)
        path = directory / f"{instance}{SUFFIX}"
        return cls(path, instance=instance, descriptor=_make(path))

    def renew(self) -> None:
        """Make sure that neighbours see the lease, even if somebody removed its file."""
        if _same_file(self._path, self._descriptor):
            return
        fresh, lost = _make(self._path), self._descriptor
        self._descriptor = fresh
        os.close(lost)

    def release(self) -> None:
        """End the lease and remove its file; safe more than once."""
        if self._descriptor < 0:
            return
        if _same_file(self._path, self._descriptor):
            self._path.unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Close the file without removing it: after a fork, in the child."""
        _HELD.discard(self)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


async def close_abandoned(store: AuditStore, *, lease: Lease, clock: Callable[[], datetime]) -> int:
    """Close the intents that nobody will end: those of dead instances, and those that this one has forsaken.

    Returns how many. Raises `StoreError` when the store refuses; nothing is lost then, the next round finds them again.
    """
    closed = 0
    directory = Paths(store.data_dir).leases
    rows = await store.read(lambda connection: connection.execute("SELECT DISTINCT instance FROM intents").fetchall())
    for (instance,) in rows:
        if instance == lease.instance:
            continue
        with _dead(directory, instance=instance) as dead:
            if dead:
                closed += await store.transact(partial(_close_all, instance=instance, cause=DIED, at=clock()))
    return closed + await _close_forsaken(store, clock=clock)


async def close_own(store: AuditStore, *, instance: str, clock: Callable[[], datetime]) -> int:
    """Close what an instance leaves without an outcome, when it ends in order and nothing of it runs any more.

    Whatever kept an outcome from being recorded, and even from being forsaken: no more memory, say. Returns how many.

    Raises:
        StoreError: the store refuses; the next start of a gateway closes them.
    """
    return await store.transact(partial(_close_all, instance=instance, cause=ENDED, at=clock()))


async def keep_closing(
    store: AuditStore, *, lease: Lease, clock: Callable[[], datetime], every_seconds: float = EVERY_SECONDS
) -> NoReturn:
    """Close what is abandoned now and every few seconds, until cancelled. What goes wrong is tried again."""
    trouble = Trouble("abandoned_calls_not_closed")
    while True:
        with trouble.outlived():
            lease.renew()
            closed = await close_abandoned(store, lease=lease, clock=clock)
            if closed:
                log.warning("abandoned_calls_closed", count=closed)
            _remove_dead_leases(Paths(store.data_dir).leases, own=lease.instance)
        await anyio.sleep(every_seconds)


async def _close_forsaken(store: AuditStore, *, clock: Callable[[], datetime]) -> int:
    """Each by itself: one that cannot be closed stands in no other's way."""
    closed, refused = 0, None
    for call_id, cause in dict(store.forsaken).items():
        try:
            closed += await store.transact(partial(_close_one, call_id=call_id, cause=cause, at=clock()))
        except StoreError as error:
            refused = error
        else:
            store.forsaken.pop(call_id, None)
    if refused is not None:
        raise refused
    return closed


def _close_all(tx: Transaction, *, instance: str, cause: str, at: datetime) -> int:
    rows = tx.execute("SELECT call_id FROM intents WHERE instance = ? ORDER BY sequence", (instance,)).fetchall()
    return sum(_close_one(tx, call_id=call_id, cause=cause, at=at) for (call_id,) in rows)


def _close_one(tx: Transaction, *, call_id: str, cause: str, at: datetime) -> int:
    """End one intent, unless it has ended since, or never was."""
    if tx.execute("SELECT 1 FROM intents WHERE call_id = ?", (call_id,)).fetchone() is None:
        return 0
    tx.append(OutcomeUnknown(at=at, call_id=call_id, cause=cause))
    return 1


def _remove_dead_leases(directory: Path, *, own: str) -> None:
    """Remove the files of instances that have died; their calls were closed before."""
    for path in directory.glob(f"*{SUFFIX}"):
        instance = path.name.removesuffix(SUFFIX)
        if instance != own:
            with _dead(directory, instance=instance):
                pass


@contextlib.contextmanager
def _dead(directory: Path, *, instance: str) -> Iterator[bool]:
    """Whether an instance has died. Inside, its lease is held, so that one process at a time closes its calls."""
    path = directory / f"{instance}{SUFFIX}"
    if not INSTANCE.fullmatch(instance):
        yield True
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    except OSError as error:
        raise os_failure(path, error) from None
    try:
        if not _lock(descriptor):
            yield False
            return
        yield True
        if _same_file(path, descriptor):
            path.unlink()
    finally:
        os.close(descriptor)


def _make(path: Path) -> int:
    """Make a lease file that is locked before anybody can see it; returns its descriptor.

    Under its own name from the start, a neighbour could find it between its making and its locking, and call it dead.
    """
    hidden = path.with_name(f".{path.name}")
    try:
        hidden.unlink(missing_ok=True)
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        try:
            _lock(descriptor)
            path.hardlink_to(hidden)
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            hidden.unlink()
    except FileExistsError:
        raise StoreError(
            f"the lease {str(path)!r} exists already", next_step="each process needs an id of its own"
        ) from None
    except OSError as error:
        raise os_failure(path, error) from None
    return descriptor


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        named = os.lstat(path)
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


_HELD: weakref.WeakSet[Lease] = weakref.WeakSet()


def _after_fork() -> None:
    """A forked child shares its parent's locks, and would keep a dead parent's lease alive."""
    for lease in list(_HELD):
        lease.let_go()


os.register_at_fork(after_in_child=_after_fork)
