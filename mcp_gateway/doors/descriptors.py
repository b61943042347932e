"""How many connections this process's limit of open files leaves room for.

A gateway that has no descriptor left can open neither its store nor a target: so some are never given to clients.
"""

from __future__ import annotations

import resource

import structlog

log = structlog.get_logger(__name__)

OWN_FILES = 256
"""The store, the parser's processes, and connections to targets."""


def connections_within(most: int) -> int:
    """How many of `most` connections there can be; the soft limit of open files is raised as far as that takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if raised > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return most
    # Where there are very few, half of them is more than clients can use at the targets.
    found = max(1, soft - min(OWN_FILES, soft // 2))
    log.warning("few_descriptors", connections=found, wanted=most, open_files=soft)
    return found
