"""Which paths name devices, and whatever else is not only read when it is opened. Pure; `commands` asks."""

from __future__ import annotations

import re

DISK = re.compile(
    r"/dev/(?:(?:s|h|v|xv)d[a-z]+[0-9]*|(?:nvme|ng)[0-9]+(?:c[0-9]+)?(?:n[0-9]+)?(?:p[0-9]+)?|sg[0-9]+|dm-[0-9]+"
    r"|md(?:[0-9]+(?:p[0-9]+)?|/[A-Za-z0-9_:-][A-Za-z0-9_.:-]*)|(?:mmcblk|loop)[0-9]+(?:p[0-9]+)?|bus/[0-9]+"
    r"|mapper/[A-Za-z0-9+_-][A-Za-z0-9+_.-]*|disk/by-[a-z-]+/[A-Za-z0-9+_:=@%-][A-Za-z0-9+_.:=@%-]*)",
    re.ASCII,
)
"""Devices that hold data."""
DEVICE = re.compile(
    r"(?:^|[=:,]|^-[A-Za-z])(?:/dev(?:/(?!(?:null|zero|full|u?random|std(?:in|out|err)|fd/[0-9]+)$)|/?$)"
    r"|/proc/kmsg|/sys/kernel/(?:debug|tracing)(?:/|$)"
    r"|/proc(?:/(?:self|thread-self|[0-9]+)(?:/task(?:/[0-9]+)?)?)?/?$|/sys(?:/kernel)?/?$"
    r"|(?:\./)*(?:dev/(?:watchdog|n?st[0-9]|sg[0-9]|tty|lp[0-9]|usb|input/|rtc|hpet|kmsg|console|bus/)"
    r"|proc/kmsg$|sys/kernel/(?:debug|tracing)(?:/|$)))"
    r"|(?:^|/|=)\.\./(?:dev|proc|sys)(?:/|$)"
)
"""Paths that reading may do something to: opening a watchdog arms it, reading a tape moves it, reading a log empties it.

So do folders that such stand in, which are read whole by `grep -r`. A relative one may begin in `/`, where an account is put
that has no folder."""
PROCESS = re.compile(r"(?:^|[=:,]|^-[A-Za-z])(?:/|(?:\./)*)proc/")
OPENED = re.compile(r"/(?:root|cwd|fd|map_files)(?:/|$)")
"""What a process has open, and where it is: links to anything."""
LISTED = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(?:/(?!(?:dev|proc|sys)/)[A-Za-z0-9_][A-Za-z0-9_.-]*)*", re.ASCII)
"""A file of the host's, and no standard input, from which a list of what is opened is taken."""

FOUND = "/dev/{}"
"""Begins the name of a device that a glob may come across."""
PLAIN_GLOB = re.compile(
    r"/proc/[^/]+/(?:cgroup|cmdline|comm|environ|io|limits|loginuid|maps|mountinfo|mounts|oom_score|oom_score_adj|sched"
    r"|schedstat|smaps|smaps_rollup|stat|statm|status|wchan)|/sys/(?:block|class|devices)/.+"
)
"""Globs that come across nothing there which is not only read when it is opened."""


def names_device(word: str, *, disks: bool = False) -> bool:
    """Whether reading what a word names may do more than reading; with `disks`, a disk is only read."""
    path = _plain(word)
    process = PROCESS.search(path)
    is_open = process is not None and OPENED.search(path, process.end() - 1) is not None
    return (is_open or DEVICE.search(path) is not None) and not (disks and DISK.fullmatch(path))


def leads_to_devices(word: str) -> bool:
    """Whether devices may stand below a folder: it is `/`, or may be, or leads to where they are."""
    path = _plain(word)
    parts = path.split("/")
    at_root = path.startswith("/") and not path.strip("/.")
    return at_root or ".." in parts or parts[0] in {"dev", "proc", "sys"} or names_device(path)


def glob_may_name_device(glob: str) -> bool:
    """Whether a glob may come across one in the folders that have some, which zsh finds in capitals, too, if it is told."""
    top = glob.split("/")[1].lower()
    return top in {"dev", "proc", "sys"} and not PLAIN_GLOB.fullmatch(glob)


def _plain(path: str) -> str:
    """Without what a path may hold and not mean: `//`, `/./`."""
    return re.sub(r"/(?:\.?/)+", "/", path)
