"""The process that parses: reads requests from standard input, answers on standard output, ends with its input.

Started by `facts.worker` with `-I`, an empty environment and no working directory of anybody's, so that nothing is
imported from where an agent can write. It holds no secret and opens nothing: what a hostile text could break here is
one examination. One that takes more CPU than its argument allows, in seconds, ends the process by SIGPROF, wherever in the
parser it is.
"""

from __future__ import annotations

import gc
import os
import pickle
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from mcp_gateway.facts.catalog import Catalog
from mcp_gateway.facts.frames import LENGTH, SHAPE, Answer, encoded, framed
from mcp_gateway.facts.judging import Judge
from mcp_gateway.facts.parser import SQLSyntaxError, Statements, parse_tree
from mcp_gateway.facts.sql import examine_statements, judge_of
from mcp_gateway.facts.templates import free_values
from mcp_gateway.masking.lineage import ClassifiedCatalog, follow, prepare, uses_by_text

MAX_MEMORY_BYTES = 4 << 30
COLLECT_AFTER = 20_000
"""New containers that are still there when an answer is given. None of a statement's own is in a cycle."""
RECURSION_LIMIT = 8_000
"""Trees have up to 1,000 levels and walking one takes a few calls; Python calls do not use the C stack."""
WARM_UP = "SELECT a.x, count(*) FROM a JOIN b USING (id) WHERE a.y > now() GROUP BY 1"

NO_CATALOG = judge_of(None)

Snapshot = tuple[Judge, ClassifiedCatalog]


class Desk:
    """Answers requests one after the other; keeps the snapshots that it was given, by number."""

    def __init__(self) -> None:
        self._snapshots: dict[int, Snapshot] = {}
        self._tree = Statements()
        """What was examined last: to take it down takes a twentieth of the time, for which nobody has to wait."""

    def clear(self) -> None:
        """Take down what the last answer was found with, and look for garbage now that nobody waits."""
        self._tree = Statements()
        if gc.get_count()[0] > COLLECT_AFTER:
            gc.collect()

    def answer(self, request: tuple[Any, ...]) -> Any:
        """`("load", number, catalog, classify)`, `("drop", number)` or `("examine", number or None, sql)`.

        With a further `True`, `examine` also tells which values of the text are free.
        """
        match request:
            case ("examine", number, str(sql), *free):
                found = self._examine(sql, snapshot=None if number is None else self._snapshots[number])
                return replace(found, free=free_values(sql, self._tree)) if free and found.examination else found
            case ("load", int(number), Catalog() as catalog, dict(classify)):
                self._snapshots[number] = judge_of(catalog), prepare(catalog, classify)
                _leave_to_itself()
                return {"done": True}
            case ("drop", int(number)):
                self._snapshots.pop(number, None)
                return {"done": True}
            case _:
                return Answer(failed="unknown request")

    def _examine(self, sql: str, *, snapshot: Snapshot | None) -> Answer:
        try:
            statements = self._tree = parse_tree(sql)
            if snapshot is None:
                uses = uses_by_text(statements)
                return Answer(examination=examine_statements(statements, judge=NO_CATALOG, uses=uses))
            judge, prepared = snapshot
            lineage, uses = follow(statements, prepared)
            examination = examine_statements(
                statements,
                judge=judge,
                returns=lineage.returned(otherwise=prepared.data),
                inference=lineage.inference,
                uses=uses,
            )
        except SQLSyntaxError as error:
            return Answer(syntax=error.message, position=error.position)
        return Answer(examination=examination, lineage=lineage)


def _leave_to_itself() -> None:
    """Collect what a snapshot that is gone left, and look no more at one that stays: it may have 100,000 objects."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def serve(requests: BinaryIO, answers: BinaryIO, *, cpu_seconds: float = 0) -> None:
    """Answer until the requests end. An answer that cannot be found is an answer too.

    With `cpu_seconds` an answer has so many of them; to be told of a catalog takes what it takes.
    """
    desk = Desk()
    desk.answer(("examine", None, WARM_UP))
    desk.clear()
    _send(answers, encoded({"ready": SHAPE}))
    while header := requests.read(LENGTH.size):
        content = requests.read(*LENGTH.unpack(header))
        try:
            request = pickle.loads(content)  # noqa: S301 - from the gateway itself, see facts.frames
            examines = isinstance(request, tuple) and request[:1] == ("examine",)
            with _limited(cpu_seconds if examines else 0):
                answer = encoded(desk.answer(request))
        except Exception as error:  # noqa: BLE001 - the loop goes on, and this one examination is refused
            answer = encoded(Answer(failed=type(error).__name__))
        _send(answers, answer)
        desk.clear()


@contextmanager
def _limited(cpu_seconds: float) -> Iterator[None]:
    """End this process, by the system's own hand, when what is within takes more; 0 sets no limit."""
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _send(answers: BinaryIO, answer: bytes) -> None:
    answers.write(framed(answer))
    answers.flush()


def main() -> None:
    """Serve on the standard streams, with nothing else able to write to them."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    _close_what_is_inherited()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold statements
    _lower_limit(resource.RLIMIT_AS, MAX_MEMORY_BYTES)
    sys.setrecursionlimit(RECURSION_LIMIT)
    gc.disable()  # it would look through the whole tree of a long statement, several times; see `Desk.clear`
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    with answers, os.fdopen(0, "rb") as requests:
        serve(requests, answers, cpu_seconds=float(sys.argv[1]))


def _close_what_is_inherited() -> None:
    """Keep the standard streams alone: uvloop hands on what whoever started the gateway left open for its children."""
    for descriptor in [int(one.name) for one in Path("/dev/fd").iterdir()]:
        if descriptor > 2:
            with suppress(OSError):  # that of the listing is closed already
                os.close(descriptor)


def _lower_limit(which: int, wanted: int) -> None:
    _, most = resource.getrlimit(which)
    if sys.platform == "linux" and (most == resource.RLIM_INFINITY or most > wanted):
        resource.setrlimit(which, (wanted, most))


if __name__ == "__main__":
    main()
