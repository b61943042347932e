"""The files of the store: where they lie, whose they are, and whether they are still the same.

SQLite writes on into a file that somebody has deleted, and says that all is well. So every group of commits looks at
the paths before and after. Never open the database file here: closing it would drop SQLite's own locks (POSIX locks
belong to the process, not to the descriptor). Looking at it by path is harmless.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from mcp_gateway.errors import StoreError

DATABASE = "audit.db"
LOCK = "audit.lock"
REVOKED = "audit.revoked"
LEASES = "leases"
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "fuse.sshfs"})
RESTORE = "put the file back, or restore it from a copy that has every recorded event; a running gateway then goes on by itself"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where everything of one store lies."""

    data_dir: Path

    @property
    def database(self) -> Path:
        """The database itself."""
        return self.data_dir / DATABASE

    @property
    def lock(self) -> Path:
        """The side file that is locked around each group of commits; holds the store's id."""
        return self.data_dir / LOCK

    @property
    def revoked(self) -> Path:
        """The side file whose content changes with every revocation."""
        return self.data_dir / REVOKED

    @property
    def leases(self) -> Path:
        """One locked file for each living gateway process."""
        return self.data_dir / LEASES

    @property
    def watched(self) -> tuple[Path, ...]:
        """The files that must stay the very same while the store is open."""
        name = str(self.database)
        return (self.database, Path(f"{name}-wal"), Path(f"{name}-shm"), self.lock)


def make_directory(path: Path) -> None:
    """Make a directory that only this user can enter, durably, or check that it is one."""
    try:
        missing = [each for each in (path, *path.parents) if not exists(each)]
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        for made in missing:
            sync_directory(made.parent)
    except OSError as error:
        # The nearest that is there may say it better: "not a directory" would leave open which.
        check_makeable(path)
        raise _unmade(path, str(error.strerror)) from None
    check_directory(path)


def check_makeable(path: Path) -> Path:
    """Refuse a directory that could not be made, as far as that can be seen without making it.

    Gives the nearest above it that there is, or itself.
    """
    nearest = next(each for each in (path, *path.parents) if exists(each))
    if nearest == path:
        check_directory(path)
        return path
    if not nearest.is_dir():
        raise _unmade(path, f"{str(nearest)!r} is not a directory")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise _unmade(path, f"the user that runs this ({os.geteuid()}) cannot write to {str(nearest)!r}")
    try:
        os.lstat(path)
    except FileNotFoundError:
        return nearest
    except OSError as error:
        raise _unmade(path, str(error.strerror)) from None
    return path


def _unmade(path: Path, why: str) -> StoreError:
    advice = "set data_dir elsewhere, or make it for this user with the mode 0700"
    return StoreError(f"the directory {str(path)!r} cannot be made: {why}", next_step=advice)


def check_directory(path: Path) -> os.stat_result:
    """Refuse a directory that is a link, is somebody else's, or that others may enter."""
    found = _look(path)
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{str(path)!r} is not a directory", next_step="it may not be a link either; check data_dir")
    _check(path, found, mode=DIRECTORY_MODE)
    return found


def check_file(path: Path) -> os.stat_result:
    """Refuse a file that is a link, is somebody else's, or that others may read."""
    found = _look(path)
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(
            f"{str(path)!r} is not a regular file", next_step="it may not be a link either; check data_dir"
        )
    _check(path, found, mode=FILE_MODE)
    return found


def make_file(path: Path) -> None:
    """Make a file that only this user can read, if there is none; a link is never followed."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE))
    except FileExistsError:
        return
    except OSError as error:
        raise os_failure(path, error) from None
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make new names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exists(path: Path) -> bool:
    """Whether there is anything under this name, a dangling link included."""
    return os.path.lexists(path)


def refuse_network(path: Path) -> None:
    """Refuse a network file system: neither the locks nor the shared memory of WAL work there."""
    kind = _file_system(path)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreError(f"{str(path)!r} is on {kind}", next_step="set data_dir to a local disk")


class Watch:
    """Which files the store has open, to notice when their names lead elsewhere."""

    def __init__(self, paths: Paths) -> None:
        self._known = {str(path): _identity(check_file(path)) for path in paths.watched}
        self._known[str(paths.data_dir)] = _identity(check_directory(paths.data_dir))

    def check(self) -> None:
        """Refuse when a file is gone, replaced, or no longer this user's alone."""
        for name, known in self._known.items():
            try:
                found = _identity(os.lstat(name))
            except OSError as error:
                raise os_failure(Path(name), error) from None
            if found != known:
                check_directory(Path(name)) if stat.S_ISDIR(known[2]) else check_file(Path(name))
                raise StoreError(f"{name!r} was replaced by another file", next_step=RESTORE)


def os_failure(path: Path, error: OSError) -> StoreError:
    """What an operating system's refusal means to the operator."""
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{str(path)!r} is gone", next_step=RESTORE)
    return StoreError(f"{str(path)!r} cannot be used: {error.strerror}", next_step="check the disk and data_dir")


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_mode, found.st_uid


def _look(path: Path) -> os.stat_result:
    try:
        return os.lstat(path)
    except OSError as error:
        raise os_failure(path, error) from None


def _check(path: Path, found: os.stat_result, *, mode: int) -> None:
    if found.st_uid != os.geteuid():
        raise StoreError(
            f"{str(path)!r} belongs to user {found.st_uid}, not to {os.geteuid()}",
            next_step="run the gateway as the owner of data_dir, or chown it",
        )
    if (got := stat.S_IMODE(found.st_mode)) != mode:
        raise StoreError(
            f"{str(path)!r} has the mode {got:04o}, expected {mode:04o}", next_step=f"chmod {mode:04o} {str(path)!r}"
        )


def _file_system(path: Path) -> str:
    """The type of the mounted file system that holds `path`; empty where the system does not say."""
    if sys.platform != "linux":
        return ""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        mounted, _, source = line.partition(" - ")
        if mounted.split(" ")[2] == wanted:
            return source.split(" ")[0]
    return ""
